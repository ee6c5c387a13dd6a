/** How two plans are compared, part by part. */
import t from 'tap';
import type { PlacementPlan } from '../../../../scheduler/core/placement/contract.ts';
import { compareObjectives, type Objective, objectiveOf } from '../../../../scheduler/core/placement/objective.ts';
import { deployment, node, snapshot } from './support.ts';

t.test('objectives: the highest priority decides, then disturbance, then names, then quality', async (t) => {
  const base: Objective = {
    served: [
      { priority: 70, value: 1 },
      { priority: 50, value: 2 },
    ],
    disruption: 10,
    names: [5, 5],
    quality: 3,
  };
  const better: readonly Partial<Objective>[] = [
    {
      served: [
        { priority: 70, value: 1.5 },
        { priority: 50, value: 0 },
      ],
      disruption: 99,
    },
    {
      served: [
        { priority: 70, value: 1 },
        { priority: 50, value: 2.5 },
      ],
      disruption: 99,
    },
    {
      served: [
        { priority: 80, value: 1 },
        { priority: 50, value: 2 },
      ],
    },
    { served: [...base.served, { priority: 20, value: 1 }] },
    { disruption: 9, names: [0, 0] },
    { names: [6, 0], quality: 0 },
    { quality: 3.1 },
  ];
  for (const more of better) {
    t.ok(compareObjectives({ ...base, ...more }, base) > 0);
    t.ok(compareObjectives(base, { ...base, ...more }) < 0);
  }
  t.equal(compareObjectives({ ...base, quality: 3 + 1e-12 }, base), 0);
  const strange = {
    assignments: [{ ...({ deployment: 'x', index: 3 } as never as PlacementPlan['assignments'][number]), parts: [] }],
    preemptions: [{ deployment: 'x', index: 1 } as never],
  };
  t.equal(
    objectiveOf(snapshot([node('n', 1)], [deployment('d')]), strange).quality,
    0,
    'what nobody knows counts nothing',
  );
});
