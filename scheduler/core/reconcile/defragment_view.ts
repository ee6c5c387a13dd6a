/** A defragmentation plan for operators: the moves in words, what they gain, and what they cost. Nothing is moved by it. */
import type { FleetSnapshot, ReplicaId } from '../placement/contract.ts';
import { type Move, planDefragmentation } from '../placement/defragment.ts';
import { gib } from '../placement/explain_text.ts';
import type { DefragmentView, PlannedMove, Wholeness } from '../resources/contract.ts';

export interface DefragmentWish {
  readonly maxMoves: number;
  readonly frozen: string | undefined;
  readonly deploymentOf: ReadonlyMap<string, string>;
  /** How a replica is called. */
  readonly nameOf: (id: ReplicaId) => string;
}

type Where = { readonly node: string; readonly gpus: readonly number[] };

const whereText = (parts: readonly Where[]): string =>
  parts.map(({ node, gpus }) => `${node} GPU ${gpus.join(',')}`).join(' and ');

function plannedMove(move: Move, deployment: string, snapshot: FleetSnapshot): PlannedMove {
  const { deployment: planned, index, from, to } = move;
  const model = snapshot.deployments.find((each) => each.name === planned)?.model;
  const disks = to.map(({ node }) => snapshot.nodes.find((each) => each.name === node)?.modelsOnDisk ?? []);
  return {
    deployment,
    revision: planned.slice(planned.lastIndexOf('@') + 1),
    index,
    from,
    to,
    gpuMemoryBytes: Math.max(...to.map((part) => part.gpuMemoryBytes)),
    modelOnDisk: disks.every((models) => model !== undefined && models.includes(model)),
  };
}

const count = (n: number, word: string): string => `${n} ${word}${n === 1 ? '' : 's'}`;

function gainLines(before: Wholeness, after: Wholeness): string[] {
  const placed = before.pending - after.pending;
  return [
    `gain: empty GPUs ${before.emptyGpus} -> ${after.emptyGpus}, empty nodes ${before.emptyNodes} -> ${after.emptyNodes}`,
    ...(placed > 0
      ? [`gain: ${count(placed, 'replica')} that ${placed === 1 ? 'waits' : 'wait'} would find a place`]
      : []),
  ];
}

/** @returns all but the plan's name, which follows from places that the snapshot does not have */
export function defragmentView(snapshot: FleetSnapshot, wish: DefragmentWish): Omit<DefragmentView, 'plan'> {
  const { maxMoves, frozen, deploymentOf, nameOf } = wish;
  const { moves, before, after } = planDefragmentation(snapshot, { maxMoves });
  const planned = moves.map((move) =>
    plannedMove(move, deploymentOf.get(move.deployment) ?? move.deployment, snapshot),
  );
  const fetches = planned.filter(({ modelOnDisk }) => !modelOnDisk).length;
  const gpuMemoryTwiceBytes = Math.max(
    0,
    ...planned.map((move) => move.gpuMemoryBytes * move.to.flatMap((part) => part.gpus).length),
  );
  const lines = [
    ...(frozen === undefined ? [] : [`nothing is moved while the fleet is ${frozen}`]),
    ...moves.map(
      (move, at) =>
        `move ${nameOf(move)} from ${whereText(move.from)} to ${whereText(move.to)}, ${gib((planned[at] as PlannedMove).gpuMemoryBytes)}`,
    ),
    ...(moves.length === 0
      ? ['no move of at most so many frees a GPU']
      : [
          ...gainLines(before, after),
          `cost: ${count(moves.length, 'engine')} started anew, each with a load of its weights and cold caches; ${count(fetches, 'model')} to be fetched first; up to ${gib(gpuMemoryTwiceBytes)} of GPU memory twice at a time`,
        ]),
  ];
  return { lines, moves: planned, before, after, cost: { starts: moves.length, fetches, gpuMemoryTwiceBytes } };
}
