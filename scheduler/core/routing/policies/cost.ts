/**
 * The default policy: one cost in milliseconds. It is the time that the request is expected to take on an engine (the
 * prompts that wait there, its own uncached tokens, its answer at the pace of the batch), plus what it costs the fleet
 * to read the same prompt twice. The speeds are fitted per engine, so no threshold has to be set for a model or a GPU:
 * a warm engine is kept exactly while waiting there costs less than reading the prompt anew on a cold one.
 */
import type { CostPart } from '../contract.ts';
import { type EngineSlot, prefillWorkMs, stepMs, waitingPrefillMs } from '../engine_slot.ts';
import type { Policy, PolicyAsk } from './policy.ts';

/**
 * Work of the fleet weighs once more beside the wait of the one request: whoever comes later waits for it too. So a warm
 * engine may be later than the best cold one by up to (1 + this) times the time that the prefix saves, and no more.
 */
export const WORK_WEIGHT = 1;
/** Above this part of the KV cache the engine begins to hold back or recompute sequences. */
const KV_TIGHT = 0.9;

/** The parts of the cost of one engine, milliseconds; filled in place, in the order of PARTS. */
type Parts = Float64Array;
const PARTS = ['wait', 'prefill', 'work', 'decode', 'room'] as const;

function fill(parts: Parts, ask: PolicyAsk, at: number): number {
  const slot = ask.open[at] as EngineSlot;
  const { speed } = slot;
  const { promptTokens } = ask.shape;
  const cached = ask.cachedTokens[at] as number;
  const running = slot.reservedRequests + slot.otherRequests;
  const mine = promptTokens + ask.outputTokens / 2;
  // Requests of other schedulers are believed to be like this one.
  const context = slot.contextTokens + slot.otherRequests * mine;
  const step = stepMs(speed, running + 1, context + mine);
  const work = prefillWorkMs(speed, promptTokens - cached, promptTokens * promptTokens - cached * cached);
  const wait = waitingPrefillMs(slot, ask.nowMs) + (running > 0 ? step / 2 : 0);
  const answer = ask.outputTokens * step;
  parts[0] = wait;
  parts[1] = speed.prefillBaseMs + work;
  parts[2] = WORK_WEIGHT * work;
  parts[3] = answer;
  parts[4] = roomMs(slot, running, answer);
  return wait + speed.prefillBaseMs + (1 + WORK_WEIGHT) * work + answer + (parts[4] as number);
}

/** Until a sequence ends and makes room, where the engine has none: answers end evenly over the time of one. */
function roomMs(slot: EngineSlot, running: number, answerMs: number): number {
  const over = running + 1 - slot.maxSequences;
  const forPlace = over > 0 ? (over * answerMs) / slot.maxSequences : 0;
  const tight = slot.kvUsageRatio > KV_TIGHT ? (slot.kvUsageRatio - KV_TIGHT) / (1 - KV_TIGHT) : 0;
  return forPlace + (tight * answerMs) / Math.max(1, running);
}

const scratch = new Float64Array(PARTS.length);

export const cost: Policy = {
  usesResidency: true,
  tolerance: 1,
  prefersWarm: true,
  score(ask, totals) {
    for (let i = 0; i < ask.count; i++) totals[i] = fill(scratch, ask, i);
  },
  parts(ask, at): readonly CostPart[] {
    fill(scratch, ask, at);
    return PARTS.map((name, i) => ({ name, value: scratch[i] as number }));
  },
};
