/**
 * Streams whose engines are struck in the middle: what a client saw of an answer, put together so that a cut answer can be
 * compared with an uncut one, and what must hold of every answer however often it was cut.
 */
import type { TestFleet } from './fleet.ts';

interface Chunk {
  readonly id: string;
  readonly created: number;
  readonly model: string;
  readonly object: string;
  readonly choices: readonly {
    readonly index: number;
    readonly delta?: { readonly role?: string; readonly content?: string };
    readonly text?: string;
    readonly logprobs?: { readonly content?: readonly object[] } | null;
    readonly finish_reason?: string | null;
    readonly stop_reason?: unknown;
    readonly token_ids?: readonly number[] | null;
  }[];
  readonly usage?: {
    readonly prompt_tokens: number;
    readonly completion_tokens: number;
    readonly total_tokens: number;
  };
}

export interface SeenAnswer {
  readonly status: number;
  readonly text: string;
  readonly ids: readonly number[];
  readonly logprobs: readonly object[];
  readonly finishReasons: readonly string[];
  readonly stopReason: unknown;
  /** How many chunks name a role. */
  readonly roles: number;
  /** Different values of id, created, model and object over all chunks. */
  readonly heads: readonly string[];
  readonly usage: Chunk['usage'] | undefined;
  readonly endsWithDone: boolean;
  /** The error that the stream or the answer ended with. */
  readonly error: string | undefined;
  readonly raw: string;
}

export function readAnswer(status: number, raw: string): SeenAnswer {
  const events = raw
    .split('\n\n')
    .filter((event) => event.startsWith('data: {'))
    .map((event) => JSON.parse(event.slice(6)) as Chunk & { error?: { code: string } });
  const chunks = events.filter((event) => event.error === undefined);
  const choices = chunks.flatMap((chunk) => chunk.choices);
  const failed = events.find((event) => event.error !== undefined)?.error?.code;
  const usage = chunks.find((chunk) => chunk.usage !== undefined && chunk.choices.length === 0)?.usage;
  const { prompt_tokens = 0, completion_tokens = 0, total_tokens = 0 } = usage ?? {};
  return {
    status,
    text: choices.map((choice) => choice.delta?.content ?? choice.text ?? '').join(''),
    ids: choices.flatMap((choice) => choice.token_ids ?? []),
    logprobs: choices.flatMap((choice) => choice.logprobs?.content ?? []),
    finishReasons: choices.flatMap((choice) => choice.finish_reason ?? []),
    stopReason: choices.find((choice) => typeof choice.finish_reason === 'string')?.stop_reason,
    roles: choices.filter((choice) => choice.delta?.role !== undefined).length,
    heads: [...new Set(chunks.map(({ id, created, model, object }) => `${id} ${created} ${model} ${object}`))],
    // What a cache held is no part of the answer.
    usage: usage === undefined ? undefined : { prompt_tokens, completion_tokens, total_tokens },
    endsWithDone: raw.endsWith('data: [DONE]\n\n'),
    error: failed ?? (status === 200 ? undefined : (/"code":"(\w+)"/.exec(raw)?.[1] ?? 'unknown')),
    raw,
  };
}

export interface Opened {
  readonly answer: Promise<SeenAnswer>;
  /** Characters of the stream so far. */
  length(): number;
}

/** Sends a request to the HTTP door and reads its answer as it comes. */
export function open(
  fleet: Pick<TestFleet, 'url' | 'key'>,
  path: string,
  body: object,
  headers: Readonly<Record<string, string>> = {},
): Opened {
  let raw = '';
  const read = async (): Promise<SeenAnswer> => {
    const response = await fetch(`${fleet.url}${path}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${fleet.key}`, 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
    });
    const decoder = new TextDecoder();
    for await (const bytes of response.body as unknown as AsyncIterable<Uint8Array>)
      raw += decoder.decode(bytes, { stream: true });
    return readAnswer(response.status, raw);
  };
  return { answer: read(), length: () => raw.length };
}

interface Named {
  readonly token: string;
  readonly bytes?: unknown;
  readonly top_logprobs?: readonly Named[];
}

const isPart = ({ token }: Named): boolean => token.includes('\ufffd');

/**
 * Without what a continued answer cannot know: a completion names tokens by their text, so parts of characters have no
 * bytes there, and alternatives of the same text are one.
 */
const knowable = (logprobs: readonly object[]): object[] =>
  (logprobs as readonly Named[]).map((named) => {
    const { bytes, top_logprobs: others = [], ...rest } = named;
    return isPart(named) ? rest : { ...rest, bytes, top_logprobs: others.filter((other) => !isPart(other)) };
  });

/** The part of an answer that a cut must not change. */
export const essence = ({
  status,
  text,
  ids,
  logprobs,
  finishReasons,
  stopReason,
  usage,
  error,
}: SeenAnswer): object => ({
  status,
  text,
  ids,
  logprobs: knowable(logprobs),
  finishReasons,
  stopReason,
  usage,
  error,
});
