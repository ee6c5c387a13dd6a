/** Which statements are tried again, how often and after which pauses, without a database. */
import t from 'tap';
import { backoffCeilingMs } from '../../../lib/backoff.ts';
import { CodedError } from '../../../lib/errors.ts';
import { createRepeat } from '../../../scheduler/adapters/store/repeat.ts';

const PAUSES = { baseMs: 20, capMs: 100, minMs: 5 };

const thrown = (code: string): Error => Object.assign(new Error('m'), { code });
const GONE = new CodedError('store_unavailable', 'gone');

/** Runs a statement that fails with each of these in turn, and then answers. */
async function tried(failures: readonly unknown[], repeatable: boolean, closesAfter = Infinity) {
  const pauses: number[] = [];
  const clock = {
    wallMs: () => 0,
    monotonicMs: () => 0,
    after(delayMs: number, task: () => void) {
      pauses.push(delayMs);
      queueMicrotask(task);
      return () => undefined;
    },
  };
  let runs = 0;
  const isClosed = (): boolean => runs >= closesAfter;
  const repeat = createRepeat({
    clock,
    random: { next: () => 1, bytes: (length) => new Uint8Array(length) },
    pauses: PAUSES,
    isClosed,
  });
  const run = async (): Promise<string> => {
    const failure = failures[runs++];
    if (failure !== undefined) throw failure;
    return 'rows';
  };
  const outcome = await repeat({ repeatable }, run).catch((error: CodedError) => error.code);
  return { outcome, runs, pauses };
}

t.test('a broken connection is tried again only where doing it twice is as good as once', async (t) => {
  t.same(await tried([GONE, thrown('57P01')], true), { outcome: 'rows', runs: 3, pauses: [20, 40] });
  t.same(await tried([GONE], false), { outcome: 'store_unavailable', runs: 1, pauses: [] });
});

t.test('what the database rolled back for the sake of others is tried again in any case', async (t) => {
  for (const state of ['40001', '40P01'])
    t.match(await tried([thrown(state)], false), { outcome: 'rows', runs: 2 }, state);
  t.match(await tried([thrown('40002')], true), { outcome: 'store_busy', runs: 1 }, 'another of that class is not');
});

t.test('nothing else is, and five tries are all, after pauses up to the cap', async (t) => {
  for (const [failure, outcome] of [
    [thrown('53100'), 'store_full'],
    [thrown('42601'), 'internal'],
    [new CodedError('store_timeout', 'm'), 'store_timeout'],
  ] as const)
    t.match(await tried([failure], true), { outcome, runs: 1 });
  const always = await tried(
    Array.from({ length: 9 }, () => GONE),
    true,
  );
  t.same(always, {
    outcome: 'store_unavailable',
    runs: 5,
    pauses: [0, 1, 2, 3].map((n) => backoffCeilingMs(n, PAUSES)),
  });
});

t.test('a driver that is closed meanwhile tries nothing again', async (t) => {
  t.same(await tried([GONE, GONE, GONE], true, 2), { outcome: 'store_unavailable', runs: 2, pauses: [20] });
});
