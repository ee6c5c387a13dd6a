/** Moves that turn scattered memory into whole GPUs: bounded, in an order in which each step fits, and worth it. */
import t from 'tap';
import type { FleetSnapshot } from '../../../../scheduler/core/placement/contract.ts';
import { planDefragmentation } from '../../../../scheduler/core/placement/defragment.ts';
import { HOSTNAME_KEY } from '../../../../scheduler/core/placement/requirements.ts';
import { deployment, GIB, gpu, node, placement, snapshot } from './support.ts';

const shared = { sharing: 'shared' as const, gpuMemoryBytes: 20 * GIB };

/** Four GPUs on two nodes with a small replica on each. */
function scattered(more: Parameters<typeof deployment>[1] = {}): FleetSnapshot {
  const small = deployment('small', { ...shared, replicas: 4, ...more });
  const running = [0, 1, 2, 3].map((index) =>
    placement('small', index < 2 ? 'a' : 'b', [index % 2], { ...shared, index }),
  );
  return snapshot([node('a', 2), node('b', 2)], [small, deployment('big', { gpusPerHost: 2 })], running);
}

t.test('small replicas move together, and a whole node is free for what waits', async (t) => {
  const { moves, before, after, basedOn } = planDefragmentation(scattered(), { maxMoves: 10 });
  t.equal(basedOn, 1);
  t.same(
    [before, after],
    [
      { emptyGpus: 0, emptyNodes: 0, pending: 1 },
      { emptyGpus: 3, emptyNodes: 1, pending: 0 },
    ],
  );
  t.equal(moves.length, 3);
  t.match(moves[0], { deployment: 'small', from: [{ node: 'a', gpus: [0] }], to: [{ gpuMemoryShare: 0.25 }] });
});

t.test('no more moves than were asked for, and none when none frees a GPU', async (t) => {
  t.equal(planDefragmentation(scattered(), { maxMoves: 1 }).moves.length, 1);
  t.equal(planDefragmentation(scattered(), { maxMoves: 0 }).moves.length, 0);
  t.equal(planDefragmentation(scattered({ gpuMemoryBytes: 79 * GIB }), { maxMoves: 9 }).moves.length, 0);
  const apart = scattered({ antiAffinity: [{ topologyKey: HOSTNAME_KEY, required: true }] });
  t.same(planDefragmentation(apart, { maxMoves: 9 }).moves, []);
  t.match(planDefragmentation(snapshot([node('a', 2)], []), { maxMoves: 9 }), {
    moves: [],
    after: { emptyGpus: 2, emptyNodes: 1 },
  });
});

t.test('a GPU that takes more moves than are left is not begun', async (t) => {
  const small = { ...shared, gpuMemoryBytes: 30 * GIB };
  const running = ['a', 'a', 'b', 'b'].map((on, index) =>
    placement('small', on, [0], { ...small, gpuMemoryBytes: 10 * GIB, index }),
  );
  const state = snapshot(
    [node('a', 1), node('b', 1)],
    [deployment('small', { ...small, gpuMemoryBytes: 10 * GIB, replicas: 4 })],
    running,
  );
  t.equal(planDefragmentation(state, { maxMoves: 1 }).moves.length, 0);
  t.equal(planDefragmentation(state, { maxMoves: 2 }).moves.length, 2);
});

t.test('one that could go nowhere from the first GPUs goes where there is room once another has moved', async (t) => {
  // 50 on each of four GPUs: none goes anywhere. The 20 of the fifth goes beside one of them, and so does that of the sixth.
  const large = deployment('large', { ...shared, gpuMemoryBytes: 50 * GIB, replicas: 4 });
  const small = deployment('small', { ...shared, replicas: 2 });
  const running = [
    ...[0, 1, 2, 3].map((index) => placement('large', 'a', [index], { ...shared, gpuMemoryBytes: 50 * GIB, index })),
    ...[0, 1].map((index) => placement('small', 'b', [index], { ...shared, index })),
  ];
  const state = snapshot([node('a', 4), node('b', 2)], [large, small], running);
  const { moves, after } = planDefragmentation(state, { maxMoves: 8 });
  t.same(
    moves.map(({ deployment: name }) => name),
    ['small', 'small'],
  );
  t.match(after, { emptyGpus: 2, emptyNodes: 1 });
  const none = snapshot([node('a', 4)], [large], running.slice(0, 4));
  t.same(planDefragmentation(none, { maxMoves: 8 }).moves, []);
});

t.test('who is alone, leaves, or shares with the unknown stays; a half-done GPU is put back', async (t) => {
  const wanted = [
    deployment('alone'),
    deployment('small', { ...shared, replicas: 3 }),
    deployment('wide', { ...shared, gpuMemoryBytes: 50 * GIB }),
  ];
  const nodes = [
    node('a', 1),
    node('b', 1),
    node('c', [gpu(0, { promisedBytes: GIB })]),
    node('d', 1, { draining: true }),
    node('e', [gpu(0, { freeBytes: 25 * GIB })]),
  ];
  const running = [
    placement('alone', 'a', [0]),
    placement('small', 'b', [0], { ...shared, index: 0 }),
    placement('wide', 'b', [0], { ...shared, gpuMemoryBytes: 50 * GIB }),
    placement('small', 'c', [0], { ...shared, index: 1 }),
    placement('small', 'd', [0], { ...shared, index: 2 }),
  ];
  const { moves, before, after } = planDefragmentation(snapshot(nodes, wanted, running), { maxMoves: 9 });
  t.same(moves, []);
  t.same(before, after);
});
