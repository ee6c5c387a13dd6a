/** The metrics of reconcile; metric_names.ts has them in the one registry. */
import type { MetricSpec } from './metric_names.ts';

/** Seconds of a pass: it runs beside requests, so a long one is worth a look. */
const PASS_SECONDS = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];

export const RECONCILE_METRICS = {
  sophia_reconcile_leading: {
    on: 'scheduler',
    type: 'gauge',
    help: 'Is 1 while this scheduler leads reconcile.',
    labels: [],
    unit: '0 or 1',
  },
  sophia_replicas_pending: {
    on: 'scheduler',
    type: 'gauge',
    help: 'Replicas without a place, and actions that are withheld, by the last plan of this scheduler.',
    labels: [],
  },
  sophia_reconcile_pass_seconds: {
    on: 'scheduler',
    type: 'histogram',
    help: 'Time that one pass of reconcile takes of the scheduler’s thread.',
    labels: [],
    buckets: PASS_SECONDS,
  },
  sophia_reconcile_actions_total: {
    on: 'scheduler',
    type: 'counter',
    help: 'Actions against symptoms, by symptom (docs/RECONCILE.md) and outcome: taken or withheld.',
    labels: ['symptom', 'outcome'],
  },
} as const satisfies Record<string, MetricSpec>;
