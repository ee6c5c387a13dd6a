/**
 * The control plane as its parts know it: the store behind one face that is always there, and the state that its events
 * add up to, in memory. Whoever reconciles gets the projection, the store and the news from here. Types only.
 */
import type { FleetEvent } from '../events/event.ts';
import type { Projection, Until } from '../events/projection.ts';
import type { EventStore } from '../events/store_port.ts';
import type { StoreState } from '../events/store_state.ts';

/** `off`: the configuration wants none; `closed`: nobody has needed it yet. */
export type ControlState = StoreState | 'off' | 'closed';

export interface ControlHealth {
  readonly state: ControlState;
  /** Why, in words; empty while up. */
  readonly reason: string;
  /** Set while the log is not the one that was known: what is missing, in words. Reconcile stands still. */
  readonly gap?: string;
}

export interface FreezeView {
  readonly frozen: boolean;
  /** Who froze it, since when by the store's clock, and why; a gap of the log freezes as well. */
  readonly by: string;
  readonly sinceMs: number;
  readonly reason: string;
  /** Set when it is the store that freezes: what is missing, in words. */
  readonly gap?: string;
}

export interface ControlPlane {
  /**
   * The state in memory; empty until the store was read for the first time. Never waits. Ask anew each time: a log that a
   * person took as it is begins another one.
   */
  projection(): Projection;
  /** Whether the projection was read from the store at all. */
  isRead(): boolean;
  /**
   * Called once when the state has been read for the first time, at once when it has been. Nobody reads the store of an
   * empty fleet, so that whoever waits for this opens none.
   */
  onRead(listener: () => void): void;
  /**
   * The store, opened when it is first used. Its appends are in the projection when they resolve, unless the store went
   * away in between. @throws CodedError store_off, store_…
   */
  readonly store: EventStore;
  /** Opens the store if need be and reads what is new. @throws CodedError store_off, store_… */
  catchUp(): Promise<Projection>;
  /** The state at some point of the past. @throws CodedError invalid_value, store_… */
  stateAt(until: Until): Promise<Projection>;
  /** The newest events, oldest first, bounded. */
  recentEvents(): readonly FleetEvent[];
  /**
   * Called after each batch of new events has been folded. After a person took the log as it is its events come anew, and
   * then none, for the state is another one. What it returns ends that. A listener must not throw.
   */
  onEvents(listener: (events: readonly FleetEvent[]) => void): () => void;
  health(): ControlHealth;
  /** Fires when the scheduler stops: whoever waits for news here waits in vain. */
  readonly stopping: AbortSignal;
  /** Whether reconcile must stand still, by whose word. */
  freeze(): FreezeView;
  /** A person has looked at the gap and takes the log as it is. @throws CodedError */
  acceptLog(): Promise<void>;
}
