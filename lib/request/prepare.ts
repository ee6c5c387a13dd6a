/**
 * Reads a request body once and makes of it what an engine gets. The caller's bytes stay as they are, apart from a few
 * members that the fleet itself needs: usage is always asked for (accounting), token ids are asked for in streams (so
 * that a cut stream can go on elsewhere). What must not reach an engine is refused here, for every door alike.
 */
import { CodedError } from '../errors.ts';
import { scanJson, type TopLevelMember } from '../json_scan.ts';
import { spliceMembers } from '../json_splice.ts';
import type { Endpoint } from '../openai.ts';
import { checkMessages, checkPrompt } from './content.ts';
import { FIELDS, jsonTypeOf, kindAccepts, wordsFor, type FieldRule } from './fields.ts';

export interface RequestLimits {
  readonly maxBodyBytes: number;
  /** Deepest nesting of the body; the root object is 1. */
  readonly maxDepth: number;
  /** Engine-internal fields that callers may set after all. */
  readonly allowedEngineFields: ReadonlySet<string>;
  /** Lets engines fetch media from addresses that callers name; off unless the operator turns it on. */
  readonly allowRemoteMedia?: boolean;
}

export interface PrepareInput {
  readonly bytes: Uint8Array;
  readonly endpoint: Endpoint;
  readonly limits: RequestLimits;
  /** What stood around the body, where the door has an envelope. */
  readonly envelope?: { readonly model?: string; readonly wantTokenIds?: boolean };
}

export interface PreparedRequest {
  readonly model: string;
  readonly stream: boolean;
  /** The client asked for the usage chunk; true for plain answers, which always carry usage. */
  readonly wantUsage: boolean;
  readonly wantTokenIds: boolean;
  readonly hasStops?: true;
  /** What the engine gets. */
  readonly body: Uint8Array;
}

const MAX_MODEL_CHARACTERS = 512;
/** The members of one body, at all levels: far above any real request, far below what hurts. */
const MAX_MEMBERS = 200_000;
const STREAM_OPTIONS: ReadonlySet<string> = new Set(['include_usage', 'continuous_usage_stats', 'include_obfuscation']);

const decoder = new TextDecoder();

/** The body's members by key, with the value of one parsed on demand. */
interface Body {
  readonly bytes: Uint8Array;
  readonly members: ReadonlyMap<string, TopLevelMember>;
}

function textOf(bytes: Uint8Array, member: TopLevelMember): string {
  return decoder.decode(bytes.subarray(member.valueStart, member.valueEnd));
}

/** The parsed value; undefined when the member is absent or null, which the OpenAI API treats alike. */
function valueOf(body: Body, key: string): unknown {
  const member = body.members.get(key);
  if (member === undefined) return undefined;
  return JSON.parse(textOf(body.bytes, member)) ?? undefined;
}

function checkNumber(key: string, rule: FieldRule, text: string): void {
  const value = Number(text);
  const isSound = Number.isFinite(value) && (rule.kind === 'number' || Number.isInteger(value));
  const isInside = value >= (rule.min ?? -Infinity) && value <= (rule.max ?? Infinity);
  if (isSound && isInside) return;
  const bounds = rule.min === undefined ? '' : ` of at least ${rule.min}`;
  const upper = rule.max === undefined ? '' : ` and at most ${rule.max}`;
  throw new CodedError('invalid_value', `${key} must be ${wordsFor(rule.kind)}${bounds}${upper}.`, { param: key });
}

function checkField(bytes: Uint8Array, member: TopLevelMember, endpoint: Endpoint, allowed: ReadonlySet<string>): void {
  const { key } = member;
  const rule = FIELDS[endpoint].get(key);
  if (rule === undefined && allowed.has(key)) return;
  if (rule === undefined || (rule.engineInternal === true && !allowed.has(key))) {
    const shown = key.length > 64 ? `${key.slice(0, 64)}...` : key;
    throw new CodedError('unknown_field', `The field ${JSON.stringify(shown)} is not accepted here.`, { param: shown });
  }
  const type = jsonTypeOf(bytes[member.valueStart] as number);
  // OpenAI's clients send null for "not set".
  if (type === 'null' && key !== 'model') return;
  if (!kindAccepts(rule.kind, type)) {
    throw new CodedError('invalid_value', `${key} must be ${wordsFor(rule.kind)}.`, { param: key });
  }
  if (type === 'number' && rule.kind !== 'any') checkNumber(key, rule, textOf(bytes, member));
}

function scanBody(input: PrepareInput): Body {
  const { bytes, endpoint, limits } = input;
  if (bytes.length > limits.maxBodyBytes) {
    throw new CodedError('body_too_large', `The body exceeds ${limits.maxBodyBytes} bytes.`);
  }
  const scan = scanJson(bytes, { maxDepth: limits.maxDepth, maxMembers: MAX_MEMBERS });
  if (!scan.ok) {
    throw new CodedError(scan.code, scan.message, scan.param === undefined ? {} : { param: scan.param });
  }
  for (const member of scan.members) checkField(bytes, member, endpoint, limits.allowedEngineFields);
  return { bytes, members: new Map(scan.members.map((member) => [member.key, member])) };
}

function readModel(body: Body, wanted: string | undefined): string {
  const model = valueOf(body, 'model');
  if (model === undefined) throw new CodedError('missing_field', 'model is required.', { param: 'model' });
  if (typeof model !== 'string' || model.length === 0 || model.length > MAX_MODEL_CHARACTERS) {
    const message = `model must be a name of 1 to ${MAX_MODEL_CHARACTERS} characters.`;
    throw new CodedError('invalid_value', message, { param: 'model' });
  }
  if (wanted !== undefined && wanted !== model) {
    throw new CodedError('invalid_value', 'The model of the envelope differs from that of the body.', {
      param: 'model',
    });
  }
  return model;
}

function checkContent(body: Body, endpoint: Endpoint, allowRemoteMedia: boolean): void {
  const key = endpoint === 'chat' ? 'messages' : endpoint === 'completions' ? 'prompt' : 'input';
  const value = valueOf(body, key);
  if (value === undefined) throw new CodedError('missing_field', `${key} is required.`, { param: key });
  if (key === 'messages') checkMessages(value, { allowRemoteMedia });
  else checkPrompt(value, key);
}

interface StreamOptions {
  readonly wantUsage: boolean;
  /** The JSON text that the engine gets. */
  readonly text: string;
}

function readStreamOptions(body: Body): StreamOptions {
  const given = (valueOf(body, 'stream_options') ?? {}) as Record<string, unknown>;
  for (const [key, value] of Object.entries(given)) {
    const param = `stream_options.${key}`.slice(0, 80);
    if (!STREAM_OPTIONS.has(key)) throw new CodedError('unknown_field', `${param} is not accepted here.`, { param });
    if (value !== null && typeof value !== 'boolean') {
      throw new CodedError('invalid_value', `${param} must be true or false.`, { param });
    }
  }
  const wantUsage = given['include_usage'] === true;
  // vLLM heeds continuous usage only beside include_usage: a client that did not ask for usage must not get it now.
  const kept = wantUsage ? given : { ...given, continuous_usage_stats: undefined };
  return { wantUsage, text: JSON.stringify({ ...kept, include_usage: true }) };
}

/**
 * Checks a body and prepares it for an engine.
 * @throws CodedError body_too_large, malformed_json, duplicate_key, too_deep, invalid_utf8, unknown_field,
 * invalid_value, missing_field; `param` names the field
 */
export function prepareRequest(input: PrepareInput): PreparedRequest {
  const { endpoint, limits, envelope = {} } = input;
  const body = scanBody(input);
  const model = readModel(body, envelope.model);
  checkContent(body, endpoint, limits.allowRemoteMedia === true);
  const members = [...body.members.values()];
  if (endpoint === 'embeddings') {
    const isNull = body.members.has('encoding_format') && valueOf(body, 'encoding_format') === undefined;
    const bytes = isNull ? spliceMembers(body.bytes, members, { remove: ['encoding_format'] }) : body.bytes;
    return { model, stream: false, wantUsage: true, wantTokenIds: false, body: bytes };
  }
  const stream = valueOf(body, 'stream') === true;
  const wantTokenIds = envelope.wantTokenIds === true || valueOf(body, 'return_token_ids') === true;
  const set: Record<string, string> = {};
  if (stream || wantTokenIds) set['return_token_ids'] = 'true';
  if (!stream) {
    if (valueOf(body, 'stream_options') !== undefined) {
      const message = 'stream_options is accepted only beside stream: true.';
      throw new CodedError('invalid_value', message, { param: 'stream_options' });
    }
    return { model, stream, wantUsage: true, wantTokenIds, body: spliceMembers(body.bytes, members, { set }) };
  }
  const options = readStreamOptions(body);
  set['stream_options'] = options.text;
  return {
    model,
    stream,
    wantUsage: options.wantUsage,
    wantTokenIds,
    ...(valueOf(body, 'stop') === undefined ? {} : { hasStops: true as const }),
    body: spliceMembers(body.bytes, members, { set }),
  };
}
