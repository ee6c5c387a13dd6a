/**
 * The chat template of the model's own file, rendered as Hugging Face's tokenizers do. The library's chat wrappers
 * rewrite the history; an engine that stands in for vLLM must not, or the same messages would give another prompt.
 */
import { Template } from '@huggingface/jinja';
import { ApiError } from '../surface/api_error.ts';
import type { ChatMessage } from '../surface/backend.ts';

export interface ChatPromptOptions {
  readonly addGenerationPrompt: boolean;
  /** Leaves the last message open, so that the model goes on writing it. */
  readonly continueFinal: boolean;
  readonly tools?: readonly unknown[];
}

export type ChatTemplate = (messages: readonly ChatMessage[], options: ChatPromptOptions) => string;

/** Marks the end of the open message; the rendered text is cut there. It cannot be part of a message: U+E000 is private. */
const OPEN_END = '\ue000open\ue000';

/** Plain ChatML, for a file without a template. */
const CHATML =
  "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

function openLast(messages: readonly ChatMessage[]): readonly ChatMessage[] {
  const last = messages.at(-1);
  if (last === undefined) return messages;
  return [...messages.slice(0, -1), { ...last, content: `${last.content}${OPEN_END}` }];
}

/**
 * Compiles `source` (Jinja). The returned function throws ApiError 400 where the template refuses the messages, for
 * example by `raise_exception` or by leaving out the message that is to be continued.
 */
export function compileChatTemplate(
  source: string | undefined,
  tokens: { readonly bos: string; readonly eos: string },
): ChatTemplate {
  const template = new Template(source ?? CHATML);
  return (messages, options) => {
    let text: string;
    try {
      text = template.render({
        messages: options.continueFinal ? openLast(messages) : messages,
        add_generation_prompt: options.addGenerationPrompt && !options.continueFinal,
        bos_token: tokens.bos,
        eos_token: tokens.eos,
        ...(options.tools === undefined ? {} : { tools: options.tools }),
      });
    } catch (thrown) {
      throw new ApiError(400, `The chat template refused the messages: ${(thrown as Error).message}`, 'messages');
    }
    if (!options.continueFinal) return text;
    const end = text.lastIndexOf(OPEN_END);
    if (end < 0)
      throw new ApiError(400, 'The chat template leaves the final message out, so it cannot be continued.', 'messages');
    return text.slice(0, end);
  };
}
