/**
 * The embedded engine behind the surface's Backend port: gives requests to the sequences of one model, lets those that
 * find none wait in a bounded queue, reuses cached prefixes, and ends a request the moment it is aborted.
 */
import { createBoundedQueue } from '../../../lib/bounded_queue.ts';
import type { RandomSource } from '../../../lib/rng.ts';
import type { Backend, EndReason, GenerateRequest, GenerateSink } from '../surface/backend.ts';
import type { LoadedModel, ModelSlot, Sampling } from './model.ts';
import { chooseSlot } from './slots.ts';

export interface LlamaBackendOptions {
  readonly model: LoadedModel;
  /** Requests that may wait for a sequence; one more is refused with 503. At least 1. */
  readonly maxWaiting: number;
  /** Seeds for requests that bring none. */
  readonly random: RandomSource;
  /** The native side failed in a way that leaves its state unknown; the process should end. */
  readonly onDead: (error: Error) => void;
}

interface Slot {
  readonly sequence: ModelSlot;
  busy: boolean;
  lastUse: number;
}

interface Job {
  readonly request: GenerateRequest;
  readonly sink: GenerateSink;
  ended: boolean;
}

interface Engine {
  readonly options: LlamaBackendOptions;
  readonly slots: readonly Slot[];
  readonly jobs: Set<Job>;
  readonly running: Set<Promise<void>>;
  /** Ends when the prompt that was taken up last has been read: prompts are read one after another, as vLLM does. */
  lastPrefill: Promise<unknown>;
  uses: number;
  dead: boolean;
  stopping: boolean;
  prefixCacheQueries: number;
  prefixCacheHits: number;
}

const REFUSED_FULL = { message: 'The waiting queue of the engine is full.', code: 503 } as const;
const REFUSED_STOPPING = { message: 'The engine is stopping.', code: 503 } as const;

/** Tells the sink the end once. The sequence itself is given back only when the native side has let go of it. */
function end(engine: Engine, job: Job, reason: EndReason, error?: { message: string; code: number }): void {
  if (job.ended) return;
  job.ended = true;
  engine.jobs.delete(job);
  job.sink.onEnd(reason, error);
}

function samplingOf(engine: Engine, request: GenerateRequest, emitted: () => number): Sampling {
  const { random, model } = engine.options;
  const untilMinimum = [...new Set([...(request.ignoreEos ? [] : model.endOfGenerationIds), ...request.stopTokenIds])];
  return {
    temperature: request.temperature,
    topP: request.topP,
    topK: Math.max(0, request.topK),
    seed: request.seed === undefined ? Math.floor(random.next() * 2 ** 32) : request.seed >>> 0,
    forbidden: () => (emitted() < request.minTokens ? untilMinimum : []),
  };
}

/**
 * Waits for its turn and reads the prompt: side by side all of them would have their first token only when the last was
 * read.
 */
function inTurn<T>(engine: Engine, read: () => Promise<T>): Promise<T> {
  const turn = engine.lastPrefill.then(read);
  engine.lastPrefill = turn.catch(() => undefined);
  return turn;
}

/** Puts the prompt's head into the cache; returns the tail that the generation begins with, or undefined when aborted. */
async function prefill(engine: Engine, job: Job, slot: Slot, reused: number): Promise<readonly number[] | undefined> {
  const { chunkTokens } = engine.options.model;
  const { promptIds } = job.request;
  // It may have been aborted while it waited for its turn.
  if (job.ended) return undefined;
  await slot.sequence.keep(reused);
  let at = reused;
  while (promptIds.length - at > chunkTokens) {
    if (job.ended) return undefined;
    await slot.sequence.prefill(promptIds.slice(at, at + chunkTokens));
    at += chunkTokens;
  }
  return job.ended ? undefined : promptIds.slice(at);
}

/** Hands out tokens until the request ends; returns why, or `abort` when it was ended from outside. */
async function decode(
  engine: Engine,
  job: Job,
  slot: Slot,
  tail: readonly number[],
  reused: number,
): Promise<EndReason> {
  const { model } = engine.options;
  const { request } = job;
  const most = Math.min(request.maxTokens, model.contextTokens - request.promptIds.length);
  let emitted = 0;
  for await (const id of slot.sequence.generate(
    tail,
    samplingOf(engine, request, () => emitted),
  )) {
    if (job.ended) return 'abort';
    if (emitted === 0) job.sink.onPrefill(reused);
    emitted += 1;
    job.sink.onTokens([id]);
    if (job.ended) return 'abort';
    if (request.stopTokenIds.includes(id) || (!request.ignoreEos && model.isEndOfGeneration(id))) return 'stop';
    if (emitted >= most) return 'length';
  }
  throw new Error('The native side stopped choosing tokens.');
}

async function serve(engine: Engine, job: Job, slot: Slot, reused: number): Promise<void> {
  try {
    const tail = await inTurn(engine, () => prefill(engine, job, slot, reused));
    const reason = tail === undefined ? 'abort' : await decode(engine, job, slot, tail, reused);
    // Before the end is told: whoever asks again at once finds this sequence idle, with the prefix in its cache.
    slot.busy = false;
    end(engine, job, reason);
  } catch (thrown) {
    // A sequence whose state is unknown is never used again.
    const error = thrown instanceof Error ? thrown : new Error(String(thrown));
    const first = !engine.dead && !engine.stopping;
    engine.dead = true;
    end(engine, job, 'error', { message: error.message, code: 500 });
    if (first) engine.options.onDead(error);
  }
}

/** Starts `job` on the best idle sequence; false when there is none. */
function place(engine: Engine, job: Job, next: () => void): boolean {
  const { promptIds } = job.request;
  const views = engine.slots.map((slot) => ({
    busy: slot.busy,
    cached: slot.busy ? [] : slot.sequence.cached(),
    lastUse: slot.lastUse,
  }));
  const choice = chooseSlot(views, promptIds);
  if (choice === undefined) return false;
  const slot = engine.slots[choice.index] as Slot;
  slot.busy = true;
  slot.lastUse = ++engine.uses;
  engine.prefixCacheQueries += promptIds.length;
  engine.prefixCacheHits += choice.reused;
  const run = serve(engine, job, slot, choice.reused).finally(() => {
    engine.running.delete(run);
    next();
  });
  engine.running.add(run);
  return true;
}

function busyTokens(engine: Engine): number {
  return engine.slots.reduce((sum, slot) => sum + (slot.busy ? slot.sequence.cached().length : 0), 0);
}

/** The backend over a loaded model; `stop` aborts what runs, waits for the native side and frees the model. */
export function createLlamaBackend(options: LlamaBackendOptions): Backend {
  const { model } = options;
  const engine: Engine = {
    options,
    slots: model.slots.map((sequence) => ({ sequence, busy: false, lastUse: 0 })),
    jobs: new Set(),
    running: new Set(),
    lastPrefill: Promise.resolve(),
    uses: 0,
    dead: false,
    stopping: false,
    prefixCacheQueries: 0,
    prefixCacheHits: 0,
  };
  const waiting = createBoundedQueue<Job>({
    maxCount: options.maxWaiting,
    maxWeight: options.maxWaiting,
    overflow: 'refuse',
  });
  const next = (): void => {
    if (engine.dead) {
      for (const job of waiting.drain()) end(engine, job, 'error', { message: 'The engine has failed.', code: 500 });
      return;
    }
    const job = waiting.peek();
    if (job !== undefined && place(engine, job, next)) waiting.shift();
  };
  const abort = (job: Job): void => {
    waiting.removeWhere((other) => other === job);
    end(engine, job, 'abort');
  };
  return {
    kind: 'llama',
    contextTokens: model.contextTokens,
    vocabularySize: model.vocabulary.size,
    tokenize(text, addSpecialTokens) {
      const ids = model.tokenize(text);
      return addSpecialTokens && model.bosToken !== undefined ? [model.bosToken, ...ids] : ids;
    },
    detokenize: (ids, skipSpecialTokens = true) => model.vocabulary.bytes(ids, skipSpecialTokens),
    chatPrompt: (messages, chatOptions) => model.chatTemplate(messages, chatOptions),
    generate(request, sink) {
      const job: Job = { request, sink, ended: false };
      engine.jobs.add(job);
      if (engine.stopping || engine.dead) queueMicrotask(() => end(engine, job, 'error', REFUSED_STOPPING));
      else if ((waiting.count > 0 || !place(engine, job, next)) && waiting.push(job).length > 0) {
        queueMicrotask(() => end(engine, job, 'error', REFUSED_FULL));
      }
      return () => abort(job);
    },
    load: () => ({
      running: engine.slots.reduce((count, slot) => count + (slot.busy ? 1 : 0), 0),
      waiting: waiting.count,
      kvCacheUsage: busyTokens(engine) / (model.contextTokens * model.slots.length),
      iterations: model.iterations(),
      prefixCacheQueries: engine.prefixCacheQueries,
      prefixCacheHits: engine.prefixCacheHits,
      preemptions: 0,
    }),
    healthy: () => !engine.dead,
    async stop() {
      engine.stopping = true;
      for (const job of [...engine.jobs]) abort(job);
      await Promise.all(engine.running);
      await model.dispose();
    },
  };
}
