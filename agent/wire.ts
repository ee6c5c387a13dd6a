/** Puts the parts of an agent together; the only place that knows all of them. */
import { mkdirSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { CodedError } from '../lib/errors.ts';
import { randomToken } from '../lib/ids.ts';
import { createLifecycle, type Lifecycle } from '../lib/io/lifecycle.ts';
import type { Logger } from '../lib/io/logger.ts';
import { packageVersion } from '../lib/io/package_root.ts';
import type { ConfigOf } from '../lib/io/settings.ts';
import { systemClock, systemRandom } from '../lib/io/system.ts';
import { LANE_PROTOCOL_VERSION } from '../proto/codec.ts';
import type { Hello } from '../proto/gen/fleet/v1/Hello.ts';
import { createAgentMetrics } from './adapters/agent_metrics.ts';
import { createEngineProbe } from './adapters/engine_probe.ts';
import { createGpuReader } from './adapters/gpu/gpu_sensor.ts';
import { createHostFacts } from './adapters/host_facts.ts';
import { createLauncher } from './adapters/launcher/launcher.ts';
import { createRelay } from './adapters/relay.ts';
import { createSchedulerLinks } from './adapters/scheduler_link.ts';
import { processEnvironment, type settings } from './config.ts';
import { hashText } from './core/engine_spec.ts';
import type { GpuReader, HostFactsReader, Relay, SchedulerLinks, SessionEvents } from './ports.ts';
import { RunLoop } from './run_loop.ts';
import { loadTls } from './adapters/tls_files.ts';
import { TelemetryLoop } from './adapters/telemetry.ts';
import { type AgentWatch, createAgentWatch } from './wire/watch.ts';
import type { TlsMaterial } from './workers/relay_messages.ts';

export type AgentConfig = ConfigOf<NonNullable<(typeof settings)['table']>>;

const RELAY_RESTART_DELAY_MS = 500;
const RELAY_STOP_GRACE_MS = 500;

function makeDataFolder(dataDir: string): string {
  const folder = path.resolve(dataDir);
  try {
    mkdirSync(path.join(folder, 'engines'), { recursive: true, mode: 0o700 });
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code ?? 'unknown reason';
    throw new CodedError('invalid_config', `Setting dataDir: the folder ${folder} cannot be made (${why}).`, {
      param: 'dataDir',
      cause,
    });
  }
  return folder;
}

interface Parts {
  readonly config: AgentConfig;
  readonly logger: Logger;
  readonly tls: TlsMaterial;
  readonly dataFolder: string;
  readonly sessionId: string;
}

function createLoop(
  parts: Parts,
  relay: Relay,
  links: SchedulerLinks,
  gpus: GpuReader,
  onRestart: (engine: string, reason: string) => void,
): { readonly loop: RunLoop; readonly launcher: ReturnType<typeof createLauncher> } {
  const { config, logger, dataFolder } = parts;
  const { startTimeoutMs, drainTimeoutMs, stopTimeoutMs, maxRestarts } = config;
  const launcher = createLauncher(path.join(dataFolder, 'engines'), logger);
  const shortSocketFolder = path.join(os.tmpdir(), `sophia-${hashText(dataFolder)}`);
  const loop = new RunLoop({
    clock: systemClock,
    random: systemRandom,
    launcher,
    probe: createEngineProbe(),
    relay,
    links,
    log: logger,
    rules: () => ({
      gpuIndexes: gpus.latest().gpus.map((gpu) => gpu.index),
      modelRoots: config.modelRoots,
      socketRoots: [dataFolder],
      allowedExtraFlags: config.allowedExtraFlags,
      maxEngines: config.maxEngines,
      defaultLimits: { startTimeoutMs, drainTimeoutMs, stopTimeoutMs, maxRestarts },
    }),
    host: {
      vllmCommand: config.vllmCommand,
      nodeCommand: process.execPath,
      engineProgramFolder: fileURLToPath(new URL('./engines', import.meta.url)),
      dataFolder,
      shortSocketFolder,
      cpuCores: os.availableParallelism(),
      environment: processEnvironment(),
    },
    restartBackoff: {
      baseMs: config.restartBaseMs,
      capMs: config.restartCapMs,
      minMs: Math.min(100, config.restartBaseMs),
    },
    stableAfterMs: config.stableAfterMs,
    probePeriodMs: config.probePeriodMs,
    probeTimeoutMs: config.probeTimeoutMs,
    unhealthyAfter: config.unhealthyAfter,
    onRestart,
  });
  return { loop, launcher };
}

function createRelayOf(parts: Parts): Relay {
  const { config, logger, tls, sessionId } = parts;
  return createRelay({
    workers: config.relayWorkers,
    settings: {
      nodeName: config.nodeName,
      sessionId,
      tls,
      engineConnectTimeoutMs: config.engineConnectTimeoutMs,
      engineIdleSocketMs: config.engineIdleSocketMs,
      laneHoldMs: config.laneHoldMs,
      maxEventBytes: config.maxEventBytes,
      maxMessageBytes: config.maxMessageBytes,
      maxRequests: config.maxRequests,
      keepaliveMs: config.keepaliveMs,
      reconnectBaseMs: config.reconnectBaseMs,
      reconnectCapMs: config.reconnectCapMs,
    },
    logger,
    restartDelayMs: RELAY_RESTART_DELAY_MS,
  });
}

function createLinksOf(parts: Parts, onDropped: (count: number) => void): SchedulerLinks {
  const { config, logger, tls } = parts;
  return createSchedulerLinks({
    schedulers: config.schedulers,
    tls,
    keepaliveMs: config.keepaliveMs,
    welcomeTimeoutMs: config.welcomeTimeoutMs,
    backoff: {
      baseMs: config.reconnectBaseMs,
      capMs: config.reconnectCapMs,
      minMs: Math.min(50, config.reconnectBaseMs),
    },
    random: systemRandom,
    logger,
    onDropped,
  });
}

/** The first message of a session: who the agent is and what runs on it. */
function helloOf(parts: Parts, loop: RunLoop, gpus: GpuReader, facts: Hello['host']): Hello {
  const { config, sessionId } = parts;
  const sample = gpus.latest();
  return {
    protocolVersion: LANE_PROTOCOL_VERSION,
    agentVersion: packageVersion(),
    nodeName: config.nodeName,
    sessionId,
    host: facts ?? null,
    gpus: sample.gpus.map(({ index, uuid, name, memoryTotalBytes, driverVersion }) => ({
      index,
      ...(uuid === undefined ? {} : { uuid }),
      ...(name === undefined ? {} : { name }),
      ...(memoryTotalBytes === undefined ? {} : { memoryTotalBytes }),
      ...(driverVersion === undefined ? {} : { driverVersion }),
    })),
    gpuSource: sample.source,
    laneCount: config.relayWorkers,
    ...(loop.orders.generation === undefined ? {} : { observedGeneration: loop.orders.generation }),
    ...(loop.orders.term === undefined ? {} : { observedTerm: loop.orders.term }),
    engines: loop.picture(),
  };
}

async function stopLeftovers(launcher: ReturnType<typeof createLauncher>, logger: Logger): Promise<void> {
  for (const leftover of await launcher.leftovers()) {
    logger.warn({ engine: leftover.engine, pid: leftover.pid }, 'stopping an engine that an earlier agent left');
    await leftover.stop();
  }
}

/** What sessions bring to the loop, the telemetry and the relay. */
function sessionEvents(logger: Logger, loop: RunLoop, telemetry: TelemetryLoop, relay: Relay): SessionEvents {
  const seen = new Set<string>();
  return {
    onConnected: (scheduler, term, periodMs) => {
      logger.info({ scheduler, term }, 'session open');
      loop.observeTerm(term);
      if (periodMs > 0) telemetry.setPeriod(periodMs);
      // From its first welcome on a scheduler has lanes; they come back by themselves, also before the session does.
      seen.add(scheduler);
      relay.setSchedulers([...seen]);
    },
    onDisconnected: (scheduler, reason) => logger.warn({ scheduler, reason }, 'session lost'),
    onDesiredState: (scheduler, term, state) => loop.onDesiredState(scheduler, term, state),
    onCommand: () => undefined,
  };
}

function createWatchOf({ config, logger }: Parts, loop: RunLoop): AgentWatch {
  return createAgentWatch({
    logger,
    engines: () => loop.engines(),
    schedulers: config.schedulers.length,
    telemetryPeriodMs: config.telemetryPeriodMs,
    probeTimeoutMs: config.probeTimeoutMs,
  });
}

interface TelemetrySources {
  readonly host: HostFactsReader;
  readonly gpus: GpuReader;
  readonly relay: Relay;
  readonly loop: RunLoop;
  readonly links: SchedulerLinks;
  readonly watch: AgentWatch;
}

function createTelemetryOf({ config, logger }: Parts, sources: TelemetrySources): TelemetryLoop {
  const { host, gpus, relay, loop, links, watch } = sources;
  return new TelemetryLoop(
    {
      clock: systemClock,
      host,
      gpus,
      probe: createEngineProbe(),
      relay,
      engines: () => {
        watch.onRound();
        return loop.engines();
      },
      probeTimeoutMs: config.probeTimeoutMs,
      send: (message) => links.sendTelemetry(message),
      onError: (error) => logger.warn({ err: error }, 'telemetry could not be gathered'),
    },
    config.telemetryPeriodMs,
  );
}

const nothing = (): void => undefined;

/** Builds an agent; its lifecycle starts and stops it. @throws CodedError invalid_config */
export function wireAgent(config: AgentConfig, logger: Logger): Lifecycle {
  const tls = loadTls(config, systemClock.wallMs());
  const dataFolder = makeDataFolder(config.dataDir);
  const parts: Parts = { config, logger, tls, dataFolder, sessionId: randomToken(systemRandom, 24) };
  const metrics = createAgentMetrics(config.metricsPort, logger);
  const relay = createRelayOf(parts);
  const gpus = createGpuReader({
    reader: config.gpuReader,
    deadlineMs: config.nvidiaSmiTimeoutMs,
    periodMs: config.gpuPeriodMs,
    clock: systemClock,
    random: systemRandom,
    logger,
    environment: processEnvironment(),
    onFailure: metrics.gpuReaderFailed,
  });
  const links = createLinksOf(parts, (count) => metrics.dropped('session_events', count));
  const { loop, launcher } = createLoop(parts, relay, links, gpus, metrics.restarted);
  const host = createHostFacts(dataFolder);
  const watch = createWatchOf(parts, loop);
  const telemetry = createTelemetryOf(parts, { host, gpus, relay, loop, links, watch });
  metrics.observe({ relay, engines: () => loop.engines(), loads: telemetry.loads, gpus });

  let facts: Hello['host'] = null;
  const connect = (): void =>
    links.start(watch.noted(sessionEvents(logger, loop, telemetry, relay)), () => helloOf(parts, loop, gpus, facts));
  // Whoever asks a second time wants an end at once, and still no engine left behind.
  const lifecycle = createLifecycle({ logger, graceMs: config.stopGraceMs, onForced: () => loop.killAll() })
    .add('leftovers', () => stopLeftovers(launcher, logger), nothing)
    .add(
      'gpus',
      () => gpus.start(),
      () => gpus.stop(),
    )
    .add('facts', async () => void (facts = await host.facts()), nothing)
    .add(
      'metrics',
      () => metrics.start(),
      () => metrics.stop(),
    )
    .add(
      'relay',
      () => relay.start(),
      () => relay.stop(RELAY_STOP_GRACE_MS),
    )
    .add('sessions', connect, () => links.stop('the agent stops'))
    .add('engines', nothing, () => loop.stopAll())
    .add(
      'telemetry',
      () => telemetry.start(),
      () => telemetry.stop(),
    )
    .add(
      'watch',
      () => watch.start(),
      () => watch.stop(),
    )
    // A parent that waits for this process is told; without one there is nobody to tell.
    .add('ready', () => void process.send?.({ type: 'ready' }), nothing)
    .listen();
  return config.stopWithParent ? lifecycle.stopWithParent() : lifecycle;
}
