/**
 * A Generator that a test scripts: it records what was asked and lets the test play the engine's part, token by token.
 */
import type { CodedError } from '../../lib/errors.ts';
import type { RequestId, TenantId } from '../../lib/ids.ts';
import type { AdmittedRequest, Generation, GenerationSink, Generator } from '../../scheduler/ports.ts';

/** One request that reached the generator. */
export interface FakeRun {
  readonly request: AdmittedRequest;
  readonly sink: GenerationSink;
  readonly creditBytes: number;
  /** Bytes granted after the first credit. */
  granted: number;
  /** Reasons of cancel(), in order: more than one would be a fault of the door. */
  readonly cancels: string[];
  /** Sends one chunk as the agent would; the bytes are overwritten afterwards, for they are only lent. */
  tokens(text: string, index?: number): void;
  /** Sends a plain answer in one piece and ends it. */
  answer(json: unknown): void;
}

export interface FakeGenerator extends Generator {
  readonly runs: FakeRun[];
  /** Called for each new run, before start() returns when `whenSync` is true, else in a later turn. */
  onStart: ((run: FakeRun) => void) | undefined;
  whenSync: boolean;
  /** Thrown by start(). */
  refuseWith: CodedError | undefined;
  /** Resolves with the n-th run (from 0), when it has come. */
  run(n: number): Promise<FakeRun>;
}

/** The text of one chat chunk, as an event. */
export function chunkEvent(text: string, index = 0): string {
  const chunk = {
    id: 'chatcmpl-1',
    object: 'chat.completion.chunk',
    created: 1,
    model: 'm',
    choices: [
      { index: 0, delta: index === 0 ? { role: 'assistant', content: text } : { content: text }, finish_reason: null },
    ],
  };
  return `data: ${JSON.stringify(chunk)}\n\n`;
}

/** The chunk that ends a choice. */
export function finishEvent(): string {
  return 'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n';
}

const POISON = 0x2a;
const NO_IDS = Buffer.alloc(0);

function createRun(request: AdmittedRequest, sink: GenerationSink, creditBytes: number): FakeRun {
  let next = 0;
  return {
    request,
    sink,
    creditBytes,
    granted: 0,
    cancels: [],
    tokens(text, index = next) {
      next = index + 1;
      const lent = Buffer.from(chunkEvent(text, index));
      sink.onTokens(lent, NO_IDS, index);
      lent.fill(POISON);
    },
    answer(json) {
      const lent = Buffer.from(JSON.stringify(json));
      sink.onHead();
      sink.onBody(lent, true);
      lent.fill(POISON);
      sink.onDone({ promptTokens: 1, completionTokens: 1 });
    },
  };
}

export function createFakeGenerator(): FakeGenerator {
  const waiting: { n: number; resolve: (run: FakeRun) => void }[] = [];
  const running = new Map<RequestId, { tenant: TenantId; run: FakeRun }>();
  const fake: FakeGenerator = {
    runs: [],
    onStart: undefined,
    whenSync: false,
    refuseWith: undefined,
    start(request, sink, creditBytes): Generation {
      if (fake.refuseWith !== undefined) throw fake.refuseWith;
      const run = createRun(request, sink, creditBytes);
      fake.runs.push(run);
      running.set(request.id, { tenant: request.tenant, run });
      const { onStart } = fake;
      if (onStart !== undefined) {
        if (fake.whenSync) onStart(run);
        else setImmediate(() => onStart(run));
      }
      for (const wait of waiting.splice(0)) {
        if (fake.runs.length > wait.n) wait.resolve(fake.runs[wait.n] as FakeRun);
        else waiting.push(wait);
      }
      return {
        id: request.id,
        grant(bytes) {
          run.granted += bytes;
        },
        cancel(reason) {
          run.cancels.push(reason);
        },
      };
    },
    cancel(id, tenant) {
      const found = running.get(id);
      if (found === undefined || found.tenant !== tenant) return false;
      running.delete(id);
      return true;
    },
    run(n) {
      const run = fake.runs[n];
      if (run !== undefined) return Promise.resolve(run);
      return new Promise((resolve) => waiting.push({ n, resolve }));
    },
  };
  return fake;
}
