/** Puts the parts of an agent together; the only place that knows all of them. */
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { CodedError } from '../lib/errors.ts';
import { randomToken } from '../lib/ids.ts';
import { createLifecycle, type Lifecycle } from '../lib/io/lifecycle.ts';
import type { Logger } from '../lib/io/logger.ts';
import { packageVersion } from '../lib/io/package_root.ts';
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
import { processEnvironment } from './config.ts';
import type { GpuReader, HostFactsReader, Relay, SchedulerLinks, SessionEvents } from './ports.ts';
import type { RunLoop } from './run_loop/run_loop.ts';
import { loadTls } from './adapters/tls_files.ts';
import { TelemetryLoop } from './adapters/telemetry.ts';
import { createLoop } from './wire/control.ts';
import type { AgentConfig } from './wire/settings.ts';
import type { TlsMaterial } from './workers/relay_messages.ts';

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
    nodeEvent: loop.nodeEvent() ?? null,
  };
}

/** What sessions bring to the loop, the telemetry and the relay. */
function sessionEvents(logger: Logger, loop: RunLoop, telemetry: TelemetryLoop, relay: Relay): SessionEvents {
  const seen = new Set<string>();
  return {
    onConnected: (scheduler, term, periodMs) => {
      logger.info({ scheduler, term }, 'session open');
      loop.observeTerm(term);
      loop.tellAll();
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

function createTelemetry(
  { config, logger }: Parts,
  sources: { host: HostFactsReader; gpus: GpuReader; relay: Relay; links: SchedulerLinks; loop: RunLoop },
): TelemetryLoop {
  const { host, gpus, relay, links, loop } = sources;
  return new TelemetryLoop(
    {
      clock: systemClock,
      host,
      gpus,
      probe: createEngineProbe(),
      relay,
      engines: () => loop.engines(),
      probeTimeoutMs: config.probeTimeoutMs,
      send: (message) => links.sendTelemetry(message),
      onError: (error) => logger.warn({ err: error }, 'telemetry could not be gathered'),
    },
    config.telemetryPeriodMs,
  );
}

const nothing = (): void => undefined;

/** What an earlier agent left and what could not be taken over. */
async function stopLeftovers(
  launcher: ReturnType<typeof createLauncher>,
  adopted: ReadonlySet<string>,
  logger: Logger,
): Promise<void> {
  for (const leftover of await launcher.leftovers()) {
    if (adopted.has(leftover.engine)) continue;
    logger.warn({ engine: leftover.engine, pid: leftover.pid }, 'stopping an engine that an earlier agent left');
    await leftover.stop();
  }
}

/** How the engines are taken over at the start and let go at the end. */
function supervisionOf(
  loop: RunLoop,
  launcher: ReturnType<typeof createLauncher>,
  config: AgentConfig,
  logger: Logger,
) {
  return {
    // Whoever asks a second time wants an end at once; engines that are to outlive the agent do so also then.
    onForced: (): void => {
      if (config.stopEnginesOnExit) loop.killAll();
    },
    restore: (): Promise<void> => loop.restore((adopted) => stopLeftovers(launcher, adopted, logger)),
    letGo: async (): Promise<void> => {
      if (config.stopEnginesOnExit) await loop.stopAll();
      await loop.detach();
    },
  };
}

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
  const launcher = createLauncher(path.join(dataFolder, 'engines'), logger);
  const loop = createLoop({ config, logger, dataFolder, launcher, relay, links, gpus, onRestart: metrics.restarted });
  const host = createHostFacts(dataFolder);
  const telemetry = createTelemetry(parts, { host, gpus, relay, links, loop });
  metrics.observe({ relay, engines: () => loop.engines(), loads: telemetry.loads, gpus });

  let facts: Hello['host'] = null;
  const connect = (): void =>
    links.start(sessionEvents(logger, loop, telemetry, relay), () => helloOf(parts, loop, gpus, facts));
  const { onForced, restore, letGo } = supervisionOf(loop, launcher, config, logger);
  const lifecycle = createLifecycle({ logger, graceMs: config.stopGraceMs, onForced })
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
    // Engines that still run are taken over before any scheduler is dialled: the hello tells of them.
    .add('engines', restore, nothing)
    .add('sessions', connect, () => links.stop('the agent stops'))
    .add('supervision', nothing, letGo)
    .add(
      'telemetry',
      () => telemetry.start(),
      () => telemetry.stop(),
    )
    // A parent that waits for this process is told; without one there is nobody to tell.
    .add('ready', () => void process.send?.({ type: 'ready' }), nothing)
    .listen();
  return config.stopWithParent ? lifecycle.stopWithParent() : lifecycle;
}
