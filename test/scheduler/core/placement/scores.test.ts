/** Each score by its extremes; none is left out. */
import t from 'tap';
import type { NodeSnapshot, WantedDeployment } from '../../../../scheduler/core/placement/contract.ts';
import { NODE_SCORES, PART_SCORES, partScore } from '../../../../scheduler/core/placement/scores.ts';
import type { PartView } from '../../../../scheduler/core/placement/scores/score.ts';
import { deployment, node } from './support.ts';

const NODES: readonly (readonly [
  name: string,
  node: NodeSnapshot,
  wanted: Partial<WantedDeployment>,
  value: number,
])[] = [
  ['model_on_disk', node('n', 1, { modelsOnDisk: ['x', 'm'] }), {}, 1],
  ['model_on_disk', node('n', 1), {}, 0],
  ['warm_cache', node('n', 1, { warmCaches: ['m'] }), {}, 1],
  ['warm_cache', node('n', 1, { warmCaches: ['x'] }), {}, 0],
  ['preference', node('n', 1), {}, 0],
  ['preference', node('n', 1, { labels: { a: '1' } }), preferring(60, 40), 0.6],
  ['preference', node('n', 1, { labels: { a: '1', b: '1' } }), preferring(60, -60), 0],
  ['preference', node('n', 1, { labels: { b: '1' } }), preferring(0, -50), -1],
  ['prefer_no_schedule', node('n', 1, { taints: [{ key: 'k', effect: 'PreferNoSchedule' }] }), {}, -1],
  [
    'prefer_no_schedule',
    node('n', 1, { taints: [{ key: 'k', effect: 'PreferNoSchedule' }] }),
    { tolerations: [{ operator: 'Exists' }] },
    0,
  ],
  ['prefer_no_schedule', node('n', 1), {}, 0],
  ['degraded_node', node('n', 1, { health: 'degraded' }), {}, -1],
  ['degraded_node', node('n', 1), {}, 0],
];

function preferring(a: number, b: number): Partial<WantedDeployment> {
  const requirement = (key: string) => ({ key, operator: 'Exists' as const });
  return {
    preferences: [
      { requirement: requirement('a'), weight: a },
      { requirement: requirement('b'), weight: b },
    ],
  };
}

const VIEW: PartView = {
  isPacked: true,
  gpus: 2,
  gpuFill: 1,
  nodeFill: 0.5,
  oneIsland: true,
  oneNuma: true,
  spilledShare: 0,
  degradedShare: 0,
};

const PARTS: readonly (readonly [name: string, view: Partial<PartView>, value: number])[] = [
  ['fill', {}, 0.75],
  ['fill', { isPacked: false }, 0.25],
  ['nvlink', {}, 1],
  ['nvlink', { oneIsland: false }, 0],
  ['nvlink', { gpus: 1 }, 0],
  ['numa', {}, 1],
  ['numa', { oneNuma: false }, 0],
  ['numa', { gpus: 1 }, 0],
  ['grace_spill', { spilledShare: 0.25 }, -0.25],
  ['degraded_gpu', { degradedShare: 0.5 }, -0.5],
];

t.test('scores of nodes', async (t) => {
  for (const [name, at, wanted, value] of NODES) {
    t.equal(NODE_SCORES.find((score) => score.name === name)?.of(at, deployment('d', wanted)), value, name);
  }
  t.same(new Set(NODES.map(([name]) => name)), new Set(NODE_SCORES.map(({ name }) => name)));
});

t.test('scores of GPUs, and their weighted sum', async (t) => {
  for (const [name, view, value] of PARTS) {
    t.equal(PART_SCORES.find((score) => score.name === name)?.of({ ...VIEW, ...view }) ?? NaN, value, name);
  }
  t.same(new Set(PARTS.map(([name]) => name)), new Set(PART_SCORES.map(({ name }) => name)));
  t.equal(partScore({ ...VIEW, spilledShare: 0.5 }), 0.75 + 1 + 0.1 - 2 * 0.5);
});

t.test('a score that hangs on the model alone says so, as its nodes are not looked at one by one', async (t) => {
  const plain = node('n', 1, {
    labels: { a: '1' },
    health: 'degraded',
    taints: [{ key: 'k', effect: 'PreferNoSchedule' }],
  });
  for (const score of NODE_SCORES) {
    const differs =
      score.of({ ...plain, modelsOnDisk: ['m'], warmCaches: ['m'] }, deployment('d')) !==
      score.of(plain, deployment('d'));
    t.equal(score.byModel === true, differs, score.name);
  }
});
