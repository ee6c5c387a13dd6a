/** Reads what reconcile needs out of the log's projection, in one walk over its entries. */
import type { JsonObject } from '../events/json.ts';
import { type Entry, FLEET_FREEZE, type Projection } from '../events/projection.ts';
import { isOrderVerb } from '../rollout/orders.ts';
import type { DeploymentSpec, PoolSpec } from '../resources/contract.ts';
import { pinnedName, pinnedSpec } from '../resources/pinned.ts';
import { endOf, quarantineIn } from '../resources/quarantine.ts';
import {
  AVOID_KIND,
  type Avoidance,
  type Declared,
  type DeploymentResource,
  type NodeResource,
  type Place,
  type QuarantineResource,
  ROLLOUT_KIND,
  ROLLOUT_ORDER_KIND,
  type RolloutEntry,
  type WaitingOrder,
} from './contract.ts';
import { readState } from '../rollout/state_json.ts';
import { revisionOf } from '../rollout/revision.ts';
import { MOVE_ORDER, type MoveOrder, moveOrderOf } from './moves.ts';
import { placeOf } from './places.ts';

interface Building {
  readonly deployments: Map<string, DeploymentResource>;
  readonly nodes: Map<string, NodeResource>;
  readonly pools: Map<string, PoolSpec>;
  readonly places: Place[];
  readonly avoidances: Avoidance[];
  readonly quarantines: Map<string, QuarantineResource>;
  readonly rollouts: Map<string, RolloutEntry>;
  readonly rolloutOrders: Map<string, WaitingOrder>;
  moveOrder?: MoveOrder;
  frozen: string | undefined;
}

/** A deployment as reconcile sees it, with the fields filled in that a caller may leave out. */
export function deploymentOf(name: string, version: number, given: unknown): DeploymentResource {
  const spec = { extraFlags: [], environment: {}, ...(given as object) } as unknown as DeploymentSpec;
  return { name, version, spec, revision: revisionOf(spec).id };
}

/** A declared engine is a deployment of one, on its node. */
export const deploymentIn = (kind: 'Deployment' | 'Engine', name: string, version: number, given: object) =>
  kind === 'Engine' ? deploymentOf(pinnedName(name), version, pinnedSpec(given)) : deploymentOf(name, version, given);

/** Entries are never changed, only replaced, so what was read of one is read once. */
const known = new WeakMap<Entry, DeploymentResource>();

function takeDesired(into: Building, entry: Entry): void {
  const { kind, name, version, value } = entry;
  const { spec, labels } = value as unknown as { spec: JsonObject; labels: Readonly<Record<string, string>> };
  if (kind === 'Deployment' || kind === 'Engine') {
    const deployment = known.get(entry) ?? deploymentIn(kind, name, version, spec);
    known.set(entry, deployment);
    into.deployments.set(deployment.name, deployment);
  }
  if (kind === 'Node') into.nodes.set(name, { spec, labels });
  if (kind === 'Pool') into.pools.set(name, spec as unknown as PoolSpec);
}

const wordsOf = (value: unknown, otherwise: string): string => {
  const reason = (value as { readonly reason?: unknown } | null)?.reason;
  return typeof reason === 'string' && reason !== '' ? reason : otherwise;
};

function avoidanceOf({ name, version, value }: Entry): Avoidance {
  const { untilMs, times } = value as unknown as Pick<Avoidance, 'untilMs' | 'times'>;
  // The name of a declared engine has a slash of its own; that of a node has none.
  const slash = name.lastIndexOf('/');
  return { deployment: name.slice(0, slash), node: name.slice(slash + 1), untilMs, times, version };
}

const knownRollouts = new WeakMap<Entry, RolloutEntry>();

function rolloutOf(entry: Entry): RolloutEntry {
  const rollout = knownRollouts.get(entry) ?? { version: entry.version, state: readState(entry.value) };
  knownRollouts.set(entry, rollout);
  return rollout;
}

/** An order that a newer version wrote is none that can be carried out here; it is taken away all the same. */
export function orderOf({ version, value, actor }: Entry): WaitingOrder {
  const { verb, reason } = (value ?? {}) as { readonly verb?: unknown; readonly reason?: unknown };
  if (!isOrderVerb(verb)) return { version, order: undefined };
  return { version, order: { verb, actor, reason: typeof reason === 'string' ? reason : '' } };
}

const TAKE: Partial<Record<Entry['area'], (into: Building, entry: Entry) => void>> = {
  desired: takeDesired,
  placement(into, entry) {
    const place = placeOf(entry);
    if (place !== undefined) into.places.push(place);
  },
  lifecycle(into, entry) {
    if (entry.kind === AVOID_KIND) into.avoidances.push(avoidanceOf(entry));
    if (entry.kind === ROLLOUT_KIND) into.rollouts.set(entry.name, rolloutOf(entry));
    if (entry.kind === MOVE_ORDER.kind && entry.name === MOVE_ORDER.name) into.moveOrder = moveOrderOf(entry);
    if (entry.kind === ROLLOUT_ORDER_KIND) into.rolloutOrders.set(entry.name, orderOf(entry));
  },
  quarantine(into, entry) {
    const spec = quarantineIn(entry);
    if (spec === undefined) return;
    const { name, version } = entry;
    const endsAtMs = endOf(entry);
    into.quarantines.set(name, { name, version, spec, ...(endsAtMs === undefined ? {} : { endsAtMs }) });
  },
  freeze(into, { kind, name, value, actor }) {
    if (kind === FLEET_FREEZE.kind && name === FLEET_FREEZE.name)
      into.frozen = `frozen by ${actor}: ${wordsOf(value, 'no reason was given')}`;
  },
};

export function readDeclared(projection: Pick<Projection, 'entries' | 'seq'>): Declared {
  const into: Building = {
    deployments: new Map(),
    nodes: new Map(),
    pools: new Map(),
    places: [],
    avoidances: [],
    quarantines: new Map(),
    rollouts: new Map(),
    rolloutOrders: new Map(),
    frozen: undefined,
  };
  for (const entry of projection.entries()) TAKE[entry.area]?.(into, entry);
  for (const [name, { state }] of into.rollouts) {
    const deployment = into.deployments.get(name);
    if (deployment !== undefined && state !== undefined) into.deployments.set(name, { ...deployment, rollout: state });
  }
  into.places.sort((left, right) => (left.name < right.name ? -1 : 1));
  return { ...into, seq: projection.seq() };
}
