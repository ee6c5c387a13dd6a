/** The metrics of requests that wait for an engine; metric_names.ts has them in the one registry. */
import type { MetricSpec } from './metric_names.ts';

/** Seconds: from a wait that nobody sees to that for a model that has to be loaded. */
const WAIT_SECONDS = [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300, 600];

export const QUEUE_METRICS = {
  sophia_queue_requests: {
    on: 'scheduler',
    type: 'gauge',
    help: 'Requests that wait for an engine of the model.',
    labels: ['model'],
  },
  sophia_queue_bytes: {
    on: 'scheduler',
    type: 'gauge',
    help: 'Bodies of the requests that wait for an engine of the model.',
    labels: ['model'],
  },
  sophia_queue_tokens: {
    on: 'scheduler',
    type: 'gauge',
    help: 'Expected tokens, prompt and answer, of the requests that wait for an engine of the model.',
    labels: ['model'],
  },
  sophia_queue_wait_seconds: {
    on: 'scheduler',
    type: 'histogram',
    help: 'How long held requests waited, by how that ended: served, shed, or left (the client went away or cancelled).',
    labels: ['model', 'outcome'],
    buckets: WAIT_SECONDS,
  },
  sophia_queue_shed_total: {
    on: 'scheduler',
    type: 'counter',
    help: 'Requests that were not held, or not any longer, by reason: queue_full, tenant_share, deadline_unreachable, pushed_out, wait_timeout, deadline_passed, draining or no_engine.',
    labels: ['model', 'reason'],
  },
} as const satisfies Record<string, MetricSpec>;
