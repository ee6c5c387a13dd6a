/**
 * Checks what a request gives a model to read: chat messages, a prompt, an input for embeddings. Only what matters to
 * the fleet is judged (there is something, its shape is sound, no part makes an engine fetch an address); the meaning
 * is the engine's.
 */
import { CodedError } from '../errors.ts';

const ROLES: ReadonlySet<string> = new Set(['system', 'developer', 'user', 'assistant', 'tool', 'function']);

/** Content parts that clients may send. Parts with embeddings or object references are the engine operator's. */
const PART_TYPES: ReadonlySet<string> = new Set([
  'text',
  'input_text',
  'output_text',
  'refusal',
  'thinking',
  'image_url',
  'input_image',
  'input_audio',
  'audio_url',
  'video_url',
  'file',
]);

/** Objects in a part nest at most this deep in any real request. */
const MAX_PART_DEPTH = 4;

export interface ContentLimits {
  /** Lets engines fetch media from http(s) addresses that callers name. */
  readonly allowRemoteMedia: boolean;
}

function invalid(param: string, what: string): CodedError {
  return new CodedError('invalid_value', `${param} ${what}.`, { param });
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * An engine that is told an address fetches it from inside the fleet's network, so an address may only carry its data
 * with it. The spelling must be exactly `data:`: a parser more lenient than this one must not see another scheme.
 */
function checkUrl(url: unknown, param: string, limits: ContentLimits): void {
  if (url === null) return;
  if (typeof url !== 'string') throw invalid(param, 'must be a string');
  if (url.startsWith('data:')) return;
  if (limits.allowRemoteMedia && /^https?:\/\//.test(url)) return;
  throw invalid(param, 'must be a data: URL; engines fetch no addresses for callers');
}

/** Looks at every address anywhere in a part, by the name of its member rather than by the part's declared type. */
function checkUrls(value: unknown, param: string, limits: ContentLimits, depth: number): void {
  if (depth > MAX_PART_DEPTH) throw invalid(param, 'nests too deep');
  if (Array.isArray(value)) {
    for (const [index, item] of value.entries()) checkUrls(item, `${param}[${index}]`, limits, depth + 1);
    return;
  }
  if (!isObject(value)) return;
  for (const [key, member] of Object.entries(value)) {
    const at = `${param}.${key}`;
    const isUrl = key === 'url' || key.endsWith('_url') || key === 'input_image';
    if (isUrl && !isObject(member)) checkUrl(member, at, limits);
    else checkUrls(member, at, limits, depth + 1);
  }
}

function checkPart(part: unknown, param: string, limits: ContentLimits): void {
  if (!isObject(part)) throw invalid(param, 'must be an object');
  const { type } = part;
  if (typeof type !== 'string' || !PART_TYPES.has(type)) {
    throw invalid(`${param}.type`, `must be one of ${[...PART_TYPES].join(', ')}`);
  }
  if (type === 'text' && typeof part['text'] !== 'string') throw invalid(`${param}.text`, 'must be a string');
  // vLLM takes the client's uuid as the key of its media cache, which all tenants share.
  if (part['uuid'] !== undefined) {
    throw new CodedError('unknown_field', `${param}.uuid is not a public field.`, { param: `${param}.uuid` });
  }
  checkUrls(part, param, limits, 0);
}

function checkMessage(message: unknown, param: string, limits: ContentLimits): void {
  if (!isObject(message)) throw invalid(param, 'must be an object');
  const { role, content } = message;
  if (typeof role !== 'string' || !ROLES.has(role)) {
    throw invalid(`${param}.role`, `must be one of ${[...ROLES].join(', ')}`);
  }
  if (typeof content === 'string') return;
  if (Array.isArray(content)) {
    if (content.length === 0 && role === 'user') throw invalid(`${param}.content`, 'must not be empty');
    for (const [index, part] of content.entries()) checkPart(part, `${param}.content[${index}]`, limits);
    return;
  }
  const mayLackContent = role === 'assistant' && (content === undefined || content === null);
  if (!mayLackContent) throw invalid(`${param}.content`, 'must be a string or an array of parts');
}

/** @throws CodedError invalid_value or unknown_field; `param` is a path such as `messages[0].role` */
export function checkMessages(messages: unknown, limits: ContentLimits): void {
  if (!Array.isArray(messages) || messages.length === 0)
    throw invalid('messages', 'must be an array with at least one message');
  for (const [index, message] of messages.entries()) checkMessage(message, `messages[${index}]`, limits);
}

function isTokenId(value: unknown): boolean {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 0xffffffff;
}

/**
 * A prompt or an input: a text, token ids, or a list of either, nothing of it empty.
 * @throws CodedError invalid_value
 */
export function checkPrompt(value: unknown, param: 'prompt' | 'input'): void {
  if (typeof value === 'string') {
    if (value.length === 0) throw invalid(param, 'must not be empty');
    return;
  }
  if (!Array.isArray(value) || value.length === 0) throw invalid(param, 'must be a text or a list that is not empty');
  if (value.every(isTokenId)) return;
  const isTexts = value.every((item) => typeof item === 'string' && item.length > 0);
  if (isTexts) return;
  const isIdLists = value.every((item) => Array.isArray(item) && item.length > 0 && item.every(isTokenId));
  if (!isIdLists) throw invalid(param, 'must be a text, texts, token ids or lists of token ids, none of them empty');
}
