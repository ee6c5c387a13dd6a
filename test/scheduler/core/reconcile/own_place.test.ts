/** A plan tells what waits for nothing but a stop of its own from what has no place at all. */
import t from 'tap';
import { foresee } from '../../../../scheduler/core/reconcile/foresight.ts';
import type { Placement, WantedDeployment } from '../../../../scheduler/core/placement/contract.ts';
import { deployment, GIB, node, placement, snapshot } from '../placement/support.ts';

const pin = (name: string) => ({ constraints: [{ key: 'metadata.name', operator: 'In' as const, values: [name] }] });

function planOf(
  wanted: readonly WantedDeployment[],
  running: readonly Placement[],
  nodes = [node('a', 1), node('b', 1)],
) {
  const deploymentOf = new Map(
    [...wanted, ...running.map(({ deployment: name }) => ({ name }))].map(({ name }) => [
      name,
      name.split('@')[0] as string,
    ]),
  );
  return foresee({
    kind: 'plan',
    snapshot: snapshot(nodes, wanted, running),
    searchSteps: 100,
    deploymentOf,
    unsound: new Map(),
    frozen: undefined,
    rolling: [],
  });
}

t.test('a changed engine on a full node takes its own place after its stop', async (t) => {
  const old = deployment('engine/probe@r1', { replicas: 0, ...pin('a') });
  const next = deployment('engine/probe@r2', { replicas: 1, ...pin('a') });
  const other = deployment('other@r1', { replicas: 1, ...pin('b') });
  const running = [placement('engine/probe@r1', 'a', [0]), placement('other@r1', 'b', [0])];
  const plan = planOf([old, next, other], running);
  t.match(plan, { assignments: 1, stops: 1, pending: 0 });
  t.match(plan.lines, [
    /^stop engine\/probe@r1\/0 on a: fewer are wanted$/,
    /^start engine\/probe@r2\/0 on a GPU 0, in its own place, once engine\/probe@r1\/0 on a has stopped$/,
  ]);
});

t.test('the memory that its old engine was measured with counts as given back', async (t) => {
  const old = deployment('engine/probe@r1', { replicas: 0, ...pin('a') });
  const next = deployment('engine/probe@r2', { replicas: 1, ...pin('a') });
  const [at] = node('a', 1).gpus;
  const full = node('a', 1, { gpus: [{ ...(at as NonNullable<typeof at>), freeBytes: GIB }] });
  const [bare] = [placement('engine/probe@r1', 'a', [0])];
  const used = { ...bare, parts: bare.parts.map((part) => ({ ...part, usedBytes: 70 * GIB })) };
  t.match(planOf([old, next], [used], [full]), { assignments: 1, pending: 0 });
});

t.test('what another stop makes room for says whose, and what nothing makes room for is pending', async (t) => {
  const gone = placement('gone@r1', 'a', [0]);
  const next = deployment('next@r1', { replicas: 2, ...pin('a') });
  const plan = planOf([next], [gone], [node('a', 1)]);
  t.match(plan, { assignments: 1, stops: 1, pending: 1 });
  t.match(plan.lines, [
    'stop gone/0 on a: it is not wanted',
    'start next/0 on a GPU 0, once gone/0 on a has stopped',
    'pending next/1: no node can take it now',
  ]);
  // What the plan starts at once has the empty GPU, and nobody else is shown it.
  const mixed = planOf(
    [deployment('first@r1', { ...pin('b') }), deployment('second@r1', { ...pin('b') })],
    [gone],
    [node('a', 1), node('b', 1)],
  );
  t.match(mixed, { assignments: 1, stops: 1, pending: 1 });
});
