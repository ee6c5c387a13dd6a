/**
 * How requests are divided among the revisions in each phase. Weights are given even where the number of replicas would do
 * the same by itself: routing avoids slow engines, and a slow revision that is avoided would never be found to be slow.
 */
import type { LivePhase, RevisionShare, Traffic } from './contract.ts';
import { stillServes } from './counts.ts';
import { canaryShare, freshOf, type PhaseAsk } from './phases.ts';

type Weights = (ask: PhaseAsk) => { readonly fresh: number; readonly old: number; readonly standby?: true };

const oldReady = ({ running, census }: PhaseAsk): number => census.of(running.from?.id ?? '').admitted;

/** As many parts as replicas that serve; a canary falls back behind none of its percentages. */
const byReplicas: Weights = (ask) => {
  const others = ask.census.leftovers.reduce((sum, id) => sum + ask.census.of(id).admitted, oldReady(ask));
  const { admitted } = freshOf(ask);
  if (others + admitted === 0) return { fresh: 100, old: 0 };
  const reached = Math.min(ask.running.rules.steps.at(-1) ?? 0, (100 * admitted) / Math.max(1, ask.replicas));
  const fresh = Math.max(reached, (100 * admitted) / (others + admitted));
  return { fresh, old: 100 - fresh };
};

const bySteps: Weights = (ask) => ({ fresh: canaryShare(ask), old: 100 - canaryShare(ask) });

/** The old revision takes what it can carry; where the new one fails, all of it as soon as it has one replica. */
const backwards: Weights = (ask) => {
  const ready = oldReady(ask);
  if (freshOf(ask).admitted === 0 || (ready > 0 && !stillServes(ask.running))) return { fresh: 0, old: 100 };
  const old = Math.min(100, (100 * ready) / Math.max(1, ask.replicas));
  return { fresh: 100 - old, old };
};

const toFresh: Weights = () => ({ fresh: 100, old: 0, standby: true });
const toOld: Weights = () => ({ fresh: 0, old: 100 });

const WEIGHTS: Readonly<Record<LivePhase, Weights>> = {
  starting: byReplicas,
  replacing: byReplicas,
  stepping: bySteps,
  preparing: toOld,
  baking: toFresh,
  removing: toFresh,
  rolling_back: backwards,
};

export function trafficOf(ask: PhaseAsk): Traffic {
  const { running, census } = ask;
  const { phase, from, to } = running;
  const { fresh, old, standby = false } = WEIGHTS[phase](ask);
  const others = [...(from === null ? [] : [from.id]), ...census.leftovers];
  const serving = others.reduce((sum, id) => sum + census.of(id).admitted, 0);
  const partOf = (revision: string): number => {
    if (serving > 0) return (old * census.of(revision).admitted) / serving;
    return revision === from?.id ? old : 0;
  };
  const shares: RevisionShare[] = [
    { revision: to.id, weight: fresh, standby: false, proven: false },
    ...others.map((revision) => ({
      revision,
      weight: partOf(revision),
      standby: standby || fresh > 0,
      proven: revision === from?.id,
    })),
  ];
  // A set that is not complete is sent nothing, whatever its first replicas have passed.
  return { shares, admitted: phase === 'preparing' ? [] : running.passed };
}
