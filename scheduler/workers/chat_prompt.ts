/**
 * The text that an engine makes of chat messages by the model's own template. It does what vLLM does before it renders
 * (vllm/entrypoints/chat_utils.py): parts of text are joined by line breaks where the template wants a string, and
 * arguments of tool calls are objects. What it cannot do alike it leaves: then the prompt is known by its bytes only.
 */
import { Template } from '@huggingface/jinja';

export interface ChatBody {
  readonly messages: readonly unknown[];
  readonly tools?: unknown;
  readonly documents?: unknown;
  readonly addGenerationPrompt?: unknown;
  readonly continueFinalMessage?: unknown;
  readonly templateArguments?: unknown;
}

/** @returns the prompt, undefined when it cannot be made here */
export type ChatPrompt = (body: ChatBody) => string | undefined;

type Fields = Readonly<Record<string, unknown>>;

const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** A template that goes through the content of a message wants its parts and no string. */
const LOOPS_OVER_CONTENT = /\{%-?\s*for\s+\w+\s+in\s+\w+(\.content|\[['"]content['"]\])/;
const TEXT_PARTS: ReadonlySet<unknown> = new Set(['text', 'input_text', 'output_text', 'refusal', 'thinking']);

function partText(part: unknown): string | undefined {
  if (!isFields(part) || !TEXT_PARTS.has(part['type'])) return undefined;
  const text = part['text'] ?? part['refusal'] ?? part['thinking'];
  return typeof text === 'string' ? text : undefined;
}

/** The content as the template wants it; undefined where there is something other than text. */
function contentOf(content: unknown, asParts: boolean): unknown {
  if (content === null || content === undefined) return asParts ? [] : '';
  if (typeof content === 'string') return asParts ? [{ type: 'text', text: content }] : content;
  const texts = (content as unknown[]).map(partText);
  if (texts.includes(undefined)) return undefined;
  return asParts ? texts.map((text) => ({ type: 'text', text })) : texts.join('\n');
}

function withArguments(call: unknown): unknown {
  if (!isFields(call) || !isFields(call['function'])) return call;
  const given = call['function']['arguments'];
  const parsed: unknown = typeof given === 'string' ? JSON.parse(given === '' ? '{}' : given) : (given ?? {});
  return { ...call, function: { ...call['function'], arguments: parsed } };
}

function messageOf(message: Fields, asParts: boolean): Fields | undefined {
  const content = contentOf(message['content'], asParts);
  if (content === undefined) return undefined;
  const calls = message['tool_calls'];
  return { ...message, content, ...(Array.isArray(calls) ? { tool_calls: calls.map(withArguments) } : {}) };
}

/**
 * @param source the model's Jinja template
 * @throws when it does not compile
 */
export function createChatPrompt(source: string, tokens: { readonly bos: string; readonly eos: string }): ChatPrompt {
  const template = new Template(source);
  const asParts = LOOPS_OVER_CONTENT.test(source);
  return (body) => {
    if (body.continueFinalMessage === true) return undefined;
    const messages = body.messages.map((message) => messageOf(message as Fields, asParts));
    if (messages.includes(undefined)) return undefined;
    return template.render({
      messages,
      add_generation_prompt: body.addGenerationPrompt !== false,
      bos_token: tokens.bos,
      eos_token: tokens.eos,
      ...(Array.isArray(body.tools) ? { tools: body.tools } : {}),
      ...(Array.isArray(body.documents) ? { documents: body.documents } : {}),
      ...(isFields(body.templateArguments) ? body.templateArguments : {}),
    });
  };
}
