/**
 * Acts on engines that their agents have given up: the place is stopped, and the deployment is kept off that node for a
 * while, longer each time in a row. The agent has restarted the engine by its own rules before it gives up, so this is no
 * second restart loop but a change of place.
 */
import type { Action, Avoidance, Place, ReconcileOptions } from './contract.ts';
import type { Draft } from './draft.ts';
import type { FleetFacts } from './fleet_view.ts';
import { observe, type Observed } from './observe.ts';
import { ActionBudget, type Symptom, SYMPTOMS } from './symptoms.ts';

const SYMPTOM_OF: Partial<Record<Observed['state'], Symptom>> = {
  failed: 'engine_failed',
  rejected: 'spec_rejected',
};

const MAX_AVOID_MS = 3_600_000;

/** What healing remembers between passes; one for each time that a scheduler leads. */
export class HealingMemory {
  readonly budget: ActionBudget;
  /** Since when each place shows its symptom. */
  readonly #since = new Map<string, number>();

  constructor({ maxActions, actionWindowMs }: Pick<ReconcileOptions, 'maxActions' | 'actionWindowMs'>) {
    this.budget = new ActionBudget(maxActions, actionWindowMs);
  }

  /** How long the place has had a symptom, milliseconds; undefined: it has none. */
  lastedMs(place: string, hasSymptom: boolean, nowMs: number): number | undefined {
    if (!hasSymptom) {
      this.#since.delete(place);
      return undefined;
    }
    const sinceMs = this.#since.get(place) ?? nowMs;
    this.#since.set(place, sinceMs);
    return nowMs - sinceMs;
  }

  /** Forgets places that are gone. */
  keepOnly(names: ReadonlySet<string>): void {
    for (const name of this.#since.keys()) if (!names.has(name)) this.#since.delete(name);
  }
}

export interface HealFacts extends FleetFacts {
  readonly wallMs: number;
  readonly options: ReconcileOptions;
  readonly memory: HealingMemory;
}

export function actionOf(symptom: Symptom, place: Place, node: string, detail: string): Action {
  const { action, words } = SYMPTOMS[symptom];
  const { deployment, index } = place;
  return { symptom, action, deployment, index, node, detail: `${words}: ${detail}` };
}

/** Why an action is not taken now, or undefined. */
export function whyNot({ options, memory, nowMs }: HealFacts, taken: number): string | undefined {
  if (options.observeOnly) return 'only observing';
  return memory.budget.left(nowMs) - taken > 0
    ? undefined
    : `${options.maxActions} actions were taken within ${Math.round(options.actionWindowMs / 1000)} s`;
}

export function avoidanceOf({ declared, options, wallMs }: HealFacts, deployment: string, node: string): Avoidance {
  const before = declared.avoidances.find((each) => each.deployment === deployment && each.node === node);
  const { version = 0, times = 0, untilMs = 0 } = before ?? {};
  // Whoever ran well there for as long as it was kept away before begins anew.
  const isInARow = wallMs < untilMs + Math.min(MAX_AVOID_MS, options.avoidMs * 2 ** times);
  const next = isInARow ? times + 1 : 1;
  const lastsMs = Math.min(MAX_AVOID_MS, options.avoidMs * 2 ** (next - 1));
  return { deployment, node, untilMs: wallMs + lastsMs, times: next, version };
}

/** Stops what its agent has given up. What a GPU is to blame for is the planner's to move. */
export function healEngines(draft: Draft, facts: HealFacts): void {
  const { fleet, memory, nowMs, options } = facts;
  memory.keepOnly(new Set(facts.declared.places.map((place) => place.name)));
  for (const place of draft.places) {
    // A gang has rules of its own.
    if (place.phase !== 'placed' || place.gang !== undefined) continue;
    const { state, detail, node } = observe(fleet, place);
    const symptom = SYMPTOM_OF[state];
    const lastedMs = memory.lastedMs(place.name, symptom !== undefined, nowMs);
    if (symptom === undefined || lastedMs === undefined || lastedMs < options.engineFailedMs) continue;
    const action = actionOf(symptom, place, node, detail);
    const why = whyNot(facts, draft.actions.length);
    if (why !== undefined) {
      draft.withhold(action, why);
      continue;
    }
    draft.act(action);
    draft.move(place, 'stopping', action.detail);
    draft.avoid(avoidanceOf(facts, place.deployment, node));
  }
}
