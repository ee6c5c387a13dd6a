/**
 * Every engine and every quarantine of the fleet as operators see them: what is declared, what the configuration orders and
 * what agents tell, put together from memory. No agent is asked.
 */
import type { NodeId } from '../../../lib/ids.ts';
import type { EngineSpec } from '../../../proto/gen/fleet/v1/EngineSpec.ts';
import { ENGINE_KINDS } from '../fleet/desired.ts';
import { type EngineRecord, type FleetState, type NodeState, stateWord } from '../fleet/state.ts';
import type { AssignedPart } from '../placement/contract.ts';
import type { EngineReport, EngineStatus, QuarantineReport, QuarantineSpec } from '../resources/contract.ts';
import { engineOfPinned, replicaText } from '../resources/pinned.ts';
import type { Declared, Place, QuarantineResource } from './contract.ts';
import { isStanding } from './places.ts';
import { isOver } from './quarantines.ts';

export interface InventoryFacts {
  readonly declared: Declared;
  readonly fleet: FleetState;
  /** Engines of the configuration by node, of all nodes that it names and that are known. */
  readonly configured: ReadonlyMap<string, readonly EngineSpec[]>;
  /** The store's clock, as well as it is known. */
  readonly storeMs: number;
}

const KIND_WORDS: ReadonlyMap<unknown, string> = new Map(
  Object.entries(ENGINE_KINDS).map(([word, kind]) => [kind, word]),
);

type Seen = Pick<EngineReport, 'state' | 'reason' | 'sinceMs'>;

const sentence = (reason: string, message: string): string =>
  message === '' || message === reason ? reason : reason === '' ? message : `${reason}: ${message}`;

function seenOf(node: NodeState | undefined, name: string, engine: EngineRecord | undefined): Seen {
  const rejection = node?.rejections.find((each) => each.engine === name);
  if (rejection !== undefined) return { state: 'rejected', reason: rejection.message, sinceMs: 0 };
  if (engine === undefined) {
    const isHere = node?.connected === true;
    return isHere
      ? { state: 'absent', reason: 'its agent has not begun it', sinceMs: 0 }
      : { state: 'unknown', reason: 'its agent is not connected', sinceMs: 0 };
  }
  const { state, reason, message, atMs = 0 } = engine.event;
  const away = node?.connected === true ? '' : 'its agent is not connected; before that ';
  return { state: stateWord(state), reason: `${away}${sentence(reason, message)}`, sinceMs: atMs };
}

const wordsOf = (place: Place): Pick<EngineStatus, 'place' | 'phase' | 'phaseReason'> => ({
  place: place.name,
  phase: place.phase,
  phaseReason: place.phase === 'waiting' ? `waits for ${place.waitsFor.join(', ')} to stop` : place.reason,
});

function ofPlace(place: Place, { node, gpus }: AssignedPart, fleet: FleetState): EngineReport {
  const { deployment, index, engine, spec } = place;
  const state = fleet.nodes.get(node as NodeId);
  const isPinned = engineOfPinned(deployment) !== undefined;
  const { state: word, ...seen } = seenOf(state, engine, state?.engines.get(engine));
  return {
    source: isPinned ? 'declared' : 'deployment',
    node,
    engine,
    gpus,
    deployment,
    ...(isPinned ? {} : { replica: index }),
    ...wordsOf(place),
    // Its orders do not have it yet, so that its agent cannot have begun it.
    state: place.phase === 'waiting' ? 'pending' : word,
    ...seen,
    kind: spec.engine,
    model: spec.model,
    servedModelName: spec.servedModelName,
  };
}

function ofConfiguration(node: string, spec: EngineSpec, fleet: FleetState): EngineReport {
  const { name = '', kind, model = '', servedModelName = '', gpuIds = [] } = spec;
  const state = fleet.nodes.get(node as NodeId);
  return {
    source: 'configuration',
    node,
    engine: name,
    gpus: gpuIds,
    ...seenOf(state, name, state?.engines.get(name)),
    kind: KIND_WORDS.get(kind) ?? '',
    model,
    servedModelName,
  };
}

/** What runs though nobody here wants it: of an earlier configuration, or of another scheduler's. */
function unwanted(node: NodeState, engine: EngineRecord): EngineReport {
  const [model] = engine.models;
  return {
    source: 'unknown',
    node: node.name,
    engine: engine.name,
    gpus: node.desired?.engines?.find(({ name }) => name === engine.name)?.gpuIds ?? [],
    ...seenOf(node, engine.name, engine),
    kind: KIND_WORDS.get(engine.event.kind) ?? '',
    model: '',
    servedModelName: model?.id ?? '',
  };
}

/** Declared engines that have no place. */
function placeless({ declared }: InventoryFacts): EngineReport[] {
  const placed = new Set(declared.places.map(({ deployment }) => deployment));
  return [...declared.deployments.values()].flatMap(({ name, spec }): EngineReport[] => {
    if (engineOfPinned(name) === undefined || placed.has(name)) return [];
    const { node = '', engine: kind, model, servedModelName } = spec;
    const reason = `it has no place yet; \`sophia explain deployment ${name}\` says why`;
    const none = { engine: '', gpus: [], state: 'pending', reason, sinceMs: 0 };
    return [{ source: 'declared', node, deployment: name, ...none, kind, model, servedModelName }];
  });
}

const byNodeAndName = (left: EngineReport, right: EngineReport): number =>
  left.node === right.node ? (left.engine < right.engine ? -1 : 1) : left.node < right.node ? -1 : 1;

/** Every engine that is wanted or runs, once, by node and name. */
export function engineReports(facts: InventoryFacts): EngineReport[] {
  const { declared, fleet, configured } = facts;
  const reports: EngineReport[] = placeless(facts);
  const known = new Set<string>();
  const take = (report: EngineReport): void => {
    known.add(`${report.node}/${report.engine}`);
    reports.push(report);
  };
  for (const place of declared.places) for (const part of place.parts) take(ofPlace(place, part, fleet));
  for (const [node, specs] of configured) for (const spec of specs) take(ofConfiguration(node, spec, fleet));
  for (const node of fleet.nodes.values())
    for (const engine of node.engines.values())
      if (!known.has(engine.id) && engine.event.state !== 'ENGINE_STATE_STOPPED') reports.push(unwanted(node, engine));
  return reports.sort(byNodeAndName);
}

type Gpu = { readonly index: number; readonly uuid?: string | undefined };

function gpuOf(fleet: FleetState, node: string, wanted: number | string): Gpu | undefined {
  const isIt = ({ index, uuid = '' }: Gpu): boolean =>
    typeof wanted === 'number' ? index === wanted : uuid.toLowerCase() === wanted.toLowerCase();
  return fleet.nodes.get(node as NodeId)?.hello.gpus.find(isIt);
}

/** Replicas that have not left a node or one GPU of it. */
function stillThere({ places }: Declared, node: string, gpu: number | undefined): string[] {
  const isThere = (part: AssignedPart): boolean => part.node === node && (gpu === undefined || part.gpus.includes(gpu));
  return places
    .filter((place) => (isStanding(place) || place.phase === 'leaving') && place.parts.some(isThere))
    .map(({ deployment, index }) => replicaText(deployment, index));
}

/** What is odd about a quarantine that says nothing wrong: it may be meant for what is yet to come. */
function noteOf(fleet: FleetState, { node, gpu }: QuarantineSpec, found: Gpu | undefined, over: boolean): string {
  if (over) return 'its time is over; the leader lifts it';
  const state = fleet.nodes.get(node as NodeId);
  if (state === undefined) return 'no agent of this node has come so far';
  return gpu !== undefined && found === undefined ? 'its node has no such GPU' : '';
}

function ofDeclared(
  { name, spec, endsAtMs }: QuarantineResource,
  { declared, fleet, storeMs }: InventoryFacts,
): QuarantineReport {
  const { node, gpu: wanted, reason } = spec;
  const gpu = wanted === undefined ? undefined : gpuOf(fleet, node, wanted);
  const index = gpu?.index ?? (typeof wanted === 'number' ? wanted : undefined);
  const uuid = gpu?.uuid ?? (typeof wanted === 'string' ? wanted : undefined);
  const isNone = wanted !== undefined && index === undefined;
  const isPast = endsAtMs !== undefined && isOver({ name, version: 0, spec, endsAtMs }, storeMs);
  return {
    name,
    source: 'declared',
    node,
    ...(index === undefined ? {} : { gpu: index }),
    ...(uuid === undefined ? {} : { uuid }),
    ...(endsAtMs === undefined ? {} : { untilMs: endsAtMs }),
    replicas: isNone ? [] : stillThere(declared, node, index),
    note: noteOf(fleet, spec, gpu, isPast),
    reason,
    sinceMs: 0,
  };
}

/** What an agent has quarantined by itself: by its newest event, or as its readings say where the event is not known. */
function ofAgent(node: NodeState, { declared }: InventoryFacts): QuarantineReport[] {
  const readings = node.telemetry?.gpus ?? [];
  const indexes = new Set([
    ...[...node.gpuEvents.values()].flatMap(({ index, quarantined }) => (quarantined ? [index] : [])),
    ...readings.flatMap(({ index, health }) =>
      health === 'quarantined' && node.gpuEvents.get(index)?.quarantined !== false ? [index] : [],
    ),
  ]);
  return [...indexes]
    .sort((left, right) => left - right)
    .map((gpu): QuarantineReport => {
      const event = node.gpuEvents.get(gpu);
      const uuid = event?.uuid ?? node.hello.gpus.find(({ index }) => index === gpu)?.uuid;
      const { message = '', kind = '', atMs = 0 } = event ?? {};
      return {
        name: `${node.name}/${gpu}`,
        source: 'agent',
        node: node.name,
        gpu,
        ...(uuid === undefined ? {} : { uuid }),
        replicas: stillThere(declared, node.name, gpu),
        note: `\`sophia gpu release ${node.name} ${gpu}\` lifts it`,
        reason: sentence(kind, message) || 'its agent calls it quarantined',
        sinceMs: atMs,
      };
    });
}

/** Declared quarantines by name, then those of the agents by node and GPU. */
export function quarantineReports(facts: InventoryFacts): QuarantineReport[] {
  const declared = [...facts.declared.quarantines.values()].map((each) => ofDeclared(each, facts));
  const nodes = [...facts.fleet.nodes.values()].sort((left, right) => (left.name < right.name ? -1 : 1));
  return [
    ...declared.sort((left, right) => (left.name < right.name ? -1 : 1)),
    ...nodes.flatMap((node) => ofAgent(node, facts)),
  ];
}
