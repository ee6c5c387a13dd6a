/**
 * Every place that differs for one replica on a few nodes, with the replicas that would have to go for it: what a search
 * branches over. GPUs that are alike in all that counts are taken once, and so are nodes.
 */
import { conflictOn, surroundings } from './affinity.ts';
import { admits, type Board, freeBytes, lift, type Part, put, takenPorts, type Unit } from './board.ts';
import type { Demand } from './demand.ts';
import { partOf, standingScore } from './fit.ts';
import { gangKey } from './pick.ts';
import { isVictim } from './preempt.ts';

export interface Choice {
  readonly parts: readonly Part[];
  readonly victims: readonly Unit[];
  /** What it is worth at this moment. */
  readonly score: number;
}

export interface Area {
  readonly nodes: readonly number[];
  /** By demand: what its nodes are worth by themselves; -Infinity: not to be used. */
  readonly worth: ReadonlyMap<Demand, Float64Array>;
  /** By node: what sets it apart from others for any demand of the search. */
  readonly signs: ReadonlyMap<number, string>;
}

const MOST_SETS = 24;
const MOST_VICTIMS = 4;
const MOST_GANGS = 32;

export function choicesFor(board: Board, area: Area, unit: Unit, demand: Demand): Choice[] {
  const choices = demand.hosts === 1 ? onOneNode(board, area, unit, demand) : asGang(board, area, demand);
  if (demand.hosts > 1 && demand.mayPreempt) {
    const offers = (): Choice[] => asGang(board, area, demand);
    choices.push(...takeovers(board, unit, victimsIn(area, demand, area.nodes, board), offers));
  }
  return choices.sort((left, right) => left.victims.length - right.victims.length || right.score - left.score);
}

function onOneNode(board: Board, area: Area, unit: Unit, demand: Demand): Choice[] {
  const worth = area.worth.get(demand) as Float64Array;
  const around = surroundings(board, demand);
  const seen = new Set<string>();
  const choices: Choice[] = [];
  for (const node of area.nodes) {
    if (worth[node] === -Infinity || isSeen(board, area, node, seen)) continue;
    const base = worth[node] as number;
    for (const part of placesOn(board, node, demand))
      choices.push({
        parts: [part],
        victims: [],
        score: base + (around?.at(node) ?? 0) + valueOf(board, unit, demand, part),
      });
    if (!demand.mayPreempt) continue;
    const offers = (): Choice[] =>
      placesOn(board, node, demand).map((part) => ({
        parts: [part],
        victims: [],
        score: base + valueOf(board, unit, demand, part),
      }));
    choices.push(...takeovers(board, unit, victimsIn(area, demand, [node], board), offers));
  }
  return choices;
}

/** Nodes with equal signs and equal GPUs lead to the same plans. */
function isSeen(board: Board, area: Area, node: number, seen: Set<string>): boolean {
  const { gpuStart } = board.fleet;
  let sign = `${area.signs.get(node)}|${board.hostFree[node]}`;
  for (let g = gpuStart[node] as number; g < (gpuStart[node + 1] as number); g++) sign += gpuSign(board, g);
  if ((board.onNode[node] ?? []).some((unit) => unit.state === 'kept' || unit.ports.length > 0)) sign += `#${node}`;
  if (seen.has(sign)) return true;
  seen.add(sign);
  return false;
}

function gpuSign(board: Board, g: number): string {
  const { fleet, onGpu } = board;
  const there = (onGpu[g] ?? []).map(({ sharing, tenant, demand, state }) => [
    sharing,
    tenant,
    demand?.isPacked,
    state,
  ]);
  const what = [
    fleet.modelId[g],
    fleet.usable[g],
    fleet.island[g],
    fleet.numa[g],
    fleet.degraded[g],
    fleet.coherent[g],
  ];
  return `|${what.join()},${fleet.maxEngines[g]},${fleet.totalBytes[g]},${freeBytes(board, g)},${there.map(String).sort().join()}`;
}

function valueOf(board: Board, unit: Unit, demand: Demand, part: Part): number {
  put(board, unit, [part], 'placed');
  const value = standingScore(board, part, demand);
  lift(board, unit);
  return value;
}

/** The sets of GPUs that differ, without anybody having to go. */
function placesOn(board: Board, node: number, demand: Demand, model = -1): Part[] {
  if (takenPorts(board, node, demand.ports).length > 0 || conflictOn(board, node, demand) !== undefined) return [];
  const hostFree = board.hostFree[node] as number;
  if (hostFree < demand.hostBytes) return [];
  if (demand.gpus === 0) return [partOf(node, [], demand, false)];
  const parts = gpuSets(board, node, demand, model, false).map((gpus) => partOf(node, gpus, demand, false));
  if (demand.spillBytes > 0 && hostFree >= demand.hostBytes + demand.gpus * demand.spillBytes)
    parts.push(...gpuSets(board, node, demand, model, true).map((gpus) => partOf(node, gpus, demand, true)));
  return parts;
}

function gpuSets(board: Board, node: number, demand: Demand, model: number, spilled: boolean): number[][] {
  const { fleet } = board;
  const need = demand.gpuBytes - (spilled ? demand.spillBytes : 0);
  const open: number[] = [];
  for (let g = fleet.gpuStart[node] as number; g < (fleet.gpuStart[node + 1] as number); g++) {
    const id = fleet.modelId[g] as number;
    if (fleet.usable[g] === 0 || (model >= 0 && id !== model) || demand.allowsModel?.[id] === 0) continue;
    if (spilled && fleet.coherent[g] === 0) continue;
    if (freeBytes(board, g) >= need && admits(board, g, demand)) open.push(g);
  }
  const signs = new Map(open.map((g) => [g, gpuSign(board, g)]));
  const sets: number[][] = [];
  const seen = new Set<string>();
  const extend = (set: readonly number[], from: number): void => {
    if (sets.length >= MOST_SETS) return;
    if (set.length === demand.gpus) {
      const sign = set
        .map((g) => signs.get(g) ?? '')
        .toSorted((a, b) => (a < b ? -1 : 1))
        .join();
      if (!seen.has(sign)) sets.push([...set]);
      seen.add(sign);
      return;
    }
    for (let i = from; i < open.length; i++) {
      const g = open[i] as number;
      if (goesWith(board, demand, set[0], g)) extend([...set, g], i + 1);
    }
  };
  extend([], 0);
  return sets;
}

function goesWith({ fleet }: Board, demand: Demand, first: number | undefined, g: number): boolean {
  if (demand.nvlink === 'required' && demand.gpus > 1 && (fleet.island[g] as number) < 0) return false;
  if (first === undefined) return true;
  if (fleet.modelId[first] !== fleet.modelId[g]) return false;
  return demand.nvlink !== 'required' || fleet.island[first] === fleet.island[g];
}

/**
 * Running replicas of strictly lower priority on these nodes, and those elsewhere in the area that may not be beside it; the
 * least important first, a few of them.
 */
function victimsIn(area: Area, demand: Demand, nodes: readonly number[], board: Board): Unit[] {
  const found = new Set<Unit>();
  for (const n of nodes) for (const unit of board.onNode[n] ?? []) found.add(unit);
  for (const { other } of demand.conflicts) for (const unit of board.serving[other] ?? []) found.add(unit);
  return [...found]
    .filter((unit) => isVictim(unit, demand.priority))
    .filter((unit) => unit.home.every((part) => area.nodes.includes(part.node)))
    .sort((a, b) => a.priority - b.priority || a.id - b.id)
    .slice(0, MOST_VICTIMS);
}

/** Places that need some of the candidates gone, and each of them. */
function takeovers(board: Board, unit: Unit, candidates: readonly Unit[], offers: () => Choice[]): Choice[] {
  const choices: Choice[] = [];
  for (let bits = 1; bits < 1 << candidates.length; bits++) {
    const victims = candidates.filter((_, i) => (bits >> i) % 2 === 1);
    for (const victim of victims) lift(board, victim);
    for (const offer of offers()) {
      put(board, unit, offer.parts, 'placed');
      if (victims.every((victim) => !fitsHome(board, victim))) choices.push({ ...offer, victims });
      lift(board, unit);
    }
    for (const victim of victims) put(board, victim, victim.home, 'kept');
  }
  return choices;
}

/** Whether a unit that was taken away could be put back where it ran. */
export function fitsHome(board: Board, unit: Unit): boolean {
  return unit.home.every((part) => {
    if (takenPorts(board, part.node, unit.ports).length > 0) return false;
    if ((board.hostFree[part.node] as number) < part.hostBytes) return false;
    if (unit.demand !== undefined && conflictOn(board, part.node, unit.demand) !== undefined) return false;
    return part.gpus.every((g) => freeBytes(board, g) >= part.gpuBytes && admits(board, g, unit));
  });
}

/** Gangs of the area without preemption: the best place on each host, every set of hosts up to a bound. */
function asGang(board: Board, area: Area, demand: Demand): Choice[] {
  const worth = area.worth.get(demand) as Float64Array;
  const around = surroundings(board, demand);
  const models = demand.gpus === 0 ? [-1] : board.fleet.models.map((_, id) => id);
  const choices: Choice[] = [];
  for (const model of models) {
    const groups = new Map<string, { readonly part: Part; readonly score: number }[]>();
    for (const node of area.nodes) {
      if (worth[node] === -Infinity) continue;
      const key = gangKey(board, node, demand);
      for (const part of placesOn(board, node, demand, model)) {
        const score = (worth[node] as number) + (around?.at(node) ?? 0);
        groups.set(key, [...(groups.get(key) ?? []), { part, score }]);
      }
    }
    for (const hosts of groups.values()) combine(hosts, demand.hosts, choices);
  }
  return choices;
}

function combine(
  hosts: readonly { readonly part: Part; readonly score: number }[],
  count: number,
  choices: Choice[],
): void {
  const most = choices.length + MOST_GANGS;
  const extend = (parts: readonly Part[], score: number, from: number): void => {
    if (choices.length >= most) return;
    if (parts.length === count) {
      choices.push({ parts, victims: [], score });
      return;
    }
    for (let i = from; i < hosts.length; i++) {
      const host = hosts[i] as { readonly part: Part; readonly score: number };
      if (!parts.some(({ node }) => node === host.part.node)) extend([...parts, host.part], score + host.score, i + 1);
    }
  };
  extend([], 0, 0);
}
