/**
 * Room by preemption: which running replicas of strictly lower priority have to go, so that one that waits fits. On a node all
 * of them are taken away and as many as still fit are put back, the most important first, as Kubernetes does; of the nodes the
 * one with the least harm wins. As only strictly lower priorities go, preemptions cannot form a cycle.
 */
import { conflictOn } from './affinity.ts';
import { type Board, lift, type Part, put, type Unit } from './board.ts';
import type { Demand } from './demand.ts';
import type { Eligibility } from './eligible.ts';
import { fit, foundPart, NO_FIT } from './fit.ts';
import { disruptionOf } from './objective.ts';
import { gangKey, gangModels, topHosts } from './pick.ts';

export interface Takeover {
  readonly parts: readonly Part[];
  readonly victims: readonly Unit[];
}

/** Harm to the victims of one node: the highest priority among them counts first, then what objective.ts calls disruption. */
interface Harm {
  readonly highest: number;
  readonly disruption: number;
}

const NO_HARM: Harm = { highest: -1, disruption: 0 };

interface HostOffer {
  readonly node: number;
  readonly victims: readonly Unit[];
  readonly harm: Harm;
  readonly score: number;
}

/** Nodes that are looked at closely for one replica; they are ranked by the least that they could cost. */
const MOST_CLOSE_LOOKS = 24;
/** Rankings that are kept: a number a node each. */
const MOST_RANKINGS = 64;

export interface Preemptor {
  /** @returns undefined: no preemption helps. The board is as it was. */
  find(unit: Unit, demand: Demand): Takeover | undefined;
}

export function createPreemptor(board: Board, eligibility: Eligibility): Preemptor {
  /** Of a demand, nodes that might be taken over, the cheapest first; a node that failed once fails again. */
  const rankings = new Map<Demand, number[]>();
  let lowest = Infinity;
  for (const units of board.serving)
    for (const unit of units) if (unit.state === 'kept') lowest = Math.min(lowest, unit.priority);
  const rankingOf = (demand: Demand): number[] => {
    const known = rankings.get(demand);
    if (known !== undefined) return known;
    if (rankings.size >= MOST_RANKINGS) rankings.clear();
    const ranking = rank(board, eligibility, demand);
    rankings.set(demand, ranking);
    return ranking;
  };
  return {
    find(unit, demand) {
      if (!demand.mayPreempt || lowest >= demand.priority) return undefined;
      return demand.hosts === 1
        ? findNode(board, eligibility, demand, rankingOf(demand))
        : findGang(board, eligibility, demand);
    },
  };
}

export function isVictim(unit: Unit, priority: number): boolean {
  return unit.state === 'kept' && unit.priority < priority;
}

/** Nodes on which somebody may be preempted, by the lowest priority that is there. */
function rank(board: Board, eligibility: Eligibility, demand: Demand): number[] {
  const worth = eligibility.of(demand);
  const lowest = new Map<number, number>();
  for (const [n, units] of board.onNode.entries()) {
    if (units === undefined || worth[n] === -Infinity) continue;
    for (const unit of units) {
      if (isVictim(unit, demand.priority)) lowest.set(n, Math.min(unit.priority, lowest.get(n) ?? Infinity));
    }
  }
  return [...lowest.keys()].sort((a, b) => (lowest.get(a) as number) - (lowest.get(b) as number) || a - b);
}

function findNode(board: Board, eligibility: Eligibility, demand: Demand, ranking: number[]): Takeover | undefined {
  const worth = eligibility.of(demand);
  let best: HostOffer | undefined;
  let looks = 0;
  for (let i = 0; i < ranking.length && looks < MOST_CLOSE_LOOKS; i++) {
    const offer = offerOf(board, ranking[i] as number, demand, -1, worth);
    if (offer === undefined) {
      ranking.splice(i--, 1);
      continue;
    }
    looks += 1;
    if (best === undefined || compareOffers(offer, best) < 0) best = offer;
  }
  return best === undefined ? undefined : takeover(board, demand, [best], -1);
}

function findGang(board: Board, eligibility: Eligibility, demand: Demand): Takeover | undefined {
  const worth = eligibility.of(demand);
  if (rank(board, eligibility, demand).length === 0) return undefined;
  let best: { readonly hosts: readonly HostOffer[]; readonly model: number } | undefined;
  for (const model of gangModels(board, demand)) {
    const groups = new Map<string, HostOffer[]>();
    for (let n = 0; n < worth.length; n++) {
      if (worth[n] === -Infinity) continue;
      const offer = offerOf(board, n, demand, model, worth);
      if (offer === undefined) continue;
      const key = gangKey(board, n, demand);
      groups.set(key, [...(groups.get(key) ?? []), offer]);
    }
    for (const group of groups.values()) {
      group.sort(compareOffers);
      const hosts = topHosts(
        demand,
        group.map((offer, i) => ({ ...offer, score: -i })),
      );
      if (hosts === undefined) continue;
      if (best === undefined || compareHarm(sumHarm(hosts), sumHarm(best.hosts)) < 0) best = { hosts, model };
    }
  }
  return best === undefined ? undefined : takeover(board, demand, best.hosts, best.model);
}

function compareHarm(left: Harm, right: Harm): number {
  return left.highest - right.highest || left.disruption - right.disruption;
}

function compareOffers(left: HostOffer, right: HostOffer): number {
  return compareHarm(left.harm, right.harm) || right.score - left.score || left.node - right.node;
}

function harmOf(victims: readonly Unit[]): Harm {
  return victims.reduce(
    (sum, unit) => ({
      highest: Math.max(sum.highest, unit.priority),
      disruption: sum.disruption + disruptionOf(unit),
    }),
    NO_HARM,
  );
}

const sumHarm = (hosts: readonly HostOffer[]): Harm => harmOf([...new Set(hosts.flatMap(({ victims }) => victims))]);

/** Whom the replica would displace on a node; nobody where it fits as it is; undefined: it fits in no way. */
function offerOf(
  board: Board,
  node: number,
  demand: Demand,
  model: number,
  worth: Float64Array,
): HostOffer | undefined {
  const fitting = (): number =>
    conflictOn(board, node, demand) === undefined ? fit(board, node, demand, model) : NO_FIT;
  const free = fitting();
  const own = worth[node] as number;
  if (free !== NO_FIT) return { node, victims: [], harm: NO_HARM, score: own + free };
  const candidates = (board.onNode[node] ?? []).filter((unit) => isVictim(unit, demand.priority));
  if (candidates.length === 0) return undefined;
  const changes = board.changed.length;
  for (const unit of candidates) lift(board, unit);
  let victims: Unit[] | undefined;
  if (fitting() !== NO_FIT) {
    victims = [];
    // The most important are put back first; of equals those whose preemption disturbs most.
    candidates.sort((a, b) => b.priority - a.priority || disruptionOf(b) - disruptionOf(a) || a.id - b.id);
    for (const unit of candidates) {
      put(board, unit, unit.home, 'kept');
      if (fitting() !== NO_FIT) continue;
      lift(board, unit);
      victims.push(unit);
    }
  }
  const score = victims === undefined ? NO_FIT : own + fit(board, node, demand, model);
  for (const unit of candidates) if (unit.state !== 'kept') put(board, unit, unit.home, 'kept');
  // All is as it was, so nobody has to look at it again.
  board.changed.length = changes;
  return victims === undefined ? undefined : { node, victims, harm: harmOf(victims), score };
}

/** The GPUs are chosen with the victims away; they are put back for whoever carries it out. */
function takeover(board: Board, demand: Demand, hosts: readonly HostOffer[], model: number): Takeover {
  const victims = [...new Set(hosts.flatMap((host) => host.victims))];
  const changes = board.changed.length;
  for (const unit of victims) lift(board, unit);
  const parts = hosts.map(({ node }) => {
    fit(board, node, demand, model);
    return foundPart(node, demand);
  });
  for (const unit of victims) put(board, unit, unit.home, 'kept');
  board.changed.length = changes;
  return { parts, victims };
}
