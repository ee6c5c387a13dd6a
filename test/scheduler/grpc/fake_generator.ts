/**
 * A Generator that a test drives by hand: it records what the door started and lets the test push tokens as a lane would,
 * with the credit counted as an agent counts it.
 */
import { CodedError } from '../../../lib/errors.ts';
import type { RequestId, TenantId } from '../../../lib/ids.ts';
import type { LaneUsage } from '../../../proto/codec.ts';
import type { AdmittedRequest, Generation, GenerationSink, Generator } from '../../../scheduler/ports.ts';

/** The OpenAI chunk that the fake engine makes of a text. */
export const chunkOf = (text: string): string =>
  JSON.stringify({
    object: 'chat.completion.chunk',
    choices: [{ index: 0, delta: { content: text }, finish_reason: null }],
  });

export class FakeRun implements Generation {
  readonly id: RequestId;
  readonly request: AdmittedRequest;
  readonly sink: GenerationSink;
  readonly initialCreditBytes: number;
  /** What the agent may still send; at or below zero an agent stops. */
  creditBytes: number;
  sentBytes = 0;
  grants: number[] = [];
  cancelledBecause: string | undefined;
  onGrant: (() => void) | undefined;
  onCancel: (() => void) | undefined;
  #forget: () => void;
  #index = 0;

  constructor(request: AdmittedRequest, sink: GenerationSink, creditBytes: number, forget: () => void) {
    this.id = request.id;
    this.request = request;
    this.sink = sink;
    this.initialCreditBytes = creditBytes;
    this.creditBytes = creditBytes;
    this.#forget = forget;
  }

  grant(bytes: number): void {
    this.grants.push(bytes);
    this.creditBytes += bytes;
    this.onGrant?.();
  }

  cancel(reason: string): void {
    this.cancelledBecause ??= reason;
    this.#forget();
    this.onCancel?.();
  }

  /** One frame: the chunks of `texts` and the ids of all of them. The bytes are overwritten afterwards, as a lane's are. */
  tokens(texts: readonly string[], ids: readonly number[] = []): void {
    const sse = Buffer.from(texts.map((text) => `data: ${chunkOf(text)}\n\n`).join(''));
    const idBytes = Buffer.alloc(ids.length * 4);
    ids.forEach((id, i) => idBytes.writeUInt32LE(id, i * 4));
    this.creditBytes -= sse.length;
    this.sentBytes += sse.length;
    this.sink.onTokens(sse, idBytes, this.#index);
    this.#index += ids.length;
    sse.fill(0x58);
    idBytes.fill(0xff);
  }

  body(text: string, last: boolean): void {
    const bytes = Buffer.from(text);
    this.creditBytes -= bytes.length;
    this.sink.onBody(bytes, last);
    bytes.fill(0x58);
  }

  done(usage?: LaneUsage): void {
    this.#forget();
    this.sink.onDone(usage);
  }

  fail(error: CodedError): void {
    this.#forget();
    this.sink.onError(error);
  }
}

export class FakeGenerator implements Generator {
  readonly running = new Map<string, FakeRun>();
  readonly started: FakeRun[] = [];
  /** Called for each start, before start() returns; may throw a CodedError to refuse. */
  onStart: (run: FakeRun) => void = () => undefined;
  #waiting: { count: number; resolve: () => void }[] = [];

  start(request: AdmittedRequest, sink: GenerationSink, creditBytes: number): Generation {
    const key = `${request.tenant}/${request.id}`;
    if (this.running.has(key)) throw new CodedError('already_exists', 'A request with this id is running.');
    if (request.model === 'absent')
      throw new CodedError('model_not_found', 'No engine serves this model.', { param: 'model' });
    const run = new FakeRun(request, sink, creditBytes, () => this.running.delete(key));
    this.running.set(key, run);
    this.started.push(run);
    try {
      this.onStart(run);
    } catch (error) {
      this.running.delete(key);
      throw error;
    }
    this.#waiting = this.#waiting.filter(({ count, resolve }) => {
      if (this.started.length < count) return true;
      resolve();
      return false;
    });
    return run;
  }

  cancel(id: RequestId, tenant: TenantId): boolean {
    const run = this.running.get(`${tenant}/${id}`);
    if (run === undefined) return false;
    run.cancelledBecause = 'cancelled by id';
    run.fail(new CodedError('cancelled', 'The request was cancelled by its id.'));
    return true;
  }

  /** Resolves with run number `index` (from 0) once it was started. */
  async run(index: number): Promise<FakeRun> {
    if (this.started.length <= index) {
      await new Promise<void>((resolve) => this.#waiting.push({ count: index + 1, resolve }));
    }
    return this.started[index] as FakeRun;
  }
}
