/**
 * A load client for GenerateMany: all requests over one bidirectional stream, entries counted from the columns without
 * an object per token, as a gateway would do it.
 */
import * as grpc from '@grpc/grpc-js';
import { inferenceService } from '../../proto/load.ts';
import { decodeStatus } from '../../proto/status.ts';
import { ENTRY, type ManyResponse } from '../../proto/many_codec.ts';
import type { GenerateManyRequest } from '../../proto/gen/inference/v1/GenerateManyRequest.ts';

export interface ManyOutcome {
  readonly ok: boolean;
  readonly ttftMs: number;
  readonly totalMs: number;
  readonly events: number;
  readonly why: string;
  /** Of an error entry: its code in docs/ERRORS.md. */
  readonly code?: string;
}

export interface ManyRequest {
  readonly body: string;
  readonly endpoint: 'ENDPOINT_CHAT_COMPLETIONS' | 'ENDPOINT_COMPLETIONS';
  /** Flow control of the request; absent: only the stream's own. */
  readonly creditBytes?: number;
  /** How long to wait before granting what was read: a slow reader; Infinity never grants. */
  readonly grantDelayMs?: number;
  /** Called with each chunk's JSON, whose bytes are valid during the call only. */
  readonly onChunk?: (json: Buffer) => void;
}

interface Running {
  readonly startedMs: number;
  readonly request: ManyRequest;
  ttftMs: number;
  events: number;
  ungranted: number;
  granting: boolean;
  resolve(outcome: ManyOutcome): void;
}

export interface ManyClient {
  /** Runs one request to its end; never throws. */
  run(request: ManyRequest): { readonly done: Promise<ManyOutcome>; cancel(): void };
  /** Chunk entries received so far. */
  readonly events: number;
  /** Messages received so far; one carries the chunks of many requests. */
  readonly messages: number;
  close(): void;
}

type ManyCall = grpc.ClientDuplexStream<GenerateManyRequest, ManyResponse>;

/** The requests that run on one stream, and what came for each. */
class ManyStreams implements ManyClient {
  readonly #call: ManyCall;
  readonly #shut: () => void;
  readonly #running = new Map<number, Running>();
  #nextStream = 1;
  #events = 0;
  #messages = 0;

  constructor(call: ManyCall, shut: () => void) {
    this.#call = call;
    this.#shut = shut;
    call.on('data', (batch: ManyResponse) => this.#takeBatch(batch));
    call.on('error', (error: Error) => this.#breakAll(error.message));
    call.on('end', () => this.#breakAll('the stream ended'));
  }

  get messages(): number {
    return this.#messages;
  }

  get events(): number {
    return this.#events;
  }

  run(request: ManyRequest): { readonly done: Promise<ManyOutcome>; cancel(): void } {
    const stream = this.#nextStream++;
    const { endpoint, creditBytes } = request;
    const done = new Promise<ManyOutcome>((resolve) => {
      const startedMs = performance.now();
      this.#running.set(stream, {
        startedMs,
        request,
        ttftMs: Number.NaN,
        events: 0,
        ungranted: 0,
        granting: false,
        resolve,
      });
    });
    const credit = creditBytes === undefined ? {} : { creditBytes };
    this.#call.write({ start: [{ stream, envelope: { endpoint }, body: Buffer.from(request.body), ...credit }] });
    return {
      done,
      cancel: () => {
        if (!this.#running.has(stream)) return;
        this.#call.write({ cancel: [stream] });
        this.#end(stream, 'cancelled');
      },
    };
  }

  close(): void {
    this.#call.cancel();
    this.#shut();
  }

  #takeBatch({ stream, kind, size, data }: ManyResponse): void {
    this.#messages++;
    let at = 0;
    for (let i = 0; i < stream.length; i++) {
      const start = at;
      at += size[i] as number;
      if (kind[i] === ENTRY.CHUNK) this.#takeChunk(stream[i] as number, data, start, at);
      else if (kind[i] === ENTRY.END) this.#end(stream[i] as number, 'done');
      else if (kind[i] === ENTRY.ERROR)
        this.#end(stream[i] as number, 'error entry', decodeStatus(data.subarray(start, at)).error.code);
    }
  }

  #takeChunk(stream: number, data: Buffer, start: number, end: number): void {
    const entry = this.#running.get(stream);
    if (entry === undefined) return;
    const size = end - start;
    if (entry.events === 0) entry.ttftMs = performance.now() - entry.startedMs;
    entry.request.onChunk?.(data.subarray(start, end));
    entry.events++;
    this.#events++;
    entry.ungranted += size;
    const { creditBytes, grantDelayMs = 0 } = entry.request;
    if (creditBytes === undefined || entry.granting || entry.ungranted < creditBytes / 2 || grantDelayMs === Infinity)
      return;
    entry.granting = true;
    setTimeout(() => {
      entry.granting = false;
      this.#call.write({ credit: [{ stream, bytes: entry.ungranted }] });
      entry.ungranted = 0;
    }, grantDelayMs);
  }

  #end(stream: number, why: string, code?: string): void {
    const entry = this.#running.get(stream);
    if (entry === undefined) return;
    this.#running.delete(stream);
    const { ttftMs, startedMs, events } = entry;
    const totalMs = performance.now() - startedMs;
    entry.resolve({ ok: why === 'done', ttftMs, totalMs, events, why, ...(code === undefined ? {} : { code }) });
  }

  #breakAll(why: string): void {
    for (const stream of [...this.#running.keys()]) this.#end(stream, why);
  }
}

export function openMany(address: string, key: string): ManyClient {
  const Client = grpc.makeClientConstructor(inferenceService, 'inference.v1.Inference');
  const client = new Client(address, grpc.credentials.createInsecure(), {
    'grpc.max_receive_message_length': 64 << 20,
    // One message holds a whole engine step of all streams: more than HTTP/2's first window of 64 KB.
    'grpc-node.flow_control_window': 4 << 20,
  });
  const metadata = new grpc.Metadata();
  metadata.set('authorization', `Bearer ${key}`);
  const open = client['GenerateMany'] as unknown as (metadata: grpc.Metadata) => ManyCall;
  return new ManyStreams(open.call(client, metadata), () => client.close());
}
