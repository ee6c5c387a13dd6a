/**
 * Puts the control plane together: the store of the configuration behind the state in memory, its operations for the
 * doors, its metrics. The store's process is not started before somebody needs it, or, where there is desired state
 * already, until the scheduler is ready.
 */
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { setImmediate as breathe } from 'node:timers/promises';
import { CodedError } from '../../lib/errors.ts';
import type { Logger } from '../../lib/io/logger.ts';
import type { Metrics } from '../../lib/io/metrics.ts';
import { systemClock, systemRandom } from '../../lib/io/system.ts';
import { showControl } from '../adapters/control/control_metrics.ts';
import { createControlPlane, type RunningControlPlane } from '../adapters/control/control_plane.ts';
import { storeFiles } from '../adapters/store/store_files.ts';
import type { SchedulerConfig } from '../config.ts';
import { createDeclaredModels } from '../core/resources/declared_models.ts';
import type { ResourceOperations } from '../core/resources/operations.ts';
import { lateOperations } from './late_operations.ts';
import type { Reconcile, ReconcileStore } from './reconcile.ts';

/** New events that are worth a checkpoint while requests are served. */
const CHECKPOINT_EVENTS = 20_000;

export interface Control {
  readonly plane: RunningControlPlane;
  /** Undefined where the store is off. */
  readonly resources: ResourceOperations | undefined;
  /** What reconcile needs of it; undefined where the store is off. */
  readonly log: ReconcileStore | undefined;
  /** Whether a deployment serves a model of this name, or may, for there is a log that nobody has read yet. */
  isDeclared(model: string): boolean;
  /** Takes whoever reconciles in this process; until then plans and placements are not known. */
  useReconcile(reconcile: Pick<Reconcile, 'view' | 'acceptLog'>): void;
}

/** @throws CodedError invalid_config */
function checkStore({ store, storeUrl, storeDir }: SchedulerConfig): void {
  const refuse = (param: string, text: string): never => {
    throw new CodedError('invalid_config', text, { param });
  };
  if (store === 'postgres' && storeUrl === undefined) refuse('storeUrl', 'With store postgres give storeUrl.');
  if (store !== 'postgres' && storeUrl !== undefined) refuse('store', 'storeUrl is given, so store must be postgres.');
  if (store !== 'embedded' && storeDir !== undefined) refuse('store', 'storeDir is given, so store must be embedded.');
}

function logOf(plane: RunningControlPlane, openAtStart: boolean): ReconcileStore {
  return {
    store: plane.store,
    projection: plane.projection,
    // A log that is opened with the doors is in use before that: an agent may come in between.
    isUnused: () => !openAtStart && plane.health().state === 'closed',
    onRead: plane.onRead,
    onEvents: (listener) => plane.onEvents(listener),
    gap: () => plane.health().gap,
  };
}

/** @throws CodedError invalid_config */
export function createControl(config: SchedulerConfig, logger: Logger, metrics: Metrics): Control {
  checkStore(config);
  const preset = storeFiles(config.dataDir);
  const files = { ...preset, database: config.storeDir ?? preset.database };
  const isOff = config.store === 'off';
  // An empty fleet does not pay for a database; what was declared before is read as soon as the doors are open.
  const openAtStart = !isOff && (config.store === 'postgres' || existsSync(files.database));
  const declaredModels = createDeclaredModels();
  const plane = createControlPlane({
    open: isOff
      ? undefined
      : async () => {
          // Loaded when it is needed: drivers of databases cost a start a tenth of its time.
          const { openStore } = await import('./open_store.ts');
          return openStore(config, files, logger);
        },
    openAtStart,
    clock: systemClock,
    random: systemRandom,
    logger,
    pollMs: config.storePollMs,
    anchorPeriodMs: config.storeAnchorPeriodMs,
    checkpointPeriodMs: config.storeCheckpointPeriodMs,
    checkpointEvents: CHECKPOINT_EVENTS,
  });
  showControl(metrics, plane);
  let reconcile: Pick<Reconcile, 'view' | 'acceptLog'> | undefined;
  const resources = lateOperations({
    control: {
      ...plane,
      async acceptLog() {
        await plane.acceptLog();
        reconcile?.acceptLog();
      },
    },
    reconcile: () => reconcile?.view,
    newId: randomUUID,
    breathe: () => breathe(),
  });
  return {
    plane,
    resources: isOff ? undefined : resources,
    log: isOff ? undefined : logOf(plane, openAtStart),
    isDeclared: (model) => (plane.isRead() ? declaredModels(plane.projection()).has(model) : openAtStart),
    useReconcile(given) {
      reconcile = given;
    },
  };
}
