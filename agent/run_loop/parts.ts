/** What the run loop is made of, and what belongs to a running engine besides its pure life. */
import type { BackoffPolicy } from '../../lib/backoff.ts';
import type { Clock } from '../../lib/clock.ts';
import type { RandomSource } from '../../lib/rng.ts';
import type { DrainWatch } from '../core/drain_estimate.ts';
import type { HostRules } from '../core/engine_spec.ts';
import type { LaunchHost } from '../core/launch_plan.ts';
import type { EngineEventIn, EngineLife } from '../core/lifecycle/life.ts';
import type { HostBrakePolicy } from '../core/restart_brake.ts';
import type { PastStart } from '../core/start_estimate.ts';
import type { StartMemory } from '../core/startup_log.ts';
import type { FaultRecord, Watch } from '../core/watchdog.ts';
import type {
  EngineDumper,
  EngineJournal,
  EngineLauncher,
  EngineProbe,
  GpuReader,
  HostInspector,
  LaunchedEngine,
  LaunchPlan,
  ModelFiles,
  Relay,
  SchedulerLinks,
  StateStore,
} from '../ports.ts';

/** What the loop says to people; the wire gives a logger. */
export interface LoopLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export interface RunLoopTimes {
  readonly restartBackoff: BackoffPolicy;
  readonly restartWindowMs: number;
  readonly hostBrake: HostBrakePolicy;
  readonly stableAfterMs: number;
  readonly probePeriodMs: number;
  readonly probeTimeoutMs: number;
  /** Time for the first token of a fresh engine. */
  readonly warmTimeoutMs: number;
  /** How often the watchdog looks. */
  readonly watchPeriodMs: number;
  /** Longest wait for GPU memory to be free after an engine's end. */
  readonly gpuReleaseTimeoutMs: number;
}

export interface RunLoopParts {
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly launcher: EngineLauncher;
  readonly probe: EngineProbe;
  readonly relay: Pick<Relay, 'setTargets' | 'stats'>;
  readonly links: Pick<SchedulerLinks, 'sendEngineEvent' | 'sendDesiredStateAck' | 'sendNodeEvent'>;
  readonly gpus: Pick<GpuReader, 'latest' | 'readProcessesSoon'>;
  readonly inspector: HostInspector;
  readonly journal: EngineJournal;
  readonly store: StateStore;
  readonly dumper: EngineDumper;
  readonly log: LoopLog;
  /** GPUs may appear late, so the rules are asked for at each desired state. */
  readonly rules: () => HostRules;
  readonly host: LaunchHost;
  readonly times: RunLoopTimes;
  /** Bad answers in a row that end a life. */
  readonly unhealthyAfter: number;
  readonly quarantinedGpus?: () => readonly number[];
  /** Brings the files of models; absent: engines with a model source are refused. */
  readonly models?: ModelFiles;
  /** The newest Xid of one of these GPUs within the last minute. */
  readonly recentXid?: (gpuIds: readonly number[]) => number | undefined;
  readonly onRestart?: (engine: string, reason: string) => void;
}

/** What belongs to a running process and not to the pure life. */
export interface Runtime {
  life: EngineLife;
  plan?: LaunchPlan;
  launched?: LaunchedEngine;
  cancelTimer?: () => void;
  timerAtMs?: number;
  cancelProbe?: () => void;
  /** Ends the wait for GPU memory, and other work that has lost its meaning. */
  badProbes: number;
  /** Questions for the health of this engine so far. */
  healthAsks: number;
  outputByte: number;
  tail: string;
  /** What the engine said of its memory while it started. */
  memory?: StartMemory;
  /** When each milestone of this start was seen, milliseconds since the launch. */
  marks: Record<string, number>;
  watch?: Watch;
  faults: FaultRecord;
  askingSinceMs?: number;
  /** The waits of its threads for a CPU are being read. */
  askingHost?: boolean;
  /** Questions for the engine's counters in this life. */
  witnessAsks: number;
  drain?: DrainWatch & { toldRunning?: number; toldAtMs?: number };
  /** Every process that was seen in its tree, for the GPUs' process lists. */
  pids: Set<number>;
  oomKillsAtStart?: number;
  /** A warm-up token is being asked for. */
  warming?: boolean;
  /** This process has been ready. */
  served: boolean;
  /** An earlier agent saw it ready, for certain. */
  hasAnswered: boolean;
}

export function freshRuntime(life: EngineLife): Runtime {
  return {
    life,
    badProbes: 0,
    healthAsks: 0,
    outputByte: 0,
    tail: '',
    marks: {},
    faults: { seen: 0, timesMs: [] },
    pids: new Set(),
    witnessAsks: 0,
    served: false,
    hasAnswered: false,
  };
}

/** A new process begins: what was learned of the last one is forgotten. */
export function resetRuntime(runtime: Runtime, plan: LaunchPlan, launched: LaunchedEngine, outputByte: number): void {
  const { life } = runtime;
  const { cancelTimer, timerAtMs, cancelProbe } = runtime;
  Object.assign(runtime, freshRuntime(life), { plan, launched, outputByte });
  runtime.pids.add(launched.pid);
  delete runtime.watch;
  delete runtime.drain;
  delete runtime.askingSinceMs;
  delete runtime.askingHost;
  delete runtime.oomKillsAtStart;
  delete runtime.warming;
  delete runtime.memory;
  if (cancelTimer !== undefined) runtime.cancelTimer = cancelTimer;
  if (timerAtMs !== undefined) runtime.timerAtMs = timerAtMs;
  if (cancelProbe !== undefined) runtime.cancelProbe = cancelProbe;
}

/** What the loop gives to its helpers; each of them looks after one part of a life. */
export interface LoopCore {
  readonly parts: RunLoopParts;
  send(engine: string, event: EngineEventIn): void;
  runtimes(): Iterable<Runtime>;
  /** Writes something that was noticed into the journal and tells schedulers, without a change of status. */
  note(runtime: Runtime, reason: string, message: string): void;
  pastStarts(key: string): readonly PastStart[];
  recordStart(key: string, start: PastStart): void;
  /** Tells schedulers an engine's newest state again: its drain has moved. */
  tell(runtime: Runtime): void;
  readonly closed: boolean;
}

const TAIL_BYTES = 64 * 1024;

/** Reads what the engine has written since the last look. */
export async function readOutput(core: LoopCore, runtime: Runtime): Promise<void> {
  const { plan } = runtime;
  if (plan === undefined) return;
  const { text, nextByte } = await core.parts.launcher.readOutput(plan.outputFile, runtime.outputByte, TAIL_BYTES);
  runtime.outputByte = nextByte;
  runtime.tail = (runtime.tail + text).slice(-TAIL_BYTES);
}

/** Resolves after `ms` of the loop's clock. */
export const pause = (core: LoopCore, ms: number): Promise<void> =>
  new Promise((resolve) => core.parts.clock.after(ms, resolve));

/** What of a system error may be said to a person. */
export const systemCode = (error: unknown): string | undefined => (error as { code?: string } | null)?.code;
