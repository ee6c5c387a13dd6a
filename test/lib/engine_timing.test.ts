/**
 * The timing formulas against their table, and that a step's fixed cost is paid once.
 */
import t from 'tap';
import { decodeMs, prefillMs, stepMs, TIMING_ROWS } from '../../lib/engine_timing.ts';

const row = TIMING_ROWS['70b-fp8-h100-tp4'];

t.test('prefill and decode follow the fitted formulas, and no work takes no time', async (t) => {
  t.ok(Math.abs(prefillMs(row, 1_000) - (6.86 + 53.9 + 0.25)) < 1e-9);
  t.ok(Math.abs(decodeMs(row, 10, 10_000) - (9.92 + 0.424 + 0.266)) < 1e-9);
  t.equal(prefillMs(row, 0), 0);
  t.equal(decodeMs(row, 0, 0), 0);
  t.equal(stepMs(row, { prefills: [], sequences: 0, contextTokens: 0 }), 0);
});

t.test('a prompt in chunks costs the same tokens as in one piece, plus one fixed cost per step', async (t) => {
  const whole = stepMs(row, { prefills: [{ from: 0, to: 8_000 }], sequences: 0, contextTokens: 0 });
  const first = stepMs(row, { prefills: [{ from: 0, to: 3_000 }], sequences: 0, contextTokens: 0 });
  const second = stepMs(row, { prefills: [{ from: 3_000, to: 8_000 }], sequences: 0, contextTokens: 0 });
  t.equal(whole, prefillMs(row, 8_000));
  t.ok(Math.abs(first + second - whole - row.prefillBaseMs) < 1e-9);
  const empty = stepMs(row, { prefills: [{ from: 5, to: 5 }], sequences: 1, contextTokens: 10 });
  t.equal(empty, decodeMs(row, 1, 10), 'a chunk without tokens adds nothing');
});

t.test('a step that prefills and decodes pays its fixed cost once, the greater one', async (t) => {
  const decoding = decodeMs(row, 8, 8_000);
  const mixed = stepMs(row, { prefills: [{ from: 0, to: 1_000 }], sequences: 8, contextTokens: 8_000 });
  t.ok(Math.abs(mixed - (decoding + 53.9 + 0.25)) < 1e-9);
  t.ok(mixed < decoding + prefillMs(row, 1_000));
});

t.test('every row is dearer with more work, and a faster machine is faster', async (t) => {
  for (const [name, timing] of Object.entries(TIMING_ROWS)) {
    t.ok(prefillMs(timing, 2_000) > prefillMs(timing, 1_000), name);
    t.ok(decodeMs(timing, 2, 2_000) > decodeMs(timing, 1, 1_000), name);
  }
  t.ok(decodeMs(TIMING_ROWS['8b-fp8-h200'], 32, 32_000) < decodeMs(TIMING_ROWS['8b-fp8-h100'], 32, 32_000));
  t.ok(decodeMs(TIMING_ROWS['70b-fp8-h100-tp4'], 32, 32_000) < decodeMs(TIMING_ROWS['70b-fp8-h100-tp2'], 32, 32_000));
});
