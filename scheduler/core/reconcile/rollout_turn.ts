/**
 * One turn of all rollouts, by whoever leads: what is seen goes to the machine of each deployment that is not at rest, and
 * what it says becomes events. They are written before anything of it is done.
 */
import type { AppendItem } from '../events/store_port.ts';
import type { FleetState } from '../fleet/state.ts';
import type {
  RevisionTally,
  RolloutEvent,
  RolloutInput,
  RolloutOutput,
  Rules,
  SmokeResult,
} from '../rollout/contract.ts';
import { revisionOf } from '../rollout/revision.ts';
import { toJson } from '../rollout/state_json.ts';
import { stepRollout } from '../rollout/step.ts';
import { rulesOf } from '../rollout/strategy.ts';
import { labelOf } from '../rollout/traffic_rules.ts';
import { type Declared, type DeploymentResource, type Place, ROLLOUT_KIND, ROLLOUT_ORDER_KIND } from './contract.ts';
import type { Writer } from './draft.ts';
import { replicaFacts } from './rollout_targets.ts';

export interface TurnInput {
  readonly declared: Declared;
  readonly fleet: FleetState;
  /** The store's clock, as well as it is known. */
  readonly wallMs: number;
  readonly writer: Writer;
  readonly tallyOf: (label: string) => RevisionTally;
  readonly smokeOf: (place: string, incarnation: number) => SmokeResult | undefined;
}

export interface Turn {
  /** State and orders of one deployment stand side by side, and all of a turn fit into one append. */
  readonly items: readonly AppendItem[];
  readonly events: readonly (RolloutEvent & { readonly deployment: string })[];
  /** Replicas that are to be asked their smoke prompt. */
  readonly asks: readonly { readonly place: Place; readonly smoke: Rules['smoke'] }[];
}

/** Most events of one turn; what is left over comes in the next one. */
const MOST_ITEMS = 400;
const MAX_REASON = 400;

/** Nothing that the machine could say is another thing than last time. */
function isAtRest(
  { declared: { rolloutOrders } }: TurnInput,
  { name, revision, rollout }: DeploymentResource,
): boolean {
  return rollout?.running === null && rollout.seen === revision && !rolloutOrders.has(name);
}

/** What the machine is told of a deployment. */
export function rolloutInput(
  { declared, fleet, wallMs, tallyOf, smokeOf }: Omit<TurnInput, 'writer'>,
  { name, spec, revision, rollout }: DeploymentResource,
): RolloutInput {
  const ids = [revision, rollout?.current?.id, rollout?.running?.from?.id, rollout?.running?.to.id];
  const known = new Set(ids.filter((id) => id !== undefined));
  const order = declared.rolloutOrders.get(name)?.order;
  return {
    deployment: name,
    state: rollout,
    desired: { revision: revisionOf(spec), replicas: spec.replicas, rules: rulesOf(spec.rollout) },
    replicas: replicaFacts(declared, name, fleet, smokeOf),
    tallies: Object.fromEntries([...known].map((id) => [id, tallyOf(labelOf(name, id))])),
    orders: order === undefined ? [] : [order],
    nowMs: wallMs,
  };
}

function itemsOf({ declared, writer }: TurnInput, name: string, out: RolloutOutput | undefined): AppendItem[] {
  const entry = declared.rollouts.get(name);
  const order = declared.rolloutOrders.get(name);
  const items: AppendItem[] = [];
  const resource = { kind: ROLLOUT_KIND, name };
  if (out?.changed === true) {
    const words = out.events.map(({ kind, detail }) => (detail === '' ? kind : `${kind}: ${detail}`)).join('; ');
    const reason = words === '' ? 'the rollout gets on' : words.slice(0, MAX_REASON);
    const expected = entry?.version ?? 'absent';
    items.push({ kind: 'lifecycle.changed', resource, ...writer, reason, after: toJson(out.state), expected });
  }
  if (out === undefined && entry !== undefined) items.push(ended(writer, resource, entry.version, 'it is deleted'));
  if (order !== undefined)
    items.push(ended(writer, { kind: ROLLOUT_ORDER_KIND, name }, order.version, 'it is taken up'));
  return items;
}

function ended(writer: Writer, resource: AppendItem['resource'], expected: number, reason: string): AppendItem {
  return { kind: 'lifecycle.ended', resource, ...writer, reason, after: null, expected };
}

export function turnRollouts(input: TurnInput): Turn {
  const { declared } = input;
  const items: AppendItem[] = [];
  const events: (RolloutEvent & { readonly deployment: string })[] = [];
  const asks: { readonly place: Place; readonly smoke: Rules['smoke'] }[] = [];
  for (const name of new Set([...declared.rollouts.keys(), ...declared.rolloutOrders.keys()])) {
    if (items.length >= MOST_ITEMS) break;
    if (!declared.deployments.has(name)) items.push(...itemsOf(input, name, undefined));
  }
  for (const deployment of declared.deployments.values()) {
    if (items.length >= MOST_ITEMS) break;
    if (isAtRest(input, deployment)) continue;
    const { name } = deployment;
    const asked = rolloutInput(input, deployment);
    const out = stepRollout(asked);
    events.push(...out.events.map((event) => ({ ...event, deployment: name })));
    items.push(...itemsOf(input, name, out));
    if (out.changed) continue;
    const { smoke } = out.state.running?.rules ?? asked.desired.rules;
    const keys = new Set(out.ask);
    for (const place of declared.places) if (keys.has(place.name)) asks.push({ place, smoke });
  }
  return { items, events, asks };
}
