/** What a routing policy is: it gives each engine that may be picked a cost, and the lowest cost wins. Types only. */
import type { RandomSource } from '../../../../lib/rng.ts';
import type { RequestShape } from '../contract.ts';
import type { EngineSlot } from '../engine_slot.ts';

export interface PolicyAsk {
  readonly shape: RequestShape;
  readonly nowMs: number;
  readonly random: RandomSource;
  /** The engines that may be picked: entries 0 to `count` - 1. */
  readonly open: readonly EngineSlot[];
  readonly count: number;
  /** The numbers of all engines (engine_rows.ts), and where the row of each open engine begins. */
  readonly rows: Float64Array;
  readonly rowsAt: Int32Array;
  /** Leading prompt tokens that each of them is believed to hold; zeros unless the policy asks for them. */
  readonly cachedTokens: Float64Array;
  /** Tokens of the answer, as far as they can be told before. */
  readonly outputTokens: number;
}

export interface Policy {
  /** Whether `cachedTokens` has to be looked up for all engines. */
  readonly usesResidency: boolean;
  /** Costs that differ by no more than this, in the policy's own unit, are equal. */
  readonly tolerance: number;
  /** Among equal costs: the longest prefix, then the engine that was picked longest ago; else chance alone. */
  readonly prefersWarm: boolean;
  /** Writes the cost of each engine; Infinity passes it over. */
  score(ask: PolicyAsk, totals: Float64Array): void;
  /** What a cost is made of, for `sophia explain request`. */
  readonly partNames: readonly string[];
  /** Writes the parts of the cost of one engine to `out`, from `to` on. */
  parts(ask: PolicyAsk, at: number, out: Float64Array, to: number): void;
}
