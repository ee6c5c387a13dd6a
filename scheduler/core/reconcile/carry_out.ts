/**
 * From a verified plan to places. Three rules keep anything from being started twice: an index of a revision gets a new
 * place only when its old one is gone, leaves in favour of the new one, or lies on a lost node; a place whose GPUs are not
 * free yet waits; and whatever is withheld takes along what depends on it.
 */
import type { Assignment, PlacementPlan, ReplicaId } from '../placement/contract.ts';
import type { Reason } from '../placement/reasons.ts';
import type { DeploymentResource, Place } from './contract.ts';
import type { Draft } from './draft.ts';
import { isLost, nodeNames, plannerName } from './fleet_view.ts';
import { gangAddress } from './gang.ts';
import { actionOf, type HealFacts, whyNot } from './heal.ts';
import { promisedSpec } from './memory_need.ts';
import { observe } from './observe.ts';
import { isStanding } from './places.ts';
import type { Symptom } from './symptoms.ts';
import type { WantedTarget } from './wanted.ts';

export type AcceptedPlan = Pick<PlacementPlan, 'assignments' | 'preemptions' | 'stops'>;
export type TargetsByName = ReadonlyMap<string, WantedTarget>;

const keyOf = ({ deployment, index }: ReplicaId): string => `${deployment}/${index}`;
const keyOfPlace = ({ deployment, revision, index }: Place): string =>
  keyOf({ deployment: plannerName(deployment, revision), index });

interface Moving {
  readonly symptom: Symptom | undefined;
  readonly words: string;
}

/** What has a replica moved: an operator's wish has no symptom. */
function movingOf(facts: HealFacts, reasons: readonly Reason[], from: readonly string[]): Moving {
  if (reasons.some(({ by }) => by === 'draining')) return { symptom: undefined, words: 'its node is being drained' };
  if (reasons.some(({ by }) => by === 'taint'))
    return { symptom: undefined, words: 'its node has a taint that it does not tolerate' };
  if (from.some((node) => facts.declared.nodes.get(node)?.spec.retired === true))
    return { symptom: undefined, words: 'its node is retired' };
  if (reasons.some(({ by }) => by === 'health')) return { symptom: 'node_lost', words: 'its node is lost' };
  const held = reasons.find((reason) => reason.by === 'quarantine');
  if (held !== undefined) return { symptom: 'node_quarantined', words: held.why };
  return { symptom: 'gpu_bad', words: 'a GPU of it is not sound' };
}

/** Whether so many nodes seem lost that the fault is more likely here. */
export function doubtsItself(facts: HealFacts): boolean {
  const names = nodeNames(facts).filter((name) => facts.declared.nodes.get(name)?.spec.retired !== true);
  const lost = names.filter((name) => isLost(facts, name)).length;
  return lost > names.length * facts.options.maxLostShare;
}

class Carrier {
  readonly #draft: Draft;
  readonly #facts: HealFacts;
  readonly #targets: TargetsByName;
  readonly #standing = new Map<string, Place>();
  readonly #ending = new Set<string>();
  /** Indexes of each deployment whose move is under way. */
  readonly #moving = new Map<string, Set<number>>();
  readonly #doubts: boolean;

  constructor(draft: Draft, facts: HealFacts, targets: TargetsByName) {
    this.#draft = draft;
    this.#facts = facts;
    this.#targets = targets;
    this.#doubts = doubtsItself(facts);
    for (const place of draft.places) {
      if (isStanding(place)) this.#standing.set(keyOfPlace(place), place);
      if (place.phase === 'stopping') this.#ending.add(keyOfPlace(place));
      const isMoving = place.replaces !== undefined && draft.find(place.replaces) !== undefined && isStanding(place);
      if (isMoving && observe(facts.fleet, place).state !== 'ready') this.#movingOf(place.deployment).add(place.index);
    }
  }

  carryOut(plan: AcceptedPlan): void {
    const skipped = this.#skipped(plan);
    const isCarriedOut = (id: ReplicaId): boolean => !skipped.has(keyOf(id));
    for (const stop of plan.stops) {
      const words = stop.because === 'scaled_down' ? 'fewer replicas are wanted' : 'it is not wanted any more';
      this.#end(stop, words);
    }
    const preemptions = plan.preemptions.filter(({ by }) => isCarriedOut(by));
    for (const each of preemptions) {
      const by = this.#targets.get(each.by.deployment)?.deployment.name ?? each.by.deployment;
      this.#end(each, `it is preempted by ${by}/${each.by.index} of priority ${each.byPriority}`);
    }
    for (const assignment of plan.assignments) if (isCarriedOut(assignment)) this.#assign(assignment);
  }

  /** Assignments that are not carried out now, with those that depend on them. */
  #skipped(plan: AcceptedPlan): ReadonlySet<string> {
    const skipped = new Set<string>();
    for (const assignment of plan.assignments) if (!this.#mayAssign(assignment)) skipped.add(keyOf(assignment));
    const victimOf = new Map(plan.preemptions.map((each) => [keyOf(each), keyOf(each.by)]));
    for (let size = -1; size !== skipped.size; ) {
      size = skipped.size;
      for (const assignment of plan.assignments) {
        const needs = [...assignment.waitsFor, assignment].map((id) => victimOf.get(keyOf(id)) ?? '');
        if (needs.some((by) => by !== keyOf(assignment) && skipped.has(by))) skipped.add(keyOf(assignment));
      }
    }
    return skipped;
  }

  #mayAssign(assignment: Assignment): boolean {
    const key = keyOf(assignment);
    const target = this.#targets.get(assignment.deployment);
    if (target === undefined) return false;
    const { cause } = assignment;
    if (cause.kind === 'new') return !this.#ending.has(key);
    // A preempted replica gets its new place once its old one is gone.
    if (cause.kind === 'preempted') return false;
    const old = this.#standing.get(key);
    return old !== undefined && this.#mayMove(old, target.deployment, movingOf(this.#facts, cause.reasons, cause.from));
  }

  #mayMove(old: Place, { name, spec }: DeploymentResource, { symptom, words }: Moving): boolean {
    const { options } = this.#facts;
    const most = Math.max(1, Math.floor(options.maxMovedShare * spec.replicas));
    const moving = this.#movingOf(name);
    // One that is moved on in the middle of its move is no further one.
    const isFull = moving.size >= most && !moving.has(old.index);
    if (symptom !== undefined) {
      const node = old.parts.map((part) => part.node).join(', ');
      const action = actionOf(symptom, old, node, words);
      const why =
        whyNot(this.#facts, this.#draft.actions.length) ??
        (symptom === 'node_lost' && this.#doubts ? 'too many nodes seem lost at once' : undefined) ??
        (isFull ? `${most} of its replicas are being moved` : undefined);
      if (why !== undefined) {
        this.#draft.withhold(action, why);
        return false;
      }
      this.#draft.act(action);
    } else if (isFull) return false;
    moving.add(old.index);
    return true;
  }

  #movingOf(deployment: string): Set<number> {
    const moving = this.#moving.get(deployment) ?? new Set<number>();
    this.#moving.set(deployment, moving);
    return moving;
  }

  #end(id: ReplicaId, words: string): void {
    const place = this.#standing.get(keyOf(id));
    if (place === undefined) return;
    this.#draft.move(place, 'stopping', words);
  }

  #assign({ deployment: name, index, parts, priority, cause, waitsFor }: Assignment): void {
    const { deployment, target, memory } = this.#targets.get(name) as WantedTarget;
    const old = cause.kind === 'moved' ? this.#standing.get(keyOf({ deployment: name, index })) : undefined;
    const words = cause.kind === 'moved' ? movingOf(this.#facts, cause.reasons, cause.from).words : 'it is wanted';
    if (old !== undefined) {
      const isLostNow = old.parts.some(
        ({ node }) => isLost(this.#facts, node) || this.#facts.declared.nodes.get(node)?.spec.retired === true,
      );
      this.#draft.move(old, isLostNow ? 'lost' : 'leaving', words);
    }
    const wish = {
      deployment: deployment.name,
      index,
      revision: target.revision,
      spec: promisedSpec(target.spec, memory),
      priority,
      parts,
      waitsFor: waitsFor.flatMap((id) => this.#standing.get(keyOf(id))?.name ?? []),
      reason: words,
      ...(old === undefined || old.phase === 'waiting' ? {} : { replaces: old.name }),
    };
    this.#draft.assign(wish, (node) => gangAddress(this.#facts.fleet, node));
  }
}

export function carryOut(draft: Draft, facts: HealFacts, targets: TargetsByName, plan: AcceptedPlan): void {
  new Carrier(draft, facts, targets).carryOut(plan);
}
