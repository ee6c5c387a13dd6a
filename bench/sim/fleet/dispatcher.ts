/**
 * What stands between the clients and the engines of a simulated fleet: the scheduler's own routing (routed.ts), or a
 * reference from a paper (references.ts). Types only.
 */
import type { EngineReading } from '../model/engine.ts';
import type { EngineSpec } from '../model/spec.ts';
import type { Workload } from '../traces/workload.ts';

/** What a dispatcher may do; requests and engines are numbers from 0. */
export interface FleetActions {
  /** Sends the request to an engine. `fetched` leading chunks of its prompt are copied there first, which takes `fetchMs`. */
  send(request: number, engine: number, nowMs: number, fetched?: number, fetchMs?: number): void;
  /** The client gets an error. */
  refuse(request: number, nowMs: number): void;
  /** `wake` is called then. */
  wakeAt(atMs: number): void;
}

/** What an all-knowing policy may ask; a real scheduler has no such door. */
export interface FleetTruth {
  /** Leading chunks of the request's prompt in an engine's cache at this moment. */
  overlap(engine: number, request: number): number;
}

export interface FleetView {
  readonly workload: Workload;
  readonly spec: EngineSpec;
  readonly engines: number;
  readonly seed: number;
  /** Whether the scheduler holds requests; references from papers do not. */
  readonly queue: boolean;
  readonly actions: FleetActions;
  readonly truth: FleetTruth;
}

/** How an attempt on an engine ended. */
export type AttemptEnd = 'done' | 'fault';

/** It is told what a scheduler would be told, and nothing else. Monotonic virtual milliseconds. */
export interface Dispatcher {
  arrive(request: number, nowMs: number): void;
  firstToken(request: number, nowMs: number, cachedTokens: number): void;
  /** The answer is complete. */
  finished(request: number, nowMs: number): void;
  /** The agent's newest reading. */
  read(engine: number, reading: EngineReading, nowMs: number): void;
  engineUp(engine: number, incarnation: number, nowMs: number): void;
  /** The engine is dead or has fallen silent; `lost` requests were with it and go on from what was told of them. */
  engineDown(engine: number, lost: readonly number[], nowMs: number): void;
  /** A time asked for by `wakeAt` has come. */
  wake(nowMs: number): void;
  /** The engine's own KV events. */
  stored?(engine: number, chunk: number, nowMs: number): void;
  removed?(engine: number, chunk: number, nowMs: number): void;
}

export type CreateDispatcher = (view: FleetView) => Dispatcher;
