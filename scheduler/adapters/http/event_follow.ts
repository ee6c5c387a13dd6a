/**
 * The log as it grows, as server-sent events (WHATWG HTML, 9.2): each event's number is its `id`, so that a client that
 * lost its connection goes on behind the last one that it has by the header Last-Event-ID, at this scheduler or another.
 * Nothing is read from the store faster than the client takes it.
 */
import type { ServerResponse } from 'node:http';
import { CodedError, toCodedError } from '../../../lib/errors.ts';
import { errorJson } from '../../../lib/http_errors.ts';
import { atMost } from '../../../lib/io/at_most.ts';
import { drained } from '../../../lib/io/drained.ts';
import type { FleetEvent } from '../../core/events/event.ts';

export interface FollowOptions {
  /** A stream that is silent this long gets a comment. */
  readonly pingIntervalMs: number;
  /** A client that takes nothing for this long is given up. */
  readonly stallTimeoutMs: number;
}

/** Each reads the store for itself: browsers that are left open must not add up. */
const MAX_FOLLOWERS = 128;
const MAX_PER_CALLER = 8;
const RETRY_MS = 5000;
/** How long the head of an answer waits for a refusal. */
const EARLY_MS = 250;
/** How soon a client comes back after an end. */
const RECONNECT = 'retry: 1000\n\n';
const PING = ': ping\n\n';

/** Counts those who follow. */
export class Followers {
  readonly #byCaller = new Map<string, number>();
  #count = 0;

  /** @returns to be called at the end, once @throws CodedError overloaded */
  enter(caller: string): () => void {
    const own = this.#byCaller.get(caller) ?? 0;
    if (own >= MAX_PER_CALLER || this.#count >= MAX_FOLLOWERS)
      throw new CodedError('overloaded', 'As many follow the log as may.', { retryAfterMs: RETRY_MS });
    this.#byCaller.set(caller, own + 1);
    this.#count += 1;
    return () => {
      this.#count -= 1;
      const left = (this.#byCaller.get(caller) ?? 1) - 1;
      if (left === 0) this.#byCaller.delete(caller);
      else this.#byCaller.set(caller, left);
    };
  }
}

const textOf = (event: FleetEvent): string => `id: ${event.seq}\ndata: ${JSON.stringify(event)}\n\n`;

/**
 * Writes events until the client goes, the store fails, or the scheduler stops; of the latter two the client is told by an
 * event `error` whose data has the form of every error.
 * @param headers of every answer (request id, security)
 * @throws CodedError before anything was written: what was asked for cannot be
 */
export async function followTo(
  response: ServerResponse,
  headers: () => Readonly<Record<string, unknown>>,
  events: AsyncIterable<readonly FleetEvent[]>,
  { pingIntervalMs, stallTimeoutMs }: FollowOptions,
): Promise<void> {
  const iterator = events[Symbol.asyncIterator]();
  let next = iterator.next();
  // What is wrong with the request comes soon; the first event may take days.
  await atMost(next, EARLY_MS);
  response.writeHead(200, {
    ...(headers() as Record<string, string>),
    'content-type': 'text/event-stream',
    'cache-control': 'no-store',
    // nginx buffers answers unless it is told not to.
    'x-accel-buffering': 'no',
  });
  response.write(RECONNECT);
  const pings = setInterval(() => {
    if (!response.writableNeedDrain) response.write(PING);
  }, pingIntervalMs);
  try {
    for (;;) {
      const { done, value } = await next;
      if (done === true || response.destroyed) break;
      for (const event of value) {
        if (!response.write(textOf(event)) && !(await drained(response, stallTimeoutMs))) response.destroy();
        if (response.destroyed) return;
      }
      pings.refresh();
      next = iterator.next();
    }
  } catch (thrown) {
    if (!response.destroyed) response.write(`event: error\ndata: ${errorJson(toCodedError(thrown))}\n\n`);
  } finally {
    clearInterval(pings);
    response.end();
    await iterator.return?.();
  }
}
