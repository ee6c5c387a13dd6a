/**
 * `Generate`: one request per call. Each message is one OpenAI chunk; the stream's own backpressure decides when the
 * engine may send more, so a slow client holds at most its window of bytes here.
 */
import { Metadata, type ServerWritableStream } from '@grpc/grpc-js';
import { CodedError, toCodedError } from '../../../lib/errors.ts';
import type { RequestId } from '../../../lib/ids.ts';
import type { LaneUsage } from '../../../proto/codec.ts';
import type { GenerateRequest__Output } from '../../../proto/gen/inference/v1/GenerateRequest.ts';
import type { GenerateResponse } from '../../../proto/gen/inference/v1/GenerateResponse.ts';
import { DEGRADED_HEADER } from '../../core/providers/modes.ts';
import type { QueuePlace } from '../../core/queue/contract.ts';
import { AFTER_HEADER } from '../../core/request/repeat_key.ts';
import type { Generation, GenerationSink, Identity } from '../../ports.ts';
import { callDeadlineAtMs, failStream } from './grpc_errors.ts';
import { admit, requestIdOf, withRepeat } from './inference_admission.ts';
import { AnswerBuffer } from './inference_answer.ts';
import { chunksOf } from './inference_chunks.ts';
import type { InferenceDeps } from './inference_deps.ts';

export type GenerateCall = ServerWritableStream<GenerateRequest__Output, GenerateResponse>;

/** Copies token ids into the form that the message takes. */
function idsOf(idBytes: Buffer): number[] {
  const ids: number[] = [];
  for (let at = 0; at < idBytes.length; at += 4) ids.push(idBytes.readUInt32LE(at));
  return ids;
}

/** One running call: the sink of its generation. */
class GenerateStream implements GenerationSink {
  readonly #deps: InferenceDeps;
  readonly #call: GenerateCall;
  readonly #id: RequestId;
  readonly #answer: AnswerBuffer;
  readonly #trailers = new Metadata();
  #wantTokenIds = false;
  #generation: Generation | undefined;
  #stopTimer: (() => void) | undefined;
  #first = true;
  #ended = false;
  #blocked = false;
  /** Bytes that the client has taken and the agent was not yet told of. */
  #owedBytes = 0;

  constructor(deps: InferenceDeps, call: GenerateCall, id: RequestId) {
    this.#deps = deps;
    this.#call = call;
    this.#id = id;
    this.#answer = new AnswerBuffer(deps.options.maxMessageBytes);
  }

  /** @throws CodedError when the request was not started. */
  start(identity: Identity): void {
    const { clock, generator, options } = this.#deps;
    const call = this.#call;
    const deadlineAtMs = callDeadlineAtMs(clock, call.getDeadline());
    const [after] = call.metadata.get(AFTER_HEADER);
    const admitted = admit(this.#deps, { identity, door: 'grpc', deadlineAtMs }, this.#id, call.request);
    const request = withRepeat(admitted, call.request, after?.toString());
    this.#wantTokenIds = request.wantTokenIds;
    call.on('cancelled', () => this.#abandon('the client went away'));
    call.on('drain', () => {
      this.#blocked = false;
      this.#settle();
    });
    if (request.deadlineAtMs !== undefined) {
      const leftMs = request.deadlineAtMs - clock.monotonicMs();
      this.#stopTimer = clock.after(leftMs, () => this.#expire());
    }
    const metadata = new Metadata();
    metadata.set('x-request-id', this.#id);
    call.sendMetadata(metadata);
    try {
      const generation = generator.start(request, this, options.clientWindowBytes);
      if (!this.#ended) this.#generation = generation;
    } catch (error) {
      this.#stopTimer?.();
      this.#ended = true;
      throw error;
    }
  }

  onHead(): void {
    // The initial metadata has been sent: gRPC has no status line that must wait for the engine.
  }

  /** A message commits nothing: the status comes at the end in any case. */
  onQueued(place: QueuePlace): boolean {
    if (!this.#ended && this.#call.request.envelope?.tellQueue === true) this.#write({ queued: place });
    return false;
  }

  /** In the trailers: the initial metadata has left already. */
  onDegraded(mode: string): void {
    this.#trailers.set(DEGRADED_HEADER, mode);
  }

  onTokens(sse: Buffer, idBytes: Buffer): void {
    if (this.#ended) return;
    let tokenIds = this.#wantTokenIds ? idsOf(idBytes) : [];
    for (const chunk of chunksOf(sse)) {
      this.#write({ chunk, tokenIds });
      tokenIds = [];
    }
    if (tokenIds.length > 0) this.#write({ tokenIds });
    this.#owedBytes += sse.length;
    this.#settle();
  }

  onBody(bytes: Buffer, last: boolean): void {
    if (this.#ended) return;
    this.#owedBytes += bytes.length;
    if (!this.#answer.append(bytes)) {
      this.#generation?.cancel('answer too large');
      this.onError(this.#answer.tooLarge());
      return;
    }
    if (last) this.#write({ chunk: this.#answer.take() });
    this.#settle();
  }

  onDone(usage: LaneUsage | undefined): void {
    if (this.#ended) return;
    if (usage !== undefined) this.#write({ usage });
    this.#finish();
    this.#call.end(this.#trailers);
  }

  onError(error: CodedError): void {
    if (this.#ended) return;
    this.#finish();
    failStream(this.#deps.logger, this.#call, error, this.#id);
  }

  #write(message: GenerateResponse): void {
    const named = this.#first ? { ...message, requestId: this.#id } : message;
    this.#first = false;
    if (!this.#call.write(named)) this.#blocked = true;
  }

  /** Grants in halves of the window, so that credit costs a frame per many tokens and never stalls the engine. */
  #settle(): void {
    if (this.#blocked || this.#owedBytes * 2 < this.#deps.options.clientWindowBytes) return;
    const bytes = this.#owedBytes;
    this.#owedBytes = 0;
    this.#generation?.grant(bytes);
  }

  #expire(): void {
    this.#generation?.cancel('deadline exceeded');
    this.onError(new CodedError('deadline_exceeded', 'The deadline of the request passed.'));
  }

  /** The library reports `cancelled` after every call, also after one that ended well. */
  #abandon(reason: string): void {
    if (this.#ended) return;
    this.#finish();
    this.#generation?.cancel(reason);
  }

  #finish(): void {
    this.#ended = true;
    this.#stopTimer?.();
  }
}

/** Serves one call for a caller who is already known. */
export function serveGenerate(deps: InferenceDeps, call: GenerateCall, identity: Identity): void {
  let id: RequestId | undefined;
  try {
    id = requestIdOf(deps, call.request.envelope);
    new GenerateStream(deps, call, id).start(identity);
  } catch (error) {
    failStream(deps.logger, call, toCodedError(error), id);
  }
}
