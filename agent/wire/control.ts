/** Puts the control loop together: what it judges by, what it remembers, and how it acts. */
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Logger } from '../../lib/io/logger.ts';
import { systemClock, systemRandom } from '../../lib/io/system.ts';
import { createEngineDumper } from '../adapters/engine_dump.ts';
import { createEngineProbe } from '../adapters/engine_probe.ts';
import { createHostInspector } from '../adapters/preflight_facts.ts';
import { runDelaysMs } from '../adapters/run_delay.ts';
import { createStateStore } from '../adapters/state_file.ts';
import { processEnvironment } from '../config.ts';
import { hashText } from '../core/engine_spec.ts';
import type { EngineJournal, EngineLauncher, GpuReader, ModelFiles, Relay, SchedulerLinks } from '../ports.ts';
import type { RunLoopTimes } from '../run_loop/parts.ts';
import { RunLoop } from '../run_loop/run_loop.ts';
import { createQuestions } from '../workers/engine_questions.ts';
import { modelsFolder } from './models.ts';
import { type AgentConfig, gangAddressOf } from './settings.ts';

/** Where sockets go whose path under the data folder would be too long. */
export const shortSocketFolder = (dataFolder: string): string =>
  path.join(os.tmpdir(), `sophia-${hashText(dataFolder)}`);

const WATCH_PERIOD_MS = 250;

export interface ControlParts {
  readonly config: AgentConfig;
  readonly logger: Logger;
  readonly dataFolder: string;
  readonly launcher: EngineLauncher;
  readonly journal: EngineJournal;
  readonly relay: Relay;
  readonly links: SchedulerLinks;
  readonly gpus: GpuReader;
  readonly models: ModelFiles;
  readonly onRestart: (engine: string, reason: string) => void;
  readonly quarantinedGpus?: () => readonly number[];
  readonly recentXid?: (gpuIds: readonly number[]) => number | undefined;
}

function timesOf(config: AgentConfig): RunLoopTimes {
  const { restartWindowMs, stableAfterMs, probePeriodMs, probeTimeoutMs, warmTimeoutMs, gpuReleaseTimeoutMs } = config;
  return {
    restartBackoff: {
      baseMs: config.restartBaseMs,
      capMs: config.restartCapMs,
      minMs: Math.min(100, config.restartBaseMs),
    },
    hostBrake: { burst: config.hostRestartBurst, periodMs: config.hostRestartPeriodMs },
    restartWindowMs,
    stableAfterMs,
    probePeriodMs,
    probeTimeoutMs,
    warmTimeoutMs,
    gpuReleaseTimeoutMs,
    watchPeriodMs: WATCH_PERIOD_MS,
  };
}

export function createLoop(parts: ControlParts): RunLoop {
  const { config, logger, dataFolder, gpus, quarantinedGpus, recentXid } = parts;
  const { startTimeoutMs, drainTimeoutMs, stopTimeoutMs, maxRestarts } = config;
  const environment = processEnvironment();
  const stateFile = path.join(dataFolder, 'agent-state.json');
  return new RunLoop({
    clock: systemClock,
    random: systemRandom,
    launcher: parts.launcher,
    probe: createEngineProbe(createQuestions()),
    relay: parts.relay,
    links: parts.links,
    gpus,
    inspector: { ...createHostInspector(environment['PATH']), runDelaysMs },
    journal: parts.journal,
    store: createStateStore({ file: stateFile, clock: systemClock, logger }),
    dumper: createEngineDumper(environment['PATH'], logger),
    log: logger,
    rules: () => ({
      gpuIndexes: gpus.latest().gpus.map((gpu) => gpu.index),
      // Models that the agent itself brings lie where they may.
      modelRoots: config.modelRoots.length === 0 ? [] : [...config.modelRoots, modelsFolder(config, dataFolder)],
      socketRoots: [dataFolder],
      allowedExtraFlags: config.allowedExtraFlags,
      maxEngines: config.maxEngines,
      defaultLimits: { startTimeoutMs, drainTimeoutMs, stopTimeoutMs, maxRestarts },
    }),
    host: {
      vllmCommand: config.vllmCommand,
      nodeCommand: process.execPath,
      engineProgramFolder: fileURLToPath(new URL('../engines', import.meta.url)),
      dataFolder,
      shortSocketFolder: shortSocketFolder(dataFolder),
      cpuCores: os.availableParallelism(),
      kvEvents: config.kvEvents,
      gangAddress: gangAddressOf(config),
      environment,
    },
    times: timesOf(config),
    models: parts.models,
    unhealthyAfter: config.unhealthyAfter,
    onRestart: parts.onRestart,
    ...(quarantinedGpus === undefined ? {} : { quarantinedGpus }),
    ...(recentXid === undefined ? {} : { recentXid }),
  });
}
