/** Puts together what tells nodes that fetch a model which other nodes have it. */
import type { Logger } from '../../lib/io/logger.ts';
import { systemClock } from '../../lib/io/system.ts';
import { createModelPeerDesk, type ModelPeerDesk } from '../adapters/model_peers.ts';
import type { TicketKeys } from '../adapters/ticket_keys.ts';
import type { SchedulerConfig } from '../config.ts';
import { directOf } from './tickets.ts';

export function createModelPeers(config: SchedulerConfig, tickets: TicketKeys, log: Logger): ModelPeerDesk {
  const { issuer } = directOf(config, tickets);
  return createModelPeerDesk({ clock: systemClock, tickets, issuer, log });
}
