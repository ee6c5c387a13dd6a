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
import { unsoundGang } from './gang.ts';
import { type HealFacts, healEngines } from './heal.ts';
import { healGangs } from './heal_gangs.ts';
import { KNOWS_NOTHING, type ModelKnowledge } from './model_book.ts';
import { observe } from './observe.ts';
import { liftOver } from './quarantines.ts';
import { settle, type SettleFacts } from './settle.ts';
import { wantedDeployments } from './wanted.ts';

export interface PassInput extends HealFacts, SettleFacts {
  readonly options: ReconcileOptions;
  /** The store's clock, as well as it is known: what it was when this scheduler began to lead, and the time since. */
  readonly storeMs: number;
  readonly targets: Targets;
  readonly writer: Writer;
  /** Absent: nothing is known of any model. */
  readonly models?: ModelKnowledge;
}

/** What is asked of the planner, and what its names mean. */
export interface Question {
  readonly snapshot: FleetSnapshot;
  readonly targets: TargetsByName;
  /** What the planner would say of deployments that it refuses, by their planner's names. */
  readonly unsound: ReadonlyMap<string, string>;
}

export interface Planned extends Question {
  readonly plan: PlacementPlan;
}

export type PlanInput = Omit<PassInput, 'memory' | 'generationOf' | 'writer'>;

export function question(input: PlanInput, declared: Declared): Question {
  const { fleet, wallMs, models = KNOWS_NOTHING } = input;
  const isReady = (place: Parameters<typeof observe>[1]): boolean => observe(fleet, place).state === 'ready';
  const { wanted, targets } = wantedDeployments({ declared, fleet, wallMs, isReady, targets: input.targets, models });
  const { sound, unsound } = sift(wanted, targets);
  return { snapshot: snapshotOf({ ...input, declared }, sound), targets, unsound };
}

/** A plan for what is declared. Deployments that the planner refuses are left as they are. */
export function planFor(input: PlanInput, declared: Declared): Planned {
  const asked = question(input, declared);
  const plan = planPlacement(asked.snapshot, {
    random: seededRandom(1),
    searchSteps: input.options.searchSteps,
  });
  return { ...asked, plan: withoutUnsound(plan, asked) };
}

/** What runs of a deployment that cannot be read goes on. */
function withoutUnsound(plan: PlacementPlan, { unsound }: Question): PlacementPlan {
  return { ...plan, stops: plan.stops.filter(({ deployment }) => !unsound.has(deployment)) };
}

/** One deployment with a number that cannot be must not keep the others from being placed. */
function sift(wanted: readonly WantedDeployment[], targets: TargetsByName) {
  const unsound = new Map<string, string>();
  const sound = wanted.filter((each) => {
    const why = unsoundGang(targets.get(each.name)?.target.spec) ?? unsoundDemand(each);
    if (why !== undefined) unsound.set(each.name, why);
    return why === undefined;
  });
  return { sound, unsound };
}

const NO_FLEET = compileFleet([]);

function unsoundDemand(wanted: WantedDeployment): string | undefined {
  try {
    compileDemands(NO_FLEET, [wanted]);
    return undefined;
  } catch (error) {
    if (!(error instanceof CodedError)) throw error;
    return error.message;
  }
}
const NOTHING: Decision = { items: [], lines: [], actions: [], withheld: [], pending: 0, planned: false };

/** What a plan would be asked for in this pass, for whoever plans elsewhere. */
export function snapshotToPlan(input: PassInput): FleetSnapshot {
  const draft = begin(input);
  return question(input, draft.declared).snapshot;
}

function begin(input: PassInput): Draft {
  const draft = new Draft(input.declared);
  liftOver(draft, input.declared, input.storeMs);
  settle(draft, input);
  healEngines(draft, input);
  healGangs(draft, input);
  return draft;
}

/**
 * @param plan made of an earlier picture, which is checked against the present one; `now`: it is made here; `none`: nothing
 * has changed that a plan depends on
 */
export function decide(input: PassInput, plan: PlacementPlan | 'now' | 'none' = 'now'): Decision {
  const { declared, writer } = input;
  if (declared.frozen !== undefined) return NOTHING;
  const draft = begin(input);
  let pending = 0;
  if (plan !== 'none') {
    const planned = plan === 'now' ? planFor(input, draft.declared) : { ...question(input, draft.declared), plan };
    const { accepted } = verifyPlan(withoutUnsound(planned.plan, planned), planned.snapshot);
    carryOut(draft, input, planned.targets, accepted);
    pending = planned.plan.pending.length;
  }
  const { actions, withheld, lines } = draft;
  return { items: draft.items(writer), lines, actions, withheld, pending, planned: plan !== 'none' };
}
