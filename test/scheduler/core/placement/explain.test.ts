/** What an operator is told: for every node why or why not, and what would have to change, in data and in lines. */
import t from 'tap';
import type { FleetSnapshot } from '../../../../scheduler/core/placement/contract.ts';
import { type DeploymentExplanation, explainDeployment } from '../../../../scheduler/core/placement/explain.ts';
import { changeText, explanationLines, refusalsText } from '../../../../scheduler/core/placement/explain_text.ts';
import { planPlacement } from '../../../../scheduler/core/placement/planner.ts';
import { deployment, GIB, gpu, node, placement, snapshot } from './support.ts';

function explain(state: FleetSnapshot, name: string): DeploymentExplanation {
  const found = explainDeployment(state, planPlacement(state), name);
  if (found === undefined) throw new Error('no such deployment');
  return found;
}

const lines = (state: FleetSnapshot, name: string): string[] => explanationLines(explain(state, name));

t.test('a deployment that no node can hold is pending, and each node says why in one line', async (t) => {
  const nodes = [
    node('node-1', 1, { cordoned: true }),
    node('node-2', [gpu(0, { totalBytes: 48 * GIB, model: 'L40S' })]),
    node('node-3', [gpu(0, { freeBytes: 12 * GIB })], { taints: [{ key: 'spot', effect: 'NoSchedule' }] }),
  ];
  t.same(lines(snapshot(nodes, [deployment('chat')]), 'chat'), [
    'chat: 1 wanted, 0 running, 0 to be started, 1 pending',
    'node-1: refused by cordoned: the node is cordoned; it would fit if the node were uncordoned',
    'node-2: refused by gpu_memory: needs 70.0 GiB on one GPU, the freest has 48.0 GiB (promised); it would fit if it needed at most 48.0 GiB a GPU, which an empty one has',
    'node-3: refused by taint: the taint spot:NoSchedule is not tolerated; also gpu_memory: needs 70.0 GiB on one GPU, the freest has 12.0 GiB (measured); it would fit if the deployment tolerated spot:NoSchedule and 58.0 GiB more were free there',
  ]);
});

t.test('chosen nodes come first with their scores, then those that would take one more, the best first', async (t) => {
  const nodes = [node('a', 1), node('b', 1), node('c', 1, { modelsOnDisk: ['m'], labels: { rack: 'r' } })];
  const state = snapshot(nodes, [deployment('chat')]);
  const found = explain(state, 'chat');
  t.same(
    found.verdicts.map(({ kind, node: name }) => [kind, name]),
    [
      ['chosen', 'c'],
      ['feasible', 'a'],
      ['feasible', 'b'],
    ],
  );
  t.same(lines(state, 'chat').slice(1), [
    'c: chosen for replica 0 (model_on_disk 1.00, fill 0.88)',
    'a: would take one more, worth 0.88 (fill 0.88)',
    'b: would take one more, worth 0.88 (fill 0.88)',
  ]);
  const preferring = deployment('chat', {
    replicas: 2,
    antiAffinity: [{ topologyKey: 'rack' }],
    preferences: [{ requirement: { key: 'rack', operator: 'Exists' }, weight: -100 }],
  });
  t.match(lines(snapshot(nodes.slice(2), [{ ...preferring, replicas: 1 }]), 'chat')[1], /preference -1\.00/);
  t.equal(explainDeployment(state, planPlacement(state), 'nobody'), undefined);
});

t.test('what preemption did, and what a higher priority would do, is told', async (t) => {
  const low = deployment('low', { priority: 10 });
  const top = deployment('top', { priority: 60 });
  const running = [placement('low', 'n', [0], { priority: 10 })];
  const state = snapshot([node('n', 1)], [low, top], running);
  t.same(lines(state, 'top').slice(1, 2), ['preempts low/0, which has a lower priority']);
  t.same(lines(state, 'low').slice(1, 2), ['replica 0 is preempted by top/0, which has a higher priority']);
  t.match(
    lines(state, 'low')[2],
    /n: refused by gpu_sharing: .*; it would fit if others left the GPUs.*, or if its priority were above 60$/,
  );
  const never = snapshot([node('n', 1)], [low, { ...top, preemptionPolicy: 'Never' }], running);
  t.match(lines(never, 'top')[1], /, or if it were allowed to preempt low\/0$/);
  const equals = snapshot([node('n', 1)], [deployment('a', { priority: 100 }), deployment('b', { priority: 100 })]);
  t.notMatch(lines(equals, 'b')[1], /or if/, 'nothing is above 100');
  const two = [
    deployment('a', { priority: 80 }),
    deployment('b', { priority: 70 }),
    deployment('c', { gpusPerHost: 2, priority: 20 }),
  ];
  const both = [placement('a', 'n', [0]), placement('b', 'n', [1])];
  t.match(lines(snapshot([node('n', 2)], two, both), 'c')[1], /priority were above 80$/);
});

t.test('a host that would take its part of a gang says that others are missing', async (t) => {
  const gang = deployment('g', { hosts: 2 });
  const state = snapshot([node('a', 1), node('b', 1, { region: 'us-1' })], [gang]);
  t.match(
    lines(state, 'g')[1],
    /a: refused by gang: .* 2 such hosts together and there are 1; it would fit if 1 more such host had room$/,
  );
  const three = snapshot([node('a', 1), node('b', 1), node('c', 1), node('d', 1)], [gang]);
  t.same(
    explain(three, 'g').verdicts.map(({ kind }) => kind),
    ['chosen', 'chosen', 'feasible', 'feasible'],
  );
});

t.test('hosts that a label keeps together say which domain has too few, and who lacks the label', async (t) => {
  const gang = deployment('g', { hosts: 3, gangTopologyKey: 'rack' });
  const at = (name: string, rack: string) => node(name, 1, { labels: { rack } });
  const apart = [at('a', 'r1'), at('b', 'r1'), at('c', 'r2'), node('d', 1)];
  const state = snapshot(apart, [gang]);
  t.same(lines(state, 'g').slice(1), [
    'a: refused by gang: it would take its part, but one replica needs 3 such hosts together of one rack, and r1 has 2; it would fit if 1 more such host of rack r1 had room',
    'b: refused by gang: it would take its part, but one replica needs 3 such hosts together of one rack, and r1 has 2; it would fit if 1 more such host of rack r1 had room',
    'c: refused by gang: it would take its part, but one replica needs 3 such hosts together of one rack, and r2 has 1; it would fit if 2 more such hosts of rack r2 had room',
    'd: refused by gang_topology: it has no label rack, by which the hosts of a replica are kept together; it would fit if the node had the label rack',
  ]);
  const backwards = explain(state, 'g').verdicts.toReversed();
  t.equal(
    refusalsText(backwards),
    '3 refused by gang (it would take its part, but one replica needs 3 such hosts together of one rack, and r1 has 2), 1 refused by gang_topology (it has no label rack, by which the hosts of a replica are kept together)',
    'the nearest domain is named, wherever it stands',
  );
  t.equal(refusalsText([]), '');
});

t.test('of a large fleet some nodes are shown and the rest is counted by reason', async (t) => {
  const nodes = Array.from({ length: 60 }, (_, i) =>
    node(`n${String(i).padStart(2, '0')}`, 1, i < 30 ? { cordoned: true } : {}),
  );
  const shown = explanationLines(explain(snapshot(nodes, [deployment('d')]), 'd'), 10);
  t.equal(shown.length, 12);
  t.equal(shown.at(-1), 'and 50 more nodes: 30 refused by cordoned, 20 feasible');
});

t.test('a change that nobody needs to make is not made up: GPUs that are gone, hosts, memory', async (t) => {
  t.equal(changeText({ change: 'allow_preemption', victims: [] }), 'it were allowed to preempt none');
  const empty = snapshot([node('n', 0)], [deployment('d')]);
  t.match(lines(empty, 'd')[1], /needs 1 GPU of one model, the node has 0/);
});
