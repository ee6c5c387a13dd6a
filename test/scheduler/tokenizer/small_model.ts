/** A small but real byte-level tokeniser with special tokens and a ChatML template, as a published model's folder. */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';

/** The characters that byte-level BPE writes bytes as (GPT-2's table). */
function byteCharacters(): string[] {
  const shown = (byte: number): boolean =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);
  let extra = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(shown(byte) ? byte : extra++));
}

const MERGES = ['h e', 'l l', 'he ll', 'hell o', 'Ġ w', 'o r', 'Ġw or', 'l d', 'Ġwor ld', 'u s', 'e r', 'us er'];
const SPECIAL = ['<|endoftext|>', '<|im_start|>', '<|im_end|>'];

export const CHATML =
  "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

export function tokenizerJson(): Record<string, unknown> {
  const tokens = [...SPECIAL, ...byteCharacters(), ...MERGES.map((merge) => merge.replace(' ', ''))];
  return {
    version: '1.0',
    added_tokens: SPECIAL.map((content, id) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: null,
    decoder: { type: 'ByteLevel' },
    model: { type: 'BPE', vocab: Object.fromEntries(tokens.map((token, id) => [token, id])), merges: MERGES },
  };
}

/** Writes the folder; `config` is merged into tokenizer_config.json. */
export function writeModel(folder: string, config: Record<string, unknown> = { chat_template: CHATML }): string {
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, 'tokenizer.json'), JSON.stringify(tokenizerJson()));
  const all = {
    tokenizer_class: 'GPT2Tokenizer',
    bos_token: { content: '<|im_start|>' },
    eos_token: '<|im_end|>',
    ...config,
  };
  writeFileSync(path.join(folder, 'tokenizer_config.json'), JSON.stringify(all));
  return folder;
}
