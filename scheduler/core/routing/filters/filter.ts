/** What a filter is: a reason for which an engine may not be picked for one request. Types only. */
import type { EngineId, NodeId } from '../../../../lib/ids.ts';
import type { Endpoint } from '../../../ports.ts';
import type { EngineSlot } from '../engine_slot.ts';

export interface FilterAsk {
  readonly endpoint: Endpoint;
  /** Bits of the endpoints that the engine answers for the model, as in the table of engines. */
  readonly answers: number;
  /** Engines that have failed this request already, each with the life that did so last. */
  readonly tried: ReadonlyMap<EngineId, number>;
  /** Whether the agent of a node takes direct calls; absent: the request is relayed. */
  readonly callable?: ((node: NodeId) => boolean) | undefined;
  readonly nowMs: number;
  /** An agent that said nothing for this long may hang. */
  readonly staleAfterMs: number;
}

/** What is known of all engines of a model together. */
export interface FilterPool {
  /** Bits of the endpoints that every engine answers. */
  readonly commonEndpoints: number;
  /** Monotonic milliseconds; no engine was seen last before it. */
  readonly seenSinceMs: number;
}

export interface Filter {
  /** The word for operators; an engine's own reason may say more. */
  readonly by: string;
  /**
   * `always`: no request may go there. `unless_last`: better than no answer at all, so it is passed over only while
   * other engines are left. `ejected`: as that, and not while too many engines are (panic).
   */
  readonly strength: 'always' | 'unless_last' | 'ejected';
  admits(slot: EngineSlot, ask: FilterAsk): boolean;
  why(slot: EngineSlot, ask: FilterAsk): { readonly by: string; readonly detail: string };
  /**
   * For filters that look at the engine alone: nothing speaks against it, whatever the request and the time, until the
   * engine changes. Such an engine is not looked at by the filter at each pick.
   */
  clear?(slot: EngineSlot): boolean;
  /** For the others: every engine is admitted, and none has to be looked at. */
  sparesAll?(pool: FilterPool, ask: FilterAsk): boolean;
}
