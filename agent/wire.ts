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
import { type AdminSocket, createAdminSocket, MAX_PATH_BYTES } from './adapters/admin_socket/admin_socket.ts';
import { type AgentMetrics, createAgentMetrics } from './adapters/agent_metrics.ts';
import { createLogCommands } from './adapters/command_logs/command_logs.ts';
import { routeCommands } from './adapters/command_router.ts';
import { createEngineProbe } from './adapters/engine_probe.ts';
import { createGpuReader } from './adapters/gpu/gpu_sensor.ts';
import { createHostFacts } from './adapters/host_facts.ts';
import { createLauncher } from './adapters/launcher/launcher.ts';
import { createRelay } from './adapters/relay.ts';
import { createSchedulerLinks } from './adapters/scheduler_link.ts';
import { createSessionCommands, type SessionCommands } from './adapters/session_commands.ts';
import { processEnvironment, type settings } from './config.ts';
import { hashText } from './core/engine_spec.ts';
import type { CommandRunner, GpuReader, Relay, SchedulerLinks, SessionEvents } from './ports.ts';
import { RunLoop } from './run_loop.ts';
import { loadTls } from './adapters/tls_files.ts';
import { TelemetryLoop } from './adapters/telemetry.ts';
import type { TlsMaterial } from './workers/relay_messages.ts';

export type AgentConfig = ConfigOf<NonNullable<(typeof settings)['table']>>;

const RELAY_RESTART_DELAY_MS = 500;
const RELAY_STOP_GRACE_MS = 500;
const MAX_COMMANDS_PER_SCHEDULER = 16;

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

/** Everything that an operator may order of this agent, wherever the order comes from. */
function commandsOf(parts: Parts): CommandRunner {
  const unsupported = { code: 'not_supported', message: 'This agent cannot do that.', param: 'verb' };
  return routeCommands({
    logs: createLogCommands({ enginesFolder: path.join(parts.dataFolder, 'engines') }),
    releaseGpu: () => Promise.resolve(unsupported),
    rest: { run: () => Promise.resolve(unsupported) },
  });
}

/** The local socket, or undefined where it is turned off or the data folder lies too deep for one. */
function adminSocketOf(parts: Parts, runner: CommandRunner, hello: () => Hello): AdminSocket | undefined {
  const { config, dataFolder, logger } = parts;
  if (config.adminSocket === 'none') return undefined;
  const place = config.adminSocket ?? path.join(dataFolder, 'admin.sock');
  if (config.adminSocket === undefined && Buffer.byteLength(place) > MAX_PATH_BYTES) {
    logger.warn({ place }, 'the path is too long for a socket: set adminSocket to have a local one');
    return undefined;
  }
  const picture = () => {
    const { engines = [], gpuEvents = [], nodeEvent } = hello();
    const drains = nodeEvent == null ? {} : { nodeEvent };
    return { nodeName: config.nodeName, agentVersion: packageVersion(), engines, gpuEvents, ...drains };
  };
  return createAdminSocket({ path: place, runner, picture, log: logger });
}

/** What sessions bring to the loop, the telemetry, the relay and the commands. */
function sessionEvents(
  logger: Logger,
  loop: RunLoop,
  telemetry: TelemetryLoop,
  relay: Relay,
  commands: SessionCommands,
): SessionEvents {
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
    onDisconnected: (scheduler, reason) => {
      logger.warn({ scheduler, reason }, 'session lost');
      commands.onDisconnected(scheduler);
    },
    onDesiredState: (scheduler, term, state) => loop.onDesiredState(scheduler, term, state),
    onCommand: (scheduler, term, command) => commands.onCommand(scheduler, term, command),
  };
}

const nothing = (): void => undefined;

/** The parts that start and stop, in the order in which they start. */
interface Members {
  readonly socket: AdminSocket | undefined;
  readonly launcher: ReturnType<typeof createLauncher>;
  readonly gpus: GpuReader;
  readonly metrics: AgentMetrics;
  readonly relay: Relay;
  readonly links: SchedulerLinks;
  readonly loop: RunLoop;
  readonly telemetry: TelemetryLoop;
  readonly readFacts: () => Promise<void>;
  readonly connect: () => void;
}

function lifecycleOf({ config, logger }: Parts, members: Members): Lifecycle {
  const { socket, launcher, gpus, metrics, relay, links, loop, telemetry, readFacts, connect } = members;
  // Whoever asks a second time wants an end at once, and still no engine left behind.
  const lifecycle = createLifecycle({ logger, graceMs: config.stopGraceMs, onForced: () => loop.killAll() })
    // First of all: a second agent on the same folder must be refused before it touches an engine.
    .add(
      'admin socket',
      () => socket?.start(),
      () => socket?.stop(),
    )
    .add('leftovers', () => stopLeftovers(launcher, logger), nothing)
    .add(
      'gpus',
      () => gpus.start(),
      () => gpus.stop(),
    )
    .add('facts', readFacts, nothing)
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
    // A parent that waits for this process is told; without one there is nobody to tell.
    .add('ready', () => void process.send?.({ type: 'ready' }), nothing)
    .listen();
  return config.stopWithParent ? lifecycle.stopWithParent() : lifecycle;
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
  const { loop, launcher } = createLoop(parts, relay, links, gpus, metrics.restarted);
  const host = createHostFacts(dataFolder);
  const telemetry = new TelemetryLoop(
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
  metrics.observe({ relay, engines: () => loop.engines(), loads: telemetry.loads, gpus });

  let facts: Hello['host'] = null;
  const hello = (): Hello => helloOf(parts, loop, gpus, facts);
  const runner = commandsOf(parts);
  const commands = createSessionCommands({
    runner,
    links,
    newestTerm: () => loop.orders.term,
    maxCommands: MAX_COMMANDS_PER_SCHEDULER,
    log: logger,
  });
  const socket = adminSocketOf(parts, runner, hello);
  const connect = (): void => links.start(sessionEvents(logger, loop, telemetry, relay, commands), hello);
  const readFacts = async (): Promise<void> => void (facts = await host.facts());
  return lifecycleOf(parts, { socket, launcher, gpus, metrics, relay, links, loop, telemetry, readFacts, connect });
}
