/**
 * The engine with the lowest cost. Costs that a policy calls equal are decided by the longest prefix, then by who was
 * picked longest ago, where the policy wants that; at last by a seeded chance, so that several schedulers that see the
 * same fleet do not all run to the same engine.
 */
import { MOST_OPEN, type OpenEngines } from './decision.ts';
import type { EngineSlot } from './engine_slot.ts';
import type { Policy, PolicyAsk } from './policies/policy.ts';

/** @returns the place of the engine among the open ones; undefined when there is none, or every cost is infinite */
export function choose(policy: Policy, ask: PolicyAsk, totals: Float64Array): number | undefined {
  const { count, random } = ask;
  let lowest = Infinity;
  for (let i = 0; i < count; i++) if ((totals[i] as number) < lowest) lowest = totals[i] as number;
  if (lowest === Infinity) return undefined;
  const most = lowest + policy.tolerance;
  let best = -1;
  let equals = 0;
  for (let i = 0; i < count; i++) {
    if ((totals[i] as number) > most) continue;
    const order = best < 0 ? -1 : policy.prefersWarm ? compare(ask, i, best) : 0;
    if (order > 0) continue;
    equals = order < 0 ? 1 : equals + 1;
    // Each of n equals is kept with the chance 1 / n.
    if (equals === 1 || random.next() * equals < 1) best = i;
  }
  return best;
}

/** Negative: `left` is to be preferred among equal costs. */
function compare({ open, cachedTokens }: PolicyAsk, left: number, right: number): number {
  const longer = (cachedTokens[right] as number) - (cachedTokens[left] as number);
  return longer === 0 ? (open[left] as EngineSlot).pickOrder - (open[right] as EngineSlot).pickOrder : longer;
}

const best = new Int32Array(MOST_OPEN);
/** A cost and its parts. */
let costs = new Float64Array(16);

/** The numbers of the picked engine and of the cheapest others, for whoever asks later. */
export function keepBest(
  policy: Policy,
  ask: PolicyAsk,
  totals: Float64Array,
  picked: number | undefined,
): OpenEngines {
  let kept = 0;
  if (picked !== undefined) best[kept++] = picked;
  const fixed = kept;
  for (let i = 0; i < ask.count; i++) {
    if (i === picked) continue;
    const total = totals[i] as number;
    const isFull = kept === MOST_OPEN;
    if (isFull && !(total < (totals[best[kept - 1] as number] as number))) continue;
    let to = isFull ? kept - 1 : kept++;
    for (; to > fixed && total < (totals[best[to - 1] as number] as number); to--) best[to] = best[to - 1] as number;
    best[to] = i;
  }
  const { partNames } = policy;
  const width = 1 + partNames.length;
  if (costs.length < width) costs = new Float64Array(width);
  const engines = [];
  // A typed array that is kept for long costs more than the numbers in it.
  const numbers: number[] = [];
  for (let k = 0; k < kept; k++) {
    const at = best[k] as number;
    engines.push((ask.open[at] as EngineSlot).engine);
    costs[0] = totals[at] as number;
    policy.parts(ask, at, costs, 1);
    for (let i = 0; i < width; i++) numbers.push(costs[i] as number);
  }
  return { engines, picked: picked !== undefined, partNames, numbers };
}
