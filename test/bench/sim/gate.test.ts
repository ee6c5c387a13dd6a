/**
 * The regression gate of the default policy: this is where a change of routing that makes users wait shows itself. When
 * it is a change for the better, store the new figures: npm run bench -- sim-gate --write
 */
import t from 'tap';
import { lossesOf, measureGate, storedGate } from '../../../bench/sim/gate.ts';

t.setTimeout(300_000);

t.test('the default policy loses no more than 2 % against the stored figures', async (t) => {
  t.same(lossesOf(await storedGate(), await measureGate()), []);
});

t.test('a loss above 2 % is found in either direction, and so is a figure that is missing', async (t) => {
  const stored = { 'x cost ttftP99S': 1, 'x cost goodput': 0.9, 'x cost tpotMs': 10 };
  t.same(lossesOf(stored, stored), []);
  t.same(lossesOf(stored, { 'x cost ttftP99S': 1.019, 'x cost goodput': 0.89, 'x cost tpotMs': 5 }), []);
  const found = { 'x cost ttftP99S': 1.03, 'x cost goodput': 0.8, 'x cost outTokS': 1 };
  t.match(lossesOf(stored, found), [
    { figure: 'x cost ttftP99S', loss: 0.03 },
    { figure: 'x cost goodput', stored: 0.9, found: 0.8 },
    { figure: 'x cost tpotMs', found: Number.NaN },
    { figure: 'x cost outTokS', stored: Number.NaN },
  ]);
});
