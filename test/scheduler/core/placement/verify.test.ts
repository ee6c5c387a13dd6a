/** A plan against a newer state: the part that still holds is accepted, the rest refused with its reasons. */
import t from 'tap';
import type { FleetSnapshot, PlacementPlan } from '../../../../scheduler/core/placement/contract.ts';
import { planPlacement } from '../../../../scheduler/core/placement/planner.ts';
import { type Verification, verifyPlan } from '../../../../scheduler/core/placement/verify.ts';
import { deployment, GIB, gpu, node, placement, snapshot } from './support.ts';

const NODES = [node('a', 1), node('b', 1)];
const WANTED = [deployment('d', { replicas: 2 })];
const STATE = snapshot(NODES, WANTED);
const PLAN = planPlacement(STATE);

const at = (state: Partial<FleetSnapshot>, plan: PlacementPlan = PLAN): Verification =>
  verifyPlan(plan, { ...STATE, version: 2, ...state });

t.test('nothing has changed: all of it holds, and it is based on the newer version', async (t) => {
  const { accepted, refused } = at({});
  t.same([accepted.basedOn, accepted.assignments, refused], [2, PLAN.assignments, []]);
});

t.test('a host that changed refuses its part, and the other part goes on', async (t) => {
  const cases = [
    { node: node('b', 1, { cordoned: true }), reason: { by: 'cordoned' } },
    { node: node('b', 1, { health: 'lost' }), reason: { by: 'health' } },
    { node: node('b', 1, { lastSeenMs: 0 }), reason: { by: 'stale' } },
    { node: node('b', [gpu(0, { quarantine: 'xid_79' })]), reason: { by: 'gpu', gpu: 0, why: 'xid_79' } },
    { node: node('b', [gpu(7)]), reason: { by: 'gpu', gpu: 0, why: 'gone' } },
    { node: node('b', [gpu(0, { promisedBytes: GIB })]), reason: { by: 'gpu', gpu: 0, why: 'sharing' } },
    {
      node: node('b', [gpu(0, { freeBytes: 60 * GIB })]),
      reason: { by: 'gpu_memory', freeBytes: 60 * GIB, limit: 'measured' },
    },
    {
      node: node('b', [gpu(0, { totalBytes: 60 * GIB })]),
      reason: { by: 'gpu_memory', freeBytes: 60 * GIB, limit: 'promised' },
    },
    { node: node('c', 1), reason: { by: 'node_unknown' } },
  ];
  for (const { node: changed, reason } of cases) {
    const { accepted, refused } = at({ nodes: [NODES[0] as never, changed] });
    t.equal(accepted.assignments.length, 1);
    t.match(refused, [{ replica: { deployment: 'd' }, node: 'b', reasons: [reason] }]);
  }
});

t.test('a deployment that changed, is not wanted, or runs already refuses', async (t) => {
  t.match(at({ deployments: [{ ...(WANTED[0] as never as object), version: 3 } as never] }).refused, [
    { reasons: [{ by: 'deployment_changed', plannedVersion: 0, version: 3 }] },
    { reasons: [{ by: 'deployment_changed' }] },
  ]);
  t.match(at({ deployments: [] }).refused, [{ reasons: [{ by: 'not_wanted' }] }, { reasons: [{ by: 'not_wanted' }] }]);
  const { accepted, refused } = at({ placements: [placement('d', 'b', [0], { index: 0 })] });
  t.match(refused, [{ replica: { index: 0 }, reasons: [{ by: 'already_placed' }] }, { replica: { index: 1 } }]);
  t.same(accepted.assignments, [], 'its twin had the GPU that the other plan took');
});

t.test('another model of GPU, host memory and ports are asked about too', async (t) => {
  const wanted = [deployment('d', { gpuModels: ['H100'], hostMemoryBytes: 10 * GIB, ports: [8000] })];
  const plan = planPlacement(snapshot([node('a', 1)], wanted));
  const against = (changed: Parameters<typeof snapshot>[0][number]) =>
    at({ nodes: [changed], deployments: wanted }, plan).refused;
  const swapped = node('a', [gpu(0, { model: 'A100' }), gpu(1)]);
  t.match(against(swapped), [{ reasons: [{ by: 'gpu', why: 'model' }] }]);
  t.match(against(node('a', 1, { hostMemory: { totalBytes: GIB } })), [{ reasons: [{ by: 'host_memory' }] }]);
  t.match(against(node('a', 1, { portsInUse: [8000] })), [{ reasons: [{ by: 'ports', taken: [8000] }] }]);
});

t.test(
  'nobody is preempted for a replica that is refused, nor without need, nor who is not below it any more',
  async (t) => {
    const wanted = [deployment('low', { priority: 10 }), deployment('top', { priority: 60 })];
    const running = [placement('low', 'a', [0], { priority: 10 })];
    const state = snapshot([node('a', 1)], wanted, running);
    const plan = planPlacement(state);
    t.equal(plan.preemptions.length, 1);
    const holds = at(state, plan);
    t.same([holds.accepted.preemptions.length, holds.refused], [1, []]);
    const cordoned = at({ ...state, nodes: [node('a', 1, { cordoned: true })] }, plan);
    t.same([cordoned.accepted.preemptions, cordoned.accepted.assignments], [[], []]);
    const gone = at({ ...state, placements: [] }, plan);
    t.match(gone.refused, [{ reasons: [{ by: 'victim', why: 'gone' }] }]);
    const raised = at({ ...state, deployments: [deployment('low', { priority: 60 }), wanted[1] as never] }, plan);
    t.match(raised.refused, [{ reasons: [{ by: 'victim', why: 'priority' }] }]);
    const elsewhere = at(
      { ...state, nodes: [node('a', 2)], placements: [placement('low', 'a', [1], { priority: 10 })] },
      plan,
    );
    t.match(elsewhere.refused, [{ reasons: [{ by: 'victim', why: 'not_needed' }] }]);
    t.same(elsewhere.accepted.preemptions, []);
  },
);

t.test('a preempted replica starts elsewhere only if its preemption holds', async (t) => {
  const wanted = [deployment('low', { priority: 10 }), deployment('top', { priority: 60, regions: ['eu-1'] })];
  const running = [placement('low', 'a', [0], { priority: 10 })];
  const far = node('far', 1, { region: 'us-1' });
  const state = snapshot([node('a', 1), far], wanted, running);
  const plan = planPlacement(state);
  t.equal(plan.assignments.length, 2);
  t.equal(at(state, plan).accepted.assignments.length, 2);
  const { accepted, refused } = at({ ...state, nodes: [node('a', 1, { cordoned: true }), far] }, plan);
  t.same(accepted.assignments, []);
  t.match(refused, [
    { replica: { deployment: 'top' } },
    { replica: { deployment: 'low' }, reasons: [{ by: 'depends_on' }] },
  ]);
});

t.test('a plan of another origin that cuts a gang, or gives too little memory, is refused for its shape', async (t) => {
  const wanted = [deployment('g', { hosts: 2, gpusPerHost: 2, nvlink: 'required' })];
  const islands = [0, 1].map((index) => gpu(index, { nvlinkIsland: 0 }));
  const state = snapshot([node('a', islands), node('b', islands)], wanted);
  const plan = planPlacement(state);
  const [whole] = plan.assignments;
  const [first, second] = whole?.parts ?? [];
  if (whole === undefined || first === undefined || second === undefined) throw new Error('no gang');
  t.same(at(state, plan).refused, []);
  const shapes = [
    [first],
    [first, first],
    [first, { ...second, gpus: [0] }],
    [first, { ...second, gpus: [0, 0] }],
    [first, { ...second, gpuMemoryBytes: GIB }],
    [first, { ...second, hostMemoryBytes: GIB }],
    [first, { ...second, graceSpillBytes: GIB }],
  ];
  for (const parts of shapes) {
    const { accepted, refused } = at(state, { ...plan, assignments: [{ ...whole, parts }] });
    t.same(accepted.assignments, []);
    t.match(refused, [{ reasons: [{ by: 'wrong_shape' }] }]);
  }
  const apart = [gpu(0, { nvlinkIsland: 0 }), gpu(1)];
  t.match(at({ ...state, nodes: [node('a', islands), node('b', apart)] }, plan).refused, [
    { node: 'b', reasons: [{ by: 'nvlink' }] },
  ]);
});

t.test('stops hold while there are too many', async (t) => {
  const running = [0, 1].map((index) => placement('d', index === 0 ? 'a' : 'b', [0], { index }));
  const state = snapshot(NODES, [deployment('d')], running);
  const plan = planPlacement(state);
  t.equal(at(state, plan).accepted.stops.length, 1);
  t.same(at({ ...state, deployments: WANTED }, plan).accepted.stops, []);
  t.same(at({ ...state, placements: running.slice(0, 1) }, plan).accepted.stops, []);
  t.equal(at({ ...state, deployments: [] }, plan).accepted.stops.length, 1);
});
