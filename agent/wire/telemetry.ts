/** Puts telemetry together with what it reads by itself: loads of the engines, memory of their trees, the agent's own state. */
import { systemClock } from '../../lib/io/system.ts';
import type { AgentMetrics } from '../adapters/agent_metrics.ts';
import { createAgentVitals } from '../adapters/agent_vitals.ts';
import { EngineLoadReader } from '../adapters/engine_loads.ts';
import { createEngineProbe } from '../adapters/engine_probe.ts';
import { ProcessMemory } from '../adapters/process_memory.ts';
import { TelemetryLoop } from '../adapters/telemetry.ts';
import { gpuMemoryByEngine } from '../core/gpu_memory.ts';
import type { HostFactsReader, Relay, SchedulerLinks } from '../ports.ts';
import type { RunLoop } from '../run_loop/run_loop.ts';
import { createQuestions } from '../workers/engine_questions.ts';
import type { Gpus } from './gpus.ts';
import { type AgentModels, pathModelReadings } from './models.ts';
import type { Parts } from './parts.ts';

export interface TelemetrySources {
  readonly loop: RunLoop;
  readonly relay: Relay;
  readonly links: SchedulerLinks;
  readonly gpus: Gpus;
  readonly host: HostFactsReader;
  readonly models: Pick<AgentModels, 'files' | 'looks'>;
  readonly metrics: AgentMetrics;
  /** A round has begun. */
  readonly onRound: () => void;
}

/** The processes of each engine that has GPUs, as the keepers told them last. */
function pidsByEngine(loop: RunLoop): ReadonlyMap<string, readonly number[]> {
  return new Map(
    [...loop.runtimes()]
      .filter(({ life, pids }) => life.spec.gpuIds.length > 0 && pids.size > 0)
      .map(({ life, pids }) => [life.spec.name, [...pids]]),
  );
}

export function createTelemetryOf({ config, logger }: Parts, sources: TelemetrySources) {
  const { loop, relay, links, gpus, models, host, metrics, onRound } = sources;
  const vitals = createAgentVitals();
  const memory = new ProcessMemory({
    clock: systemClock,
    leaders: () =>
      new Map(loop.engines().flatMap(({ life }) => (life.pid === undefined ? [] : [[life.spec.name, life.pid]]))),
  });
  const telemetry = new TelemetryLoop(
    {
      clock: systemClock,
      host,
      gpus: gpus.reader,
      relay,
      loads: new EngineLoadReader({
        clock: systemClock,
        probe: createEngineProbe(createQuestions()),
        timeoutMs: config.probeTimeoutMs,
      }),
      engines: () => {
        onRound();
        return loop.engines();
      },
      hostMemoryByEngine: memory.newest,
      gpuMemoryByEngine: () => gpuMemoryByEngine(gpus.reader.latest(), pidsByEngine(loop)),
      gpuHealth: (index) => gpus.watch.healthOf(index),
      models: () => [...models.files.readings(), ...pathModelReadings(loop, models.looks)],
      startMemory: (engine) => loop.runtimeOf(engine)?.memory,
      sleeping: (engine) => loop.runtimeOf(engine)?.life.sleeping,
      agent: () => vitals.read(relay.stats()),
      send: (scheduler, message) => links.sendTelemetry(scheduler, message),
      onSent: metrics.telemetrySent,
      onDropped: () => metrics.dropped('telemetry', 1),
      onError: (error) => logger.warn({ err: error }, 'telemetry could not be gathered'),
    },
    config.telemetryPeriodMs,
  );
  return {
    loop: telemetry,
    async start(): Promise<void> {
      vitals.start();
      memory.start();
      await telemetry.start();
    },
    stop(): void {
      telemetry.stop();
      memory.stop();
      vitals.stop();
    },
  };
}
