/**
 * Runs generations: starts a request's sequences on the backend, gathers what came of them in one turn of the event
 * loop and writes it with one system call per client. A client that reads slowly gets its tokens merged into fewer,
 * larger chunks (as vLLM does), so what is kept per request is bounded by its ids.
 */
import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { ENGINE_DEAD_MESSAGE, errorJson } from './api_error.ts';
import type { Backend, EndReason } from './backend.ts';
import { DONE_FRAME, usageFrame, wholeAnswer, type ChunkHead, type UsageCounts } from './chunks.ts';
import { createChoice, type Choice } from './choice.ts';
import { sendJson } from './http_io.ts';
import type { Metrics } from './metrics.ts';
import type { Plan } from './requests.ts';
import { tokenTexts, type TokenTexts } from './text_stream.ts';

/** Above this many bytes waiting in a client's socket, its tokens are merged instead of written. */
const HIGH_WATER_BYTES = 256 * 1024;

export interface RunOptions {
  readonly plan: Plan;
  readonly id: string;
  readonly model: string;
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
}

export interface Generations {
  /** The id of a body: the client's X-Request-Id where it sent one, with the prefix of its kind. */
  newId(kind: 'chat' | 'completion' | 'embedding', given: string | string[] | undefined): string;
  run(options: RunOptions): void;
  inFlight(): number;
  drained(): Promise<void>;
  endAll(how: 'abort' | 'error'): void;
}

interface Lane {
  readonly choice: Choice;
  /** Tokens not yet turned into a frame; they wait for the end of the turn, so that the last ones carry the finish reason. */
  pending: readonly number[];
  merged: number[];
  ended: EndReason | undefined;
  abort: () => void;
  cachedTokens: number;
  lastAtMs: number;
  firstAtMs: number;
}

interface Run extends RunOptions {
  readonly head: ChunkHead;
  readonly lanes: Lane[];
  readonly startedMs: number;
  dirty: boolean;
  done: boolean;
  error: { message: string; code: number } | undefined;
  /** Frames of this turn, not yet written. */
  out: string;
  readonly onDrain: () => void;
}

interface Shared {
  readonly backend: Backend;
  readonly metrics: Metrics;
  readonly texts: TokenTexts;
  readonly runs: Set<Run>;
  dirty: Run[];
  scheduled: boolean;
  waiters: (() => void)[];
}

const PREFIX = { chat: 'chatcmpl-', completion: 'cmpl-', embedding: 'embd-' } as const;

export function createGenerations(backend: Backend, metrics: Metrics): Generations {
  const shared: Shared = {
    backend,
    metrics,
    texts: tokenTexts(backend),
    runs: new Set(),
    dirty: [],
    scheduled: false,
    waiters: [],
  };
  return {
    newId: (kind, given) =>
      PREFIX[kind] + (typeof given === 'string' && given !== '' ? given : randomBytes(16).toString('hex')),
    run: (options) => startRun(shared, options),
    inFlight: () => shared.runs.size,
    drained: () =>
      shared.runs.size === 0 ? Promise.resolve() : new Promise((resolve) => shared.waiters.push(resolve)),
    endAll(how) {
      for (const run of [...shared.runs]) {
        if (how === 'error') run.error ??= { message: ENGINE_DEAD_MESSAGE, code: 500 };
        endRun(shared, run, 'abort');
      }
    },
  };
}

function startRun(shared: Shared, options: RunOptions): void {
  const { plan, res } = options;
  if (res.destroyed || options.req.socket.destroyed) return;
  const head = { id: options.id, created: Math.floor(Date.now() / 1000), model: options.model };
  const startedMs = performance.now();
  const run: Run = {
    ...options,
    head,
    lanes: [],
    startedMs,
    dirty: false,
    done: false,
    error: undefined,
    out: '',
    onDrain: () => markDirty(shared, run),
  };
  shared.runs.add(run);
  res.on('close', () => leave(shared, run));
  if (plan.stream) {
    res.writeHead(200, { server: 'uvicorn', 'content-type': 'text/event-stream; charset=utf-8' });
    res.flushHeaders();
    options.req.socket.on('drain', run.onDrain);
  }
  for (let index = 0; index < plan.n * plan.prompts.length; index += 1) {
    run.lanes.push({
      choice: createChoice(plan, shared.backend, shared.texts, head, index),
      pending: [],
      merged: [],
      ended: undefined,
      abort: () => undefined,
      cachedTokens: 0,
      lastAtMs: 0,
      firstAtMs: 0,
    });
  }
  for (const lane of run.lanes) if (!run.done) startLane(shared, run, lane);
}

function startLane(shared: Shared, run: Run, lane: Lane): void {
  const { plan } = run;
  const at = Math.floor(lane.choice.index / plan.n);
  const promptIds = plan.prompts[at] as readonly number[];
  lane.abort = shared.backend.generate(
    {
      requestId: lane.choice.index === 0 ? run.id : `${run.id}-${lane.choice.index}`,
      promptIds,
      maxTokens: plan.maxTokens[at] as number,
      minTokens: plan.minTokens,
      temperature: plan.temperature,
      topP: plan.topP,
      topK: plan.topK,
      seed: plan.seed === undefined ? undefined : plan.seed + (lane.choice.index % plan.n),
      ignoreEos: plan.ignoreEos,
      stopTokenIds: plan.stopTokenIds,
      ...(plan.script === undefined ? {} : { scripted: plan.script }),
    },
    {
      onPrefill(cachedTokens) {
        lane.cachedTokens = cachedTokens;
        shared.metrics.promptTokens(promptIds.length, cachedTokens);
      },
      onTokens(ids) {
        if (run.done || lane.ended !== undefined) return;
        if (lane.pending.length > 0 && !congested(run)) emit(shared, run, lane, performance.now());
        if (lane.pending.length === 0) lane.pending = ids;
        else {
          // A reader that falls behind far gathers many tokens: they go into one array of the lane's own.
          if (lane.merged !== lane.pending) lane.merged = [...lane.pending];
          for (const id of ids) lane.merged.push(id);
          lane.pending = lane.merged;
        }
        markDirty(shared, run);
      },
      onEnd(reason, error) {
        if (run.done || lane.ended !== undefined) return;
        lane.ended = reason;
        if (error !== undefined) run.error ??= error;
        markDirty(shared, run);
      },
    },
  );
}

function congested(run: Run): boolean {
  return (run.res.socket?.writableLength ?? 0) > HIGH_WATER_BYTES;
}

function markDirty(shared: Shared, run: Run): void {
  if (run.dirty || run.done) return;
  run.dirty = true;
  shared.dirty.push(run);
  if (shared.scheduled) return;
  shared.scheduled = true;
  setImmediate(() => flushAll(shared));
}

function flushAll(shared: Shared): void {
  const runs = shared.dirty;
  shared.dirty = [];
  shared.scheduled = false;
  const nowMs = performance.now();
  for (const run of runs) {
    run.dirty = false;
    if (!run.done) flushRun(shared, run, nowMs);
  }
}

function flushRun(shared: Shared, run: Run, nowMs: number): void {
  if (run.error !== undefined) {
    endRun(shared, run, 'error');
    return;
  }
  const slow = congested(run);
  let ended = true;
  for (const lane of run.lanes) {
    if (lane.pending.length > 0 || (lane.ended !== undefined && lane.choice.finish === undefined)) {
      if (slow) return;
      emit(shared, run, lane, nowMs);
    }
    if (lane.choice.finish === undefined) ended = false;
  }
  if (ended) finishRun(shared, run, nowMs);
  else if (run.plan.stream) writeOut(run);
}

function observe(shared: Shared, run: Run, lane: Lane, nowMs: number): void {
  const tokens = lane.pending.length;
  if (tokens === 0) return;
  shared.metrics.generated(tokens);
  if (lane.firstAtMs === 0) {
    lane.firstAtMs = nowMs;
    shared.metrics.firstToken(nowMs - run.startedMs);
  } else shared.metrics.moreTokens(tokens, nowMs - lane.lastAtMs);
  lane.lastAtMs = nowMs;
}

/** Turns what a lane has pending into frames in the run's out box; ends the sequence on the backend at a stop string. */
function emit(shared: Shared, run: Run, lane: Lane, nowMs: number): void {
  const ids = lane.pending;
  observe(shared, run, lane, nowMs);
  lane.pending = [];
  const { choice } = lane;
  const frames = lane.ended === undefined ? choice.take(ids) : choice.end(ids, lane.ended);
  if (frames !== '') run.out += frames;
  if (choice.finish !== undefined && lane.ended === undefined) {
    lane.ended = 'stop';
    lane.abort();
    markDirty(shared, run);
  }
}

/** One write per client and turn, past the response object's own machinery: it is the hottest line of the surface. */
function writeOut(run: Run): void {
  const text = run.out;
  if (text === '') return;
  run.out = '';
  const { res } = run;
  const socket = res.socket;
  if (socket === null || !res.chunkedEncoding) {
    res.write(text);
    return;
  }
  const bytes = Buffer.byteLength(text);
  socket.write(`${bytes.toString(16)}\r\n${text}\r\n`, bytes === text.length ? 'latin1' : 'utf8');
}

function usageOf(run: Run): UsageCounts {
  let completionTokens = 0;
  let cachedTokens = 0;
  for (const lane of run.lanes) {
    completionTokens += lane.choice.tokens;
    if (lane.choice.index % run.plan.n === 0) cachedTokens += lane.cachedTokens;
  }
  return { promptTokens: run.plan.prompts.reduce((sum, ids) => sum + ids.length, 0), completionTokens, cachedTokens };
}

function finishRun(shared: Shared, run: Run, nowMs: number): void {
  const usage = usageOf(run);
  for (const lane of run.lanes) {
    const reason = lane.choice.finish?.reason === 'tool_calls' ? 'stop' : (lane.choice.finish?.reason ?? 'stop');
    shared.metrics.finished(reason, {
      totalMs: nowMs - run.startedMs,
      firstTokenMs: lane.firstAtMs - run.startedMs,
      tokens: lane.choice.tokens,
    });
  }
  if (run.plan.stream) {
    const tail = (run.plan.includeUsage ? usageFrame(run.plan, run.head, usage) : '') + DONE_FRAME;
    run.out += tail;
    closeStream(run);
  } else {
    sendJson(
      run.res,
      200,
      wholeAnswer(
        run.plan,
        run.head,
        run.lanes.map((lane) => lane.choice.whole()),
        usage,
      ),
    );
  }
  settle(shared, run);
}

/** Ends a run from outside its backend: an error chunk, or finish_reason "abort" for each choice that is still open. */
function endRun(shared: Shared, run: Run, reason: 'abort' | 'error'): void {
  if (run.done) return;
  for (const lane of run.lanes) {
    if (lane.ended === undefined) lane.abort();
    lane.ended ??= reason;
  }
  const { error } = run;
  if (error === undefined) {
    const nowMs = performance.now();
    for (const lane of run.lanes) emit(shared, run, lane, nowMs);
    finishRun(shared, run, nowMs);
    return;
  }
  if (run.plan.stream) {
    // What was made before the error still belongs to the client.
    for (const lane of run.lanes) {
      if (lane.pending.length === 0) continue;
      const frames = lane.choice.take(lane.pending);
      run.out += frames;
    }
    run.out += `data: ${errorJson(error.code, error.message)}\n\n${DONE_FRAME}`;
    closeStream(run);
  } else sendJson(run.res, error.code, errorJson(error.code, error.message));
  settle(shared, run);
}

function closeStream(run: Run): void {
  const { socket } = run.res;
  socket?.cork();
  writeOut(run);
  run.res.end();
  socket?.uncork();
}

/** The client is gone: stop its sequences at once and forget it. */
function leave(shared: Shared, run: Run): void {
  if (run.done) return;
  for (const lane of run.lanes) if (lane.ended === undefined) lane.abort();
  settle(shared, run);
}

function settle(shared: Shared, run: Run): void {
  run.done = true;
  // The connection may live on for other requests.
  run.req.socket.off('drain', run.onDrain);
  shared.runs.delete(run);
  if (shared.runs.size > 0) return;
  const waiters = shared.waiters;
  shared.waiters = [];
  for (const waiter of waiters) waiter();
}
