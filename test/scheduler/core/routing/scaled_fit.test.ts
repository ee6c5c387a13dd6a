/** Three parts of a time, told apart where the observations differ and scaled together where they do not. */
import t from 'tap';
import { createScaledFit, MOST_RATIO } from '../../../../scheduler/core/routing/scaled_fit.ts';

t.test('observations that are all alike scale every part by the same ratio', async (t) => {
  const fit = createScaledFit();
  for (let i = 0; i < 200; i++) fit.observe([3, 10, 1], 28);
  for (const factor of fit.factors) t.ok(Math.abs(factor - 2) < 0.1, String(factor));
  t.equal(fit.count, 200);
});

t.test('observations that differ tell the parts apart', async (t) => {
  const fit = createScaledFit();
  for (let i = 0; i < 2000; i++) {
    const [a, b, c] = [3, 1 + ((i * 7) % 40), (i * 3) % 23];
    fit.observe([a, b, c], 2 * a + 0.5 * b + 3 * c);
  }
  const [a, b, c] = fit.factors;
  t.ok(Math.abs(a - 2) < 0.2 && Math.abs(b - 0.5) < 0.05 && Math.abs(c - 3) < 0.2, fit.factors.join(' '));
});

t.test('one observation far off pulls no further than a usual one, and says how far off it was', async (t) => {
  const fit = createScaledFit();
  for (let i = 0; i < 300; i++) fit.observe([3, 10, 1], 14);
  t.equal(fit.observe([3, 10, 1], 1e9), MOST_RATIO);
  t.equal(fit.observe([3, 10, 1], 1e-9), 1 / MOST_RATIO);
  for (const factor of fit.factors) t.ok(Math.abs(factor - 1) < 0.02);
});
