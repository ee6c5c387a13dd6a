/** The metrics of a scheduler's usage on its way to the store; metric_names.ts takes them in. */
import type { MetricSpec } from './metric_names.ts';

export const USAGE_METRICS = {
  sophia_usage_waiting_sums: {
    on: 'scheduler',
    type: 'gauge',
    unit: 'sums',
    help: 'Sums of usage that are in memory and not in the spool yet; they are lost if the process is killed.',
    labels: [],
  },
  sophia_usage_spooled_bytes: {
    on: 'scheduler',
    type: 'gauge',
    help: 'Size of the spool of usage on the disk of this scheduler.',
    labels: [],
  },
  sophia_usage_unsettled_records: {
    on: 'scheduler',
    type: 'gauge',
    unit: 'records',
    help: 'Records in the spool that the store does not have yet.',
    labels: [],
  },
  sophia_usage_events_total: {
    on: 'scheduler',
    type: 'counter',
    help: 'What became of usage: spooled (a record), settled (a segment), repeated (a segment that had counted before and did not count again), damaged (a segment with something that cannot be read), write_failed, settle_failed, spool_full.',
    labels: ['event'],
  },
} as const satisfies Record<string, MetricSpec>;
