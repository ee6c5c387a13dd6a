/**
 * One step of a deployment's rollout: what is seen and ordered goes in; the next state, the replicas that each revision is to
 * have, the shares of traffic and the reasons come out. It is pure, asked at any pace by whoever leads, and gives the same
 * answer to the same question, so a scheduler that takes over goes on where another one stopped.
 */
import { canonicalText } from '../events/json.ts';
import { closeRollout, follow, MOST_PASSED, turnBack, withRules } from './begin.ts';
import { takeCensus } from './census.ts';
import type {
  LivePhase,
  Reason,
  ReplicaFacts,
  RolloutEvent,
  RolloutInput,
  RolloutOutput,
  RolloutState,
  Running,
  Traffic,
  Verdict,
} from './contract.ts';
import { countsOf } from './counts.ts';
import { toAsk } from './gates/smoke.ts';
import { askGates } from './gates.ts';
import { takeOrders } from './orders.ts';
import { ADVANCE, type Advance, deadlineOf, freshOf, type PhaseAsk } from './phases.ts';
import { countersOf, NO_TALLY, since } from './tallies.ts';
import { toJson } from './state_json.ts';
import { reasonText } from './text.ts';
import { trafficOf } from './traffic.ts';

export function stepRollout(input: RolloutInput): RolloutOutput {
  const events: RolloutEvent[] = [];
  const followed = follow(input.state, input);
  if (followed.told === 'started' || followed.told === 'superseded')
    events.push({ kind: followed.told, detail: `revision ${input.desired.revision.id}` });
  const ordered = takeOrders(followed.state, input);
  for (const { verb, actor } of ordered.done) {
    if (verb !== 'undo') events.push({ kind: `${verb}d`, detail: `by ${actor}` });
  }
  for (const { order, why } of ordered.refused) events.push({ kind: 'refused', detail: `${order.verb}: ${why}` });
  const { running } = ordered.state;
  const made = running === null ? idle(ordered.state, input) : go(ordered.state, running, input, events);
  return { ...made, changed: isChanged(input.state, made.state), events };
}

type Answer = Omit<RolloutOutput, 'changed' | 'events'>;

function isChanged(before: RolloutState | undefined, after: RolloutState): boolean {
  return before === undefined || (before !== after && canonicalText(toJson(before)) !== canonicalText(toJson(after)));
}

/** Nothing is under way: the proven revision has all replicas and all requests. */
function idle(state: RolloutState, { desired }: RolloutInput): Answer {
  const revision = (state.current ?? desired.revision).id;
  const traffic: Traffic = { shares: [{ revision, weight: 100, standby: false, proven: true }], admitted: [] };
  return { state, wanted: { [revision]: desired.replicas }, traffic, ask: [], waiting: [] };
}

/** Smoke tests that passed are kept, so that a new leader does not close what serves; those of replicas that are gone are not. */
function notePassed(running: Running, replicas: readonly ReplicaFacts[]): Running {
  const before = new Set(running.passed);
  const passed = replicas
    .filter(({ key, revision, smoke }) => before.has(key) || (revision === running.to.id && smoke?.ok === true))
    .map(({ key }) => key)
    .slice(0, MOST_PASSED);
  const same = passed.length === before.size && passed.every((key) => before.has(key));
  return same ? running : { ...running, passed };
}

/** A step begins anew when more new replicas take requests than before: what they do is judged from here on. */
function noteAdmitted(ask: PhaseAsk): Running {
  const { running, fresh, nowMs } = ask;
  const { admitted } = freshOf(ask);
  if (admitted <= running.step.admitted || running.phase === 'rolling_back') return running;
  return { ...running, step: { ...running.step, sinceMs: nowMs, admitted, before: countersOf(fresh) } };
}

function askOf(running: Running, { replicas, tallies, desired, nowMs }: RolloutInput): PhaseAsk {
  const tally = tallies[running.to.id] ?? NO_TALLY;
  return {
    running,
    census: takeCensus(replicas, running),
    replicas: desired.replicas,
    fresh: since(tally, running.before.to),
    nowMs,
  };
}

function go(state: RolloutState, begun: Running, input: RolloutInput, events: RolloutEvent[]): Answer {
  const noted = notePassed(withRules(begun, input.desired), input.replicas);
  const ask = askOf(noteAdmitted(askOf(noted, input)), input);
  const old = since(input.tallies[noted.from?.id ?? ''] ?? NO_TALLY, noted.before.from);
  const { failure, waiting, looks } = askGates({ ...ask, old });
  const judged = { ...ask.running, looks };
  const why =
    judged.phase === 'rolling_back' || judged.from === null ? undefined : whyBack(judged, failure, waiting, input);
  if (why !== undefined) return turned(state, turnBack(judged, why, input.nowMs), input, events);
  if (judged.reason !== null && noted.phase === 'rolling_back' && input.state?.running?.phase !== 'rolling_back')
    events.push({ kind: 'phase', detail: `rolling_back: ${reasonText(judged.reason)}` });
  const isHeld = judged.pause !== null || (failure !== undefined && judged.from === null);
  const advance = isHeld ? undefined : ADVANCE[judged.phase]({ ...ask, running: judged });
  if (advance?.phase === 'done' || advance?.phase === 'rolled_back') {
    events.push({ kind: advance.phase, detail: judged.reason === null ? '' : reasonText(judged.reason) });
    return idle(closeRollout(state, judged, advance.phase, input.nowMs), input);
  }
  const next = advance === undefined ? judged : advanced(judged, advance, ask, events);
  const blocked = failure === undefined ? waiting : [failure, ...waiting];
  return answer(state, next, input, blocked);
}

function whyBack(
  running: Running,
  failure: (Verdict & { readonly kind: 'fail' }) | undefined,
  waiting: readonly Verdict[],
  { nowMs }: RolloutInput,
): Reason | undefined {
  if (failure !== undefined) return { kind: 'gate', gate: failure.gate, facts: failure.facts };
  // A set that has all requests and has passed everything is only waiting for the old one to leave.
  if (running.pause !== null || running.phase === 'removing' || nowMs < deadlineOf(running)) return undefined;
  const [first] = waiting;
  const waitingFor = first?.kind === 'wait' ? `${first.gate}: ${Object.values(first.facts).join(' ')}`.trim() : '';
  return { kind: 'deadline', afterMs: nowMs - running.startedAtMs, waitingFor };
}

function turned(state: RolloutState, running: Running, input: RolloutInput, events: RolloutEvent[]): Answer {
  if (running.reason !== null) events.push({ kind: 'phase', detail: `rolling_back: ${reasonText(running.reason)}` });
  return answer(state, running, input, []);
}

function advanced(running: Running, { phase, proven, index }: Advance, ask: PhaseAsk, events: RolloutEvent[]): Running {
  const isNewStep = phase !== running.phase || index !== running.step.index;
  if (!isNewStep) return { ...running, proven };
  const live = phase as LivePhase;
  events.push({ kind: live === running.phase ? 'step' : 'phase', detail: stepDetail(running, live, index) });
  const step = { ...running.step, index, sinceMs: ask.nowMs, before: countersOf(ask.fresh) };
  return { ...running, phase: live, proven, step };
}

function stepDetail({ rules }: Running, phase: LivePhase, index: number): string {
  return phase === 'stepping' ? `${rules.steps[index] ?? 100} % of the requests` : phase;
}

function answer(state: RolloutState, running: Running, input: RolloutInput, waiting: readonly Verdict[]): Answer {
  const ask = askOf(running, input);
  // A rollout that is paused before its first step has no numbers to hold on to yet.
  const isHeld = running.pause !== null && Object.keys(running.wanted).length > 0;
  const wanted = isHeld ? running.wanted : countsOf(ask);
  const isSame = JSON.stringify(wanted) === JSON.stringify(running.wanted);
  const kept = isSame ? running : { ...running, wanted };
  const asks = running.phase === 'rolling_back' ? [] : toAsk(ask.census.fresh, new Set(running.passed));
  return { state: { ...state, running: kept }, wanted, traffic: trafficOf(ask), ask: asks, waiting };
}
