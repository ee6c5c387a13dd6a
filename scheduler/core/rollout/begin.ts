/** How a rollout begins, how it is put into the history, and what becomes of one that another takes the place of. */
import type {
  Counters,
  Desired,
  HistoryEntry,
  Outcome,
  Reason,
  Revision,
  RolloutInput,
  RolloutState,
  Running,
} from './contract.ts';
import { FIRST_LOOKS } from './gates.ts';
import { FIRST_PHASE } from './phases.ts';
import { countersOf, NO_COUNTS } from './tallies.ts';

/** Rollouts that are remembered. */
export const MOST_HISTORY = 10;
/** Replicas whose smoke test is remembered; more than a deployment may have. */
export const MOST_PASSED = 100_000;

const countersIn = (tallies: RolloutInput['tallies'], revision: string | undefined): Counters => {
  const tally = revision === undefined ? undefined : tallies[revision];
  return tally === undefined ? NO_COUNTS : countersOf(tally);
};

/** @param passed replicas of the revision that it takes the place of, which go on serving until they are replaced */
export function beginRollout(
  { nowMs, tallies, desired }: Pick<RolloutInput, 'nowMs' | 'tallies' | 'desired'>,
  from: Revision | null,
  to: Revision,
  passed: readonly string[] = [],
): Running {
  const { rules } = desired;
  const before = { from: countersIn(tallies, from?.id), to: countersIn(tallies, to.id) };
  return {
    phase: from === null ? 'starting' : FIRST_PHASE[rules.kind],
    from,
    to,
    rules,
    startedAtMs: nowMs,
    deadlineAtMs: nowMs + rules.deadlineMs,
    step: { index: 0, sinceMs: nowMs, admitted: 0, before: NO_COUNTS },
    before,
    proven: 0,
    passed: passed.slice(0, MOST_PASSED),
    looks: FIRST_LOOKS,
    pause: null,
    reason: null,
    wanted: {},
  };
}

function entryOf(running: Running, outcome: Outcome, reason: Reason | null, endedAtMs: number): HistoryEntry {
  const { from, to, rules, startedAtMs } = running;
  return { revision: to, from: from?.id ?? null, strategy: rules.kind, startedAtMs, endedAtMs, outcome, reason };
}

/** The state once its rollout is over in the given way. */
export function closeRollout(state: RolloutState, running: Running, outcome: Outcome, nowMs: number): RolloutState {
  const history = [entryOf(running, outcome, running.reason, nowMs), ...state.history].slice(0, MOST_HISTORY);
  const current = outcome === 'done' ? running.to : state.current;
  return { ...state, current, running: null, history };
}

/** The newest revision that was done before the present one: where `undo` leads to when nothing is under way. */
export function previousRevision({ current, history }: RolloutState): Revision | undefined {
  return history.find(({ outcome, revision }) => outcome === 'done' && revision.id !== current?.id)?.revision;
}

/** From its present place back to the old revision. */
export function turnBack(running: Running, reason: Reason, nowMs: number): Running {
  return {
    ...running,
    phase: 'rolling_back',
    reason,
    pause: null,
    proven: 0,
    step: { ...running.step, sinceMs: nowMs },
  };
}

/**
 * Takes note of what the deployment asks for: begins, takes the place of a rollout under way, or turns back.
 * @returns the state, and what there is to tell
 */
export function follow(
  state: RolloutState | undefined,
  input: RolloutInput,
): { readonly state: RolloutState; readonly told?: 'started' | 'superseded' | 'reverted' } {
  const { desired, nowMs } = input;
  const { revision } = desired;
  if (state === undefined) return startFrom(adopted(input), input);
  if (state.seen === revision.id) return { state };
  const seen = { ...state, seen: revision.id };
  const { running, current } = seen;
  if (running === null) return startFrom(seen, input);
  if (running.to.id === revision.id && running.phase !== 'rolling_back') return { state: seen };
  if (current?.id === revision.id) {
    const back = running.phase === 'rolling_back' ? running : turnBack(running, { kind: 'reverted' }, nowMs);
    return { state: { ...seen, running: back }, told: 'reverted' };
  }
  const closed = closeRollout(seen, running, 'superseded', nowMs);
  const next = beginRollout(input, current, revision, running.passed);
  return { state: { ...closed, running: next }, told: 'superseded' };
}

/**
 * Where nothing is known of a deployment, what serves goes on serving: the revision of most ready replicas counts as proven.
 * Its spec is not known then, unless it is the one that is asked for, so it can be kept and not be started again.
 */
function adopted({ desired: { revision }, replicas }: RolloutInput): RolloutState {
  const ready = new Map<string, number>();
  for (const each of replicas)
    if (each.state === 'ready') ready.set(each.revision, (ready.get(each.revision) ?? 0) + 1);
  const [most] = [...ready.keys()].sort((a, b) => (ready.get(b) ?? 0) - (ready.get(a) ?? 0));
  const id = ready.has(revision.id) ? revision.id : most;
  const current = id === undefined ? null : { id, spec: id === revision.id ? revision.spec : {} };
  return { seen: revision.id, current, running: null, history: [] };
}

function startFrom(state: RolloutState, input: RolloutInput): ReturnType<typeof follow> {
  const { revision } = input.desired;
  if (state.current?.id === revision.id) return { state };
  return { state: { ...state, running: beginRollout(input, state.current, revision) }, told: 'started' };
}

/** A change of the strategy alone counts from the next step on; a deadline counts from the beginning. */
export function withRules(running: Running, { rules }: Pick<Desired, 'rules'>): Running {
  if (JSON.stringify(running.rules) === JSON.stringify(rules)) return running;
  // The kind decides the phases, so it stays until the rollout is over.
  const kept = { ...rules, kind: running.rules.kind, steps: running.rules.steps };
  const deadlineAtMs = running.deadlineAtMs - running.rules.deadlineMs + rules.deadlineMs;
  return JSON.stringify(running.rules) === JSON.stringify(kept) ? running : { ...running, rules: kept, deadlineAtMs };
}
