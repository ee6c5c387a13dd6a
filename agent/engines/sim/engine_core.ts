/**
 * The simulated VLLM::EngineCore: owns the batch and the KV cache, paces the steps, and tells the API process once per
 * step what all sequences made. It lives on when the API process is killed, as the real one does.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { ENGINE_DEFAULTS, TIMING_ROWS } from '../../../lib/engine_timing.ts';
import { createBatch, type Batch, type Step, type Timing } from './batch.ts';
import { createBlockPool, type KvEvent } from './block_pool.ts';
import type { SimConfig } from './config.ts';
import { decodeAdd, encodeStep, FRAME, frame, frameReader, jsonFrame, type StepEntry } from './frames.ts';
import { engineLogger, playStartup } from './startup_log.ts';
import { createTokenizer } from './tokenizer.ts';
import { buildVocabulary } from './vocabulary.ts';
import { createWriter, SIMULATED_PREFIX } from './writer.ts';

/** Step messages that the API process may have unread before the engine waits for it. */
const MAX_UNREAD_STEPS = 64;
/** A paced engine that fell behind by more than this (a stopped process) does not catch up. */
const MAX_LAG_MS = 20;

/** What the API process may ask besides sequences. */
export type Control =
  | { readonly op: 'exit' }
  | { readonly op: 'sleep'; readonly level: number }
  | { readonly op: 'wake' }
  | { readonly op: 'reset_prefix_cache' }
  | { readonly op: 'hang'; readonly ms: number }
  | {
      readonly op: 'crash';
      readonly signal: 'SIGKILL' | 'SIGSEGV' | 'SIGABRT' | null;
      readonly code: number;
      readonly worker: boolean;
    };

interface Core {
  readonly config: SimConfig;
  readonly batch: Batch;
  readonly api: Socket;
  readonly worker: ChildProcess;
  readonly workerPipe: Socket;
  readonly log: (line: string) => void;
  step: Step | undefined;
  stepEndMs: number;
  workerBusy: boolean;
  timeReached: boolean;
  timer: NodeJS.Timeout | undefined;
  unread: number;
  asleep: boolean;
  hungUntilMs: number;
  orphan: boolean;
  leaving: boolean;
  events: KvEvent[];
  toldRunning: number;
  toldWaiting: number;
}

function timingFrom(config: SimConfig): Timing {
  if (config.timing === 'unpaced') return { kind: 'unpaced' };
  if (config.timing === 'fixed')
    return {
      kind: 'fixed',
      itlMs: config.itlMs / config.speed,
      ttftMs: config.ttftMs / config.speed,
      ttftAfter: config.ttftAfter,
    };
  return { kind: 'row', row: TIMING_ROWS[config.timing], speed: config.speed };
}

function createCore(config: SimConfig): Core {
  const vocabulary = buildVocabulary();
  const prefixIds = createTokenizer(vocabulary).encode(SIMULATED_PREFIX, false);
  const blocks = Math.floor(config.kvTokens / ENGINE_DEFAULTS.blockTokens);
  const events: KvEvent[] = [];
  const pool = createBlockPool({
    blocks,
    blockTokens: ENGINE_DEFAULTS.blockTokens,
    ...(config.kvEvents ? { onEvent: (event: KvEvent) => void events.push(event) } : {}),
  });
  const batch = createBatch({
    timing: timingFrom(config),
    maxSequences: config.maxSequences,
    maxBatchedTokens: config.maxBatchedTokens,
    pool,
    streamInterval: config.streamInterval,
    createWriter: () => createWriter({ vocabulary, seed: config.seed, prefixIds, meanTokens: config.meanTokens }),
  });
  const worker = spawn(
    process.execPath,
    [fileURLToPath(new URL('./worker.js', import.meta.url)), '--served-model-name', config.servedModelName],
    {
      stdio: ['ignore', 'inherit', 'inherit', 'pipe'],
    },
  );
  return {
    config,
    batch,
    api: new Socket({ fd: 3, readable: true, writable: true }),
    worker,
    workerPipe: worker.stdio[3] as Socket,
    log: engineLogger('EngineCore'),
    step: undefined,
    stepEndMs: 0,
    workerBusy: false,
    timeReached: false,
    timer: undefined,
    unread: 0,
    asleep: false,
    hungUntilMs: 0,
    orphan: false,
    leaving: false,
    events,
    toldRunning: 0,
    toldWaiting: 0,
  };
}

/** Starts the next step if the engine is free and there is work; else sets a timer for what becomes due by itself. */
function kick(core: Core): void {
  if (core.step !== undefined || core.asleep || core.leaving) return;
  const nowMs = performance.now();
  if (core.hungUntilMs > nowMs) return;
  tell(core, core.batch.takeDue(nowMs));
  if (core.unread >= MAX_UNREAD_STEPS && !core.orphan) return;
  const step = core.batch.schedule(nowMs);
  if (step === undefined) {
    waitForDue(core, nowMs);
    return;
  }
  core.step = step;
  const startMs = nowMs - core.stepEndMs < MAX_LAG_MS ? core.stepEndMs : nowMs;
  core.stepEndMs = startMs + step.durationMs;
  core.workerBusy = true;
  core.timeReached = step.durationMs === 0;
  const work = Buffer.allocUnsafe(8);
  work.writeUInt32LE(step.prefillTokens, 0);
  work.writeUInt32LE(step.shares.length, 4);
  core.workerPipe.write(frame(FRAME.work, work));
  if (!core.timeReached) sleepUntil(core);
}

function waitForDue(core: Core, nowMs: number): void {
  core.stepEndMs = 0;
  const dueMs = core.batch.nextDueMs();
  if (dueMs === undefined) return;
  clearTimeout(core.timer);
  core.timer = setTimeout(() => kick(core), Math.max(1, Math.ceil(dueMs - nowMs)));
}

/** Waits for the end of the step, waking in between for first tokens that are due on their own. */
function sleepUntil(core: Core): void {
  const nowMs = performance.now();
  const restMs = core.stepEndMs - nowMs;
  if (restMs <= 0.2) {
    core.timeReached = true;
    finishStep(core);
    return;
  }
  const dueMs = core.batch.nextDueMs();
  const waitMs = dueMs === undefined ? restMs : Math.min(restMs, dueMs - nowMs);
  clearTimeout(core.timer);
  core.timer = setTimeout(
    () => {
      if (core.hungUntilMs > performance.now()) return;
      tell(core, core.batch.takeDue(performance.now()));
      sleepUntil(core);
    },
    Math.max(1, Math.round(waitMs)),
  );
}

function finishStep(core: Core): void {
  const { step } = core;
  if (step === undefined || core.workerBusy || !core.timeReached || core.leaving) return;
  if (core.hungUntilMs > performance.now()) return;
  core.step = undefined;
  tell(core, core.batch.complete(step), true);
  kick(core);
}

function tell(core: Core, entries: readonly StepEntry[], always = false): void {
  if (core.orphan || (entries.length === 0 && !always)) return;
  core.unread += 1;
  const load = core.batch.load();
  core.toldRunning = load.running;
  core.toldWaiting = load.waiting;
  core.api.write(encodeStep(load, entries));
  if (core.events.length > 0) {
    core.api.write(jsonFrame(FRAME.kvEvents, { ts: Date.now() / 1000, events: core.events }));
    core.events.length = 0;
  }
}

/** Queue figures change without tokens too: a request that waits, an abort that leaves the engine idle. */
function tellLoad(core: Core): void {
  const { running, waiting } = core.batch.load();
  if (running === core.toldRunning && waiting === core.toldWaiting) return;
  tell(core, [], true);
}

function onApiFrame(core: Core, type: number, payload: Buffer): void {
  if (type === FRAME.add) {
    core.batch.add(decodeAdd(payload), performance.now());
  } else if (type === FRAME.abort) core.batch.abort(payload.readUInt32LE(0));
  else if (type === FRAME.ack) core.unread = Math.max(0, core.unread - payload.readUInt32LE(0));
  else if (type === FRAME.control) control(core, JSON.parse(payload.toString('utf8')) as Control);
}

function control(core: Core, ask: Control): void {
  switch (ask.op) {
    case 'exit':
      leave(core, 0);
      break;
    case 'sleep':
      core.asleep = true;
      if (ask.level > 1) core.batch.clearCache();
      break;
    case 'wake':
      core.asleep = false;
      break;
    case 'reset_prefix_cache':
      core.batch.clearCache();
      break;
    case 'hang':
      core.hungUntilMs = performance.now() + ask.ms;
      setTimeout(() => {
        if (core.step !== undefined) sleepUntil(core);
        kick(core);
      }, ask.ms + 1);
      break;
    case 'crash':
      core.log('ERROR EngineCore encountered a fatal error.');
      if (ask.worker) process.kill(core.worker.pid ?? process.pid, ask.signal ?? 'SIGKILL');
      else if (ask.signal === null) process.exit(ask.code);
      else process.kill(process.pid, ask.signal);
      break;
  }
}

/** An orderly end: the worker is told first, so that it does not linger. */
function leave(core: Core, code: number): void {
  if (core.leaving) return;
  core.leaving = true;
  core.workerPipe.end(jsonFrame(FRAME.control, { op: 'exit' }));
  core.worker.once('exit', () => process.exit(code));
  setTimeout(() => {
    core.worker.kill('SIGKILL');
    process.exit(code);
  }, 2_000);
}

function becomeOrphan(core: Core): void {
  if (core.orphan || core.leaving) return;
  core.orphan = true;
  core.api.destroy();
  setTimeout(() => leave(core, 1), core.config.orphanTtlS * 1_000);
  kick(core);
}

async function main(): Promise<void> {
  process.title = 'VLLM::EngineCore';
  process.stdout.on('error', () => undefined);
  process.stderr.on('error', () => undefined);
  const config = JSON.parse(process.argv[2] as string) as SimConfig;
  const core = createCore(config);
  // Signals to the group are the API process's to handle; an orphan has nobody left to tell it what to do.
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => core.orphan && leave(core, 0));
  core.worker.on('exit', (code, signal) => {
    if (core.leaving) return;
    core.log(`ERROR Worker proc VLLM::Worker died unexpectedly (${signal ?? code}), shutting down executor.`);
    core.log('ERROR EngineCore encountered a fatal error.');
    process.exit(1);
  });
  core.workerPipe.on('error', () => undefined);
  const workerReady = once(core.workerPipe, 'data');
  core.workerPipe.on(
    'data',
    frameReader((type) => {
      if (type !== FRAME.workDone) return;
      core.workerBusy = false;
      finishStep(core);
    }),
  );
  core.api.on('error', () => becomeOrphan(core));
  core.api.on('close', () => becomeOrphan(core));
  const read = frameReader((type, payload) => onApiFrame(core, type, payload));
  core.api.on('data', (data: Buffer) => {
    read(data);
    if (core.step === undefined) kick(core);
    else if (!core.timeReached && config.timing === 'fixed') {
      tell(core, core.batch.takeDue(performance.now()));
      sleepUntil(core);
    }
    tellLoad(core);
  });
  await Promise.all([playStartup(config, core.log), workerReady]);
  if (!core.orphan) core.api.write(jsonFrame(FRAME.ready, { workerPid: core.worker.pid }));
}

await main();
