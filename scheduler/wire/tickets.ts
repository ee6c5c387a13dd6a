/** What a scheduler needs to step aside: the keys of its tickets, and what agents and leases are told of them. */
import type { Logger } from '../../lib/io/logger.ts';
import { systemClock } from '../../lib/io/system.ts';
import { openTicketKeys, type TicketKeys } from '../adapters/ticket_keys.ts';
import type { SchedulerConfig } from '../config.ts';
import type { RunLoopDeps } from '../run_loop.ts';

/** @throws CodedError invalid_config */
export function openTickets(config: SchedulerConfig, logger: Logger): Promise<TicketKeys> {
  const { ticketKeyFile: file, tlsReloadMs: reloadMs, ticketTtlMs, ticketSkewMs } = config;
  // Twice, because a ticket may be signed for an agent that has not said yet that it knows the new key.
  return openTicketKeys({ file, reloadMs, retireMs: 2 * ticketTtlMs + ticketSkewMs, clock: systemClock, logger });
}

/** The bounds on a body are those of the scheduler's own doors. */
export function directOf(config: SchedulerConfig, tickets: TicketKeys): NonNullable<RunLoopDeps['direct']> {
  return {
    issuer: () => ({
      issuer: config.schedulerId,
      keys: [...tickets.keys()],
      maxBodyBytes: config.maxBodyBytes,
      maxBodyDepth: config.maxBodyDepth,
      allowedEngineFields: [...config.allowedEngineFields],
      allowRemoteMedia: config.allowRemoteMedia,
      leaseMs: config.directLeaseMs,
    }),
    options: {
      ticketTtlMs: config.ticketTtlMs,
      skewMs: config.ticketSkewMs,
      leaseMs: config.directLeaseMs,
      maxLeases: config.maxRunningRequests,
      requestTimeoutMs: config.requestTimeoutMs,
    },
  };
}
