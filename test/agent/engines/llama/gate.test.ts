/** While a sequence changes its cache nobody asks for a next token, and afterwards all go on. */
import t from 'tap';
import { createGate } from '../../../../agent/engines/llama/gate.ts';

/** Lets promises that are ready run. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function held() {
  let end: () => void = () => undefined;
  let fail: (error: Error) => void = () => undefined;
  const change = new Promise<void>((resolve, reject) => {
    end = resolve;
    fail = reject;
  });
  return { change: () => change, end: () => end(), fail: (error: Error) => fail(error) };
}

t.test('an open gate is passed at once, a closed one after the last change', async (t) => {
  const gate = createGate();
  await gate.pass();
  const [first, second] = [held(), held()];
  const changes = [gate.closedFor(first.change), gate.closedFor(second.change)];
  let passed = 0;
  const waiting = [1, 2].map(async () => {
    await gate.pass();
    passed += 1;
  });
  first.end();
  await settle();
  t.equal(passed, 0, 'another change is under way');
  second.end();
  await Promise.all([...changes, ...waiting]);
  t.equal(passed, 2);
});

t.test('a change that fails opens the gate, and tells its caller', async (t) => {
  const gate = createGate();
  const change = held();
  const closed = gate.closedFor(change.change);
  const waiting = gate.pass();
  change.fail(new Error('gone'));
  await t.rejects(closed, { message: 'gone' });
  await waiting;
});

t.test('a change that begins as the gate opens is waited for', async (t) => {
  const gate = createGate();
  const [first, second] = [held(), held()];
  let passed = false;
  const chain = gate.closedFor(first.change).then(() => gate.closedFor(second.change));
  const waiting = gate.pass().then(() => {
    passed = true;
  });
  first.end();
  await settle();
  second.end();
  await Promise.all([chain, waiting]);
  t.ok(passed);
});
