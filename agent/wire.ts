/** Puts the parts of an agent together; the only place, with the folder beside it, that knows all of them. */
import path from 'node:path';
import { randomToken } from '../lib/ids.ts';
import { createLifecycle, type Lifecycle } from '../lib/io/lifecycle.ts';
import type { Logger } from '../lib/io/logger.ts';
import { packageVersion } from '../lib/io/package_root.ts';
import { systemClock, systemRandom } from '../lib/io/system.ts';
import { createTlsWatch, type TlsWatch } from '../lib/io/tls_watch.ts';
import { LANE_PROTOCOL_VERSION } from '../proto/codec.ts';
import type { Hello } from '../proto/gen/fleet/v1/Hello.ts';
import type { AdminSocket } from './adapters/admin_socket/admin_socket.ts';
import { type AgentMetrics, createAgentMetrics } from './adapters/agent_metrics.ts';
import { createHostFacts } from './adapters/host_facts.ts';
import { createDirectDesk } from './adapters/direct_desk.ts';
import { createJournal } from './adapters/journal_file.ts';
import { createLauncher } from './adapters/launcher/launcher.ts';
import { createSessionCommands } from './adapters/session_commands.ts';
import { gpuFacts, pushingLinks } from './adapters/telemetry.ts';
import type { ThreadedRelay } from './adapters/relay.ts';
import type { Relay, SchedulerLinks } from './ports.ts';
import type { RunLoop } from './run_loop/run_loop.ts';
import { noteLostThread } from './run_loop/told.ts';
import { createAdminSocketOf, createCommandsOf, sessionEventsOf } from './wire/commands.ts';
import { createLoop } from './wire/control.ts';
import { createDirectOf, type DirectParts } from './wire/direct.ts';
import { createKvReporterOf } from './wire/kv_events.ts';
import { createGpusOf, type Gpus } from './wire/gpus.ts';
import { type AgentModels, createModelsOf } from './wire/models.ts';
import { createLinksOf, createRelayOf, makeDataFolder, type Parts } from './wire/parts.ts';
import { type AgentConfig, gangAddressOf } from './wire/settings.ts';
import { createTelemetryOf } from './wire/telemetry.ts';
import { type AgentWatch, createAgentWatch } from './wire/watch.ts';

const RELAY_STOP_GRACE_MS = 500;
const MAX_COMMANDS_PER_SCHEDULER = 16;

/** The first message of a session: who the agent is and what runs on it. */
function helloOf(parts: Parts, loop: RunLoop, gpus: Gpus, facts: Hello['host']): Hello {
  const { config, sessionId } = parts;
  const sample = gpus.reader.latest();
  return {
    protocolVersion: LANE_PROTOCOL_VERSION,
    agentVersion: packageVersion(),
    nodeName: config.nodeName,
    sessionId,
    host: facts ?? null,
    gpus: sample.gpus.map(gpuFacts),
    gpuSource: sample.source,
    laneCount: config.relayWorkers,
    ...(loop.orders.generation === undefined ? {} : { observedGeneration: loop.orders.generation }),
    ...(loop.orders.term === undefined ? {} : { observedTerm: loop.orders.term }),
    engines: loop.picture(),
    gpuEvents: gpus.watch.current(),
    nodeEvent: loop.nodeEvent() ?? null,
  };
}

/**
 * The hello of each session. A driver may answer only after the first one was said: a scheduler would know of no GPU then for
 * as long as the session lasts, so it begins anew when there are GPUs that no hello has named.
 */
function greetingOf(gpus: Gpus, links: SchedulerLinks, hello: () => Hello): () => Hello {
  let named: ReadonlySet<number> | undefined;
  gpus.reader.onSample(({ gpus: seen }) => {
    if (named === undefined || seen.every(({ index }) => named?.has(index))) return;
    links.greetAgain?.('the host has GPUs that its hello did not name');
  });
  return () => {
    const greeting = hello();
    named = new Set([...(named ?? []), ...(greeting.gpus ?? []).map(({ index = 0 }) => index)]);
    return greeting;
  };
}

const nothing = (): void => undefined;

/** The parts that start and stop, in the order in which they start. */
interface Members {
  readonly socket: AdminSocket | undefined;
  readonly gpus: Gpus;
  readonly models: AgentModels;
  readonly metrics: AgentMetrics;
  readonly relay: ThreadedRelay;
  readonly direct: DirectParts | undefined;
  readonly links: SchedulerLinks;
  readonly loop: RunLoop;
  readonly telemetry: { start(): Promise<void>; stop(): void };
  readonly watch: AgentWatch;
  readonly kv: { start(): void; stop(): void };
  readonly readFacts: () => Promise<void>;
  readonly connect: () => void;
}

function lifecycleOf({ config, logger, tls }: Parts, members: Members): Lifecycle {
  const { socket, gpus, models, metrics, relay, direct, links, loop, telemetry, watch, kv, readFacts, connect } =
    members;
  // Whoever asks a second time wants an end at once; engines that are to outlive the agent do so also then.
  const onForced = (): void => {
    if (config.stopEnginesOnExit) loop.killAll();
  };
  const letGo = async (): Promise<void> => {
    if (config.stopEnginesOnExit) await loop.stopAll();
    await loop.detach();
  };
  const startAndStop = (part: { start(): Promise<void> | void; stop(): Promise<void> | void }) =>
    [() => part.start(), () => part.stop()] as const;
  const lifecycle = createLifecycle({ logger, graceMs: config.stopGraceMs, onForced })
    // First of all: a second agent on the same folder must be refused before it touches an engine.
    .add(
      'admin socket',
      () => socket?.start(),
      () => socket?.stop(),
    )
    .add('gpus', ...startAndStop(gpus))
    .add('facts', readFacts, nothing)
    .add('metrics', ...startAndStop(metrics))
    .add(
      'relay',
      () => relay.start(),
      () => relay.stop(RELAY_STOP_GRACE_MS),
    )
    .add(
      'certificates',
      () =>
        tls.start({
          onChange: (set) => {
            relay.setTls(set);
            models.setTls(set);
          },
          ...metrics.certificate('agent'),
        }),
      () => tls.stop(),
    )
    .add(
      'direct certificates',
      () => direct?.tls?.start({ onChange: (set) => relay.setDirectTls(set), ...metrics.certificate('direct') }),
      () => direct?.tls?.stop(),
    )
    .add('models', ...startAndStop(models))
    // Engines that still run are taken over before any scheduler is dialled: the hello tells of them.
    .add('engines', () => loop.restore(), nothing)
    // Before the sessions, so that the first one gets a whole picture.
    .add('telemetry', ...startAndStop(telemetry))
    .add('cache events', ...startAndStop(kv))
    .add('sessions', connect, () => links.stop('the agent stops'))
    .add('supervision', nothing, letGo)
    .add('watch', ...startAndStop(watch))
    // A parent that waits for this process is told; without one there is nobody to tell.
    .add('ready', () => void process.send?.({ type: 'ready' }), nothing)
    .listen();
  return config.stopWithParent ? lifecycle.stopWithParent() : lifecycle;
}

/** The engines' side: who starts them, who watches them, and the GPUs that they run on. */
function createSupervision(parts: Parts, relay: Relay, links: SchedulerLinks, metrics: AgentMetrics) {
  const { config, logger, dataFolder } = parts;
  const enginesFolder = path.join(dataFolder, 'engines');
  const launcher = createLauncher({
    enginesFolder,
    logger,
    keeperUnits: config.keeperUnits,
    outputMaxBytes: config.engineOutputMaxBytes,
  });
  const models = createModelsOf(parts, links, metrics);
  const journal = createJournal({ enginesFolder, clock: systemClock, logger });
  const gpus = createGpusOf(
    parts,
    links,
    (order) => loop.onGpuOrder(order),
    () => loop.refresh(),
    metrics.gpuReaderFailed,
  );
  const loop: RunLoop = createLoop({
    config,
    logger,
    dataFolder,
    launcher,
    journal,
    relay,
    links,
    gpus: gpus.reader,
    models: models.files,
    onRestart: metrics.restarted,
    quarantinedGpus: gpus.quarantined,
    recentXid: gpus.recentXid,
  });
  return { loop, gpus, models, journal };
}

function watchTls({ caFile, certFile, keyFile, nodeName, tlsReloadMs }: AgentConfig, logger: Logger): TlsWatch {
  return createTlsWatch({
    certificate: 'agent',
    files: {
      ca: { setting: 'caFile', file: caFile },
      cert: { setting: 'certFile', file: certFile },
      key: { setting: 'keyFile', file: keyFile },
    },
    commonName: nodeName,
    reloadMs: tlsReloadMs,
    clock: systemClock,
    logger,
  });
}

/** Builds an agent; its lifecycle starts and stops it. @throws CodedError invalid_config */
export function wireAgent(config: AgentConfig, logger: Logger): Lifecycle {
  const tls = watchTls(config, logger);
  const dataFolder = makeDataFolder(config.dataDir);
  const parts: Parts = { config, logger, tls, dataFolder, sessionId: randomToken(systemRandom, 24) };
  const metrics = createAgentMetrics(config.metricsPort, logger);
  const direct = createDirectOf(config, logger);
  const relay = createRelayOf(
    parts,
    (worker, lost) => noteLostThread(loop, worker, lost),
    direct && { settings: direct.settings, onReport: (report) => desk?.onReport(report) },
  );
  const links = pushingLinks(
    createLinksOf(parts, (count, what) => metrics.dropped(what, count)),
    () => telemetry.loop.pushNow(),
  );
  const desk =
    direct &&
    createDirectDesk({ links, setIssuers: relay.setIssuers, urlOf: direct.urlOf, figures: metrics, log: logger });
  const { loop, gpus, models, journal } = createSupervision(parts, relay, links, metrics);
  const watch = createAgentWatch({
    logger,
    engines: () => loop.engines(),
    schedulers: config.schedulers.length,
    telemetryPeriodMs: config.telemetryPeriodMs,
    probeTimeoutMs: config.probeTimeoutMs,
  });
  const host = createHostFacts(dataFolder, systemClock, gangAddressOf(config));
  const sources = { loop, relay, links, gpus, models, host, metrics, onRound: watch.onRound };
  const telemetry = createTelemetryOf(parts, sources);
  const kv = createKvReporterOf(parts, { loop, links, metrics });
  metrics.observe({
    relay,
    sessions: () => telemetry.loop.sessions,
    host: () => ({
      node: config.nodeName,
      ...telemetry.loop.picture(),
      states: loop.engines().map(({ life }) => [life.spec.name, life.status]),
    }),
    journalDegraded: () => journal.degraded() !== undefined,
  });

  let facts: Hello['host'] = null;
  const hello = (): Hello => helloOf(parts, loop, gpus, facts);
  const runner = createCommandsOf(parts, loop, gpus.watch);
  const commands = createSessionCommands({
    runner,
    links,
    newestTerm: () => loop.orders.term,
    maxCommands: MAX_COMMANDS_PER_SCHEDULER,
    log: logger,
  });
  const events = watch.noted(
    sessionEventsOf(parts, { loop, telemetry: telemetry.loop, relay, commands, direct: desk, models, kv }),
  );
  return lifecycleOf(parts, {
    socket: createAdminSocketOf(parts, runner, hello),
    gpus,
    models,
    metrics,
    relay,
    direct,
    links,
    loop,
    telemetry,
    watch,
    kv,
    readFacts: async () => void (facts = await host.facts()),
    connect: () => links.start(events, greetingOf(gpus, links, hello)),
  });
}
