/**
 * `GenerateMany`: many requests over one stream. Entries of all requests are collected and leave in one message per turn
 * of the event loop, so the tokens of a whole engine step cost one write. When the client does not read, nothing is
 * granted to any request until it does, so the stream holds at most one window of bytes per running request.
 */
import type { ServerDuplexStream } from '@grpc/grpc-js';
import { CodedError, toCodedError } from '../../../lib/errors.ts';
import type { RequestId } from '../../../lib/ids.ts';
import type { GenerateManyRequest__Output } from '../../../proto/gen/inference/v1/GenerateManyRequest.ts';
import type { GenerateManyResponse } from '../../../proto/gen/inference/v1/GenerateManyResponse.ts';
import type { Start__Output } from '../../../proto/gen/inference/v1/Start.ts';
import { ENTRY, EntryBatch } from '../../../proto/many_codec.ts';
import { encodeStatus } from '../../../proto/status.ts';
import type { Identity } from '../../ports.ts';
import { type ManyOutlet, ManyRequest } from './generate_many_request.ts';
import { callDeadlineAtMs, failStream, statusFor } from './grpc_errors.ts';
import { admit, requestIdOf, withRepeat } from './inference_admission.ts';
import type { InferenceDeps } from './inference_deps.ts';

export type GenerateManyCall = ServerDuplexStream<GenerateManyRequest__Output, GenerateManyResponse>;

/** While the client does not read, this many refusals are kept for it; then its next orders are not read either. */
const MAX_REFUSALS_WHILE_BLOCKED = 1000;
const OVERLOAD_RETRY_MS = 1000;
const DRAINING = 'The scheduler is stopping; send this to another one.';

export class ManyStream implements ManyOutlet {
  readonly #deps: InferenceDeps;
  readonly #call: GenerateManyCall;
  readonly #identity: Identity;
  readonly #deadlineAtMs: number;
  readonly #onClosed: () => void;
  readonly #running = new Map<number, ManyRequest>();
  readonly #unsettled = new Set<ManyRequest>();
  readonly #batch = new EntryBatch();
  /** Full batches that wait for the client to read. */
  readonly #ready: Buffer[] = [];
  #blocked = false;
  #scheduled = false;
  #refusalsWhileBlocked = 0;
  #halfClosed = false;
  #draining = false;
  #closed = false;

  /** @param onClosed called once, when the stream carries nothing more */
  constructor(deps: InferenceDeps, call: GenerateManyCall, identity: Identity, onClosed: () => void) {
    this.#deps = deps;
    this.#call = call;
    this.#identity = identity;
    this.#onClosed = onClosed;
    this.#deadlineAtMs = callDeadlineAtMs(deps.clock, call.getDeadline());
  }

  get blocked(): boolean {
    return this.#blocked;
  }

  /** Begins to read orders. */
  open(): void {
    const call = this.#call;
    call.on('data', (message: GenerateManyRequest__Output) => this.#obey(message));
    call.on('end', () => {
      this.#halfClosed = true;
      this.#endIfIdle();
    });
    call.on('drain', () => this.#unblock());
    call.on('cancelled', () => this.#abandon('the client went away'));
    call.on('close', () => this.#abandon('the stream was closed'));
  }

  /** Takes no new requests; ends the stream when the running ones have ended. */
  drain(): void {
    this.#draining = true;
    this.#endIfIdle();
  }

  append(stream: number, kind: number, payload: Uint8Array, start?: number, end?: number): void {
    if (this.#closed) return;
    this.#batch.append(stream, kind, payload, start, end);
    if (this.#batch.bytes >= this.#deps.options.maxBatchBytes) this.#send(this.#batch.take());
    else this.#schedule();
  }

  settleLater(request: ManyRequest): void {
    this.#unsettled.add(request);
  }

  finished(request: ManyRequest): void {
    this.#running.delete(request.stream);
    this.#unsettled.delete(request);
    this.#schedule();
  }

  #obey(message: GenerateManyRequest__Output): void {
    if (this.#closed) return;
    for (const start of message.start) this.#start(start);
    for (const { stream, bytes } of message.credit) {
      if (this.#running.get(stream)?.credit(bytes) !== true) this.#ignore('grpc_many_credit');
    }
    for (const stream of message.cancel) {
      const request = this.#running.get(stream);
      if (request === undefined) {
        this.#ignore('grpc_many_cancel');
        continue;
      }
      // What has an idempotency key would run on for its client to come back.
      if (request.keyOwner !== undefined) this.#deps.generator.cancel(request.id, request.keyOwner);
      request.fail(new CodedError('cancelled', 'The client cancelled the request.'));
    }
  }

  /** The end of a request may cross an order for it, so such an order is no error; a count shows a confused client. */
  #ignore(where: string): void {
    this.#deps.metrics.counter('dropped_total').inc({ where });
  }

  #start(start: Start__Output): void {
    let id: RequestId | undefined;
    try {
      const twin = this.#running.get(start.stream);
      if (twin !== undefined) {
        twin.fail(
          new CodedError('already_exists', 'This stream number was started while it ran; both requests ended.'),
        );
        return;
      }
      id = requestIdOf(this.#deps, start.envelope);
      this.#begin(start, id);
    } catch (error) {
      this.#refuse(start.stream, error, id);
    }
  }

  /** @throws CodedError when nothing was started. */
  #begin(start: Start__Output, id: RequestId): void {
    const { clock, generator, options } = this.#deps;
    if (this.#draining) throw new CodedError('draining', DRAINING, { retryAfterMs: OVERLOAD_RETRY_MS });
    if (this.#running.size >= options.maxRunningPerStream) {
      const message = `This stream carries ${options.maxRunningPerStream} running requests already.`;
      throw new CodedError('overloaded', message, { retryAfterMs: OVERLOAD_RETRY_MS });
    }
    const facts = { identity: this.#identity, door: 'grpc_many', deadlineAtMs: this.#deadlineAtMs } as const;
    const admitted = withRepeat(admit(this.#deps, facts, id, start), start, start.resumeAfter?.toString());
    const request = new ManyRequest(this, {
      stream: start.stream,
      id,
      creditBytes: start.creditBytes,
      windowBytes: options.clientWindowBytes,
      maxAnswerBytes: options.maxMessageBytes,
      wantTokenIds: admitted.wantTokenIds,
      tellQueue: start.envelope?.tellQueue === true,
      keyOwner: admitted.repeat === undefined ? undefined : admitted.tenant,
    });
    if (start.envelope === null || start.envelope.id === '') {
      this.append(start.stream, ENTRY.REQUEST_ID, Buffer.from(id));
    }
    this.#running.set(start.stream, request);
    try {
      request.attach(generator.start(admitted, request, request.windowBytes));
    } catch (error) {
      this.#running.delete(start.stream);
      throw error;
    }
    if (request.ended || admitted.deadlineAtMs === undefined) return;
    const leftMs = admitted.deadlineAtMs - clock.monotonicMs();
    const expire = (): void => request.fail(new CodedError('deadline_exceeded', 'The deadline of the request passed.'));
    request.limit(clock.after(leftMs, expire));
  }

  #refuse(stream: number, thrown: unknown, id: RequestId | undefined): void {
    const error = toCodedError(thrown);
    if (error.code === 'internal') statusFor(this.#deps.logger, error, id);
    this.append(stream, ENTRY.ERROR, encodeStatus(error, id));
    if (!this.#blocked) return;
    this.#refusalsWhileBlocked += 1;
    if (this.#refusalsWhileBlocked >= MAX_REFUSALS_WHILE_BLOCKED) this.#call.pause();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#flush();
      this.#endIfIdle();
    });
  }

  #flush(): void {
    if (this.#closed || this.#batch.count === 0) return;
    if (!this.#blocked) this.#send(this.#batch.take());
  }

  /** Writes one message, or keeps it while the client does not read. */
  #send(message: Buffer): void {
    if (this.#blocked) {
      this.#ready.push(message);
      return;
    }
    // The serializer of this method takes bytes (see proto/load.ts); the generated type knows only objects.
    if (!this.#call.write(message as unknown as GenerateManyResponse)) this.#blocked = true;
  }

  #unblock(): void {
    this.#blocked = false;
    while (!this.#blocked) {
      const message = this.#ready.shift();
      if (message === undefined) break;
      this.#send(message);
    }
    if (this.#blocked) return;
    this.#flush();
    this.#refusalsWhileBlocked = 0;
    this.#call.resume();
    const unsettled = [...this.#unsettled];
    this.#unsettled.clear();
    for (const request of unsettled) request.settle();
    this.#endIfIdle();
  }

  /** The stream ends when nothing runs, nothing waits to be sent, and no more orders may or can come. */
  #endIfIdle(): void {
    const wanted = this.#halfClosed || this.#draining;
    if (!wanted || this.#closed || this.#running.size > 0 || this.#batch.count > 0 || this.#ready.length > 0) return;
    this.#close();
    if (this.#halfClosed) this.#call.end();
    else failStream(this.#deps.logger, this.#call, new CodedError('draining', DRAINING, { retryAfterMs: 0 }));
  }

  #abandon(reason: string): void {
    if (this.#closed) return;
    this.#close();
    for (const request of this.#running.values()) request.abandon(reason);
    this.#running.clear();
    this.#unsettled.clear();
    this.#ready.length = 0;
  }

  #close(): void {
    this.#closed = true;
    this.#onClosed();
  }
}
