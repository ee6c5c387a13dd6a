/**
 * Puts the parts of a scheduler together. Start: keys, the agents' door, then the doors of clients. Stop, on SIGTERM:
 * readiness turns false and new requests are refused, streams finish, then the doors close and the agents are let go.
 */
import { createLifecycle, type Lifecycle } from '../lib/io/lifecycle.ts';
import type { Logger } from '../lib/io/logger.ts';
import { createMetrics, type Metrics } from '../lib/io/metrics.ts';
import { packageVersion } from '../lib/io/package_root.ts';
import { systemClock, systemRandom } from '../lib/io/system.ts';
import type { TlsWatch } from '../lib/io/tls_watch.ts';
import { seededRandom } from '../lib/rng.ts';
import { createAuthenticator } from './adapters/auth/authenticator.ts';
import { sha256 } from './adapters/auth/sha256.ts';
import { showFleet } from './adapters/figures/fleet_metrics.ts';
import { openCertificates } from './adapters/certificates.ts';
import { createFigures } from './adapters/figures/figures.ts';
import { createQueueFigures, showQueues } from './adapters/figures/queue_figures.ts';
import type { ModelPeerDesk } from './adapters/model_peers.ts';
import type { TicketKeys } from './adapters/ticket_keys.ts';
import { createAdminHandlers } from './adapters/grpc/admin.ts';
import { createFleetDoor, type FleetDoor } from './adapters/grpc/fleet_door.ts';
import { createGrpcDoor, type GrpcDoor } from './adapters/grpc/grpc_door.ts';
import { createHttpDoor } from './adapters/http/door.ts';
import type { HttpDoor } from './adapters/http/options.ts';
import type { SchedulerConfig } from './config.ts';
import { configuredModels } from './core/fleet/desired.ts';
import type { Authenticator, FleetView, Generator, KeyStore } from './ports.ts';
import { createRunLoop, type RunLoop } from './run_loop.ts';
import { type AccessKeys, bootstrapKey, makeDataFolder, openAccessLog, openJwt } from './wire/access.ts';
import { type Control, createControl } from './wire/control.ts';
import { resourceSchemas } from './wire/late_operations.ts';
import { loopOptions } from './wire/loop_options.ts';
import { createModelPeers } from './wire/model_peers.ts';
import { createPrefixes, type Prefixes } from './wire/prefixes.ts';
import { drainStreams, serviceManagerOf, tellReady } from './wire/process.ts';
import { withProviders } from './wire/providers.ts';
import { createReconcile, type Reconcile } from './wire/reconcile.ts';
import { createRollouts, withLiveAliases } from './wire/rollouts.ts';
import { directOf, openTickets } from './wire/tickets.ts';
import { createUsage, type Usage } from './wire/usage.ts';

const HELLO_TIMEOUT_MS = 10_000;
/** Room around a body: the envelope, the meta of a lane frame. */
const MESSAGE_ROOM_BYTES = 1024 * 1024;
/** An agent's batch holds at most a quarter of a MiB and one frame, and no frame is larger than an event may be. */
const FLEET_MESSAGE_BYTES = 32 * 1024 * 1024;
const MAX_LANES_PER_NODE = 128;
const MAX_STREAMS_PER_CONNECTION = 4096;
const MAX_RUNNING_PER_STREAM = 4096;
const MAX_BATCH_BYTES = 256 * 1024;
/** After the streams had their time: closing sockets and agents. */
const CLOSE_GRACE_MS = 10_000;
/** Time for the last anchor, and for a store that is slow to let go. */
const STORE_STOP_MS = 5_000;

interface Parts {
  readonly config: SchedulerConfig;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly loop: RunLoop;
  readonly prefixes: Prefixes;
  readonly generator: Generator;
  readonly fleetView: FleetView;
  readonly keys: KeyStore;
  readonly authenticator: Authenticator;
  readonly tickets: TicketKeys;
  readonly control: Control;
  readonly usage: Usage;
  readonly accessLog: AccessKeys;
  readonly reconcile: Reconcile;
  readonly modelPeers: ModelPeerDesk;
  readonly startedAtMs: number;
}

type LoopParts = Pick<
  Parts,
  'config' | 'logger' | 'metrics' | 'tickets' | 'reconcile' | 'prefixes' | 'control' | 'usage'
>;

function makeLoop(parts: LoopParts): RunLoop {
  const { config, logger, metrics, tickets, prefixes, reconcile } = parts;
  return createRunLoop({
    direct: directOf(config, tickets),
    clock: systemClock,
    random: seededRandom(systemRandom.next() * 2 ** 32),
    logger,
    figures: parts.usage.figuresOf(createFigures({ metrics, recordingDoors: new Set(['http', 'ws']) })),
    queueFigures: createQueueFigures(metrics),
    desiredFor: reconcile.desiredFor,
    configuredModels: configuredModels(config.nodes),
    isDeclared: parts.control.isDeclared,
    residency: prefixes.residency,
    shapeOf: prefixes.shapeOf,
    options: loopOptions(config),
  });
}

function makeHttpDoor({
  config,
  logger,
  metrics,
  fleetView,
  generator,
  authenticator,
  control,
  usage,
}: Parts): HttpDoor {
  return createHttpDoor({
    generator,
    fleet: fleetView,
    resources: control.resources,
    usage: usage.ledger,
    resourceSchemas,
    authenticator,
    metrics,
    logger,
    clock: systemClock,
    random: systemRandom,
    options: {
      host: config.httpHost,
      port: config.httpPort,
      maxBodyBytes: config.maxBodyBytes,
      maxJsonDepth: config.maxBodyDepth,
      maxConnections: config.maxConnections,
      allowedEngineFields: config.allowedEngineFields,
      allowRemoteMedia: config.allowRemoteMedia,
      clientWindowBytes: config.clientWindowBytes,
      coalesceMs: config.coalesceMs,
      pingIntervalMs: config.pingPeriodMs,
      stallTimeoutMs: config.stallTimeoutMs,
      corsOrigins: config.corsOrigins,
      trustedProxies: config.trustedProxies,
      wsMaxMessageBytes: config.wsMaxMessageBytes,
    },
  });
}

function makeGrpcDoor(parts: Parts, tls: TlsWatch | undefined): GrpcDoor {
  const { config, logger, metrics, loop, generator, authenticator, keys, tickets, reconcile, startedAtMs } = parts;
  const fleet = {
    inspector: loop.inspector,
    schedulerId: config.schedulerId,
    version: packageVersion(),
    get term() {
      return reconcile.term();
    },
    startedAtMs,
  };
  const resources = parts.control.resources === undefined ? {} : { resources: parts.control.resources };
  return createGrpcDoor({
    generator,
    ...(loop.direct === undefined ? {} : { direct: { router: loop.direct, signer: tickets } }),
    fleet: parts.fleetView,
    authenticator,
    admin: (identityOf) =>
      createAdminHandlers(
        {
          fleet,
          keys,
          clock: systemClock,
          random: systemRandom,
          sha256,
          logger,
          commander: loop.commander,
          ...resources,
          usage: parts.usage.ledger,
        },
        identityOf,
      ),
    clock: systemClock,
    random: systemRandom,
    logger,
    metrics,
    options: {
      host: config.grpcHost,
      port: config.grpcPort,
      ...(tls === undefined ? {} : { tls: tls.current() }),
      keepaliveTimeMs: config.keepaliveMs,
      keepaliveTimeoutMs: config.keepaliveTimeoutMs,
      maxConcurrentStreams: MAX_STREAMS_PER_CONNECTION,
      drainTimeoutMs: config.drainTimeoutMs,
      limits: {
        maxBodyBytes: config.maxBodyBytes,
        maxDepth: config.maxBodyDepth,
        allowedEngineFields: new Set(config.allowedEngineFields),
        allowRemoteMedia: config.allowRemoteMedia,
      },
      clientWindowBytes: config.clientWindowBytes,
      maxMessageBytes: config.maxBodyBytes + MESSAGE_ROOM_BYTES,
      maxRunningPerStream: MAX_RUNNING_PER_STREAM,
      maxBatchBytes: MAX_BATCH_BYTES,
    },
  });
}

function makeFleetDoor(parts: Parts, tls: TlsWatch): FleetDoor {
  const { config, logger, metrics, loop, prefixes, reconcile, modelPeers } = parts;
  return createFleetDoor({
    sink: modelPeers.listenOn(reconcile.sinkOf(prefixes.sinkOf(loop))),
    clock: systemClock,
    logger,
    metrics,
    options: {
      host: config.fleetHost,
      port: config.fleetPort,
      ...tls.current(),
      maxMessageBytes: FLEET_MESSAGE_BYTES,
      keepaliveTimeMs: config.keepaliveMs,
      keepaliveTimeoutMs: config.keepaliveTimeoutMs,
      helloTimeoutMs: HELLO_TIMEOUT_MS,
      maxLanesPerNode: MAX_LANES_PER_NODE,
      facts: {
        schedulerId: config.schedulerId,
        version: packageVersion(),
        get term() {
          return reconcile.term();
        },
        mayOrder: reconcile.mayOrder,
        telemetryPeriodMs: config.telemetryPeriodMs,
      },
    },
  });
}

function keysChanged({ loop, modelPeers }: Parts): void {
  loop.direct?.keysChanged();
  modelPeers.keysChanged();
}

const nothing = (): void => undefined;

const startAndStop = (part: { start(): void | Promise<void>; stop(): void | Promise<void> }) =>
  [() => part.start(), () => part.stop()] as const;

/** A door that tells its port when it listens. */
const opening = (door: Pick<FleetDoor, 'listen' | 'close'>, tell: (port: number) => void) =>
  [async () => tell((await door.listen()).port), () => door.close()] as const;

/** What the doors stand on. @throws CodedError invalid_config */
async function makeParts(config: SchedulerConfig, logger: Logger): Promise<Parts> {
  const metrics = createMetrics();
  // Orders of a scheduler that was started later win; no counter of ours would outlive a lost folder.
  const startedAtMs = systemClock.wallMs();
  await makeDataFolder(config.dataDir);
  const control = createControl(config, logger, metrics);
  const accessLog = await openAccessLog(config, logger, control);
  const { keys } = accessLog;
  if (config.bootstrapKeyFile !== undefined) await bootstrapKey(config.bootstrapKeyFile, keys, logger);
  const jwt = await openJwt(config);
  const authenticator = createAuthenticator({ keys, clock: systemClock, ...(jwt === undefined ? {} : { jwt }) });
  const tickets = await openTickets(config, logger);
  const prefixes = createPrefixes(config, logger, metrics);
  const usage = await createUsage({ config, logger, metrics, store: control.plane.usage });
  const life = String(systemRandom.next()).slice(2, 14);
  const log = control.log === undefined ? {} : { log: control.log };
  const rollouts = createRollouts(logger);
  const reconcile = createReconcile({
    config,
    clock: systemClock,
    logger,
    metrics,
    startedAtMs,
    life,
    rollouts: rollouts.runner,
    ...log,
  });
  control.useReconcile(reconcile);
  const fleetLoop = makeLoop({ config, logger, metrics, tickets, prefixes, reconcile, control, usage });
  rollouts.use(fleetLoop);
  const loop = await withProviders(fleetLoop, { config, logger, metrics, usage: usage.providers });
  const named = withLiveAliases(prefixes.generatorOf(loop.generator), loop, control.plane.projection);
  const { directory } = loop.inspector;
  showFleet({ metrics, directory, detailNodes: config.metricsDetailNodes, nowMs: systemClock.monotonicMs });
  showQueues(metrics, () => loop.inspector.queues());
  return {
    config,
    logger,
    metrics,
    loop,
    prefixes,
    ...named,
    keys,
    authenticator,
    tickets,
    control,
    usage,
    accessLog,
    reconcile,
    modelPeers: createModelPeers(config, tickets, logger),
    startedAtMs,
  };
}

/**
 * Opens what can be wrong in a configuration (files, keys, certificates) and gives the lifecycle of the process.
 * @throws CodedError invalid_config
 */
export async function wireScheduler(config: SchedulerConfig, logger: Logger): Promise<Lifecycle> {
  const parts = await makeParts(config, logger);
  const { metrics, loop, prefixes, tickets, control, reconcile, modelPeers } = parts;
  // The doors that read files come first: what is made before a refusal would keep the process alive.
  const certificates = openCertificates(config, logger);
  const grpc = makeGrpcDoor(parts, certificates.grpc);
  const fleet = makeFleetDoor(parts, certificates.fleet);
  const http = makeHttpDoor(parts);
  const ports = { httpPort: 0, grpcPort: 0, fleetPort: 0 };
  const manager = serviceManagerOf(logger, loop);
  const lifecycle = createLifecycle({ logger, graceMs: config.drainTimeoutMs + CLOSE_GRACE_MS });
  lifecycle
    // First, so that it stops last: what the store does at the end holds no stream up.
    .add('store', nothing, () => control.plane.stop(), { stopTimeoutMs: STORE_STOP_MS })
    .add('usage', ...startAndStop(parts.usage.ledger))
    .add('log of keys', ...startAndStop(parts.accessLog))
    .add('tokenisers', nothing, prefixes.stop)
    .add('reconcile', () => reconcile.start(loop.inspector.directory.state), reconcile.stop)
    .add('fleet door', ...opening(fleet, (port) => Object.assign(ports, { fleetPort: port })))
    .add('grpc door', ...opening(grpc, (port) => Object.assign(ports, { grpcPort: port })))
    .add('http door', ...opening(http, (port) => Object.assign(ports, { httpPort: port })))
    .add(
      'certificates and keys',
      () => {
        certificates.start(metrics, { fleet, grpc });
        tickets.start(() => keysChanged(parts));
        modelPeers.start(loop.inspector.directory.state);
      },
      async () => {
        modelPeers.stop();
        await Promise.all([certificates.stop(), tickets.stop()]);
      },
    )
    .add(
      'requests',
      () => {
        logger.info(ports, 'ready');
        tellReady({ type: 'ready', ...ports });
        control.plane.start();
      },
      async () => {
        control.plane.drain();
        loop.drain();
        http.drain();
        grpc.drain();
        await drainStreams(loop, http, config.drainTimeoutMs, logger);
      },
    )
    .add('service manager', ...startAndStop(manager))
    .listen();
  if (config.stopWithParent) lifecycle.stopWithParent();
  return lifecycle;
}
