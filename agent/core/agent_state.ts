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
}

export const EMPTY_STATE: AgentState = { orders: {}, holds: {}, starts: {} };

/** Most drains that are remembered: an engine has one, and engines are bounded. */
const MAX_HOLDS = 1024;

export function withHold(state: AgentState, engine: string, hold: Hold): AgentState {
  const entries = [...Object.entries(state.holds).filter(([name]) => name !== engine), [engine, hold] as const];
  return { ...state, holds: Object.fromEntries(entries.slice(-MAX_HOLDS)) };
}

export function withoutHold(state: AgentState, engine: string): AgentState {
  return { ...state, holds: Object.fromEntries(Object.entries(state.holds).filter(([name]) => name !== engine)) };
}

/** The hold of an engine: its own, or that of the whole node. */
export const holdOf = (state: AgentState, engine: string): Hold | undefined => state.holds[engine] ?? state.nodeHold;
