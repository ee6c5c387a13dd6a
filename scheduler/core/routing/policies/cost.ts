/**
 * The default policy: one cost in milliseconds. It is the time that the request is expected to take on an engine (the
 * prompts that wait there, its own uncached tokens, its answer at the pace of the batch), plus the time that its uncached
 * tokens take from the others: while a prompt is computed, all sequences of an engine stand still. The speeds are fitted
 * online, so no threshold has to be set for a model or a GPU: a warm engine is kept exactly while waiting there costs less
 * than what reading the prompt anew would cost the request and the others.
 */
import { ROW } from '../engine_rows.ts';
import type { Policy, PolicyAsk } from './policy.ts';

/**
 * The answer's time counts by half: what batch it meets is known for the time just ahead only, and by the end of a long
 * answer it is another one.
 */
const ANSWER_WEIGHT = 0.5;

const PARTS = ['wait', 'prefill', 'work', 'decode', 'room'] as const;
const parts = new Float64Array(PARTS.length);

/** Requests on an engine in the mean: whoever prefills uncached tokens stands in the way of so many others. */
function meanRequests({ rows, rowsAt, count }: PolicyAsk): number {
  let requests = 0;
  for (let i = 0; i < count; i++) requests += rows[(rowsAt[i] as number) + ROW.requests] as number;
  return requests / Math.max(1, count);
}

/** The sum of the parts, milliseconds; the parts are left in `parts`. */
function costOf(ask: PolicyAsk, at: number, others: number): number {
  const { rows, nowMs, outputTokens } = ask;
  const row = ask.rowsAt[at] as number;
  const { promptTokens } = ask.shape;
  const cached = ask.cachedTokens[at] as number;
  const context = promptTokens + outputTokens / 2;
  const step = (rows[row + ROW.stepMs] as number) + (rows[row + ROW.stepPerContextMs] as number) * context;
  const done = Math.min(Math.max(0, nowMs - (rows[row + ROW.headSinceMs] as number)), rows[row + ROW.headMs] as number);
  const work =
    (rows[row + ROW.perTokenMs] as number) * (promptTokens - cached) +
    (rows[row + ROW.perSquareMs] as number) * (promptTokens * promptTokens - cached * cached);
  const wait = (rows[row + ROW.waitMs] as number) - done + (rows[row + ROW.busy] as number) * step;
  const prefill = (rows[row + ROW.prefillBaseMs] as number) + work;
  const answer = ANSWER_WEIGHT * outputTokens * step;
  const room = (rows[row + ROW.room] as number) * outputTokens * step;
  parts[0] = wait;
  parts[1] = prefill;
  parts[2] = others * work;
  parts[3] = answer;
  parts[4] = room;
  return wait + prefill + others * work + answer + room;
}

export const cost: Policy = {
  usesResidency: true,
  tolerance: 1,
  prefersWarm: true,
  score(ask, totals) {
    const others = meanRequests(ask);
    for (let i = 0; i < ask.count; i++) totals[i] = costOf(ask, i, others);
  },
  partNames: PARTS,
  parts(ask, at, out, to) {
    costOf(ask, at, meanRequests(ask));
    out.set(parts, to);
  },
};
