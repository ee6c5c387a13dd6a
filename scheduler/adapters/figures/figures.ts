/**
 * The run loop's figures in Prometheus' terms. Doors that know better when the last byte left (HTTP, WebSocket) record
 * the end of their requests themselves; here it is done for the others, and tokens are counted for all.
 */
import { recordChatEnd, recordChatRefusal } from '../../../lib/io/chat_record.ts';
import type { Metrics } from '../../../lib/io/metrics.ts';
import type { Door, Figures } from '../../ports.ts';

export interface FiguresOptions {
  readonly metrics: Metrics;
  /** Doors that record requests, their duration and their first token by themselves. */
  readonly recordingDoors: ReadonlySet<Door>;
}

export function createFigures({ metrics, recordingDoors }: FiguresOptions): Figures {
  const tokens = metrics.counter('chat_tokens_total');
  const active = metrics.gauge('chat_requests_active');
  const droppedTotal = metrics.counter('dropped_total');
  const tickets = metrics.counter('sophia_direct_tickets_total');
  const leases = metrics.gauge('sophia_direct_leases');
  const decisions = metrics.counter('routing_decisions_total');
  const recoveries = metrics.counter('sophia_failover_total');
  const hedges = metrics.counter('sophia_hedges_total');
  const nodes = metrics.gauge('sophia_fleet_nodes');

  return {
    started(door) {
      if (!recordingDoors.has(door)) active.inc({ door });
    },
    refused(model, door, code) {
      if (!recordingDoors.has(door)) recordChatRefusal(metrics, model, door, code);
    },
    ended(end) {
      const { model, usage, outputTokens } = end;
      if (usage?.promptTokens !== undefined) tokens.inc({ model, kind: 'prompt' }, usage.promptTokens);
      if (usage?.cachedPromptTokens !== undefined) tokens.inc({ model, kind: 'cached' }, usage.cachedPromptTokens);
      if (outputTokens > 0) tokens.inc({ model, kind: 'completion' }, outputTokens);
      if (recordingDoors.has(end.door)) return;
      active.dec({ door: end.door });
      recordChatEnd(metrics, { ...end, code: end.outcome });
    },
    dropped: (where, count = 1) => droppedTotal.inc({ where }, count),
    ticket(event, held) {
      tickets.inc({ event });
      leases.set({}, held);
    },
    recovered: (how, why) => recoveries.inc({ how, why }),
    hedged: (event) => hedges.inc({ event }),
    routed: (policy, mode) => decisions.inc({ policy, mode }),
    nodes(connected, lost) {
      nodes.set({ state: 'connected' }, connected);
      nodes.set({ state: 'lost' }, lost);
    },
  };
}
