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
import { BLOCK_TOKENS, parseTrace, readTrace } from '../../bench/load/trace.ts';
import { CodedError } from '../../lib/errors.ts';
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
  t.ok(realClock.nowMs() >= startMs + 19);
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

/** The words of a refusal; a trace that is taken has none. */
function refusalOf(text: string): string {
  try {
    parseTrace(text, 'x');
    return '';
  } catch (error) {
    if (error instanceof CodedError && error.code === 'invalid_value') return error.message;
    throw error;
  }
}

t.test('a Mooncake trace keeps its blocks, and is replayed as fast as asked', async (t) => {
  const text =
    '{"timestamp": 3000, "input_length": 600, "output_length": 5, "hash_ids": [0, 7]}\n' +
    '{"timestamp": 9000, "input_length": 700, "output_length": 6, "hash_ids": [0, 9]}\n\n' +
    '{"timestamp": 90000, "input_length": 1, "output_length": 1, "hash_ids": []}\n';
  const trace = parseTrace(text, 'x');
  t.same(trace[1], { atMs: 9000, inputTokens: 700, outputTokens: 6, blocks: [0, 9] });
  const played = replayArrivals(trace, { speed: 2, seconds: 10 });
  t.same(
    played.map(({ atMs }) => atMs),
    [0, 3000],
    'from the first request on, and no longer than asked',
  );
  const prompts = played.map((arrival, index) => promptOf(arrival, index));
  const words = (text: string): string[] => text.split(' ');
  t.same(
    prompts.map((prompt) => words(prompt).length),
    [600, 700],
  );
  t.same(words(prompts[0] as string).slice(0, BLOCK_TOKENS), words(prompts[1] as string).slice(0, BLOCK_TOKENS));
  t.not(words(prompts[0] as string)[BLOCK_TOKENS + 5], undefined);
  t.notSame(words(prompts[0] as string).slice(BLOCK_TOKENS, 600), words(prompts[1] as string).slice(BLOCK_TOKENS, 600));
});

t.test('prompts without blocks share nothing', async (t) => {
  const arrival = { atMs: 0, inputTokens: 50, outputTokens: 1 };
  t.not(promptOf(arrival, 1), promptOf(arrival, 2));
  t.equal(promptOf(arrival, 1), promptOf(arrival, 1));
});

t.test('Azure traces of both years are read, compressed or not', async (t) => {
  const of2023 =
    'TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:15:46.6805900,374,44\r\n2023-11-16 18:15:50.9951690,396,0\r\n';
  const rows = parseTrace(of2023, 'x');
  t.equal(rows.length, 2);
  t.ok(Math.abs((rows[1] as Arrival).atMs - (rows[0] as Arrival).atMs - 4314.579) < 0.01);
  t.match(rows[1], { inputTokens: 396, outputTokens: 1 });
  const of2024 = 'TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00.009930+00:00,2162,5\n';
  const file = path.join(t.testdir(), 'trace.csv.gz');
  writeFileSync(file, gzipSync(of2024));
  t.match(await readTrace(file), [{ atMs: Date.UTC(2024, 4, 10) + 9.93, inputTokens: 2162 }]);
  await t.rejects(readTrace('/nowhere/at/all'), { code: 'invalid_value' });
});

t.test('a trace that is not whole is refused with its line', async (t) => {
  const good = '{"timestamp": 0, "input_length": 6, "output_length": 5}\n';
  t.match(refusalOf(`${good}{"timestamp": 0, "inp`), /Line 2 of x/);
  t.match(refusalOf(`${good}null`), /Line 2/);
  t.match(refusalOf('{"timestamp": -1, "input_length": 6, "output_length": 5}'), /Line 1/);
  t.match(refusalOf('{"timestamp": 1, "input_length": 1e99, "output_length": 5}'), /Line 1/);
  t.match(refusalOf('{"timestamp": 1, "input_length": 6, "output_length": 5, "hash_ids": ["a"]}'), /Line 1/);
  t.match(refusalOf('TIMESTAMP,ContextTokens,GeneratedTokens\nyesterday,1,2\n'), /Line 2/);
  t.match(refusalOf('TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46,1,NaN\n'), /Line 2/);
  t.match(refusalOf('time,in,out\n1,2,3\n'), /neither/);
  t.match(refusalOf('TIMESTAMP,ContextTokens,GeneratedTokens\n'), /no request/);
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
