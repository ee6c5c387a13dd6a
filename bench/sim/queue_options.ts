/** The queue's bounds and the pace of recovery as the scheduler's settings have them (scheduler/config.ts). */
import type { QueueOptions } from '../../scheduler/core/queue/contract.ts';

/** No client of a simulation is told its place. */
export const QUEUE: QueueOptions = {
  maxRequests: 1024,
  maxBytes: 256 * 1024 * 1024,
  maxTotalRequests: 8192,
  maxTotalBytes: 512 * 1024 * 1024,
  tenantShare: 0.5,
  maxWaitMs: 300_000,
  silentMs: 600_000,
  noticeMs: 600_000,
};

/** Most work that may wait for its prefill on an engine before requests are held, milliseconds. */
export const MAX_PENDING_PREFILL_MS = 1000;

/** Requests of dead engines that start anew at once, and then per second; and how long one may wait for an engine. */
export const RECOVERY = { burst: 64, perSecond: 50, maxWaitMs: 300_000 } as const;
