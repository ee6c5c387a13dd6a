/**
 * The run loop's figures in Prometheus' terms. Doors that know better when the last byte left (HTTP, WebSocket) record
 * the end of their requests themselves; here it is done for the others, and tokens are counted for all.
 */
import type { Metrics } from '../../../lib/io/metrics.ts';
import type { Door, EndedRequest, Figures } from '../../ports.ts';

export interface FiguresOptions {
  readonly metrics: Metrics;
  /** Doors that record requests, their duration and their first token by themselves. */
  readonly recordingDoors: ReadonlySet<Door>;
}

/** Stands for names that clients made up: they must not become labels. */
const UNKNOWN_MODEL = 'unknown';

export function createFigures({ metrics, recordingDoors }: FiguresOptions): Figures {
  const tokens = metrics.counter('chat_tokens_total');
  const active = metrics.gauge('chat_requests_active');
  const firstToken = metrics.histogram('chat_time_to_first_token_seconds');
  const interToken = metrics.histogram('chat_inter_token_seconds');
  const droppedTotal = metrics.counter('dropped_total');
  const nodes = metrics.gauge('fleet_nodes');

  const recordTimes = (end: EndedRequest): void => {
    const { model, door, firstTokenAtMs, outputTokens } = end;
    metrics.chatRequestsTotal.inc({ model, outcome: end.outcome, door });
    metrics.chatRequestDurationSeconds.observe({ model, door }, (end.endedAtMs - end.startedAtMs) / 1000);
    if (firstTokenAtMs === undefined) return;
    firstToken.observe({ model, door }, (firstTokenAtMs - end.startedAtMs) / 1000);
    if (outputTokens > 1) interToken.observe({ model }, (end.endedAtMs - firstTokenAtMs) / (outputTokens - 1) / 1000);
  };
  return {
    started(door) {
      if (!recordingDoors.has(door)) active.inc({ door });
    },
    refused(model, door, code) {
      if (recordingDoors.has(door)) return;
      metrics.chatRequestsTotal.inc({ model: code === 'model_not_found' ? UNKNOWN_MODEL : model, outcome: code, door });
    },
    ended(end) {
      const { model, usage, outputTokens } = end;
      if (usage?.promptTokens !== undefined) tokens.inc({ model, kind: 'prompt' }, usage.promptTokens);
      if (usage?.cachedPromptTokens !== undefined) tokens.inc({ model, kind: 'cached' }, usage.cachedPromptTokens);
      if (outputTokens > 0) tokens.inc({ model, kind: 'completion' }, outputTokens);
      if (recordingDoors.has(end.door)) return;
      active.dec({ door: end.door });
      recordTimes(end);
    },
    dropped: (where) => droppedTotal.inc({ where }),
    nodes(connected, lost) {
      nodes.set({ state: 'connected' }, connected);
      nodes.set({ state: 'lost' }, lost);
    },
  };
}
