/**
 * Batching in virtual time: the measured points of a real engine, preemption, chunked prefill and the prefix cache.
 */
import t from 'tap';
import { TIMING_ROWS } from '../../../../lib/engine_timing.ts';
import { createBatch, type Batch, type BatchOptions } from '../../../../agent/engines/sim/batch.ts';
import { createBlockPool, type KvEvent } from '../../../../agent/engines/sim/block_pool.ts';
import type { AddMessage, StepEntry } from '../../../../agent/engines/sim/frames.ts';
import { buildVocabulary } from '../../../../agent/engines/sim/vocabulary.ts';
import { createWriter } from '../../../../agent/engines/sim/writer.ts';

const vocabulary = buildVocabulary();

function batchOf(more: Partial<BatchOptions> & { blocks?: number; events?: KvEvent[] } = {}): Batch {
  const { blocks = 40_000, events, ...options } = more;
  return createBatch({
    timing: { kind: 'unpaced' },
    maxSequences: 256,
    maxBatchedTokens: 8_192,
    streamInterval: 1,
    pool: createBlockPool({
      blocks,
      blockTokens: 16,
      ...(events ? { onEvent: (event: KvEvent) => void events.push(event) } : {}),
    }),
    createWriter: () => createWriter({ vocabulary, seed: 0, prefixIds: [], meanTokens: 1_000 }),
    ...options,
  });
}

function ask(handle: number, promptTokens: number, maxTokens: number, salt = handle): AddMessage {
  const promptIds = Array.from({ length: promptTokens }, (_, at) => 300 + ((at * 7 + salt * 13) % 500));
  return { handle, maxTokens, minTokens: 0, ignoreEos: true, seed: undefined, stopIds: [], promptIds, script: [] };
}

interface Figures {
  readonly ttftMs: number;
  readonly tpotMs: number;
}

/** `concurrency` clients in a closed loop, in virtual time: mean TTFT and time per output token of the second half. */
function closedLoop(
  batch: Batch,
  concurrency: number,
  promptTokens: number,
  outputTokens: number,
  requests: number,
): Figures {
  let nowMs = 0;
  let next = 0;
  const begun = new Map<number, number>();
  const first = new Map<number, number>();
  const done: { ttftMs: number; tpotMs: number }[] = [];
  const start = (): void => {
    begun.set(next, nowMs);
    batch.add(ask(next, promptTokens, outputTokens), nowMs);
    next += 1;
  };
  const take = (entry: StepEntry): void => {
    if (!first.has(entry.handle)) first.set(entry.handle, nowMs);
    if (entry.end === undefined) return;
    const firstMs = first.get(entry.handle) as number;
    done.push({
      ttftMs: firstMs - (begun.get(entry.handle) as number),
      tpotMs: (nowMs - firstMs) / (outputTokens - 1),
    });
    start();
  };
  // Clients do not begin in one instant; a real load is spread over its requests.
  let nextStartMs = 0;
  while (done.length < requests) {
    while (next < concurrency && nowMs >= nextStartMs) {
      start();
      nextStartMs += 200;
    }
    const step = batch.schedule(nowMs);
    if (step === undefined) {
      nowMs = Math.max(nowMs + 0.01, batch.nextDueMs() ?? nextStartMs);
      continue;
    }
    nowMs += step.durationMs;
    for (const entry of batch.complete(step)) take(entry);
  }
  const half = done.slice(Math.floor(done.length / 2));
  const mean = (key: keyof Figures): number => half.reduce((sum, item) => sum + item[key], 0) / half.length;
  return { ttftMs: mean('ttftMs'), tpotMs: mean('tpotMs') };
}

t.test('in virtual time it meets the measured points of 70B fp8 on 4 x H100', async (t) => {
  const timing = { kind: 'row', row: TIMING_ROWS['70b-fp8-h100-tp4'], speed: 1 } as const;
  const near = (name: string, is: number, want: number, share: number): void => {
    t.ok(Math.abs(is - want) / want < share, `${name}: ${is.toFixed(1)} ms, measured ${want} ms`);
  };
  const light = closedLoop(batchOf({ timing }), 4, 1_024, 1_024, 24);
  near('TTFT at 4 clients', light.ttftMs, 80, 0.2);
  near('TPOT at 4 clients', light.tpotMs, 11.8, 0.15);
  const busy = closedLoop(batchOf({ timing }), 64, 1_024, 1_024, 192);
  near('TPOT at 64 clients', busy.tpotMs, 19.5, 0.1);
  const long = closedLoop(batchOf({ timing }), 64, 8_192, 1_024, 192);
  near('TPOT at 64 clients with long prompts', long.tpotMs, 53.5, 0.1);
});

/** Runs until idle; ids per handle. */
function runAll(batch: Batch): Map<number, number[]> {
  const ids = new Map<number, number[]>();
  for (let guard = 0; guard < 100_000; guard += 1) {
    const step = batch.schedule(0);
    if (step === undefined) return ids;
    for (const entry of batch.complete(step)) ids.set(entry.handle, [...(ids.get(entry.handle) ?? []), ...entry.ids]);
  }
  throw new Error('the batch does not come to an end');
}

t.test(
  'out of blocks, the latest sequence is preempted and recomputed: nothing is lost, nothing differs',
  async (t) => {
    const roomy = batchOf();
    const tight = batchOf({ blocks: 24 });
    for (const batch of [roomy, tight])
      for (let handle = 0; handle < 4; handle += 1) batch.add(ask(handle, 60, 100), 0);
    const [want, is] = [runAll(roomy), runAll(tight)];
    t.ok(tight.load().preemptions > 0);
    t.same([...is].sort(), [...want].sort());
    t.equal(tight.load().kvCacheUsage, 0, 'every block was given back');
  },
);

t.test('a long prompt is prefilled in chunks while others go on decoding', async (t) => {
  const batch = batchOf({ maxBatchedTokens: 128 });
  batch.add(ask(1, 20, 50), 0);
  batch.complete(batch.schedule(0) as never);
  batch.add(ask(2, 500, 5), 0);
  let waited = 0;
  for (;;) {
    const entries = batch.complete(batch.schedule(0) as never);
    t.ok(
      entries.some((entry) => entry.handle === 1),
      'the first goes on',
    );
    if (entries.some((entry) => entry.handle === 2)) break;
    waited += 1;
    if (waited > 10) break;
  }
  t.equal(waited, 3, '500 tokens need four steps of at most 127');
});

t.test('aborting gives back blocks in every phase, also while a step runs', async (t) => {
  const batch = batchOf({ maxSequences: 2 });
  for (let handle = 1; handle <= 3; handle += 1) batch.add(ask(handle, 100, 50), 0);
  const step = batch.schedule(0);
  t.match(batch.load(), { running: 2, waiting: 1 });
  batch.abort(1);
  batch.abort(3);
  t.same(
    batch.complete(step as never).map((entry) => entry.handle),
    [2],
  );
  batch.abort(2);
  batch.abort(2);
  t.match(batch.load(), { running: 0, waiting: 0, kvCacheUsage: 0 });
});

t.test('the least recently used prefix makes room first, and its removal is told', async (t) => {
  const events: KvEvent[] = [];
  const batch = batchOf({ blocks: 12, events });
  const run = (salt: number): number => {
    batch.add(ask(salt, 64, 1, salt), 0);
    const entries = batch.complete(batch.schedule(0) as never);
    return entries[0]?.cachedTokens ?? -1;
  };
  t.same([run(1), run(2), run(1), run(3), run(4)], [0, 0, 48, 0, 0]);
  t.equal(run(1), 48, 'used lately, still there');
  t.equal(run(2), 0, 'unused longest, gone');
  const removed = events.filter((event) => event.type === 'BlockRemoved').flatMap((event) => event.block_hashes);
  const stored = events.filter((event) => event.type === 'BlockStored').flatMap((event) => event.block_hashes);
  t.ok(removed.length > 0);
  t.ok(removed.every((hash) => stored.includes(hash)));
});
