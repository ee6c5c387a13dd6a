/**
 * Requests with an idempotency key. The first one runs; one that repeats it, with the same identity and the same body,
 * goes on with its answer, whether it still runs, has ended a while ago, or runs on at an agent that lost its scheduler.
 * A client's connection is not its answer's life: it may go and come back within a grace. All of it is bounded.
 */
import type { Clock } from '../../../lib/clock.ts';
import { CodedError } from '../../../lib/errors.ts';
import type { RequestId, TenantId } from '../../../lib/ids.ts';
import type { AdmittedRequest, Generation, GenerationSink, RepeatKey } from '../../ports.ts';
import type { DetachedRequests } from './detached.ts';
import { SharedAnswer } from './shared_answer.ts';

export interface RepeatsOptions {
  /** How long an answer that nobody reads runs on, in milliseconds. */
  readonly graceMs: number;
  /** How long an ended answer is kept, in milliseconds. */
  readonly keepMs: number;
  readonly maxAnswers: number;
  /** Memory for one answer, and for all. */
  readonly maxAnswerBytes: number;
  readonly maxBytes: number;
  /** After its start a scheduler waits so long for agents to tell what runs without one, in milliseconds. */
  readonly settleMs: number;
}

export interface RepeatsDeps {
  readonly clock: Clock;
  readonly options: RepeatsOptions;
  readonly detached: DetachedRequests;
  /** Starts a request. @throws CodedError nothing was started */
  start(request: AdmittedRequest, sink: GenerationSink, creditBytes: number): Generation;
}

interface Entry {
  readonly answer: SharedAnswer;
  readonly repeat: RepeatKey;
  stopTimer: (() => void) | undefined;
}

const LOOK_AGAIN_MS = 50;
/** What an answer may have on its way from its agent. */
const CREDIT_BYTES = 256 * 1024;

export class Repeats {
  readonly #deps: RepeatsDeps;
  readonly #entries = new Map<string, Entry>();
  readonly #startedAtMs: number;

  constructor(deps: RepeatsDeps) {
    this.#deps = deps;
    this.#startedAtMs = deps.clock.monotonicMs();
  }

  get size(): number {
    return this.#entries.size;
  }

  /** As Generator.start, for every request. @throws CodedError idempotency_conflict too */
  start(request: AdmittedRequest, sink: GenerationSink, creditBytes: number): Generation {
    const { repeat } = request;
    if (repeat === undefined) return this.#deps.start(request, sink, creditBytes);
    const key = keyOf(request.tenant, request.id);
    const known = this.#entries.get(key);
    if (known !== undefined) checkSame(known.repeat, repeat);
    if (known !== undefined && !known.answer.failed) {
      if (!known.answer.ended) this.#stopTimer(known);
      return known.answer.readBy(sink, creditBytes, repeat.after);
    }
    if (known !== undefined) this.#drop(key, known);
    return this.#begin(key, request, repeat, { sink, creditBytes });
  }

  #begin(
    key: string,
    request: AdmittedRequest,
    repeat: RepeatKey,
    reader: { readonly sink: GenerationSink; readonly creditBytes: number },
  ): Generation {
    const { maxAnswerBytes } = this.#deps.options;
    const answer = new SharedAnswer(request.id, {
      maxBytes: maxAnswerBytes,
      left: () => this.#left(key, entry),
      ended: () => this.#ended(key, entry),
    });
    const entry: Entry = { answer, repeat, stopTimer: undefined };
    this.#makeRoom();
    this.#entries.set(key, entry);
    try {
      if (!this.#unsettled(request)) this.#write(request, repeat, answer);
      else this.#startLater(request, answer);
    } catch (error) {
      this.#drop(key, entry);
      throw error;
    }
    return answer.readBy(reader.sink, reader.creditBytes, repeat.after);
  }

  /** Whether an agent may still come and tell that the request runs there. */
  #unsettled(request: AdmittedRequest): boolean {
    const { clock, detached, options } = this.#deps;
    return detached.find(request.id) === undefined && clock.monotonicMs() < this.#startedAtMs + options.settleMs;
  }

  #startLater(request: AdmittedRequest, answer: SharedAnswer): void {
    this.#deps.clock.after(LOOK_AGAIN_MS, () => {
      if (answer.ended) return;
      if (this.#unsettled(request)) return this.#startLater(request, answer);
      try {
        if (request.repeat !== undefined) this.#write(request, request.repeat, answer);
      } catch (error) {
        answer.onError(
          error instanceof CodedError
            ? error
            : new CodedError('internal', 'An internal error occurred.', { cause: error }),
        );
      }
    });
  }

  /** Starts the request, or takes it over where it runs on. */
  #write(request: AdmittedRequest, repeat: RepeatKey, answer: SharedAnswer): void {
    const { detached, start } = this.#deps;
    const found = detached.find(request.id)?.detached;
    if (found !== undefined) {
      checkSame(found, repeat);
      // A client that has had nothing is served as well by a new run as by one whose beginning is lost.
      if (repeat.after === 0 && found.eventsBefore > 0) detached.forget(request.id);
      else answer.beginsAfter(found.eventsBefore);
    }
    answer.writtenBy(start(request, answer, CREDIT_BYTES));
  }

  /** The reader went away: the answer runs on for a while. */
  #left(key: string, entry: Entry): void {
    if (entry.answer.ended) return;
    this.#stopTimer(entry);
    entry.stopTimer = this.#deps.clock.after(this.#deps.options.graceMs, () => {
      this.#entries.delete(key);
      entry.answer.cancel('client_gone');
    });
  }

  #ended(key: string, entry: Entry): void {
    this.#stopTimer(entry);
    entry.stopTimer = this.#deps.clock.after(this.#deps.options.keepMs, () => this.#drop(key, entry));
  }

  #stopTimer(entry: Entry): void {
    entry.stopTimer?.();
    entry.stopTimer = undefined;
  }

  #drop(key: string, entry: Entry): void {
    this.#stopTimer(entry);
    if (this.#entries.get(key) === entry) this.#entries.delete(key);
  }

  /** Ended answers go first, the oldest before others; running ones are bounded by the bound on running requests. */
  #makeRoom(): void {
    const { maxAnswers, maxBytes, maxAnswerBytes } = this.#deps.options;
    let bytes = 0;
    for (const { answer } of this.#entries.values()) bytes += answer.bytes;
    for (const [key, entry] of this.#entries) {
      if (this.#entries.size < maxAnswers && bytes + maxAnswerBytes <= maxBytes) return;
      if (!entry.answer.ended || entry.answer.read) continue;
      bytes -= entry.answer.bytes;
      this.#drop(key, entry);
    }
    if (this.#entries.size < maxAnswers) return;
    throw new CodedError('overloaded', 'Too many requests with an idempotency key run.', { retryAfterMs: 1000 });
  }
}

function checkSame(first: Pick<RepeatKey, 'identity' | 'body'>, next: RepeatKey): void {
  if (first.identity === next.identity && first.body === next.body) return;
  const what = first.identity === next.identity ? 'another body' : 'another identity';
  throw new CodedError('idempotency_conflict', `This idempotency key belongs to a request with ${what}.`);
}

function keyOf(tenant: TenantId, id: RequestId): string {
  return `${tenant}\0${id}`;
}
