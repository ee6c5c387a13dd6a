/** What holds for every plan of every fleet, with a checker and an exact solver that share nothing with how the planner searches. */
import fc from 'fast-check';
import t from 'tap';
import { GIB, smallCase } from '../../../../bench/place/cases.ts';
import { violationsOf } from '../../../../bench/place/check.ts';
import { shareOf, solveExactly } from '../../../../bench/place/exact.ts';
import { largeFleet } from '../../../../bench/place/large_fleet.ts';
import { seededRandom } from '../../../../lib/rng.ts';
import { conflictOn } from '../../../../scheduler/core/placement/affinity.ts';
import { createBound } from '../../../../scheduler/core/placement/bound.ts';
import type { FleetSnapshot } from '../../../../scheduler/core/placement/contract.ts';
import { carryOut, explainDeployment, reasonsAgainst } from '../../../../scheduler/core/placement/explain.ts';
import { fit, NO_FIT } from '../../../../scheduler/core/placement/fit.ts';
import { NODE_FILTERS } from '../../../../scheduler/core/placement/filters.ts';
import { compareObjectives, objectiveOf } from '../../../../scheduler/core/placement/objective.ts';
import { planPlacement } from '../../../../scheduler/core/placement/planner.ts';
import { createSituation } from '../../../../scheduler/core/placement/units.ts';
import { verifyPlan } from '../../../../scheduler/core/placement/verify.ts';

const SEEDS = fc.integer({ min: 0, max: 2 ** 31 - 1 });
const STEPS = { searchSteps: 1500 };

const forCases = (numRuns: number, check: (snapshot: FleetSnapshot, seed: number) => void): void =>
  fc.assert(
    fc.property(SEEDS, (seed) => check(smallCase(seededRandom(seed), 7), seed)),
    // The same cases in every run; `npm run bench -- place --seed` looks at others.
    { numRuns, seed: 6 },
  );

t.test(
  'no plan breaks a rule: memory, bad nodes, whole gangs, neighbours, preemption of strictly lower ones',
  async (t) => {
    forCases(150, (snapshot) => {
      t.strictSame(violationsOf(snapshot, planPlacement(snapshot, STEPS)), []);
    });
  },
);

t.test(
  'a plan is the same for the same seed, whatever the order of the snapshot, and its objective is that of its parts',
  async (t) => {
    forCases(40, (snapshot, seed) => {
      const plan = planPlacement(snapshot, { ...STEPS, random: seededRandom(seed) });
      const shuffled = {
        ...snapshot,
        nodes: snapshot.nodes.toReversed(),
        deployments: snapshot.deployments.toReversed(),
      };
      t.strictSame(planPlacement(shuffled, { ...STEPS, random: seededRandom(seed) }), plan);
      t.equal(compareObjectives(objectiveOf(snapshot, plan), plan.objective), 0);
    });
  },
);

t.test('a plan holds against the state that it was made from, and nothing of it is accepted twice', async (t) => {
  forCases(60, (snapshot) => {
    const plan = planPlacement(snapshot, STEPS);
    const { accepted, refused } = verifyPlan(plan, snapshot);
    t.strictSame(refused, []);
    t.strictSame(accepted.assignments, plan.assignments);
    t.strictSame(accepted.preemptions.length, plan.preemptions.length);
  });
});

t.test('what is accepted of a plan for another state breaks no rule there', async (t) => {
  fc.assert(
    fc.property(SEEDS, SEEDS, (one, other) => {
      const old = smallCase(seededRandom(one), 7);
      const now = { ...smallCase(seededRandom(other), 7), deployments: old.deployments };
      const { accepted, refused } = verifyPlan(planPlacement(old, STEPS), now);
      const pending = refused.map(({ replica }) => replica);
      const kept =
        createSituation(now).units.filter((unit) => unit.state === 'kept').length - accepted.preemptions.length;
      const broken = violationsOf(now, { ...accepted, pending, kept, objective: objectiveOf(now, accepted) });
      t.strictSame(
        broken.filter((what) => !/in the plan, |twice$/.test(what)),
        [],
      );
    }),
    { numRuns: 60, seed: 6 },
  );
});

t.test('whoever waits has no place: every node says why, and says so with the room that the plan leaves', async (t) => {
  forCases(60, (snapshot) => {
    const plan = planPlacement(snapshot, STEPS);
    for (const { deployment } of plan.pending) {
      const explained = explainDeployment(snapshot, plan, deployment);
      t.ok(explained?.verdicts.every((verdict) => verdict.kind !== 'feasible'));
      for (const verdict of explained?.verdicts ?? [])
        if (verdict.kind === 'rejected') t.ok(verdict.changes.length > 0, 'it says what would have to change');
    }
  });
});

t.test(
  'the quick yes or no of planning and the reasons for operators never disagree, and no bound is below the truth',
  async (t) => {
    forCases(80, (snapshot) => {
      const { board, units } = createSituation(snapshot);
      carryOut(board, units, planPlacement(snapshot, STEPS));
      for (const demand of board.demands) {
        const bound = createBound(board, demand);
        for (const [n, node] of board.fleet.nodes.entries()) {
          const isOpen = NODE_FILTERS.every((filter) => filter.refuses(node, demand.wanted, snapshot) === undefined);
          const score = fit(board, n, demand);
          const fits = isOpen && score !== NO_FIT && conflictOn(board, n, demand) === undefined;
          t.equal(reasonsAgainst(board, snapshot, demand, n).length === 0, fits);
          t.ok(bound.close(n) >= score - 1e-9);
          t.ok(bound.rough(n) >= score - 1e-9);
        }
      }
    });
  },
);

t.test('on small fleets the plan is the best there is in more than 99 of 100', async (t) => {
  let shares = 0;
  let cases = 0;
  let preemptions = 0;
  for (let seed = 0; seed < 120; seed++) {
    const snapshot = smallCase(seededRandom(seed * 7919 + 3), 7);
    const best = solveExactly(snapshot, 60_000);
    if (best === undefined) continue;
    t.ok(Math.abs(best.quality - best.objective.quality) < 1e-9, 'two ways to the same quality');
    const plan = planPlacement(snapshot);
    t.ok(compareObjectives(plan.objective, best.objective) <= 0, 'nothing is better than the best');
    cases += 1;
    preemptions += plan.preemptions.length;
    shares += shareOf(plan.objective, best.objective);
  }
  t.ok(cases > 100);
  t.ok(preemptions > 5, 'the cases are hard enough to need preemption');
  t.ok(shares / cases > 0.99);
});

t.test('a larger fleet is placed without a broken rule, and hardly anybody waits while room is left', async (t) => {
  const snapshot = largeFleet(60, 150, seededRandom(3));
  const plan = planPlacement(snapshot, { searchSteps: 500 });
  t.strictSame(violationsOf(snapshot, plan), []);
  t.ok(plan.assignments.length > 130);
  t.ok(plan.assignments.every(({ parts }) => parts.every((part) => part.gpuMemoryBytes <= 96 * GIB)));
});
