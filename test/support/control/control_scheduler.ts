/**
 * A scheduler's control side for tests: a store, the projection that follows it, the run loop, the agents' door and
 * reconcile, put together as wire.ts does, without the doors of clients.
 */
import { randomUUID } from 'node:crypto';
import path from 'node:path';
import type { Logger } from '../../../lib/io/logger.ts';
import { createMetrics } from '../../../lib/io/metrics.ts';
import { loadSettings } from '../../../lib/io/settings.ts';
import { systemClock, systemRandom } from '../../../lib/io/system.ts';
import { openTlsFiles } from './tls.ts';
import { seededRandom } from '../../../lib/rng.ts';
import { createFigures } from '../../../scheduler/adapters/figures/figures.ts';
import { createFleetDoor } from '../../../scheduler/adapters/grpc/fleet_door.ts';
import { openEventStore } from '../../../scheduler/adapters/store/event_store.ts';
import { hmacOf } from '../../../scheduler/adapters/store/keys.ts';
import { createEmbeddedDriver } from '../../../scheduler/adapters/store/embedded/embedded_driver.ts';
import { createPgDriver } from '../../../scheduler/adapters/store/pg_driver.ts';
import { settings } from '../../../scheduler/config.ts';
import { createProjection, eventsOf, type Projection } from '../../../scheduler/core/events/projection.ts';
import type { SqlDriver } from '../../../scheduler/adapters/store/sql_driver.ts';
import type { EventStore } from '../../../scheduler/core/events/store_port.ts';
import type { FleetState } from '../../../scheduler/core/fleet/state.ts';
import type { ReconcileView } from '../../../scheduler/core/resources/contract.ts';
import { createRunLoop, type RunLoop } from '../../../scheduler/run_loop.ts';
import { createReconcile, type Reconcile } from '../../../scheduler/wire/reconcile.ts';
import { loopOptions } from '../../../scheduler/wire/loop_options.ts';
import { childEnv } from '../child.ts';

export interface ControlSchedulerOptions {
  /** Has the certificates and the store. */
  readonly root: string;
  readonly id: string;
  readonly port?: number;
  readonly settings?: Readonly<Record<string, unknown>>;
  readonly logger: Logger;
  readonly storeUrl?: string;
  /** A term under which orders go out whoever leads, while it is not undefined. */
  readonly forcedTerm?: () => number | undefined;
}

export interface ControlScheduler {
  readonly port: number;
  readonly store: EventStore;
  readonly projection: Projection;
  readonly control: Reconcile;
  readonly view: ReconcileView;
  readonly fleet: FleetState;
  readonly loop: RunLoop;
  /** @param isLast whether the process of the database is ended too */
  stop(isLast?: boolean): Promise<void>;
}

const POLL_MS = 100;
const MAC = hmacOf('cd'.repeat(32));

/** Keeps a projection at the end of the log until the signal fires. */
async function follow(
  store: EventStore,
  projection: Projection,
  signal: AbortSignal,
  moved: () => void,
): Promise<void> {
  for await (const rows of store.follow(projection.seq(), POLL_MS, signal)) {
    for (const event of eventsOf(rows)) projection.apply(event);
    moved();
  }
}

/** The log of a test's fleet, for a scheduler or for the test itself. */
export async function openTestStore({ root, storeUrl }: Pick<ControlSchedulerOptions, 'root' | 'storeUrl'>) {
  const common = { clock: systemClock, random: systemRandom };
  const open = (driver: SqlDriver): Promise<EventStore> =>
    openEventStore({ ...common, driver, mac: MAC, newLogId: randomUUID() });
  if (storeUrl !== undefined) {
    const store = await open(createPgDriver({ ...common, url: storeUrl }));
    return { store, close: () => store.close() };
  }
  const driver = createEmbeddedDriver({ ...common, folder: path.join(root, 'store'), environment: childEnv() });
  const store = await open(driver);
  return {
    store,
    async close(isLast: boolean) {
      const pid = driver.hostPid();
      await store.close();
      // It would wait some seconds for another client.
      if (isLast && pid !== undefined) process.kill(pid, 'SIGTERM');
    },
  };
}

export async function startControlScheduler(options: ControlSchedulerOptions): Promise<ControlScheduler> {
  const { root, id, logger, port = 0, forcedTerm = () => undefined } = options;
  const file = {
    schedulerId: id,
    fleetCertFile: 'c',
    fleetKeyFile: 'k',
    fleetCaFile: 'a',
    leaseTtlMs: 1500,
    nodeLostMs: 3000,
    engineFailedMs: 0,
    ...options.settings,
  };
  const { config } = loadSettings(settings, { argv: ['--config', 'f'], env: {}, readFile: () => JSON.stringify(file) });
  const { store, close } = await openTestStore(options);
  const projection = createProjection();
  const metrics = createMetrics({ processMetrics: false });
  let moved = (): void => undefined;
  const control = createReconcile({
    config,
    clock: systemClock,
    logger,
    metrics,
    startedAtMs: systemClock.wallMs(),
    life: randomUUID().slice(0, 8),
    log: {
      store,
      projection: () => projection,
      isUnused: () => false,
      onRead: (listener) => listener(),
      onEvents(listener) {
        moved = listener;
        return () => undefined;
      },
      gap: () => undefined,
    },
  });
  const loop = createRunLoop({
    clock: systemClock,
    random: seededRandom(1),
    logger,
    figures: createFigures({ metrics, recordingDoors: new Set(['http']) }),
    desiredFor: control.desiredFor,
    configuredModels: [],
    options: loopOptions(config),
  });
  const door = createFleetDoor({
    sink: control.sinkOf(loop.fleetSink),
    clock: systemClock,
    logger,
    metrics,
    options: {
      host: '127.0.0.1',
      port,
      ...(await openTlsFiles(root)),
      maxMessageBytes: 32 * 1024 * 1024,
      keepaliveTimeMs: 10_000,
      keepaliveTimeoutMs: 5000,
      helloTimeoutMs: 10_000,
      maxLanesPerNode: 8,
      facts: {
        schedulerId: id,
        version: '0',
        get term() {
          return forcedTerm() ?? control.term();
        },
        mayOrder: () => forcedTerm() !== undefined || control.mayOrder(),
        telemetryPeriodMs: 500,
      },
    },
  });
  const bound = await door.listen();
  const end = new AbortController();
  const following = follow(store, projection, end.signal, () => moved());
  const fleet = loop.inspector.directory.state;
  control.start(fleet);
  return {
    port: bound.port,
    store,
    projection,
    control,
    view: control.view as ReconcileView,
    fleet,
    loop,
    async stop(isLast = true) {
      await control.stop();
      await door.close();
      end.abort();
      await following.catch(() => undefined);
      await close(isLast);
    },
  };
}
