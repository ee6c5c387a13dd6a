/**
 * Never half a gang: when one member has failed, does not start, or lies on a lost host, all members are stopped, and the
 * replica is placed anew when the agents have confirmed that. Real members do not see to that themselves: vLLM's leader
 * answers /health with 200 after a member's death until the next request, and its members outlive it (vllm#32136).
 */
import type { NodeId } from '../../../lib/ids.ts';
import type { FleetState } from '../fleet/state.ts';
import { doubtsItself } from './carry_out.ts';
import type { Place } from './contract.ts';
import type { Draft } from './draft.ts';
import { isLost } from './fleet_view.ts';
import { actionOf, avoidanceOf, type HealFacts, whyNot } from './heal.ts';
import type { Symptom } from './symptoms.ts';

/** A member may wait for its host or be ended by hand for this long at least, milliseconds, before the others stop waiting. */
const LEAST_PATIENCE_MS = 10_000;

/** Reasons of agents for an end before the engine ever served: there is something about that host. */
const AT_START: ReadonlySet<string> = new Set([
  'start_crashed',
  'start_timeout',
  'launch_failed',
  'warm_failed',
  'preflight_failed',
]);

const GIVEN_UP: ReadonlySet<string> = new Set(['ENGINE_STATE_FAILED', 'ENGINE_STATE_QUARANTINED']);
/** It has no process, and its agent may or may not begin another. */
const AWAY: ReadonlySet<string> = new Set(['ENGINE_STATE_BACKOFF', 'ENGINE_STATE_STOPPED']);

interface Trouble {
  readonly symptom: Symptom;
  readonly node: string;
  readonly detail: string;
}

interface Seen extends Trouble {
  readonly atMs: number;
  /** Others wait for it a while. */
  readonly isAway: boolean;
}

function seenOf(fleet: FleetState, name: string, engine: string): Seen | undefined {
  const node = fleet.nodes.get(name as NodeId);
  if (node?.connected !== true) return undefined;
  const rejection = node.rejections.find((each) => each.engine === engine);
  const refused = { symptom: 'gang_start_failed', node: name, atMs: 0, isAway: false } as const;
  if (rejection !== undefined) return { ...refused, detail: `${name}: ${rejection.message}` };
  const event = node.engines.get(engine)?.event;
  if (event === undefined || !(GIVEN_UP.has(event.state) || AWAY.has(event.state))) return undefined;
  const { reason, message, atMs = 0 } = event;
  const symptom = AT_START.has(reason) ? 'gang_start_failed' : 'gang_member_failed';
  return { symptom, node: name, atMs, isAway: AWAY.has(event.state), detail: `${name}: ${message || reason}` };
}

/** Which member is to blame: the one that failed first, as the others fail because of it. */
function troubleOf(facts: HealFacts, { name, engine, parts }: Place): Trouble | undefined {
  const { fleet, memory, nowMs, options } = facts;
  const lost = parts.find(({ node }) => isLost(facts, node));
  if (lost !== undefined)
    return { symptom: 'gang_host_lost', node: lost.node, detail: `${lost.node} is not connected` };
  const seen = parts.flatMap(({ node }) => seenOf(fleet, node, engine) ?? []);
  seen.sort((left, right) => left.atMs - right.atMs);
  const failed = seen.find(({ isAway }) => !isAway);
  const away = seen[0];
  const awayMs = memory.lastedMs(name, away !== undefined, nowMs) ?? 0;
  if (failed !== undefined) return failed;
  return awayMs >= Math.max(LEAST_PATIENCE_MS, options.engineFailedMs) ? away : undefined;
}

/** Stops gangs that are not whole. */
export function healGangs(draft: Draft, facts: HealFacts): void {
  let doubts: boolean | undefined;
  for (const place of draft.places) {
    if (place.gang === undefined || (place.phase !== 'placed' && place.phase !== 'leaving')) continue;
    const trouble = troubleOf(facts, place);
    if (trouble === undefined) continue;
    const { symptom, node, detail } = trouble;
    const action = actionOf(symptom, place, node, detail);
    if (symptom === 'gang_host_lost') doubts ??= doubtsItself(facts);
    const why =
      whyNot(facts, draft.actions.length) ??
      (symptom === 'gang_host_lost' && doubts === true ? 'too many nodes seem lost at once' : undefined);
    if (why !== undefined) {
      draft.withhold(action, why);
      continue;
    }
    draft.act(action);
    draft.breakUp(place, symptom === 'gang_host_lost' ? 'lost' : 'stopping', action.detail);
    if (symptom === 'gang_start_failed') draft.avoid(avoidanceOf(facts, place.deployment, node));
  }
}
