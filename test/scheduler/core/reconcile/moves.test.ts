/** The order of a defragmentation as an entry of the log, and the name of a plan. */
import t from 'tap';
import type { Place } from '../../../../scheduler/core/reconcile/contract.ts';
import {
  defragmentVerb,
  type MoveState,
  moveOrderOf,
  moveOrderText,
  moveOrderValue,
  placeFor,
  planName,
} from '../../../../scheduler/core/reconcile/moves.ts';
import type { PlannedMove } from '../../../../scheduler/core/resources/contract.ts';

const to = { node: 'b', gpus: [1], gpuMemoryBytes: 5, graceSpillBytes: 0, gpuMemoryShare: 0.5, hostMemoryBytes: 0 };
const MOVE = { deployment: 'chat', revision: 'r', index: 0, from: [{ node: 'a', gpus: [0] }], to: [to] };
const STATE: MoveState = {
  by: 'key:ann',
  why: '',
  correlationId: 'c',
  moves: [MOVE, MOVE],
  begun: 1,
  running: [{ from: 'chat/0/1', to: 'chat/0/2' }],
};
const place = (change: Partial<Place> = {}): Place =>
  ({ name: 'chat/0/1', version: 7, deployment: 'chat', revision: 'r', index: 0, phase: 'placed', ...change }) as Place;

t.test('what was written is read again, and what a newer version wrote is not guessed at', async (t) => {
  t.same(moveOrderOf({ version: 3, value: moveOrderValue(STATE) }), { version: 3, state: STATE });
  for (const value of [
    null,
    {},
    { ...STATE, moves: 'all' },
    { ...STATE, moves: [{}] },
    { ...STATE, moves: [{ ...MOVE, to: [{ node: 'b' }] }] },
    { ...STATE, moves: [{ ...MOVE, to: [{ node: 'b', gpus: [] }] }] },
    { ...STATE, moves: [null] },
    { ...STATE, begun: 'one' },
    { ...STATE, running: [{ from: 1, to: 2 }] },
    { ...STATE, by: 1 },
  ])
    t.same(moveOrderOf({ version: 3, value: value as never }), { version: 3, state: undefined }, JSON.stringify(value));
});

t.test('how it stands is said in a line', async (t) => {
  t.equal(moveOrderText({ version: 1, state: STATE }), 'under way: 0 of 2 moves done, 1 begun, ordered by key:ann');
  const one = { ...STATE, moves: [MOVE], running: [], why: 'whole GPUs' };
  t.equal(
    moveOrderText({ version: 1, state: one }),
    'under way: 1 of 1 move done, 0 begun, ordered by key:ann: whole GPUs',
  );
  t.match(moveOrderText({ version: 1, state: undefined }), /newer version/);
});

t.test('a plan is named by its moves and by the places that it would move', async (t) => {
  const move: PlannedMove = { ...MOVE, gpuMemoryBytes: 5, modelOnDisk: true };
  const name = planName([move], [place()]);
  t.match(name, /^[0-9a-f]{16}$/);
  t.equal(planName([{ ...move, modelOnDisk: false }], [place(), place({ name: 'x/0/1', deployment: 'x' })]), name);
  const others = [
    planName([move, move], [place()]),
    planName([move], [place({ version: 8 })]),
    planName([move], [place({ name: 'chat/0/2' })]),
    planName([move], [place({ phase: 'stopping' })]),
    planName([{ ...move, to: [{ ...to, gpus: [0] }] }], [place()]),
  ];
  t.equal(new Set([name, ...others]).size, 6);
  t.equal(planName([], [place()]), '');
  t.equal(placeFor([place({ phase: 'leaving' }), place({ name: 'chat/0/2' })], MOVE)?.name, 'chat/0/2');
  t.equal(placeFor([place({ revision: 's' })], MOVE), undefined);
});

t.test('a word as a person types it', async (t) => {
  t.equal(defragmentVerb('cancel'), 'cancel');
  t.throws(() => defragmentVerb('stop'), { code: 'invalid_value', param: 'verb' });
});
