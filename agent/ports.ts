/**
 * What the parts of an agent know of each other: how an engine is launched, watched and spoken to, how GPUs are read,
 * how the relay threads and the schedulers are reached. Types only.
 */
import type { EngineLife } from './core/engine_lifecycle.ts';
import type { DesiredState__Output } from '../proto/gen/fleet/v1/DesiredState.ts';
import type { EngineEvent } from '../proto/gen/fleet/v1/EngineEvent.ts';
import type { EngineSpec__Output } from '../proto/gen/fleet/v1/EngineSpec.ts';
import type { Hello } from '../proto/gen/fleet/v1/Hello.ts';
import type { SpecRejection } from '../proto/gen/fleet/v1/SpecRejection.ts';
import type { Telemetry } from '../proto/gen/fleet/v1/Telemetry.ts';

/** Where an engine listens. */
export type EngineAddress =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number };

/** A program to run, as an argument vector: no field of a spec ever reaches a shell. */
export interface LaunchPlan {
  readonly engine: string;
  readonly incarnation: number;
  readonly command: string;
  readonly args: readonly string[];
  /** The whole environment of the engine; nothing else is inherited. */
  readonly environment: Readonly<Record<string, string>>;
  readonly workingDirectory: string;
  /** Both outputs are appended here; no pipe ties the engine to the agent's life. */
  readonly outputFile: string;
  readonly address: EngineAddress;
  /** Hash of the spec, so that a later agent can tell whether a running engine is the wanted one. */
  readonly specHash: string;
}

export interface EngineExit {
  readonly exitCode?: number;
  readonly signal?: string;
}

/** A launched engine: a process group of its own that outlives the agent unless it is stopped. */
export interface LaunchedEngine {
  readonly pid: number;
  readonly startedAtMs: number;
  /** Whether the first process is known to have ended; its group may still be being swept. */
  ended(): boolean;
  /** Resolves once, when the engine's first process has ended and its group is swept. */
  readonly exited: Promise<EngineExit>;
  /** Signals the first process (SIGTERM) or the whole group (SIGKILL). */
  signal(name: 'SIGTERM' | 'SIGKILL'): void;
}

/** Starts engines. The keeper of each engine comes to stand behind this port. */
export interface EngineLauncher {
  /** @throws CodedError engine_unreachable when the program cannot be started at all */
  launch(plan: LaunchPlan): Promise<LaunchedEngine>;
  /** A number for the next life of the engine: rises, and never repeats on this host. */
  nextIncarnation(engine: string): Promise<number>;
  /** What the engine has written since `fromByte`, at most `maxBytes` of it: for progress and causes of failure. */
  readOutput(
    file: string,
    fromByte: number,
    maxBytes: number,
  ): Promise<{ readonly text: string; readonly nextByte: number }>;
  /** Engines that an earlier agent left running: what is known of each, by its records on disk. */
  leftovers(): Promise<readonly { engine: string; pid: number; specHash: string; stop(): Promise<void> }[]>;
}

/** An engine as the loop sees it, for telemetry and metrics. */
export interface EngineView {
  readonly life: EngineLife;
  readonly address: EngineAddress | undefined;
}

/** Asks an engine over its HTTP API. A question that fails or times out is an answer, not a throw. */
export interface EngineProbe {
  health(address: EngineAddress, timeoutMs: number): Promise<'ok' | 'unhealthy' | 'refused' | 'timeout'>;
  models(address: EngineAddress, timeoutMs: number): Promise<readonly ProbedModel[] | undefined>;
  /** Prometheus text parsed to what the fleet uses; a metric that is absent stays undefined. */
  load(address: EngineAddress, timeoutMs: number): Promise<EngineLoad | undefined>;
}

export interface ProbedModel {
  readonly id: string;
  readonly contextTokens?: number;
  readonly createdS?: number;
  readonly ownedBy?: string;
  readonly simulated: boolean;
}

export interface EngineLoad {
  readonly runningRequests?: number;
  readonly waitingRequests?: number;
  readonly kvCacheUsageRatio?: number;
  readonly generationTokensTotal?: number;
}

/** One reading of all GPUs; an empty list with source 'none' is a normal answer. */
export interface GpuSample {
  readonly source: 'nvml' | 'nvidia-smi' | 'none';
  readonly atMs: number;
  readonly gpus: readonly GpuState[];
  /** Why there is no figure, when there is none. */
  readonly reason?: string;
}

export interface GpuState {
  readonly index: number;
  readonly uuid?: string;
  readonly name?: string;
  readonly driverVersion?: string;
  readonly utilizationRatio?: number;
  readonly memoryUsedBytes?: number;
  readonly memoryTotalBytes?: number;
  readonly temperatureCelsius?: number;
  readonly powerWatts?: number;
}

/** The newest sample is always at hand; reading happens in a process of its own and never blocks the agent. */
export interface GpuReader {
  latest(): GpuSample;
  start(): Promise<void>;
  stop(): Promise<void>;
}

export interface HostFactsReader {
  facts(): Promise<NonNullable<Hello['host']>>;
  reading(): Promise<NonNullable<Telemetry['host']>>;
}

/** An engine as the relay threads see it. Absent from the list: requests for it fail with engine_unreachable. */
export interface RelayTarget {
  readonly engine: string;
  readonly incarnation: number;
  readonly address: EngineAddress;
  /** Running requests go on, new ones are refused. */
  readonly draining?: boolean;
  readonly maxConcurrentRequests?: number;
}

export interface RelayStats {
  /** Requests held open now, per engine name. */
  readonly openByEngine: Readonly<Record<string, number>>;
  readonly lanes: number;
  readonly tokensTotal: number;
  readonly messagesTotal: number;
  readonly bytesTotal: number;
  readonly stallsTotal: number;
}

/** The relay threads as a whole. */
export interface Relay {
  start(): Promise<void>;
  setTargets(targets: readonly RelayTarget[]): void;
  /** Opens lanes to these schedulers; a lane that is lost comes back by itself. */
  setSchedulers(addresses: readonly string[]): void;
  stats(): RelayStats;
  /** Ends all lanes; requests in flight are aborted after `graceMs`. */
  stop(graceMs: number): Promise<void>;
}

/** What a scheduler's session brings to the run loop. */
export interface SessionEvents {
  onConnected(scheduler: string, term: number, telemetryPeriodMs: number): void;
  onDisconnected(scheduler: string, reason: string): void;
  onDesiredState(scheduler: string, term: number, state: DesiredState__Output): void;
}

/** Control sessions to all schedulers of the list, each reconnecting by itself with backoff. */
export interface SchedulerLinks {
  start(events: SessionEvents, hello: () => Hello): void;
  sendEngineEvent(event: EngineEvent): void;
  sendTelemetry(telemetry: Telemetry): void;
  sendDesiredStateAck(generation: number, rejections: readonly SpecRejection[]): void;
  stop(reason: string): Promise<void>;
}

export type { EngineSpec__Output as EngineSpec };
