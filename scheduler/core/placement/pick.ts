/**
 * The best place for one replica on the board as it is: one node, or as many as a gang needs, all or none. Nobody is preempted
 * here. Equal places go to the node whose name comes first.
 */
import { surroundings } from './affinity.ts';
import type { Board, Part } from './board.ts';
import { createBound } from './bound.ts';
import type { Demand } from './demand.ts';
import type { Eligibility } from './eligible.ts';
import { fit, foundPart, NO_FIT } from './fit.ts';

/** @returns one part a host; undefined: there is no room */
export function pickPlace(board: Board, eligibility: Eligibility, demand: Demand): Part[] | undefined {
  return demand.hosts === 1 ? pickNode(board, eligibility, demand) : pickGang(board, eligibility, demand);
}

/** A node is looked at closely only if it can be better than the best so far; the last one that was picked is a good first. */
function pickNode(board: Board, eligibility: Eligibility, demand: Demand): Part[] | undefined {
  const worths = eligibility.of(demand);
  const around = surroundings(board, demand);
  const bound = createBound(board, demand);
  const mostAround = around?.most ?? 0;
  const recent = board.serving[demand.id]?.at(-1)?.parts[0]?.node ?? -1;
  let best = -1;
  let bestScore = NO_FIT;
  const look = (n: number): void => {
    const own = (worths[n] as number) + (around?.at(n) ?? 0);
    if (own === NO_FIT) return;
    const most = own + bound.close(n);
    if (most < bestScore || most === NO_FIT || (most === bestScore && n > best)) return;
    const score = own + fit(board, n, demand);
    if (score > bestScore || (score === bestScore && n < best)) {
      bestScore = score;
      best = n;
    }
  };
  if (recent >= 0) look(recent);
  for (let n = bound.next(0, worths, bestScore - mostAround); n < worths.length; ) {
    look(n);
    n = bound.next(n + 1, worths, bestScore - mostAround);
  }
  if (best < 0) return undefined;
  fit(board, best, demand);
  return [foundPart(best, demand)];
}

/** Which hosts may form a gang together: those of one region and, where the deployment says so, of one domain. */
export function gangKey({ fleet }: Board, node: number, { gangDomains }: Demand): string {
  const domain = gangDomains === undefined ? '' : String(gangDomains.of[node]);
  return `${domain} ${fleet.nodes[node]?.region}`;
}

function pickGang(board: Board, eligibility: Eligibility, demand: Demand): Part[] | undefined {
  const worths = eligibility.of(demand);
  const around = surroundings(board, demand);
  let best: { readonly nodes: readonly number[]; readonly model: number } | undefined;
  let bestSum = NO_FIT;
  for (const model of gangModels(board, demand)) {
    const bound = createBound(board, demand);
    const groups = new Map<string, { readonly node: number; readonly score: number }[]>();
    for (let n = 0; n < worths.length; n++) {
      const own = worths[n] as number;
      if (own === NO_FIT || bound.rough(n) === NO_FIT) continue;
      const score = own + (around?.at(n) ?? 0) + fit(board, n, demand, model);
      if (score === NO_FIT) continue;
      const key = gangKey(board, n, demand);
      const group = groups.get(key) ?? [];
      groups.set(key, group);
      group.push({ node: n, score });
    }
    for (const group of groups.values()) {
      const hosts = topHosts(demand, group);
      if (hosts === undefined) continue;
      const sum = hosts.reduce((total, { score }) => total + score, 0);
      if (sum <= bestSum) continue;
      bestSum = sum;
      best = { nodes: hosts.map(({ node }) => node), model };
    }
  }
  return best?.nodes.map((node) => {
    fit(board, node, demand, best.model);
    return foundPart(node, demand);
  });
}

/** The models that a gang may be of: each by itself, as its hosts must agree. */
export function gangModels({ fleet }: Board, { allowsModel, gpus }: Demand): number[] {
  if (gpus === 0) return [-1];
  return fleet.models.flatMap((_, id) => (allowsModel === undefined || allowsModel[id] === 1 ? [id] : []));
}

/** The best hosts of a group. */
export function topHosts<Host extends { readonly node: number; readonly score: number }>(
  demand: Demand,
  group: Host[],
): Host[] | undefined {
  if (group.length < demand.hosts) return undefined;
  const sorted = group.toSorted((left, right) => right.score - left.score || left.node - right.node);
  return sorted.slice(0, demand.hosts);
}
