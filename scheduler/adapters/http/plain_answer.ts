/**
 * Collects an answer that is not a stream and sends it whole, so that a failure half-way can still become a proper
 * error. An answer too large to be held (many embeddings) is begun when the bound is reached and passed on in pieces,
 * at the pace of the client.
 */
import type { ServerResponse } from 'node:http';
import type { CodedError } from '../../../lib/errors.ts';
import type { LaneUsage } from '../../../proto/codec.ts';
import { DEGRADED_HEADER } from '../../core/providers/modes.ts';
import type { Generation, GenerationSink } from '../../ports.ts';
import { sendError } from './answers.ts';
import type { StreamEnd } from './event_stream.ts';

/** Held before the head is committed. */
const MAX_HELD_BYTES = 4 * 1024 * 1024;

/** A larger body costs more to copy than a second piece to write. */
const MAX_JOINED_BYTES = 16 * 1024;

export interface PlainAnswerHost {
  readonly windowBytes: number;
  ended(answer: GenerationSink, end: StreamEnd): void;
}

export class PlainAnswer implements GenerationSink {
  startedAtMs = 0;
  stalledSweeps = 0;
  readonly #host: PlainAnswerHost;
  readonly #response: ServerResponse;
  #headers: Record<string, unknown>;
  #generation: Generation | undefined;
  #parts: Buffer[] = [];
  #heldBytes = 0;
  /** Bytes that were taken and not granted yet. */
  #owed = 0;
  #begun = false;
  #ended = false;
  #stalled = false;
  #cancelled: string | undefined;

  /** @param headers of the answer, the caller's no more */
  constructor(host: PlainAnswerHost, response: ServerResponse, headers: Record<string, unknown>) {
    this.#host = host;
    this.#response = response;
    headers['content-type'] = 'application/json; charset=utf-8';
    headers['cache-control'] = 'no-store';
    this.#headers = headers;
    response.on('close', this.#onClose);
    response.on('drain', this.#onDrain);
  }

  attach(generation: Generation): void {
    this.#generation = generation;
    if (this.#cancelled !== undefined) generation.cancel(this.#cancelled);
    else this.#owe(0);
  }

  get stalled(): boolean {
    return this.#stalled;
  }

  /** The head waits for the body: until then an error can have its own status. */
  onHead(): void {}

  /** Comes before the body, and so before the head. */
  onDegraded(mode: string): void {
    this.#headers = { ...this.#headers, [DEGRADED_HEADER]: mode };
  }

  onTokens(sse: Buffer): void {
    this.onBody(sse);
  }

  onBody(bytes: Buffer): void {
    if (this.#ended || bytes.length === 0) return;
    const copy = Buffer.from(bytes);
    if (this.#begun) {
      this.#write(copy);
      return;
    }
    this.#parts.push(copy);
    this.#heldBytes += copy.length;
    if (this.#heldBytes <= MAX_HELD_BYTES) {
      this.#owe(copy.length);
      return;
    }
    this.#begun = true;
    this.#response.writeHead(200, this.#headers as Record<string, string>);
    const held = Buffer.concat(this.#parts);
    this.#parts = [];
    this.#write(held, copy.length);
  }

  onRestart(): boolean {
    if (this.#begun) return false;
    this.#parts = [];
    this.#heldBytes = 0;
    return true;
  }

  onDone(usage: LaneUsage | undefined): void {
    if (this.#ended) return;
    if (this.#begun) {
      this.#response.end();
    } else {
      this.#sendWhole(this.#parts.length === 1 ? (this.#parts[0] as Buffer) : Buffer.concat(this.#parts));
    }
    this.#end(usage === undefined ? { outcome: 'ok' } : { outcome: 'ok', usage });
  }

  #sendWhole(body: Buffer): void {
    this.#headers['content-length'] = body.length;
    this.#response.writeHead(200, this.#headers as Record<string, string>);
    // Node joins head and body to one write when both are text; latin1 gives each byte back as it was.
    if (body.length <= MAX_JOINED_BYTES) this.#response.end(body.toString('latin1'), 'latin1');
    else this.#response.end(body);
  }

  onError(error: CodedError): void {
    if (this.#ended) return;
    // A begun answer cannot be taken back; a cut connection tells the client that it is not whole.
    if (this.#begun) this.#response.destroy();
    else sendError(this.#response, this.#headers, error);
    this.#end({ outcome: error.code });
  }

  abort(reason: string): void {
    if (this.#ended) return;
    this.#cancel(reason);
    this.#response.destroy();
  }

  #cancel(reason: string): void {
    this.#cancelled = reason;
    this.#end({ outcome: reason });
    this.#generation?.cancel(reason);
  }

  #write(bytes: Buffer, counted = bytes.length): void {
    if (!this.#response.write(bytes)) this.#stalled = true;
    this.#owe(counted);
  }

  /**
   * Grants in halves of the window: a grant costs a message on the lane, and most answers are over before they need
   * one.
   */
  #owe(bytes: number): void {
    this.#owed += bytes;
    if (this.#stalled || this.#generation === undefined || this.#owed * 2 < this.#host.windowBytes) return;
    const granted = this.#owed;
    this.#owed = 0;
    this.#generation.grant(granted);
  }

  #end(end: StreamEnd): void {
    this.#ended = true;
    this.#parts = [];
    this.#response.off('close', this.#onClose);
    this.#response.off('drain', this.#onDrain);
    this.#host.ended(this, end);
  }

  readonly #onDrain = (): void => {
    this.#stalled = false;
    this.stalledSweeps = 0;
    this.#owe(0);
  };

  readonly #onClose = (): void => {
    if (!this.#ended) this.#cancel('client_gone');
  };
}
