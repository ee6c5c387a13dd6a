/** Plans by example: who goes where, who waits, who is preempted, and what an operator of Kubernetes or Nomad would expect. */
import t from 'tap';
import type { FleetSnapshot, PlacementPlan } from '../../../../scheduler/core/placement/contract.ts';
import { planPlacement } from '../../../../scheduler/core/placement/planner.ts';
import { HOSTNAME_KEY, REGION_KEY } from '../../../../scheduler/core/placement/requirements.ts';
import { deployment, GIB, gpu, node, placement, snapshot } from './support.ts';

/** `name/index` to `node:gpus`, hosts joined by a plus sign. */
function where({ assignments }: PlacementPlan): Record<string, string> {
  return Object.fromEntries(
    assignments.map(({ deployment: name, index, parts }) => [
      `${name}/${index}`,
      parts.map((part) => `${part.node}:${part.gpus.join(',')}`).join('+'),
    ]),
  );
}

const plan = (state: FleetSnapshot): PlacementPlan => planPlacement(state);

t.test('packing fills one node before the next, spreading takes empty ones', async (t) => {
  const nodes = [node('a', 2), node('b', 2)];
  const half = { gpuMemoryBytes: 40 * GIB, sharing: 'shared' as const, replicas: 2 };
  t.same(where(plan(snapshot(nodes, [deployment('d', half)]))), { 'd/0': 'a:0', 'd/1': 'a:0' });
  const spread = where(plan(snapshot(nodes, [deployment('d', { ...half, strategy: 'spread' })])));
  t.equal(new Set(Object.values(spread).map((place) => place.split(':')[0])).size, 2);
});

t.test(
  'a node with the model on disk is preferred, and so are preferences, regions apart and sound GPUs',
  async (t) => {
    const on = (
      more: Parameters<typeof deployment>[1],
      ...nodes: Parameters<typeof snapshot>[0]
    ): Record<string, string> => where(plan(snapshot(nodes, [deployment('d', more)])));
    t.same(on({}, node('a', 1), node('b', 1, { modelsOnDisk: ['m'] })), { 'd/0': 'b:0' });
    t.same(on({}, node('a', [gpu(0, { health: 'degraded' }), gpu(1)])), { 'd/0': 'a:1' });
    const preferences = [{ requirement: { key: 'disk', operator: 'In' as const, values: ['nvme'] }, weight: 80 }];
    t.same(on({ preferences }, node('a', 1), node('b', 1, { labels: { disk: 'nvme' } })), { 'd/0': 'b:0' });
    const apart = on(
      { replicas: 2, antiAffinity: [{ topologyKey: REGION_KEY }] },
      node('a', 2),
      node('b', 2, { region: 'us-1' }),
    );
    t.equal(new Set(Object.values(apart).map((place) => place.split(':')[0])).size, 2);
    const near = plan(
      snapshot(
        [node('a', 1), node('b', 2)],
        [
          deployment('d', { affinity: [{ deployment: 'e', topologyKey: HOSTNAME_KEY }] }),
          deployment('e', { affinity: [{ deployment: 'nobody', topologyKey: 'rack' }] }),
        ],
      ),
    );
    t.same(where(near), { 'd/0': 'b:0', 'e/0': 'b:1' });
  },
);

t.test('tensor parallelism stays on one NVLink island where it can, and insists where it is told to', async (t) => {
  const islands = node(
    'a',
    [0, 1, 2, 3].map((i) => gpu(i, { nvlinkIsland: i < 2 ? 0 : 1, numaNode: i < 2 ? 0 : 1 })),
  );
  const one = placement('x', 'a', [0]);
  const others = deployment('x');
  t.same(where(plan(snapshot([islands], [deployment('d', { gpusPerHost: 2 }), others], [one]))), { 'd/0': 'a:2,3' });
  const three = plan(snapshot([islands], [deployment('d', { gpusPerHost: 3, nvlink: 'required' })]));
  t.same(three.pending, [{ deployment: 'd', index: 0 }]);
  t.same(where(plan(snapshot([islands], [deployment('d', { gpusPerHost: 3 })]))), { 'd/0': 'a:0,1,2' });
});

t.test('a gang gets all of its hosts in one region and one rack, or none', async (t) => {
  const gang = deployment('g', { hosts: 2, gpusPerHost: 2, gangTopologyKey: 'rack' });
  const at = (name: string, region: string, rack: string) => node(name, 2, { region, labels: { rack } });
  const apart = plan(snapshot([at('a', 'eu-1', 'r1'), at('b', 'eu-1', 'r2'), at('c', 'us-1', 'r1')], [gang]));
  t.same([apart.assignments, apart.pending], [[], [{ deployment: 'g', index: 0 }]]);
  const together = plan(snapshot([at('a', 'eu-1', 'r1'), at('b', 'eu-1', 'r2'), at('c', 'eu-1', 'r2')], [gang]));
  t.same(where(together), { 'g/0': 'b:0,1+c:0,1' });
  const mixed = plan(
    snapshot(
      [
        at('a', 'eu-1', 'r1'),
        node('b', [gpu(0, { model: 'A100' }), gpu(1, { model: 'A100' })], { labels: { rack: 'r1' } }),
      ],
      [gang],
    ),
  );
  t.same(mixed.assignments, []);
  const onHosts = plan(
    snapshot([node('a', 0), node('b', 0)], [deployment('g', { hosts: 2, gpusPerHost: 0, gpuMemoryBytes: 0 })]),
  );
  t.same(where(onHosts), { 'g/0': 'a:+b:' });
});

t.test('two that fight for one GPU are settled by priority, then by name; the other one waits', async (t) => {
  const fight = (left: number, right: number): PlacementPlan =>
    plan(snapshot([node('n', 1)], [deployment('a', { priority: left }), deployment('b', { priority: right })]));
  t.same([where(fight(50, 50)), fight(50, 50).pending], [{ 'a/0': 'n:0' }, [{ deployment: 'b', index: 0 }]]);
  t.same([where(fight(50, 60)), fight(50, 60).pending], [{ 'b/0': 'n:0' }, [{ deployment: 'a', index: 0 }]]);
});

t.test('where room is short every deployment gets a replica before any gets a second one', async (t) => {
  const state = snapshot([node('n', 3)], [deployment('a', { replicas: 3 }), deployment('b', { replicas: 2 })]);
  t.same(Object.keys(where(plan(state))).sort(), ['a/0', 'a/1', 'b/0']);
});

t.test(
  'who is lower in priority is preempted, the least harm first, and starts again where there is room',
  async (t) => {
    const running = [placement('low', 'n', [0], { priority: 20 }), placement('mid', 'n', [1], { priority: 40 })];
    const wanted = [
      deployment('low', { priority: 20 }),
      deployment('mid', { priority: 40 }),
      deployment('top', { priority: 60 }),
    ];
    const made = plan(snapshot([node('n', 2)], wanted, running));
    t.same(where(made), { 'top/0': 'n:0' });
    t.match(made.preemptions, [
      { deployment: 'low', priority: 20, from: ['n'], by: { deployment: 'top', index: 0 }, byPriority: 60 },
    ]);
    t.match(made.assignments, [{ waitsFor: [{ deployment: 'low', index: 0 }], cause: { kind: 'new' } }]);
    t.equal(made.kept, 1);
    const bound = wanted.map((each) => (each.name === 'top' ? { ...each, regions: ['eu-1'] } : each));
    const roomier = plan(snapshot([node('n', 2), node('far', 1, { region: 'us-1' })], bound, running));
    t.same(where(roomier), { 'low/0': 'far:0', 'top/0': 'n:0' });
    t.match(
      roomier.assignments.find(({ deployment: name }) => name === 'low'),
      { cause: { kind: 'preempted', from: ['n'] } },
    );
  },
);

t.test(
  'nobody of equal or higher priority is preempted, nor by one that never preempts: no cycle can form',
  async (t) => {
    for (const priority of [40, 50]) {
      const made = plan(
        snapshot(
          [node('n', 1)],
          [deployment('runs', { priority: 50 }), deployment('waits', { priority })],
          [placement('runs', 'n', [0])],
        ),
      );
      t.same([made.preemptions, made.assignments, made.pending.length, made.kept], [[], [], 1, 1]);
    }
    const never = [deployment('runs'), deployment('waits', { priority: 90, preemptionPolicy: 'Never' })];
    t.same(plan(snapshot([node('n', 1)], never, [placement('runs', 'n', [0])])).preemptions, []);
    // What one plan decided gives the next one nothing to preempt back.
    const made = plan(
      snapshot(
        [node('n', 1)],
        [deployment('a', { priority: 10 }), deployment('b', { priority: 20 })],
        [placement('a', 'n', [0], { priority: 10 })],
      ),
    );
    t.equal(made.preemptions.length, 1);
    const after = snapshot(
      [node('n', 1)],
      [deployment('a', { priority: 10 }), deployment('b', { priority: 20 })],
      [placement('b', 'n', [0], { priority: 20 })],
    );
    t.same([plan(after).preemptions, plan(after).assignments], [[], []]);
  },
);

t.test('a gang preempts on as many hosts as it must, and a part of a gang is preempted as a whole', async (t) => {
  const nodes = [node('a', 1), node('b', 1), node('c', 1)];
  const gang = deployment('g', { hosts: 2, priority: 80 });
  const lows = [deployment('low', { priority: 10, replicas: 3 })];
  const running = ['a', 'b', 'c'].map((name, index) => placement('low', name, [0], { index, priority: 10 }));
  const made = plan(snapshot(nodes, [gang, ...lows], running));
  t.equal(made.preemptions.length, 2);
  t.equal(made.assignments[0]?.parts.length, 2);
  const whole = {
    ...placement('g', 'a', [0]),
    parts: [...placement('g', 'a', [0]).parts, ...placement('g', 'b', [0]).parts],
  };
  const taken = plan(
    snapshot(nodes.slice(0, 2), [deployment('g', { hosts: 2 }), deployment('top', { priority: 90 })], [whole]),
  );
  t.match(taken.preemptions, [{ deployment: 'g', from: ['a', 'b'] }]);
  t.same(where(taken), { 'top/0': 'a:0' });
  const hosts = plan(snapshot(nodes.slice(0, 1), [gang, ...lows], running.slice(0, 1)));
  t.same([hosts.preemptions, hosts.pending.length], [[], 3]);
});

t.test('what is measured counts beside what is promised, and what a victim has taken comes back', async (t) => {
  const shared = { sharing: 'shared' as const, gpuMemoryBytes: 30 * GIB };
  const half = placement('a', 'n', [0], { ...shared, usedBytes: 10 * GIB });
  const at = (freeBytes: number) => [node('n', [gpu(0, { freeBytes })])];
  const wanted = [deployment('a', shared), deployment('b', shared)];
  // 30 of 80 are promised and 10 taken: of what is measured as free, 20 more are spoken for.
  t.same(where(plan(snapshot(at(50 * GIB), wanted, [half]))), { 'b/0': 'n:0' });
  t.same(where(plan(snapshot(at(50 * GIB - 1), wanted, [half]))), {});
  const top = deployment('b', { ...shared, gpuMemoryBytes: 60 * GIB, priority: 90 });
  t.equal(plan(snapshot(at(50 * GIB), [wanted[0] as never, top], [half])).preemptions.length, 1);
  t.equal(plan(snapshot(at(50 * GIB - 1), [wanted[0] as never, top], [half])).preemptions.length, 0);
});

t.test('a victim that has taken more than it was promised gives all of it back', async (t) => {
  const low = deployment('low', { priority: 10, gpuMemoryBytes: 20 * GIB });
  const running = placement('low', 'n', [0], { priority: 10, gpuMemoryBytes: 20 * GIB, usedBytes: 60 * GIB });
  const made = plan(
    snapshot([node('n', [gpu(0, { freeBytes: 20 * GIB })])], [low, deployment('top', { priority: 60 })], [running]),
  );
  t.same([where(made), made.preemptions.length], [{ 'top/0': 'n:0' }, 1]);
  const open = { sharing: 'shared' as const, gpuMemoryBytes: 20 * GIB };
  const beside = (bytes: number): PlacementPlan =>
    plan(
      snapshot(
        [node('n', [gpu(0, { freeBytes: 20 * GIB })])],
        [deployment('low', open), deployment('more', { ...open, gpuMemoryBytes: bytes })],
        [placement('low', 'n', [0], { ...open, usedBytes: 60 * GIB })],
      ),
    );
  t.equal(beside(20 * GIB).assignments.length, 1);
  t.equal(beside(21 * GIB).assignments.length, 0, 'what is taken beyond the promise is not there for others');
});

t.test('a GH200 takes a model whose spill lies in Grace memory, and counts that on the host', async (t) => {
  const grace = (freeBytes: number) =>
    node('g', [gpu(0, { model: 'GH200', totalBytes: 96 * GIB, coherent: true })], {
      hostMemory: { totalBytes: 480 * GIB, freeBytes },
    });
  const big = deployment('d', { gpuMemoryBytes: 120 * GIB, graceSpillBytes: 40 * GIB, hostMemoryBytes: 8 * GIB });
  const made = plan(snapshot([grace(48 * GIB)], [big]));
  t.match(made.assignments[0]?.parts, [
    { gpuMemoryBytes: 80 * GIB, graceSpillBytes: 40 * GIB, hostMemoryBytes: 48 * GIB, gpuMemoryShare: 80 / 96 },
  ]);
  t.same(plan(snapshot([grace(48 * GIB - 1)], [big])).assignments, []);
  const fits = { ...big, gpuMemoryBytes: 90 * GIB };
  t.match(plan(snapshot([grace(480 * GIB)], [fits])).assignments[0]?.parts, [{ graceSpillBytes: 0 }]);
});

t.test(
  'a replica on a node that is drained, lost, tainted or gone, or on a bad GPU, is started elsewhere first',
  async (t) => {
    const cases = [
      node('old', 1, { draining: true }),
      node('old', 1, { health: 'lost' }),
      node('old', 1, { taints: [{ key: 'k', effect: 'NoExecute' }] }),
      node('old', [gpu(0, { quarantine: 'xid_48' })]),
      node('old', 0),
      undefined,
    ];
    for (const old of cases) {
      const nodes = [node('new', 1), ...(old === undefined ? [] : [old])];
      const made = plan(snapshot(nodes, [deployment('d')], [placement('d', 'old', [0])]));
      t.same(where(made), { 'd/0': 'new:0' });
      t.match(made.assignments[0]?.cause, { kind: 'moved' });
      t.same([made.kept, made.preemptions], [0, []]);
    }
    const cordoned = plan(
      snapshot([node('old', 1, { cordoned: true }), node('new', 1)], [deployment('d')], [placement('d', 'old', [0])]),
    );
    t.same([cordoned.kept, cordoned.assignments], [1, []]);
  },
);

t.test(
  'too many replicas are stopped from the highest index down, those that must leave first; unwanted ones all',
  async (t) => {
    const running = [0, 1, 2].map((index) => placement('d', `n${index}`, [0], { index }));
    const nodes = [node('n0', 1, { draining: true }), node('n1', 1), node('n2', 1)];
    const made = plan(
      snapshot(
        nodes,
        [deployment('d', { replicas: 1 })],
        [...running, placement('x', 'n1', [0], { sharing: 'shared' })],
      ),
    );
    t.same(made.stops, [
      { deployment: 'd', index: 0, from: ['n0'], because: 'scaled_down' },
      { deployment: 'd', index: 2, from: ['n2'], because: 'scaled_down' },
      { deployment: 'x', index: 0, from: ['n1'], because: 'not_wanted' },
    ]);
    t.equal(made.kept, 1);
  },
);

t.test('replicas without a GPU go by host memory and ports', async (t) => {
  const small = deployment('d', {
    gpusPerHost: 0,
    gpuMemoryBytes: 0,
    hostMemoryBytes: 40 * GIB,
    ports: [8000],
    replicas: 2,
  });
  const made = plan(
    snapshot(
      [
        node('a', 0, { hostMemory: { totalBytes: 100 * GIB } }),
        node('b', 0, { hostMemory: { totalBytes: 100 * GIB } }),
      ],
      [small],
    ),
  );
  t.same(where(made), { 'd/0': 'a:', 'd/1': 'b:' });
  t.match(made.assignments[0]?.parts, [{ gpuMemoryShare: 0, gpuMemoryBytes: 0 }]);
});

t.test('a snapshot that contradicts itself is refused with a code and the field', async (t) => {
  const cases: readonly (readonly [FleetSnapshot, string])[] = [
    [snapshot([node('a', 1), node('a', 1)], []), 'nodes'],
    [snapshot([node('a', [gpu(0), gpu(0)])], []), 'nodes.gpus'],
    [
      snapshot(
        [
          node(
            'a',
            Array.from({ length: 65 }, (_, i) => gpu(i)),
          ),
        ],
        [],
      ),
      'nodes.gpus',
    ],
    [snapshot([node('a', [gpu(0, { totalBytes: 1.5 })])], []), 'bytes'],
    [snapshot([node('a', [gpu(0, { freeBytes: NaN })])], []), 'bytes'],
    [snapshot([node('a', 1, { hostMemory: { totalBytes: -1 } })], []), 'bytes'],
    [
      snapshot(
        Array.from({ length: 100_001 }, () => node('a', 0)),
        [],
      ),
      'nodes',
    ],
    [snapshot([], [deployment('d'), deployment('d')]), 'deployments'],
    [snapshot([], [deployment('d', { priority: 101 })]), 'priority'],
    [snapshot([], [deployment('d', { replicas: -1 })]), 'replicas'],
    [snapshot([], [deployment('d', { gpuMemoryBytes: Infinity })]), 'gpuMemoryBytes'],
    [snapshot([], [deployment('d', { antiAffinity: [{ topologyKey: 'k', weight: 0 }] })]), 'weight'],
    [snapshot([], [deployment('d', { affinity: [{ topologyKey: 'k', required: true }] })]), 'affinity.required'],
    [
      snapshot(
        [],
        [deployment('d', { preferences: [{ requirement: { key: 'k', operator: 'Exists' }, weight: NaN }] })],
      ),
      'weight',
    ],
  ];
  for (const [state, param] of cases) t.throws(() => plan(state), { code: 'invalid_value', param });
});

t.test('an empty fleet, no deployments, and ten thousand deployments that nothing can hold', async (t) => {
  t.match(plan(snapshot([], [])), { assignments: [], pending: [], kept: 0 });
  t.same(plan(snapshot([], [deployment('d')])).pending.length, 1);
  const many = Array.from({ length: 10_000 }, (_, i) => deployment(`d${i}`, { regions: ['nowhere'] }));
  t.equal(plan(snapshot([node('a', 8)], many)).pending.length, 10_000);
});
