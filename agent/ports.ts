/**
 * What the parts of an agent know of each other: how an engine is launched, watched and spoken to, how GPUs are read,
 * how the relay threads and the schedulers are reached. Types only.
 */
import type { AgentState } from './core/agent_state.ts';
import type { GpuIncident, GpuSample } from './core/gpu_sample.ts';
import type { EngineLife } from './core/lifecycle/life.ts';
import type { PreflightFacts } from './core/preflight.ts';
import type { Command__Output } from '../proto/gen/fleet/v1/Command.ts';
import type { CommandOutput } from '../proto/gen/fleet/v1/CommandOutput.ts';
import type { CommandResult } from '../proto/gen/fleet/v1/CommandResult.ts';
import type { DesiredState__Output } from '../proto/gen/fleet/v1/DesiredState.ts';
import type { DirectListener } from '../proto/gen/fleet/v1/DirectListener.ts';
import type { DirectUse } from '../proto/gen/fleet/v1/DirectUse.ts';
import type { EngineEvent } from '../proto/gen/fleet/v1/EngineEvent.ts';
import type { EngineSpec__Output } from '../proto/gen/fleet/v1/EngineSpec.ts';
import type { GpuEvent } from '../proto/gen/fleet/v1/GpuEvent.ts';
import type { Hello } from '../proto/gen/fleet/v1/Hello.ts';
import type { KvEvents } from '../proto/gen/fleet/v1/KvEvents.ts';
import type { ModelListener } from '../proto/gen/fleet/v1/ModelListener.ts';
import type { ModelPeers__Output } from '../proto/gen/fleet/v1/ModelPeers.ts';
import type { NodeEvent } from '../proto/gen/fleet/v1/NodeEvent.ts';
import type { SpecRejection } from '../proto/gen/fleet/v1/SpecRejection.ts';
import type { Telemetry } from '../proto/gen/fleet/v1/Telemetry.ts';
import type { TicketIssuer__Output } from '../proto/gen/fleet/v1/TicketIssuer.ts';

/** Where an engine listens. */
export type EngineAddress =
  | { readonly kind: 'unix'; readonly path: string }
  | {
      readonly kind: 'tcp';
      readonly host: string;
      readonly port: number;
      /** Sent as a bearer: vLLM asks for it under /v1 only, so it does not guard every route. */
      readonly apiKey?: string;
    };

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
  /** When the first process ended, milliseconds since the epoch, as its keeper wrote it down. */
  readonly atMs?: number;
  /** The end of what the engine wrote. */
  readonly lastLines?: string;
  /** Processes of its tree that outlived the first one and had to be killed. */
  readonly orphansKilled?: number;
  /** Nobody saw the end: the keeper was killed too. */
  readonly unseen?: boolean;
}

/** A running engine under its keeper: both outlive the agent unless they are stopped. */
export interface LaunchedEngine {
  /** The engine's first process. */
  readonly pid: number;
  readonly keeperPid: number;
  readonly startedAtMs: number;
  /** Whether the first process is known to have ended; its tree may still be being swept. */
  ended(): boolean;
  /** Resolves at once when the engine's first process has ended, before its tree is swept. */
  readonly died: Promise<EngineExit>;
  /** Resolves when a process without which the engine is dead has ended, while its first one lives; absent: not watched. */
  readonly partDied?: Promise<void>;
  /** Resolves once, when the engine's first process has ended and no process of its tree is left. */
  readonly exited: Promise<EngineExit>;
  /** SIGTERM goes to the first process, SIGKILL to every process of the tree. */
  signal(name: 'SIGTERM' | 'SIGKILL'): void;
  /** Every process of the tree now, the first one and orphans included. */
  processes(): Promise<readonly number[]>;
}

/** An engine whose keeper an earlier agent left running, proven by pid, start time and folder. */
export interface AdoptableEngine {
  readonly engine: string;
  readonly incarnation: number;
  readonly specHash: string;
  /** As the earlier agent launched it. */
  readonly plan: LaunchPlan;
  readonly launched: LaunchedEngine;
}

/** Starts engines, each under a keeper of its own, and finds the ones that an earlier agent started. */
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
  /**
   * Engines that an earlier agent left running. What cannot be proven to be ours is never touched; what is left of a
   * tree whose keeper was killed is killed and told as an exit of the records' engine.
   */
  adoptable(): Promise<readonly AdoptableEngine[]>;
}

/** An engine as the loop sees it, for telemetry and metrics. */
export interface EngineView {
  readonly life: EngineLife;
  readonly address: EngineAddress | undefined;
}

/** What came of a question; `refused`: the engine took no connection, or did not answer it to the end. */
export type EngineAnswer = { readonly status: number; readonly text: string } | 'refused' | 'timeout';

/** One GET to an engine. Never rejects. `anew`: on a connection of its own, which proves that new ones are still taken. */
export type AskEngine = (
  address: EngineAddress,
  path: string,
  timeoutMs: number,
  connection?: 'kept' | 'anew',
) => Promise<EngineAnswer>;

/** Asks an engine over its HTTP API. A question that fails or times out is an answer, not a throw. */
export interface EngineProbe {
  /**
   * @param connection `kept` is cheaper, and answers for an engine whose socket was taken away, which no request can
   *   reach any more; `anew` when absent
   */
  health(
    address: EngineAddress,
    timeoutMs: number,
    connection?: 'kept' | 'anew',
  ): Promise<'ok' | 'unhealthy' | 'refused' | 'timeout'>;
  models(address: EngineAddress, timeoutMs: number): Promise<readonly ProbedModel[] | undefined>;
  /** Prometheus text parsed to what the fleet uses; a metric that is absent stays undefined. */
  load(address: EngineAddress, timeoutMs: number): Promise<EngineLoad | undefined>;
  /** One real greedy token: the proof that an engine may take traffic. */
  generateOne(address: EngineAddress, model: string, timeoutMs: number): Promise<GenerationVerdict>;
  /** Sleep, wake, LoRA, prefix cache: `unsupported` where the engine has no such route. */
  verb(address: EngineAddress, verb: EngineVerb, timeoutMs: number): Promise<VerbAnswer>;
}

export type GenerationVerdict =
  | { readonly kind: 'ok'; readonly ms: number }
  /** The model does not generate (an embedding model): the engine said so with a 4xx. */
  | { readonly kind: 'not_generative' }
  | { readonly kind: 'failed'; readonly message: string };

export type EngineVerb =
  | { readonly kind: 'sleep'; readonly level: 1 | 2 }
  | { readonly kind: 'wake' }
  | { readonly kind: 'lora_load'; readonly name: string; readonly path: string }
  | { readonly kind: 'lora_unload'; readonly name: string }
  | { readonly kind: 'prefix_cache_reset' };

export type VerbAnswer =
  | { readonly kind: 'done' }
  | { readonly kind: 'unsupported'; readonly message: string }
  | { readonly kind: 'failed'; readonly message: string };

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
  /** Tokens that fit into its KV cache. */
  readonly kvCacheTokens?: number;
  readonly generationTokensTotal?: number;
  /** Engine steps and prompt tokens so far: witnesses of progress that no stream shows. */
  readonly iterationsTotal?: number;
  readonly promptTokensTotal?: number;
}

/** What a look at the host before a start needs to know. */
export interface PreflightQuestion {
  readonly address: EngineAddress;
  readonly program: string;
  readonly model: string;
  /** Whether `model` may be a hub id. */
  readonly mayBeHub: boolean;
  readonly modelRoots: readonly string[];
  readonly cacheFolder: string;
}

/** Reads the host for preflight. Never rejects: what cannot be read is absent. */
export interface HostInspector {
  preflight(question: PreflightQuestion): Promise<PreflightFacts>;
  /** Milliseconds that each thread of these processes has waited for a CPU so far, by thread id; empty: not known. */
  runDelaysMs(pids: readonly number[]): Promise<ReadonlyMap<number, number>>;
  /** Processes that the kernel killed for lack of memory since boot. */
  oomKills(): Promise<number | undefined>;
  /** The real path behind symbolic links when it lies under one of the roots, else undefined. */
  confinedPath(path: string, roots: readonly string[]): Promise<string | undefined>;
}

/** The story of each engine on disk. A disk that fails never fails the caller. */
export interface EngineJournal {
  append(entry: EngineEvent): void;
  /** Oldest first. */
  read(engine: string): Promise<readonly EngineEvent[]>;
  /** Why entries are in memory only, while they are. */
  degraded(): string | undefined;
  /** Waits for what is being written. */
  flush(): Promise<void>;
}

/** What the agent remembers over its restart. A disk that fails never fails the caller. */
export interface StateStore {
  load(): Promise<AgentState>;
  save(state: AgentState): void;
  degraded(): string | undefined;
  flush(): Promise<void>;
}

/** Writes down what a wedged engine was doing. Never rejects; gives the file, or undefined when none was written. */
export interface EngineDumper {
  dump(request: {
    readonly engine: string;
    readonly incarnation: number;
    readonly folder: string;
    readonly pids: readonly number[];
    readonly address: EngineAddress;
    readonly why: string;
    readonly lastLines: string;
  }): Promise<string | undefined>;
}

/** The newest sample is always at hand; reading happens in a process of its own and never blocks the agent. */
export interface GpuReader {
  latest(): GpuSample;
  /** Incidents are never dropped: each is told once, in order. */
  onIncident(listener: (incident: GpuIncident) => void): void;
  /** A new sample is there. */
  onSample(listener: (sample: GpuSample) => void): void;
  /** Somebody waits for a new list of processes: it is read next and not at its period. Not while readings fail. */
  readProcessesSoon(): void;
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

/** How an engine moves, as its relay sees it: what the watchdog judges by. Times are monotonic milliseconds. */
export interface EngineProgress {
  readonly incarnation: number;
  /** Requests held open now. */
  readonly open: number;
  /** Of these, the ones whose answer is no stream: nothing is seen of them until their end, so they show no progress. */
  readonly plain?: number;
  /** Of these, the ones that wait for their first token. */
  readonly waitingFirst: number;
  /** Since when the oldest of those waits. */
  readonly oldestWaitingSinceMs?: number;
  /** Bytes of the request bodies that wait for their first token: the measure of the prefill ahead. */
  readonly waitingBytes: number;
  /**
   * When the engine last sent a token of any request, or when the first of the open requests arrived if that is later.
   * Absent while no stream is open: then the relay does not know.
   */
  readonly lastProgressAtMs?: number;
  /** Whether a request is held back because its client does not read: then silence is not the engine's. */
  readonly stalled: number;
  /** Median time between the tokens of a stream over the newest few hundred. */
  readonly interTokenP50Ms?: number;
  /** Faults since the start of this life: unasked aborts, error chunks inside a 200, streams cut before their end. */
  readonly faults: number;
  /** Silence of the engine while it read prompts, for a byte of them, in milliseconds; absent until it was seen. */
  readonly prefillMsPerByte?: number;
}

/** What happened to requests beside their ordinary way, counted since the agent's start. */
export interface RelayCounters {
  /** Requests that run on without a lane now. */
  readonly detached: number;
  /** Requests that lost their lane and ran on. */
  readonly detachedTotal: number;
  /** Of these, the ones that a scheduler came back for. */
  readonly reattachedTotal: number;
  /** Of these, the ones that nobody came back for in time: the engine's work was aborted. */
  readonly expiredTotal: number;
  /** Requests that outgrew what is kept for a scheduler to come back to. */
  readonly unattachableTotal: number;
  /** Requests sent to their engine a second time because a reused connection was closed under them. */
  readonly resentTotal: number;
  /** Embedding calls that shared a call of the engine with others. */
  readonly batchedTotal: number;
  readonly threadCrashesTotal: number;
  /** Requests that were open on a thread as it crashed; their schedulers saw the lane cut. */
  readonly lostWithThreadTotal: number;
}

export interface RelayStats {
  /** Requests held open now, per engine name. */
  readonly openByEngine: Readonly<Record<string, number>>;
  readonly progress: Readonly<Record<string, EngineProgress>>;
  /** Worst p99 of the event-loop lag over the threads, and the longest GC pause, in the last period. */
  readonly loopLagP99Ms?: number;
  readonly gcPauseMaxMs?: number;
  readonly lanes: number;
  readonly tokensTotal: number;
  readonly messagesTotal: number;
  readonly bytesTotal: number;
  readonly stallsTotal: number;
  readonly counters?: RelayCounters;
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
  onCommand(scheduler: string, term: number, command: Command__Output): void;
  /** By what tickets of this scheduler are known. */
  onTicketIssuer?(scheduler: string, issuer: TicketIssuer__Output): void;
  /** Which other nodes have the files of models that this one fetches. */
  onModelPeers?(scheduler: string, peers: ModelPeers__Output): void;
}

/** Control sessions to all schedulers of the list, each reconnecting by itself with backoff. */
export interface SchedulerLinks {
  start(events: SessionEvents, hello: () => Hello): void;
  sendEngineEvent(event: EngineEvent): void;
  /** To one scheduler; false when its session can take no more now, and then nothing was sent. */
  sendTelemetry(scheduler: string, telemetry: Telemetry): boolean;
  /** As sendTelemetry, for what engines hold in their prefix caches. */
  sendKvEvents(scheduler: string, events: KvEvents): boolean;
  sendDesiredStateAck(generation: number, rejections: readonly SpecRejection[]): void;
  sendGpuEvent(event: GpuEvent): void;
  sendNodeEvent(event: NodeEvent): void;
  /** To the scheduler that gave the command; nothing when its session is gone. */
  sendCommandOutput(scheduler: string, output: CommandOutput): void;
  sendCommandResult(scheduler: string, result: CommandResult): void;
  /** To one scheduler; nothing when its session is gone. */
  sendDirectListener?(scheduler: string, listener: DirectListener): void;
  sendDirectUse?(scheduler: string, use: DirectUse): void;
  sendModelListener?(scheduler: string, listener: ModelListener): void;
  /** Begins each session anew with a hello of now; requests run on, for they are not on it. */
  greetAgain?(reason: string): void;
  stop(reason: string): Promise<void>;
}

/** Where a command's outputs go; `signal` aborts when nobody reads them any more. */
export interface CommandSink {
  output(output: Omit<CommandOutput, 'id'>): void;
  /** Resolves when the reader can take more, and at once when `signal` has aborted; absent: there is no limit. */
  ready?(): Promise<void>;
  readonly signal: AbortSignal;
}

/** Carries out a person's orders, the same whether they came through a session or through the local socket. */
export interface CommandRunner {
  /** Never rejects: a failure is a result with a code of docs/ERRORS.md. */
  run(command: Command__Output, sink: CommandSink): Promise<Omit<CommandResult, 'id'>>;
}

export type { GpuIncident, GpuSample, GpuState } from './core/gpu_sample.ts';
export type { ModelFiles, ModelFilesState } from './core/model_files/contract.ts';
export type { EngineSpec__Output as EngineSpec };
