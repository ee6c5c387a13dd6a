/** What a filter is: a reason for which an engine may not be picked for one request. Types only. */
import type { EngineId } from '../../../../lib/ids.ts';
import type { Endpoint } from '../../../ports.ts';
import type { EngineSlot } from '../engine_slot.ts';

export interface FilterAsk {
  readonly endpoint: Endpoint;
  /** Bits of the endpoints that the engine answers for the model, as in the table of engines. */
  readonly answers: number;
  /** Engines that have failed this request already. */
  readonly tried: ReadonlySet<EngineId>;
  readonly nowMs: number;
  /** An agent that said nothing for this long may hang. */
  readonly staleAfterMs: number;
}

export interface Filter {
  /** The word for operators. Where an engine's own reason says more, `why` gives it. */
  readonly by: string;
  /**
   * `always`: no request may go there. `unless_last`: better than no answer at all, so it is passed over only while
   * other engines are left. `ejected`: as that, and not while too many engines are (panic).
   */
  readonly strength: 'always' | 'unless_last' | 'ejected';
  admits(slot: EngineSlot, ask: FilterAsk): boolean;
  why(slot: EngineSlot, ask: FilterAsk): { readonly by: string; readonly detail: string };
}
