/**
 * A model's tokeniser, from the files that every published model has. Between special tokens a text is tokenised piece by
 * piece, and pieces that come again (a system prompt, the earlier messages of a conversation) are remembered, so that a
 * long conversation costs its newest message. Whether a model's tokeniser can be cut up so is tried when it is loaded.
 */
import { open } from 'node:fs/promises';
import path from 'node:path';
import { Tokenizer } from '@huggingface/tokenizers';
import { z } from 'zod';
import { type ChatPrompt, createChatPrompt } from './chat_prompt.ts';

export interface ModelTokenizer {
  /** Undefined when the model has no template. */
  readonly chatPrompt: ChatPrompt | undefined;
  /** @param special whether the tokens that begin and end a text are added, as for a plain prompt */
  idsOf(text: string, special: boolean): readonly number[];
}

const MAX_FILE_BYTES = 64 * 1024 * 1024;
const MAX_TEMPLATE_BYTES = 1024 * 1024;
/** Remembered pieces together: characters and ids count alike. */
const MAX_CACHE = 4 * 1024 * 1024;
/** Shorter pieces cost less than to remember them. */
const MIN_PIECE = 16;

const tokenSchema = z.union([z.string(), z.looseObject({ content: z.string() }).transform((token) => token.content)]);

const configSchema = z.looseObject({
  bos_token: tokenSchema.nullish(),
  eos_token: tokenSchema.nullish(),
  chat_template: z.union([z.string(), z.array(z.looseObject({ name: z.string(), template: z.string() }))]).nullish(),
});

const tokenizerSchema = z.looseObject({
  added_tokens: z.array(z.looseObject({ content: z.string().min(1), special: z.boolean().optional() })).default([]),
});

/** Undefined when there is no such file; throws on one that is larger than it may be. */
async function readBounded(file: string, maxBytes: number): Promise<string | undefined> {
  let handle: Awaited<ReturnType<typeof open>>;
  try {
    handle = await open(file, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const { size } = await handle.stat();
    if (size > maxBytes) throw new Error(`${path.basename(file)} has ${size} bytes, more than ${maxBytes}.`);
    return await handle.readFile('utf8');
  } finally {
    await handle.close();
  }
}

type Encode = (text: string, special: boolean) => readonly number[];

const escaped = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

/** Cuts texts at special tokens and remembers the ids of the pieces, those used last. */
function pieceWise(encode: Encode, specials: readonly string[]): Encode {
  const cut = new RegExp(`(${specials.map(escaped).join('|')})`);
  const known = new Map<string, readonly number[]>();
  let weight = 0;
  const idsOfPiece = (piece: string): readonly number[] => {
    const found = known.get(piece);
    if (found !== undefined) {
      known.delete(piece);
      known.set(piece, found);
      return found;
    }
    const ids = encode(piece, false);
    if (piece.length < MIN_PIECE || piece.length > MAX_CACHE / 8) return ids;
    known.set(piece, ids);
    weight += piece.length + ids.length;
    for (const [old, oldIds] of known) {
      if (weight <= MAX_CACHE) break;
      known.delete(old);
      weight -= old.length + oldIds.length;
    }
    return ids;
  };
  return (text, special) => {
    if (special) return encode(text, true);
    return text.split(cut).flatMap((piece) => (piece === '' ? [] : idsOfPiece(piece)));
  };
}

/** A text with what could make pieces depend on each other: white space and letters on both sides of special tokens. */
function probeOf(specials: readonly string[]): string {
  return specials.map((token, i) => `${token}user\n Hello  ${token}\n\nWorld ${i} ${token} a${token}b`).join('');
}

function canBeCut(encode: Encode, specials: readonly string[]): boolean {
  if (specials.length === 0) return false;
  const probe = probeOf(specials.slice(0, 8));
  const whole = encode(probe, false);
  const pieces = pieceWise(encode, specials)(probe, false);
  return whole.length === pieces.length && whole.every((id, i) => id === pieces[i]);
}

function templateOf(config: z.infer<typeof configSchema>): string | undefined {
  const template = config.chat_template ?? undefined;
  if (!Array.isArray(template)) return template;
  return template.find((each) => each.name === 'default')?.template;
}

/**
 * Loads the tokeniser of a model's folder.
 * @throws Error, or a ZodError, when a file is missing, too large, or not what it should be
 */
export async function loadTokenizer(folder: string): Promise<ModelTokenizer> {
  const text = await readBounded(path.join(folder, 'tokenizer.json'), MAX_FILE_BYTES);
  if (text === undefined) throw new Error('There is no tokenizer.json.');
  const json = JSON.parse(text) as object;
  const configText = (await readBounded(path.join(folder, 'tokenizer_config.json'), MAX_FILE_BYTES)) ?? '{}';
  const configJson = JSON.parse(configText) as object;
  const config = configSchema.parse(configJson);
  const { added_tokens } = tokenizerSchema.parse(json);
  const tokenizer = new Tokenizer(json, configJson);
  const encode: Encode = (prompt, special) => tokenizer.encode(prompt, { add_special_tokens: special }).ids;
  const specials = added_tokens.filter((token) => token.special === true).map((token) => token.content);
  // A longer token must not be cut by one that it begins with.
  specials.sort((a, b) => b.length - a.length);
  const template =
    (await readBounded(path.join(folder, 'chat_template.jinja'), MAX_TEMPLATE_BYTES)) ?? templateOf(config);
  const tokens = { bos: config.bos_token ?? '', eos: config.eos_token ?? '' };
  return {
    chatPrompt: template === undefined ? undefined : createChatPrompt(template, tokens),
    idsOf: canBeCut(encode, specials) ? pieceWise(encode, specials) : encode,
  };
}
