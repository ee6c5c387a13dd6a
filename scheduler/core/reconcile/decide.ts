/**
 * One pass of reconcile: what has happened is settled, what agents gave up is healed, what is wanted is placed. Pure, and the
 * same for the same input; whoever calls it writes the result under its fence, all in order, and decides again after that.
 */
import { CodedError } from '../../../lib/errors.ts';
import { seededRandom } from '../../../lib/rng.ts';
import type { FleetSnapshot, PlacementPlan, WantedDeployment } from '../placement/contract.ts';
import { compileDemands } from '../placement/demand.ts';
import { compileFleet } from '../placement/fleet.ts';
import { planPlacement } from '../placement/planner.ts';
import { verifyPlan } from '../placement/verify.ts';
import { carryOut, type TargetsByName } from './carry_out.ts';
import type { Declared, Decision, ReconcileOptions, Targets } from './contract.ts';
import { Draft, type Writer } from './draft.ts';
import { snapshotOf } from './fleet_view.ts';
import { type HealFacts, healEngines } from './heal.ts';
import { observe } from './observe.ts';
import { settle, type SettleFacts } from './settle.ts';
import { wantedDeployments } from './wanted.ts';

export interface PassInput extends HealFacts, SettleFacts {
  readonly options: ReconcileOptions;
  readonly targets: Targets;
  readonly writer: Writer;
  /** Absent: true. False: nothing has changed that a plan depends on, unless this pass itself changes something. */
  readonly mayPlan?: boolean;
}

export interface Planned {
  readonly snapshot: FleetSnapshot;
  readonly plan: PlacementPlan;
  readonly targets: TargetsByName;
  /** What the planner says of deployments that it refuses, by their planner's names. */
  readonly unsound: ReadonlyMap<string, string>;
}

export type PlanInput = Omit<PassInput, 'memory' | 'generationOf' | 'writer' | 'mayPlan'>;

/** A plan for what is declared. Deployments that the planner refuses are left as they are. */
export function planFor(input: PlanInput, declared: Declared): Planned {
  const { fleet, wallMs, options } = input;
  const isReady = (place: Parameters<typeof observe>[1]): boolean => observe(fleet, place).state === 'ready';
  const { wanted, targets } = wantedDeployments({ declared, fleet, wallMs, isReady, targets: input.targets });
  const { sound, unsound } = sift(wanted, targets);
  const snapshot = snapshotOf({ ...input, declared }, sound);
  const plan = planPlacement(snapshot, { random: seededRandom(1), searchSteps: options.searchSteps });
  // What runs of a deployment that cannot be read goes on.
  const stops = plan.stops.filter(({ deployment }) => !unsound.has(deployment));
  return { snapshot, plan: { ...plan, stops }, targets, unsound };
}

/** One deployment with a number that cannot be must not keep the others from being placed. */
function sift(wanted: readonly WantedDeployment[], targets: TargetsByName) {
  const unsound = new Map<string, string>();
  const sound = wanted.filter((each) => {
    // Real engines of one replica on several hosts would have to find each other, which nobody tells them yet.
    if ((each.hosts ?? 1) > 1 && targets.get(each.name)?.target.spec.engine !== 'sim') {
      unsound.set(each.name, `${each.name} asks for ${each.hosts} hosts, and engines are started on one host only.`);
      return false;
    }
    try {
      compileDemands(NO_FLEET, [each]);
      return true;
    } catch (error) {
      if (!(error instanceof CodedError)) throw error;
      unsound.set(each.name, error.message);
      return false;
    }
  });
  return { sound, unsound };
}

const NO_FLEET = compileFleet([]);
const NOTHING: Decision = { items: [], lines: [], actions: [], withheld: [], pending: 0, planned: false };

export function decide(input: PassInput): Decision {
  const { declared, writer } = input;
  if (declared.frozen !== undefined) return NOTHING;
  const draft = new Draft(declared);
  settle(draft, input);
  healEngines(draft, input);
  const planned = input.mayPlan !== false || draft.lines.length > 0 ? planFor(input, draft.declared) : undefined;
  if (planned !== undefined)
    carryOut(draft, input, planned.targets, verifyPlan(planned.plan, planned.snapshot).accepted);
  const { actions, withheld, lines } = draft;
  const pending = planned?.plan.pending.length ?? 0;
  return { items: draft.items(writer), lines, actions, withheld, pending, planned: planned !== undefined };
}
