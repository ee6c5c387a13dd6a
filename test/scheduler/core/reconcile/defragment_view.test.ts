/** A defragmentation plan in words: each move, what all of them gain, what they cost. */
import t from 'tap';
import { foresee } from '../../../../scheduler/core/reconcile/foresight.ts';
import { deployment, GIB, node, placement, snapshot } from '../placement/support.ts';

const shared = { sharing: 'shared' as const, gpuMemoryBytes: 20 * GIB };

function task(maxMoves: number, frozen?: string) {
  const small = deployment('small@r1', { ...shared, replicas: 4, model: 'm' });
  const big = deployment('big@r1', { gpusPerHost: 2 });
  const running = [0, 1, 2, 3].map((index) =>
    placement('small@r1', index < 2 ? 'a' : 'b', [index % 2], { ...shared, index }),
  );
  const state = snapshot([node('a', 2, { modelsOnDisk: ['m'] }), node('b', 2)], [small, big], running);
  const deploymentOf = new Map([
    ['small@r1', 'small'],
    ['big@r1', 'big'],
  ]);
  return {
    kind: 'defragment',
    snapshot: state,
    searchSteps: 1,
    deploymentOf,
    unsound: new Map(),
    frozen,
    maxMoves,
  } as const;
}

t.test('moves, gain and cost are told; a model that is not there has to be fetched', async (t) => {
  const view = foresee(task(10));
  t.match(view.lines, [
    /^move small\/\d from [ab] GPU \d to [ab] GPU \d, 20\.0 GiB$/,
    /^move small/,
    /^move small/,
    'gain: empty GPUs 0 -> 3, empty nodes 0 -> 1',
    'gain: 1 replica that waits would find a place',
    /^cost: 3 engines started anew, .*; \d models? to be fetched first; up to 20\.0 GiB of GPU memory twice at a time$/,
  ]);
  t.match(view.moves[0], { deployment: 'small', revision: 'r1', gpuMemoryBytes: 20 * GIB });
  t.equal(view.cost.fetches, view.moves.filter(({ modelOnDisk }) => !modelOnDisk).length);
  t.match(view.cost, { starts: 3, gpuMemoryTwiceBytes: 20 * GIB });
});

t.test('where nothing is gained that is said, and so is a freeze', async (t) => {
  t.match(foresee(task(0, 'frozen by me: a look')), {
    lines: ['nothing is moved while the fleet is frozen by me: a look', 'no move of at most so many frees a GPU'],
    moves: [],
    cost: { starts: 0, fetches: 0, gpuMemoryTwiceBytes: 0 },
  });
});
