/** The registry of gates, in the order in which they are asked. To add one: a file in gates/ with its test, and its place here. */
import type { Running, Verdict } from './contract.ts';
import { errorRate } from './gates/error_rate.ts';
import type { Gate, GateAsk } from './gates/gate.ts';
import { gpuHealth } from './gates/gpu_health.ts';
import { readiness } from './gates/readiness.ts';
import { rejections } from './gates/rejections.ts';
import { silence } from './gates/silence.ts';
import { smoke } from './gates/smoke.ts';
import { ttft } from './gates/ttft.ts';
import { firstLook } from './statistics/looks.ts';

export const GATES: readonly Gate[] = [readiness, smoke, gpuHealth, silence, errorRate, rejections, ttft];

/** Requests, or times, of the new revision at which each test is made for the first time. */
export const FIRST_LOOKS: Running['looks'] = {
  failures: firstLook(10),
  limit: firstLook(10),
  rejections: firstLook(10),
  ttft: firstLook(12),
};

export interface GateResult {
  /** The first gate that failed. */
  readonly failure: (Verdict & { readonly kind: 'fail' }) | undefined;
  readonly waiting: readonly Verdict[];
  readonly looks: Running['looks'];
}

/** Asks every gate of the phase. */
export function askGates(ask: GateAsk): GateResult {
  let { looks } = ask.running;
  let failure: GateResult['failure'];
  const waiting: Verdict[] = [];
  for (const gate of GATES) {
    if (!gate.phases.has(ask.running.phase)) continue;
    const asked = gate.ask(ask);
    looks = { ...looks, ...asked.looks };
    if (asked.verdict.kind === 'wait') waiting.push(asked.verdict);
    if (asked.verdict.kind === 'fail') failure ??= asked.verdict;
  }
  return { failure, waiting, looks };
}
