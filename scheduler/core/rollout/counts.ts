/**
 * How many replicas each revision is to have now. Availability and surge are those of Kubernetes' Deployments: never fewer
 * than wanted less `maxUnavailable` that serve, never more than wanted plus `maxSurge` that hold a place; here replicas that
 * drain hold theirs, because their GPUs are taken.
 */
import type { GateName, LivePhase, Running } from './contract.ts';
import { canaryReplicas, canaryShare, freshOf, othersExisting, type PhaseAsk } from './phases.ts';

export type Counts = Readonly<Record<string, number>>;

/** These say that requests fail; after the others what has passed its own smoke test still answers. */
const FAILING: ReadonlySet<GateName> = new Set<GateName>(['silence', 'error_rate', 'rejections']);
/** With fewer failures than this the new replicas carry more requests than they cost. */
const MOST_FAILED = 0.2;

/** Whether the replicas of a revision that is rolled back are of use until the old ones are back. */
export function stillServes({ reason }: Pick<Running, 'reason'>): boolean {
  if (reason?.kind !== 'gate' || !FAILING.has(reason.gate)) return true;
  const { failed, requests } = reason.facts;
  return typeof failed === 'number' && typeof requests === 'number' && failed < MOST_FAILED * requests;
}

/** Shares out the replicas that are to be kept: first old ones that are there, then those of revisions between, then new old ones. */
function keepOthers(ask: PhaseAsk, keep: number): Record<string, number> {
  const { running, census } = ask;
  const counts: Record<string, number> = {};
  let left = keep;
  const take = (id: string, most: number): void => {
    const count = Math.min(left, most);
    if (count > 0) counts[id] = (counts[id] ?? 0) + count;
    left -= count;
  };
  if (running.from !== null) take(running.from.id, census.of(running.from.id).existing);
  for (const id of census.leftovers) take(id, census.of(id).admitted);
  if (running.from !== null) take(running.from.id, left);
  return counts;
}

/** The new revision grows into the room that surge leaves, up to `target`; what it has already it keeps. */
function growFresh(ask: PhaseAsk, target: number): number {
  const { existing } = freshOf(ask);
  const room = ask.replicas + ask.running.rules.maxSurge - othersExisting(ask);
  return Math.min(target, Math.max(existing, room, 0));
}

/** Others that must go on serving, given the new replicas that have proved themselves. */
function keptForAvailability(ask: PhaseAsk): number {
  const serving = Math.min(ask.running.proven, freshOf(ask).admitted);
  return Math.max(0, ask.replicas - ask.running.rules.maxUnavailable - serving);
}

type Rule = (ask: PhaseAsk) => Counts;

const starting: Rule = (ask) => ({
  ...keepOthers(ask, keptForAvailability({ ...ask, running: { ...ask.running, proven: Infinity } })),
  [ask.running.to.id]: ask.replicas,
});

const replacing: Rule = (ask) => ({
  ...keepOthers(ask, keptForAvailability(ask)),
  [ask.running.to.id]: growFresh(ask, ask.replicas),
});

const stepping: Rule = (ask) => {
  const { running, replicas } = ask;
  const needed = canaryReplicas(ask);
  // The old revision keeps what its part of the requests needs, as far as the new one's replicas find room beside it.
  const part = Math.ceil(((100 - canaryShare(ask)) * replicas) / 100);
  const beside = Math.min(part, replicas + running.rules.maxSurge - needed);
  return {
    ...keepOthers(ask, Math.max(beside, keptForAvailability(ask))),
    [running.to.id]: growFresh(ask, needed),
  };
};

const both: Rule = (ask) => ({ ...keepOthers(ask, ask.replicas), [ask.running.to.id]: ask.replicas });
const freshOnly: Rule = (ask) => ({ [ask.running.to.id]: ask.replicas });

const rollingBack: Rule = (ask) => {
  const { running, census, replicas } = ask;
  const { from, to, rules } = running;
  if (from === null) return { [to.id]: replicas };
  const old = census.of(from.id);
  const others = census.leftovers.reduce((sum, id) => sum + census.of(id).existing, freshOf(ask).existing);
  const missing = Math.max(0, replicas - rules.maxUnavailable - old.ready);
  const isUseful = stillServes(running) || old.ready === 0;
  const kept = isUseful ? Math.min(missing, freshOf(ask).admitted) : 0;
  const room = replicas + rules.maxSurge - others;
  const back = Math.min(replicas, Math.max(old.existing, room, 0));
  return kept === 0 ? { [from.id]: back } : { [from.id]: back, [to.id]: kept };
};

const COUNTS: Readonly<Record<LivePhase, Rule>> = {
  starting,
  replacing,
  stepping,
  preparing: both,
  baking: both,
  removing: freshOnly,
  rolling_back: rollingBack,
};

/** Replicas by revision; those that are not named are to have none. */
export function countsOf(ask: PhaseAsk): Counts {
  return COUNTS[ask.running.phase](ask);
}
