/**
 * The open loop, its schedules, its traces and its figures: that a server which stalls shows in the latencies as often as
 * it was felt, and that nothing which failed is counted as good.
 */
import { gzipSync } from 'node:zlib';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { type Arrival, poissonArrivals, replayArrivals } from '../../bench/load/arrivals.ts';
import { LoadRecorder } from '../../bench/load/figures.ts';
import { LatencyHistogram } from '../../bench/load/histogram.ts';
import { type LoopClock, realClock, runOpenLoop } from '../../bench/load/open_loop.ts';
import { promptOf } from '../../bench/load/prompt.ts';
import { arrivalsOf, readArrivals } from '../../bench/load/trace.ts';
import { parseTrace, TraceError } from '../../bench/sim/traces/formats.ts';
import { seededRandom } from '../../lib/rng.ts';

/** A clock that moves only when somebody waits: the whole run takes no time. */
class VirtualClock implements LoopClock {
  #nowMs = 0;
  readonly #waiting: { ms: number; wake: () => void }[] = [];

  nowMs(): number {
    return this.#nowMs;
  }

  until(ms: number): Promise<void> {
    return new Promise((wake) => void this.#waiting.push({ ms: Math.max(ms, this.#nowMs), wake }));
  }

  /** Wakes whoever waits, in the order of time, until nobody does. */
  async run(): Promise<void> {
    for (;;) {
      // Everything that can go on without time goes on first.
      await new Promise((resolve) => setImmediate(resolve));
      this.#waiting.sort((a, b) => a.ms - b.ms);
      const next = this.#waiting.shift();
      if (next === undefined) return;
      this.#nowMs = Math.max(this.#nowMs, next.ms);
      next.wake();
    }
  }
}

const OBJECTIVE = { ttftMs: 500, tpotMs: 50 };
const every = (gapMs: number, count: number): Arrival[] =>
  Array.from({ length: count }, (_, i) => ({ atMs: i * gapMs, inputTokens: 1, outputTokens: 1 }));

/** A server that answers in 1 ms, but in the second from 1,000 ms on only at its end; `open` at a time. */
async function stalledRun(open: number) {
  const clock = new VirtualClock();
  const recorder = new LoadRecorder(OBJECTIVE, 0);
  const sentMs: number[] = [];
  const run = runOpenLoop({
    arrivals: every(10, 300),
    maxInFlight: open,
    clock,
    prepare: () => async (intendedMs) => {
      const nowMs = clock.nowMs();
      sentMs.push(nowMs);
      await clock.until(nowMs >= 1000 && nowMs < 2000 ? 2000 : nowMs + 1);
      recorder.end({ intendedMs, sentMs: nowMs, firstMs: clock.nowMs(), endMs: clock.nowMs(), code: 'ok', tokens: 1 });
    },
  });
  await clock.run();
  t.equal(await run, 300);
  return { figures: recorder.figures(), sentMs };
}

t.test('a server that stalls for a second delays everybody who comes in that second', async (t) => {
  const { figures, sentMs } = await stalledRun(1000);
  t.same(
    sentMs,
    every(10, 300).map(({ atMs }) => atMs),
    'every request is sent when it was to be',
  );
  // A third of the requests came during the stall, evenly: they waited from 1,000 ms down to 10.
  t.ok(figures.ttft.p90Ms > 650 && figures.ttft.p90Ms < 750, `p90 ${figures.ttft.p90Ms}`);
  t.ok(figures.ttft.p99Ms > 950, `p99 ${figures.ttft.p99Ms}`);
  t.ok(figures.ttft.p50Ms < 2, `p50 ${figures.ttft.p50Ms}`);
  t.ok(Math.abs(figures.goodput - 250 / 300) < 0.01, 'those that waited longer than 500 ms were not good');
});

t.test('latency counts from the intended time even where requests must wait for each other', async (t) => {
  const { figures, sentMs } = await stalledRun(1);
  t.ok((sentMs[101] as number) >= 2000, 'the stall held back what came after it');
  t.ok(figures.ttft.p90Ms > 650, `p90 ${figures.ttft.p90Ms}: a closed loop would have seen one slow request of 300`);
  t.ok(figures.sendLate.maxMs > 900, 'and the report says that requests were sent late');
});

t.test('a run that is told to stop sends no more and waits for what is open', async (t) => {
  const clock = new VirtualClock();
  let ended = 0;
  const run = runOpenLoop({
    arrivals: every(10, 100),
    maxInFlight: 10,
    clock,
    stopped: () => clock.nowMs() >= 300,
    prepare: () => async () => {
      await clock.until(clock.nowMs() + 25);
      ended++;
    },
  });
  await clock.run();
  t.equal(await run, 30);
  t.equal(ended, 30);
});

t.test('the real clock waits, and never blocks when time has passed', async (t) => {
  const startMs = realClock.nowMs();
  await realClock.until(startMs + 20);
  t.ok(realClock.nowMs() >= startMs + 20);
  let turned = false;
  setImmediate(() => (turned = true));
  await realClock.until(startMs);
  await realClock.until(startMs);
  t.ok(turned);
});

t.test('Poisson arrivals have the asked rate, exponential gaps, and come from the seed', async (t) => {
  const plan = { ratePerS: 50, seconds: 200, inputTokens: 3, outputTokens: 4 };
  const arrivals = poissonArrivals(plan, seededRandom(7));
  t.same(arrivals, poissonArrivals(plan, seededRandom(7)));
  t.ok(Math.abs(arrivals.length - 10_000) < 400, `${arrivals.length} of about 10,000`);
  const gaps = arrivals.slice(1).map(({ atMs }, i) => atMs - (arrivals[i] as Arrival).atMs);
  const mean = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
  const variance = gaps.reduce((sum, gap) => sum + (gap - mean) ** 2, 0) / gaps.length;
  t.ok(Math.abs(Math.sqrt(variance) / mean - 1) < 0.1, 'the deviation of an exponential is its mean');
  t.ok(arrivals.every(({ atMs }) => atMs < 200_000));
});

t.test('a trace keeps the blocks that prompts share, and is replayed as fast as asked', async (t) => {
  const text =
    '{"timestamp": 3000, "input_length": 600, "output_length": 5, "hash_ids": [0, 7]}\n' +
    '{"timestamp": 9000, "input_length": 700, "output_length": 6, "hash_ids": [0, 9]}\n\n' +
    '{"timestamp": 90000, "input_length": 1, "output_length": 1, "hash_ids": []}\n';
  const played = replayArrivals(arrivalsOf(parseTrace('x', text)), { speed: 2, seconds: 10 });
  t.match(played, [
    { atMs: 0, inputTokens: 600, outputTokens: 5 },
    { atMs: 3000, inputTokens: 700, outputTokens: 6 },
  ]);
  t.equal(played.length, 2, 'no longer than asked');
  const [first, second] = played.map((arrival, index) => promptOf(arrival, index).split(' ')) as [string[], string[]];
  t.same([first.length, second.length], [600, 700]);
  t.same(first.slice(0, 512), second.slice(0, 512));
  t.notSame(first.slice(512, 600), second.slice(512, 600));
});

t.test('prompts without blocks share nothing', async (t) => {
  const arrival = { atMs: 0, inputTokens: 50, outputTokens: 1 };
  t.not(promptOf(arrival, 1), promptOf(arrival, 2));
  t.equal(promptOf(arrival, 1), promptOf(arrival, 1));
});

t.test('traces of Azure are read with and without a zone, by name or from a compressed file', async (t) => {
  const header = 'TIMESTAMP,ContextTokens,GeneratedTokens';
  const file = path.join(t.testdir(), 'trace.csv.gz');
  const rows = '2024-05-10 00:00:01.250000+00:00,2162,5\n2024-05-10 01:00:00.009930+01:00,7,8\n';
  writeFileSync(file, gzipSync(`${header}\n${rows}`));
  const [first, second] = await readArrivals(file, 0);
  t.match([first, second], [{ atMs: 0, inputTokens: 7 }, { inputTokens: 2162 }]);
  t.ok(Math.abs((second?.atMs ?? 0) - 1240.07) < 0.01, 'the zones are taken into account');
  t.equal((await readArrivals('azure', 0)).length, 19_366);
  t.throws(() => parseTrace('x', `${header}\nyesterday,1,2\n`), TraceError);
});

t.test('a trace that cannot be read is refused with a code', async (t) => {
  await t.rejects(readArrivals('/nowhere/at/all', 0), { code: 'invalid_value', param: 'trace' });
  const file = path.join(t.testdir(), 'cut.jsonl');
  writeFileSync(file, '{"timestamp": 0, "inp');
  await t.rejects(readArrivals(file, 0), { code: 'invalid_value', message: /line 1/ });
});

t.test('the histogram is exact to three digits at every quantile', async (t) => {
  const histogram = new LatencyHistogram();
  for (let ms = 1; ms <= 10_000; ms++) histogram.record(ms);
  for (const q of [0.01, 0.5, 0.9, 0.99, 0.999]) {
    const error = Math.abs(histogram.at(q) / (q * 10_000) - 1);
    t.ok(error < 0.002, `${q}: off by ${error}`);
  }
  t.equal(histogram.at(1), 10_000);
  t.equal(histogram.figures().count, 10_000);
  const curve = histogram.curve();
  t.same(curve[0]?.[0], 0);
  t.ok(
    curve.every(([, ms], i) => i === 0 || ms >= (curve[i - 1]?.[1] as number)),
    'a distribution never falls',
  );
});

t.test('the histogram takes what is no time, and an empty one has no figures', async (t) => {
  const histogram = new LatencyHistogram();
  t.match(histogram.figures(), { count: 0, p50Ms: Number.NaN, meanMs: Number.NaN, maxMs: Number.NaN });
  t.same(histogram.curve(), []);
  histogram.record(Number.NaN);
  histogram.record(-5);
  histogram.record(5, 0);
  histogram.record(Number.POSITIVE_INFINITY);
  t.match(histogram.figures(), { count: 3, p50Ms: 0, maxMs: 3_600_000 });
});

t.test('refused, cut and slow requests count against the goodput', async (t) => {
  const recorder = new LoadRecorder(OBJECTIVE, 1000);
  const base = { intendedMs: 1000, sentMs: 1000, endMs: 2000, tokens: 11 };
  recorder.end({ ...base, firstMs: 1500, code: 'ok' });
  recorder.end({ ...base, firstMs: 1501, code: 'ok' });
  recorder.end({ ...base, firstMs: 1100, code: 'ok', tokens: 10 });
  recorder.end({ ...base, code: 'http_429' });
  recorder.end({ ...base, firstMs: 1100, code: 'cut' });
  recorder.end({ ...base, code: 'http_429' });
  const figures = recorder.figures();
  t.match(figures, { requests: 6, ok: 3, failed: 3, errors: { http_429: 2, cut: 1 }, goodput: 0.1667 });
  t.same(Object.keys(figures.errors), ['http_429', 'cut'], 'the most frequent first');
  t.equal(figures.e2e.count, 3, 'what failed has no latency: it would make failing fast look good');
});

t.test('tokens that arrive together share the time, and the gap is what the reader sees', async (t) => {
  const recorder = new LoadRecorder(OBJECTIVE, 0);
  recorder.arrived(1, 0);
  recorder.arrived(4, 80, 80);
  recorder.arrived(1, 1100, 20);
  const { itl, gap, tokens, timeline } = recorder.figures();
  t.match(itl, { count: 5, p50Ms: 20, maxMs: 20 });
  t.match(gap, { count: 2, maxMs: 80 });
  t.equal(tokens, 6);
  t.match(timeline, [
    { second: 0, tokens: 5 },
    { second: 1, tokens: 1 },
  ]);
});

t.test('words for errors are bounded, however many a server invents', async (t) => {
  const recorder = new LoadRecorder(OBJECTIVE, 0);
  for (let i = 0; i < 500; i++) recorder.end({ intendedMs: 0, sentMs: 0, endMs: 1, tokens: 0, code: `word_${i}` });
  const { errors, failed } = recorder.figures();
  t.equal(failed, 500);
  t.ok(Object.keys(errors).length <= 51);
  t.equal(
    Object.values(errors).reduce((sum, count) => sum + count, 0),
    500,
  );
});
