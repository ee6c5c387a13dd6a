/**
 * Continuous batching as vLLM schedules it: running sequences first, then waiting ones while the step's token budget,
 * the sequence limit and the KV blocks allow; long prompts in chunks; the latest sequence is preempted (and recomputed)
 * when blocks run out. Pure: the time is an argument, so it also runs in virtual time.
 */
import {
  API_OVERHEAD_MS_PER_REQUEST,
  API_OVERHEAD_MS_PER_TOKEN,
  stepMs,
  type TimingRow,
} from '../../../lib/engine_timing.ts';
import type { Block, BlockPool } from './block_pool.ts';
import type { AddMessage, CoreLoad, StepEntry } from './frames.ts';
import { EOS } from './vocabulary.ts';
import type { Writer } from './writer.ts';

/** What drives the length of a step. `speed` 2 halves every duration. */
export type Timing =
  | { readonly kind: 'unpaced' }
  /** The first `ttftAfter` requests have no TTFT: an engine that is made slow still passes its agent's warm-up. */
  | { readonly kind: 'fixed'; readonly itlMs: number; readonly ttftMs: number; readonly ttftAfter: number }
  | { readonly kind: 'row'; readonly row: TimingRow; readonly speed: number };

export interface BatchOptions {
  readonly timing: Timing;
  readonly maxSequences: number;
  readonly maxBatchedTokens: number;
  readonly pool: BlockPool;
  /** Tokens of a sequence that are kept back to be told together (vLLM's --stream-interval). */
  readonly streamInterval: number;
  readonly createWriter: () => Writer;
}

interface Sequence {
  readonly handle: number;
  readonly ids: number[];
  readonly ask: AddMessage;
  readonly writer: Writer;
  readonly notBeforeMs: number;
  blocks: Block[];
  lastHash: number | undefined;
  filled: number;
  computed: number;
  cached: number;
  emitted: number;
  told: boolean;
  unsent: number[];
  /** Among the running, as opposed to waiting (again, after a preemption). */
  admitted: boolean;
  gone: boolean;
}

interface Share {
  readonly sequence: Sequence;
  readonly tokens: number;
  /** Uncached prompt tokens that were computed before, for the cost of a chunk; -1 for decoding. */
  readonly prefillFrom: number;
}

/** One scheduled step; `complete` turns it into tokens once its time is over. */
export interface Step {
  readonly shares: readonly Share[];
  readonly durationMs: number;
  readonly prefillTokens: number;
}

export interface Batch {
  add(ask: AddMessage, nowMs: number): void;
  abort(handle: number): void;
  schedule(nowMs: number): Step | undefined;
  complete(step: Step): StepEntry[];
  /** First tokens that are due on their own (fixed TTFT), outside the steps of the others. */
  takeDue(nowMs: number): StepEntry[];
  /** When something becomes due that no step announces; undefined when nothing does. */
  nextDueMs(): number | undefined;
  load(): CoreLoad;
  clearCache(): void;
}

interface State {
  readonly options: BatchOptions;
  running: Sequence[];
  waiting: Sequence[];
  /** Sequences in their prefill where the TTFT is fixed; they count as running. */
  warming: { sequence: Sequence; dueMs: number }[];
  /** Sequences that have gone through `warming`. */
  slowed: number;
  readonly byHandle: Map<number, Sequence>;
  iterations: number;
  queries: number;
  hits: number;
  preemptions: number;
}

export function createBatch(options: BatchOptions): Batch {
  const state: State = {
    options,
    running: [],
    waiting: [],
    warming: [],
    slowed: 0,
    byHandle: new Map(),
    iterations: 0,
    queries: 0,
    hits: 0,
    preemptions: 0,
  };
  return {
    add: (ask, nowMs) => addSequence(state, ask, nowMs),
    abort(handle) {
      const sequence = state.byHandle.get(handle);
      if (sequence !== undefined) drop(state, sequence);
    },
    schedule: (nowMs) => schedule(state, nowMs),
    complete(step) {
      state.iterations += 1;
      const entries: StepEntry[] = [];
      for (const share of step.shares) {
        const { sequence } = share;
        // A preempted or aborted sequence lost its blocks while the step ran; its share of the step is void.
        if (sequence.gone || !sequence.admitted) continue;
        advance(state, sequence, share.tokens, entries);
      }
      return entries;
    },
    takeDue: (nowMs) => takeDue(state, nowMs),
    nextDueMs: () => nextDue(state),
    load: () => ({
      running: state.running.length + state.warming.length,
      waiting: state.waiting.length,
      kvCacheUsage: options.pool.usage(),
      iterations: state.iterations,
      prefixCacheQueries: state.queries,
      prefixCacheHits: state.hits,
      preemptions: state.preemptions,
    }),
    clearCache: () => options.pool.clear(),
  };
}

function addSequence(state: State, ask: AddMessage, nowMs: number): void {
  const { timing } = state.options;
  const writer = state.options.createWriter();
  for (const id of ask.promptIds) writer.feed(id);
  if (ask.seed !== undefined) writer.reseed(ask.seed);
  const sequence: Sequence = {
    handle: ask.handle,
    ids: [...ask.promptIds],
    ask,
    writer,
    notBeforeMs: timing.kind === 'row' ? nowMs + API_OVERHEAD_MS_PER_REQUEST / timing.speed : nowMs,
    blocks: [],
    lastHash: undefined,
    filled: 0,
    computed: 0,
    cached: 0,
    emitted: 0,
    told: false,
    unsent: [],
    admitted: false,
    gone: false,
  };
  state.byHandle.set(ask.handle, sequence);
  state.waiting.push(sequence);
}

function drop(state: State, sequence: Sequence): void {
  sequence.gone = true;
  state.byHandle.delete(sequence.handle);
  state.options.pool.release(sequence.blocks);
  sequence.blocks = [];
  state.running = state.running.filter((other) => other !== sequence);
  state.waiting = state.waiting.filter((other) => other !== sequence);
  state.warming = state.warming.filter((other) => other.sequence !== sequence);
}

/** Takes blocks until `tokens` tokens have room; false when the pool is out of them (what was taken stays). */
function grow(state: State, sequence: Sequence, tokens: number): boolean {
  const { pool } = state.options;
  const need = Math.ceil(tokens / pool.blockTokens);
  while (sequence.blocks.length < need) {
    const block = pool.take();
    if (block === undefined) return false;
    sequence.blocks.push(block);
  }
  return true;
}

/** Back to the head of the queue; what it had computed is forgotten when it claims blocks again. */
function preempt(state: State, sequence: Sequence): void {
  state.options.pool.release(sequence.blocks);
  sequence.blocks = [];
  sequence.admitted = false;
  state.running = state.running.filter((other) => other !== sequence);
  state.waiting.unshift(sequence);
  state.preemptions += 1;
}

function schedule(state: State, nowMs: number): Step | undefined {
  const { options } = state;
  const shares: Share[] = [];
  let budget = options.maxBatchedTokens;
  const preemptionsBefore = state.preemptions;
  for (const sequence of [...state.running]) {
    if (budget <= 0 || !sequence.admitted) continue;
    const tokens = Math.min(budget, sequence.ids.length - sequence.computed);
    while (!grow(state, sequence, sequence.computed + tokens)) {
      const last = state.running.at(-1) as Sequence;
      preempt(state, last);
      if (last === sequence) break;
    }
    if (!sequence.admitted) continue;
    budget -= tokens;
    shares.push(shareOf(sequence, tokens));
  }
  if (state.preemptions === preemptionsBefore) admit(state, nowMs, budget, shares);
  const kept = shares.filter((share) => share.sequence.admitted);
  if (kept.length === 0) return undefined;
  return stepOf(options.timing, kept);
}

function shareOf(sequence: Sequence, tokens: number): Share {
  const decoding = sequence.emitted > 0 && tokens === 1;
  return { sequence, tokens, prefillFrom: decoding ? -1 : sequence.computed - sequence.cached };
}

function admit(state: State, nowMs: number, tokenBudget: number, shares: Share[]): void {
  const { options } = state;
  const { pool, timing } = options;
  let budget = tokenBudget;
  while (state.waiting.length > 0 && state.running.length + state.warming.length < options.maxSequences && budget > 0) {
    const sequence = state.waiting[0] as Sequence;
    if (sequence.notBeforeMs > nowMs) return;
    // The last prompt token is always computed, since its output is the first token.
    const claimed = pool.claimPrefix(sequence.ids, Math.floor((sequence.ids.length - 1) / pool.blockTokens));
    const cached = claimed.length * pool.blockTokens;
    const whole = timing.kind === 'fixed' && timing.ttftMs > 0;
    const tokens = whole ? sequence.ids.length - cached : Math.min(budget, sequence.ids.length - cached);
    const need = Math.ceil((cached + tokens) / pool.blockTokens) - claimed.length;
    if (need > pool.freeBlocks()) {
      pool.release(claimed);
      return;
    }
    state.waiting.shift();
    claim(state, sequence, claimed);
    grow(state, sequence, cached + tokens);
    if (whole) {
      const ttftMs = state.slowed < timing.ttftAfter ? 0 : timing.ttftMs;
      state.slowed += 1;
      state.warming.push({ sequence, dueMs: Math.max(nowMs, sequence.notBeforeMs + ttftMs) });
      continue;
    }
    budget -= tokens;
    state.running.push(sequence);
    shares.push(shareOf(sequence, tokens));
  }
}

function claim(state: State, sequence: Sequence, claimed: Block[]): void {
  const cached = claimed.length * state.options.pool.blockTokens;
  sequence.admitted = true;
  sequence.blocks = claimed;
  sequence.filled = claimed.length;
  sequence.lastHash = claimed.at(-1)?.hash;
  sequence.computed = cached;
  if (!sequence.told) {
    sequence.cached = cached;
    state.queries += sequence.ids.length;
    state.hits += cached;
  }
}

function stepOf(timing: Timing, shares: readonly Share[]): Step {
  let prefillTokens = 0;
  let sequences = 0;
  let contextTokens = 0;
  const prefills: { from: number; to: number }[] = [];
  for (const share of shares) {
    if (share.prefillFrom < 0) {
      sequences += 1;
      contextTokens += share.sequence.ids.length;
    } else {
      prefillTokens += share.tokens;
      if (timing.kind === 'row') prefills.push({ from: share.prefillFrom, to: share.prefillFrom + share.tokens });
    }
  }
  let durationMs = 0;
  if (timing.kind === 'fixed') durationMs = timing.itlMs;
  else if (timing.kind === 'row') {
    durationMs =
      (stepMs(timing.row, { prefills, sequences, contextTokens }) + API_OVERHEAD_MS_PER_TOKEN) / timing.speed;
  }
  return { shares, durationMs, prefillTokens };
}

/** Books `tokens` computed tokens; when the sequence is up to date, its next token is made and told. */
function advance(state: State, sequence: Sequence, tokens: number, entries: StepEntry[]): void {
  const { pool } = state.options;
  sequence.computed += tokens;
  while ((sequence.filled + 1) * pool.blockTokens <= sequence.computed) {
    const block = sequence.blocks[sequence.filled] as Block;
    sequence.lastHash = pool.fill(block, sequence.lastHash, sequence.ids, sequence.filled * pool.blockTokens);
    sequence.filled += 1;
  }
  if (sequence.computed < sequence.ids.length) return;
  const id = nextId(sequence);
  sequence.writer.feed(id);
  sequence.ids.push(id);
  sequence.emitted += 1;
  sequence.unsent.push(id);
  const end = endOf(sequence, id);
  const first = !sequence.told;
  if (!first && end === undefined && sequence.unsent.length < state.options.streamInterval) return;
  sequence.told = true;
  entries.push({
    handle: sequence.handle,
    cachedTokens: first ? sequence.cached : undefined,
    ids: sequence.unsent,
    end,
  });
  sequence.unsent = [];
  if (end !== undefined) drop(state, sequence);
}

function nextId(sequence: Sequence): number {
  const { ask } = sequence;
  if (ask.script.length > 0) return ask.script[sequence.emitted] ?? EOS;
  return sequence.writer.next(!ask.ignoreEos && sequence.emitted >= ask.minTokens);
}

function endOf(sequence: Sequence, id: number): 'stop' | 'length' | undefined {
  const { ask } = sequence;
  if (id === EOS) return 'stop';
  if (ask.stopIds.includes(id) && sequence.emitted >= ask.minTokens) return 'stop';
  return sequence.emitted >= ask.maxTokens ? 'length' : undefined;
}

function takeDue(state: State, nowMs: number): StepEntry[] {
  const entries: StepEntry[] = [];
  if (state.options.timing.kind === 'fixed' && state.options.timing.ttftMs > 0) admit(state, nowMs, 1, []);
  const due = state.warming.filter((item) => item.dueMs <= nowMs);
  if (due.length === 0) return entries;
  state.warming = state.warming.filter((item) => item.dueMs > nowMs);
  for (const { sequence } of due) {
    state.running.push(sequence);
    advance(state, sequence, sequence.ids.length - sequence.computed, entries);
  }
  return entries;
}

function nextDue(state: State): number | undefined {
  let due: number | undefined;
  for (const item of state.warming) due = Math.min(due ?? item.dueMs, item.dueMs);
  const first = state.waiting[0];
  const full = state.running.length + state.warming.length >= state.options.maxSequences;
  if (first !== undefined && !full && state.running.length === 0)
    due = Math.min(due ?? first.notBeforeMs, first.notBeforeMs);
  return due;
}
