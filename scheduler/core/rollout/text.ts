/** A rollout in words, for `sophia rollout` and for the log: one line for each fact, the same at every door. */
import type {
  GateFacts,
  GateName,
  HistoryEntry,
  Reason,
  ReplicaFacts,
  RolloutState,
  Running,
  Verdict,
} from './contract.ts';
import { takeCensus } from './census.ts';
import { deadlineOf } from './phases.ts';

const seconds = (ms: number): string => {
  const whole = Math.max(0, Math.round(ms / 1000));
  if (whole < 120) return `${whole} s`;
  return whole < 7200 ? `${Math.round(whole / 60)} min` : `${Math.round(whole / 3600)} h`;
};
const at = (ms: number): string => new Date(ms).toISOString().replace('T', ' ').slice(0, 19);
const tail = (text: string | number | undefined): string => (text === '' || text === undefined ? '' : `: ${text}`);

/** What each gate says when it holds a rollout up or fails it. */
const GATE_TEXT: Readonly<Record<GateName, (facts: GateFacts) => string>> = {
  readiness: ({ replica, state, restarts = 0, reason }) =>
    `replica ${replica} is ${state}${Number(restarts) > 0 ? ` after ${restarts} restarts` : ''}${tail(reason)}`,
  smoke: ({ replica, answer, wanted }) =>
    wanted === undefined
      ? `replica ${replica} has not answered its smoke prompt yet`
      : `replica ${replica} answered ${JSON.stringify(answer)}${wanted === '' ? '' : `, which does not contain ${JSON.stringify(wanted)}`}`,
  gpu_health: ({ replica, health, reason }) => `a GPU of replica ${replica} is ${health}${tail(reason)}`,
  silence: ({ started, waitedMs }) =>
    `${started} requests were sent to it and none had a word of answer in ${seconds(Number(waitedMs))}`,
  error_rate: (facts) => rateText('failed', facts),
  rejections: (facts) => rateText('were refused', facts),
  ttft: ({ medianMs, oldMedianMs, times, oldTimes, limit, test, p }) =>
    `its first token takes ${medianMs} ms in the median of ${times}, the old revision's ${oldMedianMs} ms of ${oldTimes}; more than ${limit} times as long (${test}, p = ${p})`,
};

function rateText(what: string, { requests, failed, oldRequests, oldFailed, limit, test, p }: GateFacts): string {
  const against =
    limit === undefined
      ? `of the old revision ${oldFailed} of ${oldRequests}`
      : `the limit is ${Number(limit) * 100} %`;
  return `${failed} of ${requests} requests ${what}, ${against} (${test}, p = ${p})`;
}

export function verdictText(verdict: Verdict): string {
  return verdict.kind === 'pass' ? 'passed' : `${verdict.gate}: ${GATE_TEXT[verdict.gate](verdict.facts)}`;
}

export function reasonText(reason: Reason): string {
  switch (reason.kind) {
    case 'gate':
      return `${reason.gate}: ${GATE_TEXT[reason.gate](reason.facts)}`;
    case 'deadline':
      return `it was not through after ${seconds(reason.afterMs)}${reason.waitingFor === '' ? '' : `; it waited for ${reason.waitingFor}`}`;
    case 'operator':
      return `${reason.actor} undid it${tail(reason.reason)}`;
    case 'reverted':
      return 'the deployment asks for the old revision again';
  }
}

function phaseText({ phase, rules, step }: Running): string {
  switch (phase) {
    case 'starting':
      return 'its first replicas start';
    case 'replacing':
      return 'replicas are replaced';
    case 'stepping':
      return `canary, step ${step.index + 1} of ${rules.steps.length}: ${rules.steps[step.index]} % of the requests`;
    case 'preparing':
      return 'the new set starts beside the old one';
    case 'baking':
      return 'the new set has all requests, the old one stands by';
    case 'removing':
      return 'the old set stops';
    case 'rolling_back':
      return 'it is rolled back';
  }
}

/** One line for `sophia get deployment`: the rollout under way, else the last one; undefined: there was none. */
export function rolloutSummary(state: RolloutState | undefined): string | undefined {
  const running = state?.running ?? null;
  const last = state?.history[0];
  if (running !== null) {
    const why = running.reason === null ? '' : ` (${reasonText(running.reason)})`;
    return `${running.to.id}: ${phaseText(running)}${running.pause === null ? '' : ', paused'}${why}`;
  }
  if (last === undefined) return undefined;
  return `${last.revision.id}: ${outcomeText(last)}`;
}

const OUTCOMES = { done: 'done', rolled_back: 'rolled back', superseded: 'superseded' } as const;
const outcomeText = ({ outcome, reason }: HistoryEntry): string =>
  `${OUTCOMES[outcome]}${reason === null ? '' : `, ${reasonText(reason)}`}`;

/** What `sophia rollout status NAME` prints. */
export function statusLines(
  name: string,
  state: RolloutState | undefined,
  seen: { readonly replicas: readonly ReplicaFacts[]; readonly waiting: readonly Verdict[]; readonly nowMs: number },
): string[] {
  const running = state?.running ?? null;
  if (running === null)
    return [`${name}: ${rolloutSummary(state) ?? 'there was no rollout'}`, `revision: ${state?.current?.id ?? 'none'}`];
  const { from, to, rules, startedAtMs, pause, reason } = running;
  const census = takeCensus(seen.replicas, running);
  const ids = [to.id, ...(from === null ? [] : [from.id]), ...census.leftovers];
  const counts = ids.map((id) => {
    const { existing, ready, admitted } = census.of(id);
    return `  ${id}: wanted ${running.wanted[id] ?? 0}, there ${existing}, ready ${ready}, may have requests ${admitted}`;
  });
  return [
    `${name}: ${rules.kind} rollout to ${to.id}${from === null ? '' : ` from ${from.id}`}`,
    `phase: ${phaseText(running)}`,
    ...(pause === null
      ? []
      : [`paused by ${pause.actor} for ${seconds(seen.nowMs - pause.atMs)}${tail(pause.reason)}`]),
    ...(reason === null ? [] : [`why: ${reasonText(reason)}`]),
    `begun ${seconds(seen.nowMs - startedAtMs)} ago${from === null ? '' : `, rolled back if not through in ${seconds(deadlineOf(running) - seen.nowMs)}`}`,
    'replicas:',
    ...counts,
    ...seen.waiting.map((verdict) => `waits for ${verdictText(verdict)}`),
  ];
}

/** What `sophia rollout history NAME` prints: a line each, newest first. */
export function historyLines(state: RolloutState | undefined): string[] {
  if (state === undefined || state.history.length === 0) return ['There was no rollout.'];
  return state.history.map(
    (entry) =>
      `${at(entry.endedAtMs)}  ${entry.revision.id}  ${entry.strategy.padEnd(10)}  ${seconds(entry.endedAtMs - entry.startedAtMs).padStart(7)}  ${outcomeText(entry)}`,
  );
}
