/** Speeds are learned from what requests take, whatever the hardware, and stay speeds whatever they are told. */
import fc from 'fast-check';
import t from 'tap';
import { decodeMs, prefillMs, type TimingRow, TIMING_ROWS } from '../../../../lib/engine_timing.ts';
import { seededRandom } from '../../../../lib/rng.ts';
import type { EngineSpeed } from '../../../../scheduler/core/routing/contract.ts';
import { createSpeedFit, createSpeedPool, type SpeedFit } from '../../../../scheduler/core/routing/speed_fit.ts';
import { NEUTRAL_SPEED, priorOf, speedOfRow } from '../../../../scheduler/core/routing/speed_priors.ts';

/** The fit of an engine that is the only one of its kind. */
const alone = (prior: EngineSpeed): SpeedFit => createSpeedFit(createSpeedPool(prior));

const prefillOf = (speed: EngineSpeed, tokens: number): number =>
  speed.prefillBaseMs + speed.prefillPerTokenMs * tokens + (speed.prefillPerTokenSquaredMs ?? 0) * tokens * tokens;
const stepOf = (speed: EngineSpeed, sequences: number, context: number): number =>
  speed.stepBaseMs + speed.stepPerSequenceMs * sequences + speed.stepPerContextTokenMs * context;

/** Feeds a fit with what an engine of the row would show, with noise and now and then something far off. */
function learn(fit: SpeedFit, row: TimingRow, count: number, seed: number): void {
  const random = seededRandom(seed);
  const noisy = (ms: number): number => ms * (1 + 0.1 * (random.next() * 2 - 1)) * (random.next() < 0.02 ? 8 : 1);
  for (let i = 0; i < count; i++) {
    const tokens = Math.round(50 * 320 ** random.next());
    fit.prefill({ tookMs: noisy(prefillMs(row, tokens)), tokens, squares: tokens * tokens, otherMs: 0 });
    const sequences = 1 + Math.floor(random.next() * 128);
    const contextTokens = sequences * (200 + random.next() * 4000);
    const tookMs = 100 * noisy(decodeMs(row, sequences, contextTokens));
    fit.decode({ tookMs, tokens: 100, sequences, contextTokens, otherMs: 0 });
  }
}

/** Largest error of what the speed foretells, as a part of the truth. */
function worstError(speed: EngineSpeed, row: TimingRow): { readonly prefill: number; readonly decode: number } {
  const off = (told: number, truth: number): number => Math.abs(told / truth - 1);
  const prefill = [300, 1000, 4000, 16_000].map((tokens) => off(prefillOf(speed, tokens), prefillMs(row, tokens)));
  const decode = [1, 16, 64, 128].flatMap((sequences) =>
    [500, 2000].map((each) =>
      off(stepOf(speed, sequences, sequences * each), decodeMs(row, sequences, sequences * each)),
    ),
  );
  return { prefill: Math.max(...prefill), decode: Math.max(...decode) };
}

for (const [name, row] of Object.entries(TIMING_ROWS)) {
  t.test(`from a neutral speed it comes to that of ${name}, whatever the order of what it sees`, async (t) => {
    for (const seed of [1, 2, 3, 4, 5]) {
      const fit = alone(NEUTRAL_SPEED);
      learn(fit, row, 800, seed);
      const { prefill, decode } = worstError(fit.speed, row);
      t.ok(prefill < 0.15, `prefill within 15 % (${prefill})`);
      t.ok(decode < 0.12, `decode within 12 % (${decode})`);
    }
  });
}

t.test('it follows an engine that becomes slower, such as a throttled GPU', async (t) => {
  const fit = alone(NEUTRAL_SPEED);
  learn(fit, TIMING_ROWS['8b-fp8-h100'], 400, 1);
  learn(fit, TIMING_ROWS['8b-bf16-h100'], 600, 2);
  const { prefill, decode } = worstError(fit.speed, TIMING_ROWS['8b-bf16-h100']);
  t.ok(prefill < 0.2 && decode < 0.15, `${prefill} ${decode}`);
});

t.test('what cannot be is left out and counted, and changes nothing', async (t) => {
  const fit = alone(NEUTRAL_SPEED);
  const odd = [Number.NaN, Infinity, -Infinity, -1, 1e15];
  const prefill = { tookMs: 10, tokens: 100, squares: 10_000, otherMs: 0 };
  const decode = { tookMs: 500, tokens: 50, sequences: 4, contextTokens: 4000, otherMs: 0 };
  for (const bad of [...odd, 0]) t.notOk(fit.prefill({ ...prefill, tookMs: bad }));
  for (const bad of [...odd, 0]) t.notOk(fit.decode({ ...decode, tookMs: bad }));
  for (const bad of odd) {
    t.notOk(fit.prefill({ ...prefill, tokens: bad }));
    t.notOk(fit.decode({ ...decode, sequences: bad }));
  }
  t.notOk(fit.decode({ ...decode, tokens: 0 }), 'a single token has no time between tokens');
  for (const bad of [Number.NaN, -1, Infinity]) t.notOk(fit.prefill({ ...prefill, otherMs: bad }));
  t.match(fit, { taken: 0, rejected: 6 + 6 + 5 + 5 + 1 + 3 });
  t.equal(fit.speed, NEUTRAL_SPEED);
});

t.test('other work that seems to take all of the time leaves a little for the request', async (t) => {
  const fit = alone(NEUTRAL_SPEED);
  for (let i = 0; i < 50; i++) t.ok(fit.prefill({ tookMs: 100, tokens: 1000, squares: 1e6, otherMs: 1000 }));
  t.ok(prefillOf(fit.speed, 1000) > 0);
});

t.test('after any observations each figure is positive and finite', async (t) => {
  const number = fc.oneof(
    fc.double({ noDefaultInfinity: false, noNaN: false }),
    fc.double({ min: 0, max: 1e6, noNaN: true }),
    fc.constantFrom(0, 1, 1e-300, 600_000, 2 ** 24, -0),
  );
  const history = fc.array(fc.tuple(fc.boolean(), number, number, number, number, number), { maxLength: 80 });
  fc.assert(
    fc.property(history, fc.constantFrom(...Object.values(TIMING_ROWS)), (steps, row) => {
      const fit = alone(speedOfRow(row));
      for (const [isPrefill, tookMs, tokens, a, b, otherMs] of steps) {
        if (isPrefill) fit.prefill({ tookMs, tokens, squares: a, otherMs });
        else fit.decode({ tookMs, tokens, sequences: a, contextTokens: b, otherMs });
        if (!Object.values(fit.speed).every((value: number) => value > 0 && value < Infinity)) return false;
      }
      return fit.taken + fit.rejected === steps.length;
    }),
    { numRuns: 500 },
  );
  t.pass('the property holds');
});

t.test('a long time of the same observation does not blow up what is not seen', async (t) => {
  const fit = alone(NEUTRAL_SPEED);
  for (let i = 0; i < 20_000; i++) fit.prefill({ tookMs: 20, tokens: 1000, squares: 1e6, otherMs: 0 });
  t.ok(Math.abs(prefillOf(fit.speed, 1000) - 20) < 1);
  fit.prefill({ tookMs: 500, tokens: 16_000, squares: 2.56e8, otherMs: 0 });
  for (const value of Object.values(fit.speed)) t.ok(value > 0 && value < Infinity);
});

t.test(
  'the model, its precision and the GPU name the row to start from; what is in no row starts neutral',
  async (t) => {
    const rowOf = (model: string, gpu: string, gpus = 1) => priorOf({ model, gpu, gpus });
    t.same(rowOf('meta-llama/Llama-3.1-8B-Instruct', 'NVIDIA H100 80GB HBM3'), speedOfRow(TIMING_ROWS['8b-bf16-h100']));
    t.same(rowOf('Llama-3.1-8B-Instruct-FP8', 'NVIDIA H200'), speedOfRow(TIMING_ROWS['8b-fp8-h200']));
    t.same(rowOf('Llama-3.3-70B-fp8', 'NVIDIA H100 80GB HBM3', 4), speedOfRow(TIMING_ROWS['70b-fp8-h100-tp4']));
    t.equal(rowOf('Qwen3-32B', 'NVIDIA H100'), NEUTRAL_SPEED);
    t.equal(rowOf('Llama-3.1-8B', 'NVIDIA GH200 480GB'), NEUTRAL_SPEED, 'not measured');
    t.equal(rowOf('Qwen2.5-0.5B', 'NVIDIA H100'), rowOf('', ''), 'five tenths are not five');
    t.equal(rowOf('smollm2-8Base', ''), NEUTRAL_SPEED);
  },
);

t.test('engines of one kind share what they learn, and one that is clearly slower stands apart', async (t) => {
  const row = TIMING_ROWS['8b-fp8-h100'];
  const pool = createSpeedPool(NEUTRAL_SPEED);
  const fits = Array.from({ length: 4 }, () => createSpeedFit(pool));
  const slow = createSpeedFit(pool);
  const half = { ...row, prefillBaseMs: 2 * row.prefillBaseMs, prefillMsPerToken: 2 * row.prefillMsPerToken };
  for (let round = 0; round < 60; round++) {
    for (const [at, fit] of fits.entries()) learn(fit, row, 5, round * 10 + at);
    learn(slow, half, 5, round * 10 + 5);
  }
  const newcomer = createSpeedFit(pool);
  t.equal(newcomer.taken, 0);
  const [first] = fits;
  t.same(newcomer.speed, first?.speed, 'engines that are alike look alike, one that has just come as well');
  t.ok(worstError(newcomer.speed, row).prefill < 0.25);
  const ratio = prefillOf(slow.speed, 1000) / prefillOf(newcomer.speed, 1000);
  t.ok(ratio > 1.1 && ratio < 2.2, `the slow one is ${ratio} times as slow`);
  // Nobody sends it anything any more: it is tried again some time.
  for (let round = 0; round < 300; round++) for (const [at, fit] of fits.entries()) learn(fit, row, 5, round * 7 + at);
  t.ok(Math.abs(prefillOf(slow.speed, 1000) / prefillOf(newcomer.speed, 1000) - 1) < 0.05, 'what is not seen fades');
});
