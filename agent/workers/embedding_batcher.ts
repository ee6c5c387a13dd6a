/**
 * Puts small embedding calls that arrive within one turn of the event loop into one call of the engine. A call that is
 * alone in its turn goes out as it came. When the common call is refused, or its answer cannot be split, each caller's
 * call is sent alone, so that one caller's mistake is never another's error.
 */
import type { CodedError } from '../../lib/errors.ts';
import {
  type EmbeddingCall,
  mergeEmbeddingCalls,
  readEmbeddingCall,
  splitEmbeddingAnswer,
} from '../core/embedding_batch.ts';
import type { EngineRequest, Exchange, ExchangeSink } from './engine_connection.ts';
import type { HttpHead } from './http_reader.ts';
import type { SendToEngine } from './relayed_request.ts';

const EMBEDDINGS_PATH = '/v1/embeddings';
/** A larger call gains nothing from company. */
const MAX_CALL_BYTES = 16 * 1024;
const MAX_CALLS = 16;
const MAX_INPUTS = 64;
const MAX_ANSWER_BYTES = 32 * 1024 * 1024;

/** A call of one caller: alone, or as a part of a batch. */
class BatchedCall implements Exchange {
  readonly request: EngineRequest;
  readonly call: EmbeddingCall;
  readonly sink: ExchangeSink;
  gone = false;
  #paused = false;
  #alone: Exchange | undefined;
  #batch: Batch | undefined;

  constructor(request: EngineRequest, call: EmbeddingCall, sink: ExchangeSink) {
    this.request = request;
    this.call = call;
    this.sink = sink;
  }

  join(batch: Batch): void {
    this.#batch = batch;
  }

  sendAlone(send: SendToEngine): void {
    this.#batch = undefined;
    this.#alone = send(this.request, this.sink);
    if (this.#paused) this.#alone.pause();
  }

  /** Gives the caller its part of the common answer. */
  answer(head: HttpHead, bytes: Uint8Array): void {
    const body = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.sink.onHead(head);
    this.sink.onBody(body, 0, body.length);
    this.sink.onReadEnd();
    this.sink.onComplete();
  }

  abort(): void {
    this.gone = true;
    this.#alone?.abort();
    this.#batch?.leave();
  }

  // The common answer is collected as a whole; what a caller cannot take yet waits in its own request.
  pause(): void {
    this.#paused = true;
    this.#alone?.pause();
  }

  resume(): void {
    this.#paused = false;
    this.#alone?.resume();
  }
}

/** One common call on its way. */
class Batch implements ExchangeSink {
  readonly #members: readonly BatchedCall[];
  readonly #send: SendToEngine;
  #exchange: Exchange | undefined;
  #head: HttpHead | undefined;
  #body: Buffer[] = [];
  #bytes = 0;
  #over = false;

  constructor(members: readonly BatchedCall[], send: SendToEngine) {
    this.#members = members;
    this.#send = send;
  }

  start(): void {
    const [first] = this.#members as readonly [BatchedCall];
    for (const member of this.#members) member.join(this);
    const body = mergeEmbeddingCalls(this.#members.map((member) => member.call));
    this.#exchange = this.#send({ ...first.request, body }, this);
  }

  #living(): BatchedCall[] {
    return this.#members.filter((member) => !member.gone);
  }

  /** A caller went away; the engine's work ends when the last has. */
  leave(): void {
    if (this.#over || this.#living().length > 0) return;
    this.#over = true;
    this.#exchange?.abort();
  }

  onHead(head: HttpHead): void {
    this.#head = head;
  }

  onBody(buffer: Buffer, start: number, end: number): void {
    this.#bytes += end - start;
    if (this.#bytes <= MAX_ANSWER_BYTES) this.#body.push(Buffer.from(buffer.subarray(start, end)));
  }

  onReadEnd(): void {
    if (this.#bytes <= MAX_ANSWER_BYTES || this.#over) return;
    this.#exchange?.abort();
    this.#sendEachAlone();
  }

  onComplete(): void {
    const calls = this.#members.map((member) => member.call);
    const answers = this.#head?.status === 200 ? splitEmbeddingAnswer(Buffer.concat(this.#body), calls) : undefined;
    if (answers === undefined) {
      this.#sendEachAlone();
      return;
    }
    this.#over = true;
    const head = this.#head as HttpHead;
    this.#members.forEach((member, at) => {
      if (!member.gone) member.answer(head, answers[at] as Uint8Array);
    });
  }

  onFailed(error: CodedError): void {
    this.#over = true;
    for (const member of this.#living()) member.sink.onFailed(error);
  }

  #sendEachAlone(): void {
    this.#over = true;
    for (const member of this.#living()) member.sendAlone(this.#send);
  }
}

/** The way to one engine for all requests; only embedding calls ever wait here, until the end of the turn. */
export class EmbeddingBatcher {
  readonly #send: SendToEngine;
  #waiting: BatchedCall[] = [];
  #scheduled = false;
  /** Calls that shared one of the engine's. */
  batchedTotal = 0;

  constructor(send: SendToEngine) {
    this.#send = send;
  }

  send(request: EngineRequest, sink: ExchangeSink): Exchange {
    const small = request.path === EMBEDDINGS_PATH && request.body.length <= MAX_CALL_BYTES;
    const call = small ? readEmbeddingCall(request.body) : undefined;
    if (call === undefined) return this.#send(request, sink);
    const waiting = new BatchedCall(request, call, sink);
    this.#waiting.push(waiting);
    if (!this.#scheduled) {
      this.#scheduled = true;
      setImmediate(() => this.#flush());
    }
    return waiting;
  }

  #flush(): void {
    this.#scheduled = false;
    const waiting = this.#waiting.filter((one) => !one.gone);
    this.#waiting = [];
    const groups = new Map<string, { members: BatchedCall[]; inputs: number }>();
    for (const one of waiting) {
      const { key, inputs } = one.call;
      let group = groups.get(key);
      if (group === undefined || group.members.length >= MAX_CALLS || group.inputs + inputs > MAX_INPUTS) {
        if (group !== undefined) this.#sendGroup(group.members);
        group = { members: [], inputs: 0 };
        groups.set(key, group);
      }
      group.members.push(one);
      group.inputs += inputs;
    }
    for (const { members } of groups.values()) this.#sendGroup(members);
  }

  #sendGroup(members: readonly BatchedCall[]): void {
    if (members.length === 1) {
      (members[0] as BatchedCall).sendAlone(this.#send);
      return;
    }
    this.batchedTotal += members.length;
    new Batch(members, this.#send).start();
  }
}
