/**
 * What an agent must remember over its own restart: the newest orders, so that it goes on when no scheduler can be
 * reached; the drains that people ordered; and how long engines took to start, for the next estimate.
 */
import type { EngineSpec__Output } from '../../proto/gen/fleet/v1/EngineSpec.ts';
import type { Hold } from './lifecycle/life.ts';
import type { OrderState } from './reconcile.ts';
import type { StartHistory } from './start_estimate.ts';

export interface AgentState {
  readonly orders: OrderState;
  /** The desired state as it came, with what was rejected: rules may have changed since. */
  readonly desired?: readonly EngineSpec__Output[];
  readonly nodeHold?: Hold;
  readonly holds: Readonly<Record<string, Hold>>;
  readonly starts: StartHistory;
  /** Which life of an engine has served: one that has and takes no connections is not loading. */
  readonly served?: Readonly<Record<string, number>>;
}

export const EMPTY_STATE: AgentState = { orders: {}, holds: {}, starts: {} };

/** Most engines of which something is remembered; on a host they are bounded, and the newest count. */
const MAX_ENGINES = 1024;

export function withHold(state: AgentState, engine: string, hold: Hold): AgentState {
  const entries = [...Object.entries(state.holds).filter(([name]) => name !== engine), [engine, hold] as const];
  return { ...state, holds: Object.fromEntries(entries.slice(-MAX_ENGINES)) };
}

export function withoutHold(state: AgentState, engine: string): AgentState {
  return { ...state, holds: Object.fromEntries(Object.entries(state.holds).filter(([name]) => name !== engine)) };
}

/** The same state when that life is noted already. */
export function withServed(state: AgentState, engine: string, incarnation: number): AgentState {
  if (state.served?.[engine] === incarnation) return state;
  const others = Object.entries(state.served ?? {}).filter(([name]) => name !== engine);
  return { ...state, served: Object.fromEntries([...others, [engine, incarnation] as const].slice(-MAX_ENGINES)) };
}

/** The hold of an engine: its own, or that of the whole node. */
export const holdOf = (state: AgentState, engine: string): Hold | undefined => state.holds[engine] ?? state.nodeHold;
