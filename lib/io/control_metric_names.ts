/** The metrics of a scheduler's control plane; metric_names.ts takes them in. */
import type { MetricSpec } from './metric_names.ts';

export const CONTROL_METRICS = {
  sophia_store_state: {
    on: 'scheduler',
    type: 'gauge',
    help: 'Is 1 for the state that the store is in: up, slow, down, read_only, full, behind (the log is not the one that was known), off, or closed (not needed yet); else 0.',
    labels: ['state'],
  },
  sophia_store_events: {
    on: 'scheduler',
    type: 'gauge',
    unit: 'events',
    help: 'Number of the newest event of the log that this scheduler has read.',
    labels: [],
  },
  sophia_resources: {
    on: 'scheduler',
    type: 'gauge',
    unit: 'resources',
    help: 'Declared resources by kind.',
    labels: ['kind'],
  },
  sophia_reconcile_frozen: {
    on: 'scheduler',
    type: 'gauge',
    unit: '0 or 1',
    help: 'Whether all reconcile stands still, by an operator or because the log has a gap.',
    labels: [],
  },
} as const satisfies Record<string, MetricSpec>;
