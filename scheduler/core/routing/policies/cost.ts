/**
 * The default policy: one cost in milliseconds. It is the time to the first token that is expected on an engine (the
 * prompts that wait there, the request's own uncached tokens), plus what it costs the fleet to read the same prompt
 * twice, plus a little of the answer's time. The speeds are fitted online, so no threshold has to be set for a model or
 * a GPU: a warm engine is kept exactly while waiting there costs less than reading the prompt anew on a cold one.
 */
import { ROW } from '../engine_rows.ts';
import type { Policy, PolicyAsk } from './policy.ts';

/**
 * Work of the fleet weighs once more beside the wait of the one request: whoever comes later waits for it too. So a warm
 * engine may be later than the best cold one by up to (1 + this) times the time that the prefix saves, and no more.
 * On the simulator's traces anything from 0.5 to 2 does about the same.
 */
export const WORK_WEIGHT = 1;
/**
 * The answer's time counts for little: its batch changes many times until its end, and where it outweighs the prompts
 * that wait, they pile up. On Azure's trace at 0.95 of capacity a weight of 0.5 doubles the time to the first token, and
 * the time between tokens is no shorter for it.
 */
export const ANSWER_WEIGHT = 0.05;

const PARTS = ['wait', 'prefill', 'work', 'decode', 'room'] as const;
const parts = new Float64Array(PARTS.length);

/** The sum of the parts, milliseconds; the parts are left in `parts`. */
function costOf(ask: PolicyAsk, at: number): number {
  const { rows, nowMs, outputTokens } = ask;
  const row = ask.rowsAt[at] as number;
  const { promptTokens } = ask.shape;
  const cached = ask.cachedTokens[at] as number;
  const context = promptTokens + outputTokens / 2;
  const step = (rows[row + ROW.stepMs] as number) + (rows[row + ROW.stepPerContextMs] as number) * context;
  const headMs = rows[row + ROW.headMs] as number;
  const done = Math.min(Math.max(0, nowMs - (rows[row + ROW.headSinceMs] as number)), headMs);
  const work =
    (rows[row + ROW.perTokenMs] as number) * (promptTokens - cached) +
    (rows[row + ROW.perSquareMs] as number) * (promptTokens * promptTokens - cached * cached);
  const wait = (rows[row + ROW.waitMs] as number) - done + (rows[row + ROW.busy] as number) * step;
  const prefill = (rows[row + ROW.prefillBaseMs] as number) + work;
  const answer = outputTokens * step;
  const room = (rows[row + ROW.room] as number) * answer;
  parts[0] = wait;
  parts[1] = prefill;
  parts[2] = WORK_WEIGHT * work;
  parts[3] = ANSWER_WEIGHT * answer;
  parts[4] = room;
  return wait + prefill + WORK_WEIGHT * work + ANSWER_WEIGHT * answer + room;
}

export const cost: Policy = {
  usesResidency: true,
  tolerance: 1,
  prefersWarm: true,
  score(ask, totals) {
    for (let i = 0; i < ask.count; i++) totals[i] = costOf(ask, i);
  },
  partNames: PARTS,
  parts(ask, at, out, to) {
    costOf(ask, at);
    out.set(parts, to);
  },
};
