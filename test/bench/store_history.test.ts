/** The judge of the store's histories finds each way in which a store could lie, and nothing in an honest one. */
import t from 'tap';
import { endingOf } from '../../bench/store_faults/admin_http.ts';
import { type Change, judge, type Logged } from '../../bench/store_faults/history.ts';

/** An honest history of one deployment: made, changed without an answer, changed, refused once, deleted; and another. */
const CHANGES: readonly Change[] = [
  { id: 'a', name: 'one', replicas: 1, startedMs: 0, endedMs: 1, ending: 'done', seq: 4 },
  { id: 'b', name: 'one', replicas: 2, startedMs: 2, endedMs: 3, ending: 'unknown', seq: 0 },
  { id: 'c', name: 'one', replicas: 3, startedMs: 4, endedMs: 5, ending: 'done', seq: 6 },
  { id: 'd', name: 'one', replicas: 9, startedMs: 6, endedMs: 7, ending: 'refused', seq: 0 },
  { id: 'e', name: 'one', replicas: undefined, startedMs: 8, endedMs: 9, ending: 'done', seq: 7 },
  { id: 'f', name: 'two', replicas: 5, startedMs: 0, endedMs: 9, ending: 'done', seq: 8 },
  { id: 'g', name: 'gone', replicas: undefined, startedMs: 0, endedMs: 9, ending: 'done', seq: 0 },
];
const LOG: readonly Logged[] = [
  { seq: 4, id: 'a', name: 'one', replicas: 1 },
  { seq: 5, id: 'b', name: 'one', replicas: 2 },
  { seq: 6, id: 'c', name: 'one', replicas: 3 },
  { seq: 7, id: 'e', name: 'one', replicas: undefined },
  { seq: 8, id: 'f', name: 'two', replicas: 5 },
];
const RIGHT = [{ by: 'the store', replicas: new Map([['two', 5]]) }];
const CLEAN = { lost: [], doubled: [], undead: [], strange: [], swapped: [], differing: [], unknownDone: 1 };

const changed = (id: string, values: Partial<Change>): Change[] =>
  CHANGES.map((change) => (change.id === id ? { ...change, ...values } : change));

t.test('an honest history', async (t) => {
  t.strictSame(judge(CHANGES, LOG, RIGHT), CLEAN);
  const without = LOG.filter(({ id }) => id !== 'b');
  t.strictSame(
    judge(CHANGES, without, RIGHT),
    { ...CLEAN, unknownDone: 0 },
    'who was told nothing may have done nothing',
  );
});

t.test('what was acknowledged is in the log once, and where the answer said', async (t) => {
  t.match(judge(CHANGES, LOG.slice(1), RIGHT), { lost: ['a'] });
  t.match(judge(changed('a', { seq: 3 }), LOG, RIGHT), { lost: ['a'] });
  t.match(judge(CHANGES, [...LOG, { seq: 9, id: 'f', name: 'two', replicas: 5 }], RIGHT), { lost: [], doubled: ['f'] });
  t.match(judge(CHANGES, [...LOG, { seq: 9, id: 'b', name: 'one', replicas: 2 }], RIGHT), { doubled: ['b'] });
  const nothing = [...LOG, { seq: 9, id: 'g', name: 'gone', replicas: undefined }];
  t.match(judge(CHANGES, nothing, RIGHT), { doubled: ['g'] }, 'a change that had nothing to change');
});

t.test('what was refused is not, nor what nobody asked for', async (t) => {
  t.match(judge(CHANGES, [...LOG, { seq: 9, id: 'd', name: 'one', replicas: 9 }], RIGHT), { undead: ['d'] });
  t.match(judge(CHANGES, [...LOG, { seq: 9, id: 'x', name: 'one', replicas: 9 }], RIGHT), { strange: ['x at 9'] });
  const other = LOG.map((row) => (row.id === 'c' ? { ...row, replicas: 4 } : row));
  t.match(judge(CHANGES, other, RIGHT), { strange: ['c at 6'] });
});

t.test('changes stand in the order of real time, and views are what they add up to', async (t) => {
  const swapped = changed('c', { seq: 3 });
  t.match(judge(swapped, LOG, RIGHT), { swapped: ['a and c'] });
  const stale = { by: 's1', replicas: new Map([['one', 3]]) };
  t.strictSame(judge(CHANGES, LOG, [...RIGHT, stale]).differing, [
    's1 has one with 3 replicas, not undefined',
    's1 has two with undefined replicas, not 5',
  ]);
  const late = changed('e', { ending: 'unknown', seq: 0 }).map((each) => (each.id === 'e' ? each : each));
  t.match(judge(late, LOG, RIGHT), { differing: [], unknownDone: 2 }, 'an unknown change counts where the log has it');
});

t.test('only an answer that promises it counts as a refusal', async (t) => {
  t.equal(endingOf(409, 'version_conflict'), 'refused');
  t.equal(endingOf(503, 'store_behind'), 'refused');
  t.equal(endingOf(503, 'store_unavailable'), 'unknown');
  t.equal(endingOf(500, 'internal'), 'unknown');
});
