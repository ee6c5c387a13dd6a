/** What operators may look at in a running scheduler. Types only. */
import type { QueueView } from '../queue/contract.ts';
import type { RequestLog } from '../routing/request_log.ts';
import type { Reservations } from '../routing/reservations.ts';
import type { Router } from '../routing/router.ts';
import type { FleetDirectory } from './directory.ts';

/** What operators ask; read-only. */
export interface FleetInspector {
  readonly directory: FleetDirectory;
  readonly log: RequestLog;
  readonly reservations: Reservations;
  readonly router: Router;
  readonly draining: boolean;
  readonly runningRequests: number;
  /** Requests that wait for an engine, by model. */
  queues(): readonly QueueView[];
  nowMs(): number;
}
