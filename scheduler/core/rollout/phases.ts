/**
 * The life of a rollout as a table: which phase may follow which, what each one wants of both revisions, and when it is
 * over. Whatever a strategy does, two rules hold: no old replica goes before a new one is ready and has passed its gates,
 * and of a rollback the old ones are back before the new ones that serve go.
 */
import type { Census } from './census.ts';
import type { LivePhase, Phase, RevisionTally, Running } from './contract.ts';
import { since } from './tallies.ts';

export const NEXT = {
  /** The first revision of a deployment: there is nothing to go back to. */
  starting: ['done'],
  /** One after another, as many at a time as surge and availability allow. */
  replacing: ['done', 'rolling_back'],
  /** A canary at one of its percentages. */
  stepping: ['replacing', 'rolling_back'],
  /** The whole new set comes up beside the old one, without requests. */
  preparing: ['baking', 'rolling_back'],
  /** The new set has all requests; the old one stands by. */
  baking: ['removing', 'rolling_back'],
  removing: ['done', 'rolling_back'],
  rolling_back: ['rolled_back'],
  done: [],
  rolled_back: [],
} as const satisfies Record<Phase, readonly Phase[]>;

export const FIRST_PHASE = { rolling: 'replacing', blue_green: 'preparing', canary: 'stepping' } as const;

export interface PhaseAsk {
  readonly running: Running;
  readonly census: Census;
  /** Replicas that the deployment is to have. */
  readonly replicas: number;
  readonly fresh: RevisionTally;
  readonly nowMs: number;
}

/** Where a phase goes on: the same phase with another step, or the next one. Undefined: it stays as it is. */
export interface Advance {
  readonly phase: Phase;
  readonly proven: number;
  readonly index: number;
}

/** Replicas that the canary needs for its present percentage: at least one, and never more than there are to be. */
export function canaryReplicas({ running, replicas }: Pick<PhaseAsk, 'running' | 'replicas'>): number {
  const share = running.rules.steps[running.step.index] ?? 100;
  return Math.min(replicas, Math.max(1, Math.ceil((share * replicas) / 100)));
}

/** Percent of the requests that the canary gets: those of its step, as far as its replicas are there. */
export function canaryShare(ask: Pick<PhaseAsk, 'running' | 'replicas' | 'census'>): number {
  const { rules, step } = ask.running;
  const carried = (100 * freshOf(ask).admitted) / Math.max(1, ask.replicas);
  return Math.min(rules.steps[step.index] ?? 100, carried);
}

export const freshOf = ({ running, census }: Pick<PhaseAsk, 'running' | 'census'>) => census.of(running.to.id);
const oldOf = ({ running, census }: Pick<PhaseAsk, 'running' | 'census'>) => census.of(running.from?.id ?? '');

/** All others: of the old revision, and of those between. */
export function othersExisting({ running, census }: Pick<PhaseAsk, 'running' | 'census'>): number {
  return census.leftovers.reduce((sum, id) => sum + census.of(id).existing, oldOf({ running, census }).existing);
}

/** The step has lasted long enough, and enough requests came, or it has waited for them long enough. */
export function isJudged({ running, fresh, nowMs }: Pick<PhaseAsk, 'running' | 'fresh' | 'nowMs'>): boolean {
  const { rules, step } = running;
  const lastedMs = nowMs - step.sinceMs;
  if (lastedMs < rules.stepMs) return false;
  return since(fresh, step.before).ended >= rules.leastRequests || lastedMs >= rules.sampleWaitMs;
}

/** When the rollout is given up; a step begins anew whenever something got on. */
export function deadlineOf({ rules, deadlineAtMs, step }: Running): number {
  return rules.deadlineFrom === 'start' ? deadlineAtMs : step.sinceMs + rules.deadlineMs;
}

const stay = (running: Running): Advance => ({
  phase: running.phase,
  proven: running.proven,
  index: running.step.index,
});

type Rule = (ask: PhaseAsk) => Advance | undefined;

const starting: Rule = (ask) =>
  freshOf(ask).admitted >= ask.replicas && othersExisting(ask) === 0
    ? { ...stay(ask.running), phase: 'done', proven: freshOf(ask).admitted }
    : undefined;

const replacing: Rule = (ask) => {
  const { running, replicas } = ask;
  const { admitted } = freshOf(ask);
  const proven = isJudged(ask) && admitted > running.proven ? admitted : running.proven;
  if (admitted >= replicas && Math.min(proven, admitted) >= replicas && othersExisting(ask) === 0)
    return { ...stay(running), phase: 'done', proven };
  return proven === running.proven ? undefined : { ...stay(running), proven };
};

const stepping: Rule = (ask) => {
  const { running } = ask;
  const { admitted } = freshOf(ask);
  if (!isJudged(ask)) return undefined;
  // Where there is no room for all that the percentage needs, it gets there replica by replica.
  if (admitted < canaryReplicas(ask))
    return admitted > running.proven ? { ...stay(running), proven: admitted } : undefined;
  const index = running.step.index + 1;
  return { phase: index < running.rules.steps.length ? 'stepping' : 'replacing', proven: admitted, index };
};

const preparing: Rule = (ask) =>
  freshOf(ask).admitted >= ask.replicas ? { ...stay(ask.running), phase: 'baking' } : undefined;

const baking: Rule = (ask) =>
  freshOf(ask).admitted >= ask.replicas && isJudged(ask)
    ? { ...stay(ask.running), phase: 'removing', proven: freshOf(ask).admitted }
    : undefined;

const removing: Rule = (ask) => (othersExisting(ask) === 0 ? { ...stay(ask.running), phase: 'done' } : undefined);

const rollingBack: Rule = (ask) => {
  const { census, running, replicas } = ask;
  const isWhole = oldOf(ask).ready >= replicas - running.rules.maxUnavailable;
  const rest = census.leftovers.reduce((sum, id) => sum + census.of(id).existing, freshOf(ask).existing);
  return isWhole && rest === 0 ? { ...stay(running), phase: 'rolled_back' } : undefined;
};

/** When each phase is over. */
export const ADVANCE: Readonly<Record<LivePhase, Rule>> = {
  starting,
  replacing,
  stepping,
  preparing,
  baking,
  removing,
  rolling_back: rollingBack,
};
