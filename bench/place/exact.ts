/**
 * The best plan of a small fleet by trying all of them: every set of replicas to preempt, and for each replica every host and
 * every set of GPUs, or none. Only whom a plan serves is used as a bound. For a handful of replicas; it gives up at a limit.
 */
import type { Assignment, FleetSnapshot, PlacementPlan } from '../../scheduler/core/placement/contract.ts';
import { compareObjectives, type Objective, objectiveOf } from '../../scheduler/core/placement/objective.ts';
import { createSituation } from '../../scheduler/core/placement/units.ts';
import { type Mover, SmallFleet, type Spot, type Standing } from './exact_state.ts';

export interface ExactAnswer {
  readonly plan: Pick<PlacementPlan, 'assignments' | 'preemptions'>;
  readonly objective: Objective;
  /** The quality by the solver's own arithmetic. */
  readonly quality: number;
  readonly leaves: number;
}

interface Best {
  values: readonly number[];
  standing: readonly Standing[];
  victims: readonly Mover[];
}

interface Hunt {
  readonly fleet: SmallFleet;
  readonly priorities: readonly number[];
  readonly names: readonly string[];
  readonly kept: readonly Mover[];
  best: Best | undefined;
  leaves: number;
  readonly maxLeaves: number;
}

/** @returns undefined: more plans than the limit */
export function solveExactly(snapshot: FleetSnapshot, maxLeaves = 300_000): ExactAnswer | undefined {
  const { units, board } = createSituation(snapshot);
  const movers = units.map(
    (unit): Mover => ({
      deployment: unit.demand?.wanted,
      name: unit.deployment,
      index: unit.index,
      priority: unit.priority,
      tenant: unit.tenant,
      sharing: unit.sharing,
      ports: unit.ports,
      isLeaving: unit.state === 'leaving',
      home: unit.home.map(({ node, gpus, gpuBytes, usedBytes, hostBytes }) => ({
        node,
        gpus: gpus.map((row) => board.fleet.gpus[row]?.index as number),
        bytes: gpuBytes,
        used: usedBytes,
        spill: 0,
        host: hostBytes,
      })),
    }),
  );
  const running = movers.filter(({ home }) => home.length > 0);
  const kept = running.filter(({ isLeaving }) => !isLeaving);
  const open = movers.filter(({ home }) => home.length === 0);
  const highest = Math.max(-1, ...open.map(({ priority }) => priority));
  const hunt: Hunt = {
    fleet: new SmallFleet(snapshot),
    priorities: [...new Set(snapshot.deployments.map(({ priority = 50 }) => priority))].toSorted((a, b) => b - a),
    names: snapshot.deployments.map(({ name }) => name).toSorted(),
    kept,
    best: undefined,
    leaves: 0,
    maxLeaves,
  };
  const atRisk = kept.filter(({ priority }) => priority < highest);
  for (let bits = 0; bits < 1 << atRisk.length; bits++) {
    const victims = atRisk.filter((_, i) => (bits >> i) % 2 === 1);
    hunt.fleet.standing.length = 0;
    for (const who of running)
      if (!victims.includes(who)) hunt.fleet.standing.push({ who, spots: who.home, isNew: false });
    descend(hunt, victims, [...open, ...victims].sort(byRank));
    if (hunt.leaves > maxLeaves) return undefined;
  }
  const { best } = hunt;
  return best === undefined ? undefined : answer(snapshot, hunt, best);
}

const byRank = (a: Mover, b: Mover): number =>
  b.priority - a.priority || (a.name < b.name ? -1 : a.name > b.name ? 1 : a.index - b.index);

function descend(hunt: Hunt, victims: readonly Mover[], ahead: readonly Mover[]): void {
  if (hunt.leaves > hunt.maxLeaves) return;
  const [who, ...rest] = ahead;
  if (who === undefined) {
    hunt.leaves += 1;
    const values = valuesOf(hunt, victims, []);
    if (hunt.best !== undefined && compareValues(values, hunt.best.values) <= 0) return;
    if (!isNeeded(hunt, victims)) return;
    hunt.best = { values, standing: [...hunt.fleet.standing], victims };
    return;
  }
  if (hunt.best !== undefined) {
    const served = hunt.priorities.length + 1;
    const most = valuesOf(hunt, victims, ahead).slice(0, served);
    if (compareValues(most, hunt.best.values.slice(0, served)) < 0) return;
  }
  for (const spots of placesOf(hunt.fleet, who)) {
    hunt.fleet.standing.push({ who, spots, isNew: true });
    descend(hunt, victims, rest);
    hunt.fleet.standing.pop();
  }
  descend(hunt, victims, rest);
}

/** Served by priority, disruption, names by priority, quality: more is better in each. */
function valuesOf({ fleet, priorities, names }: Hunt, victims: readonly Mover[], hoped: readonly Mover[]): number[] {
  const counts = new Map<string, number>();
  const count = (who: Mover): unknown => who.isLeaving || counts.set(who.name, (counts.get(who.name) ?? 0) + 1);
  const priorityOf = new Map<string, number>();
  for (const { who } of fleet.standing) count(who);
  for (const who of hoped) count(who);
  for (const { who } of fleet.standing) priorityOf.set(who.name, who.priority);
  for (const who of hoped) priorityOf.set(who.name, who.priority);
  const served = priorities.map(() => 0);
  const ranks = priorities.map(() => 0);
  for (const [name, replicas] of counts) {
    const at = priorities.indexOf(priorityOf.get(name) ?? -1);
    for (let k = 1; k <= replicas; k++) served[at] = (served[at] ?? 0) + 1 / k;
    ranks[at] = (ranks[at] ?? 0) + replicas * (names.length - names.indexOf(name));
  }
  const disruption = victims.reduce((sum, { priority, home }) => {
    const gpus = home.reduce((all, spot) => all + spot.gpus.length, 0);
    return sum + (1 + priority) * Math.max(1, gpus);
  }, 0);
  return [...served, -disruption, ...ranks, hoped.length > 0 ? Infinity : fleet.quality()];
}

function compareValues(left: readonly number[], right: readonly number[]): number {
  for (const [i, value] of left.entries()) {
    const other = right[i] as number;
    if (value !== other && !(Math.abs(value - other) <= 1e-9)) return value - other;
  }
  return 0;
}

/** Every host and set of GPUs on which a replica fits; GPUs that are alike are taken once. */
function placesOf(fleet: SmallFleet, who: Mover): Spot[][] {
  const { deployment } = who;
  if (deployment === undefined) return [];
  const { hosts = 1, gangTopologyKey } = deployment;
  const single = fleet.nodes.map((_, node) => (fleet.isOpen(node, deployment) ? spotsOn(fleet, who, node) : []));
  if (hosts === 1) return single.flatMap((spots) => spots.map((spot) => [spot]));
  const gangs: Spot[][] = [];
  const extend = (spots: readonly Spot[], from: number): void => {
    if (spots.length === hosts) {
      gangs.push([...spots]);
      return;
    }
    for (let node = from; node < single.length; node++)
      for (const spot of single[node] ?? [])
        if (mayJoin(fleet, spots[0], spot, gangTopologyKey)) extend([...spots, spot], node + 1);
  };
  extend([], 0);
  return gangs;
}

function mayJoin(fleet: SmallFleet, first: Spot | undefined, spot: Spot, key: string | undefined): boolean {
  if (first === undefined) return true;
  const [a, b] = [first.node, spot.node].map((node) => fleet.nodes[node]);
  if (a?.region !== b?.region || (key !== undefined && a?.labels?.[key] !== b?.labels?.[key])) return false;
  const model = ({ node, gpus }: Spot): string | undefined =>
    gpus[0] === undefined ? '' : fleet.gpu(node, gpus[0]).model;
  return model(first) === model(spot);
}

function spotsOn(fleet: SmallFleet, who: Mover, node: number): Spot[] {
  const {
    gpusPerHost,
    gpuMemoryBytes,
    graceSpillBytes = 0,
    hostMemoryBytes = 0,
    gpuModels,
    nvlink,
  } = who.deployment as NonNullable<Mover['deployment']>;
  const usable = (fleet.nodes[node]?.gpus ?? []).filter(
    (gpu) => gpu.health !== 'failed' && gpu.quarantine === undefined && (gpuModels?.includes(gpu.model) ?? true),
  );
  const spots: Spot[] = [];
  const seen = new Set<string>();
  for (const spill of graceSpillBytes > 0 && gpusPerHost > 0 ? [0, graceSpillBytes] : [0]) {
    const bytes = gpusPerHost === 0 ? 0 : gpuMemoryBytes - spill;
    const host = hostMemoryBytes + gpusPerHost * spill;
    for (const set of subsets(usable, gpusPerHost)) {
      if (
        new Set(set.map(({ model }) => model)).size > 1 ||
        (spill > 0 && set.some(({ coherent }) => coherent !== true))
      )
        continue;
      const islands = new Set(set.map(({ nvlinkIsland, index }) => nvlinkIsland ?? `none ${index}`));
      if (nvlink === 'required' && islands.size > 1) continue;
      const spot = { node, gpus: set.map(({ index }) => index), bytes, used: 0, spill, host };
      const sign = `${spill} ${set
        .map(({ index, ...gpu }) => JSON.stringify([gpu, fleet.on(node, index)]))
        .toSorted()
        .join()}`;
      if (!seen.has(sign) && fleet.fits(who, [spot])) spots.push(spot);
      seen.add(sign);
    }
  }
  return spots;
}

function subsets<Item>(items: readonly Item[], size: number, from = 0): Item[][] {
  if (size === 0) return [[]];
  return items.slice(from).flatMap((item, i) => subsets(items, size - 1, from + i + 1).map((rest) => [item, ...rest]));
}

/**
 * Whether the preemptions follow the rule: replicas are placed from the highest priority down, and each may drive out only
 * those of lower priority, each of which would not fit beside it.
 */
function isNeeded({ fleet }: Hunt, victims: readonly Mover[]): boolean {
  if (victims.length === 0) return true;
  const newcomers = fleet.standing.filter(({ isNew }) => isNew).sort((a, b) => byRank(a.who, b.who));
  const saved = [...fleet.standing];
  const stays = saved.filter(({ isNew }) => !isNew);
  const canGoOn = (at: number, there: readonly Standing[], left: readonly Mover[]): boolean => {
    const next = newcomers[at];
    if (next === undefined) return left.length === 0;
    const candidates =
      next.who.deployment?.preemptionPolicy === 'Never'
        ? []
        : left.filter(({ priority }) => priority < next.who.priority);
    for (let bits = 0; bits < 1 << candidates.length; bits++) {
      const driven = candidates.filter((_, i) => (bits >> i) % 2 === 1);
      const rest = left.filter((who) => !driven.includes(who));
      const now = [...there, ...rest.map((who) => ({ who, spots: who.home, isNew: false }))];
      if (!rest.every((who) => who !== next.who)) continue;
      fleet.standing.splice(0, Infinity, ...now);
      if (!fleet.fits(next.who, next.spots)) continue;
      fleet.standing.push(next);
      if (driven.some((who) => fleet.fits(who, who.home))) continue;
      if (canGoOn(at + 1, [...there, next], rest)) return true;
    }
    return false;
  };
  const isSound = canGoOn(0, stays, victims);
  fleet.standing.splice(0, Infinity, ...saved);
  return isSound;
}

function answer(snapshot: FleetSnapshot, { fleet, leaves }: Hunt, { standing, victims, values }: Best): ExactAnswer {
  const assignments = standing.flatMap(({ who, spots, isNew }): Assignment[] => {
    if (!isNew) return [];
    const parts = spots.map((spot) => ({
      node: fleet.nodes[spot.node]?.name as string,
      gpus: spot.gpus,
      gpuMemoryBytes: spot.bytes,
      graceSpillBytes: spot.spill,
      gpuMemoryShare: 0,
      hostMemoryBytes: spot.host,
    }));
    const { name: deployment, index, priority } = who;
    return [
      { deployment, index, priority, parts, deploymentVersion: 0, cause: { kind: 'new' }, waitsFor: [], score: [] },
    ];
  });
  const preemptions = victims.map(({ name: deployment, index, priority }) => ({
    deployment,
    index,
    priority,
    from: [],
    by: { deployment, index },
    byPriority: priority,
  }));
  const plan = { assignments, preemptions };
  return { plan, objective: objectiveOf(snapshot, plan), quality: values.at(-1) as number, leaves };
}

/**
 * How good a plan is against the best, 0 to 1: at the first part of the objective in which they differ, the ratio of the
 * two; 1 where they are equal.
 */
export function shareOf(found: Objective, best: Objective): number {
  if (compareObjectives(found, best) >= 0) return 1;
  for (const [i, { value }] of best.served.entries()) {
    const own = found.served[i]?.value ?? 0;
    if (Math.abs(own - value) > 1e-9) return Math.max(0, own / value);
  }
  if (found.disruption !== best.disruption) return (1 + best.disruption) / (1 + found.disruption);
  for (const [i, rank] of best.names.entries()) {
    const own = found.names[i] ?? 0;
    if (own !== rank) return own / rank;
  }
  // A quality may be below 0; what it is short of is set against the replicas' worth of the better one.
  return Math.max(0, 1 - (best.quality - found.quality) / Math.max(1, Math.abs(best.quality)));
}
