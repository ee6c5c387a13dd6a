/**
 * Reads the events of a provider's stream and writes them as an engine's: one id, one role, one finish reason for each
 * choice, usage in a chunk of its own at the end and only for a client that asked. OpenRouter repeats the finished choice
 * in its usage chunk, tells the role with every piece, and may put an error in the middle of a 200; other services forget
 * `[DONE]`. A stream that stops before each of its choices has finished is a fault, however it ends.
 */
import { formatSseEvent } from '../../../lib/sse.ts';
import type { LaneUsage } from '../../../proto/codec.ts';
import { cleanChoice, cleanObject, isFields, parseJson, usageIn } from './answer.ts';
import { errorIn, failureOf, faultOf, type ProviderFailure } from './dialect.ts';

export type StreamNews =
  /** An event for the client; empty: there is nothing for it. `says`: it has more than a role and empty texts. */
  | { readonly kind: 'chunk'; readonly sse: string; readonly says: boolean }
  /** It is whole; `sse` is the usage chunk for a client that asked. */
  | { readonly kind: 'done'; readonly sse: string; readonly usage: LaneUsage | undefined }
  | { readonly kind: 'failed'; readonly failure: ProviderFailure };

export interface StreamReader {
  /** Takes the payload of one event. */
  event(payload: string): StreamNews;
  /** The connection ended. */
  end(): StreamNews;
}

type Fields = Record<string, unknown>;

interface State {
  readonly model: string;
  readonly wantUsage: boolean;
  /** Of the first chunk: they stay the same whatever later ones say. */
  head: Fields | undefined;
  /** Finished or not, by the index of the choice. */
  readonly choices: Map<number, boolean>;
  usage: LaneUsage | undefined;
  rawUsage: unknown;
}

const DONE = '[DONE]';
const MAX_CHOICES = 128;

const failed = (failure: ProviderFailure): StreamNews => ({ kind: 'failed', failure });
const garbage = (what: string): StreamNews => failed(faultOf('provider_failed', `The provider's stream ${what}.`));

function finish(state: State): StreamNews {
  const isWhole = state.choices.size > 0 && [...state.choices.values()].every(Boolean);
  if (!isWhole) return garbage('ended before its answer was whole');
  const { usage, rawUsage, head, wantUsage } = state;
  const sse =
    wantUsage && usage !== undefined ? formatSseEvent(JSON.stringify({ ...head, choices: [], usage: rawUsage })) : '';
  return { kind: 'done', sse, usage };
}

/** The choice as the client is to have it; undefined: it repeats one that has finished, or says nothing. */
function readChoice(state: State, choice: Fields): Fields | undefined {
  const index = typeof choice['index'] === 'number' ? choice['index'] : 0;
  const before = state.choices.get(index);
  if (before === true || (before === undefined && state.choices.size >= MAX_CHOICES)) return undefined;
  const clean = cleanChoice(choice);
  const { delta } = clean;
  if (before !== undefined && isFields(delta)) {
    const { role: _repeated, ...rest } = delta;
    clean['delta'] = rest;
  } else if (isFields(delta)) {
    clean['delta'] = { role: 'assistant', ...delta };
  }
  state.choices.set(index, typeof clean['finish_reason'] === 'string');
  return { ...clean, index };
}

function readChunk(state: State, body: Fields): StreamNews {
  const given: readonly unknown[] = Array.isArray(body['choices']) ? body['choices'] : [];
  const choices = given.filter(isFields);
  const broken = [body, ...choices].find((part) => errorIn(part) !== undefined);
  if (broken !== undefined) return failed(failureOf(200, broken));
  if (choices.some((choice) => choice['finish_reason'] === 'error')) return garbage('ended with an error');
  const usage = usageIn(body);
  if (usage !== undefined) {
    state.usage = usage;
    state.rawUsage = body['usage'];
  }
  const { usage: _toldAtTheEnd, choices: _read, ...own } = cleanObject(body, state.model);
  state.head ??= own;
  const kept = choices.map((choice) => readChoice(state, choice)).filter((choice) => choice !== undefined);
  if (kept.length === 0) return { kind: 'chunk', sse: '', says: false };
  const sse = formatSseEvent(JSON.stringify({ ...own, ...pick(state.head), choices: kept }));
  return { kind: 'chunk', sse, says: kept.some(saysSomething) };
}

function saysSomething({ delta, text, finish_reason }: Fields): boolean {
  const parts = isFields(delta)
    ? Object.entries(delta).flatMap(([key, value]) => (key === 'role' ? [] : [value]))
    : [text];
  return typeof finish_reason === 'string' || parts.some((part) => part !== '' && part !== null && part !== undefined);
}

const pick = ({ id, created, object }: Fields): Fields => ({ id, created, object });

/**
 * @param model the client's name of it
 * @param wantUsage the client asked for the usage chunk
 */
export function createStreamReader(model: string, wantUsage: boolean): StreamReader {
  const state: State = {
    model,
    wantUsage,
    head: undefined,
    choices: new Map(),
    usage: undefined,
    rawUsage: undefined,
  };
  return {
    event(payload) {
      if (payload.trim() === DONE) return finish(state);
      const body = parseJson(payload);
      return isFields(body) ? readChunk(state, body) : garbage('has an event that is not an object');
    },
    end: () => finish(state),
  };
}
