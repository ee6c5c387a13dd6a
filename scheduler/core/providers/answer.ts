/**
 * Makes of a provider's answer one that an engine of the fleet might have given: the model has the name that the client
 * used, fields that are not OpenAI's are gone, and an error inside a 200 is an error.
 */
import { parseUsage } from '../../../lib/openai.ts';
import type { LaneUsage } from '../../../proto/codec.ts';
import { errorIn, failureOf, faultOf, type ProviderFailure } from './dialect.ts';

type Fields = Record<string, unknown>;

export const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Undefined: the text is no JSON. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // What is no JSON is told as such by whoever asked for it.
    return undefined;
  }
}

/** Undefined: the usage is not told, or not soundly. */
export function usageIn(body: Fields): LaneUsage | undefined {
  const usage = parseUsage(body['usage']);
  if (usage === undefined) return undefined;
  const cached = usage.prompt_tokens_details?.cached_tokens;
  return {
    promptTokens: usage.prompt_tokens,
    completionTokens: usage.completion_tokens,
    ...(cached === undefined ? {} : { cachedPromptTokens: cached }),
  };
}

const TOP: ReadonlySet<string> = new Set([
  'id',
  'object',
  'created',
  'model',
  'choices',
  'data',
  'usage',
  'system_fingerprint',
  'service_tier',
]);
const CHOICE: ReadonlySet<string> = new Set(['index', 'message', 'delta', 'text', 'logprobs', 'finish_reason']);

const keep = (fields: Fields, known: ReadonlySet<string>): Fields =>
  Object.fromEntries(Object.entries(fields).filter(([key]) => known.has(key)));

/** A choice without the provider's own fields. */
export const cleanChoice = (choice: Fields): Fields => keep(choice, CHOICE);

/** An object without the provider's own fields, under the client's name of the model. */
export const cleanObject = (body: Fields, model: string): Fields => ({ ...keep(body, TOP), model });

export type PlainAnswer = { readonly body: string; readonly usage: LaneUsage | undefined } | ProviderFailure;

/**
 * Reads an answer that is not a stream.
 * @param text what came with a 200
 */
export function readPlain(text: string, model: string): PlainAnswer {
  const body = parseJson(text);
  if (!isFields(body)) return faultOf('provider_failed', 'The provider sent something that is not an answer.');
  if (errorIn(body) !== undefined) return failureOf(200, body);
  const { choices, data } = body;
  const clean = cleanObject(body, model);
  if (Array.isArray(choices)) {
    const broken = choices.find((choice) => isFields(choice) && errorIn(choice) !== undefined);
    if (broken !== undefined) return failureOf(200, broken);
    clean['choices'] = choices.map((choice) => (isFields(choice) ? cleanChoice(choice) : choice));
  } else if (!Array.isArray(data)) {
    return faultOf('provider_failed', 'The provider sent an answer without choices.');
  }
  return { body: JSON.stringify(clean), usage: usageIn(body) };
}
