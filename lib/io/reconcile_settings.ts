/** The settings of reconcile: who leads, what counts as lost, and how much is done about it. */
import { durationMs, flag, integer } from './setting_types.ts';

export const RECONCILE_SETTINGS = {
  leaseTtlMs: {
    schema: durationMs({ min: 500, max: 600_000 }),
    default: 5000,
    doc: 'How long a leading scheduler that says nothing is still taken for the leader; takeover takes about as long.',
  },
  nodeLostMs: {
    schema: durationMs({ min: 1000, max: 86_400_000 }),
    default: 60_000,
    doc: 'A node that is not connected for this long is lost, and its replicas are placed elsewhere.',
  },
  engineFailedMs: {
    schema: durationMs({ min: 0, max: 86_400_000 }),
    default: 10_000,
    doc: 'An engine that its agent has given up for this long is stopped, and its replica is placed on another node.',
  },
  avoidNodeMs: {
    schema: durationMs({ min: 1000, max: 3_600_000 }),
    default: 300_000,
    doc: 'How long a deployment is kept off a node that gave its engine up; doubles each time in a row, up to an hour.',
  },
  observeOnly: {
    schema: flag(),
    default: false,
    doc: 'What goes wrong by itself is told and not acted upon; what operators declare is still carried out.',
  },
  healMaxActions: {
    schema: integer({ min: 0, max: 10_000 }),
    default: 20,
    doc: 'Most replicas that are moved within healWindowMs because something went wrong.',
  },
  healWindowMs: {
    schema: durationMs({ min: 1000, max: 86_400_000 }),
    default: 600_000,
    doc: 'The window of healMaxActions.',
  },
  healMaxMovedPercent: {
    schema: integer({ min: 1, max: 100 }),
    default: 50,
    doc: 'Most of a deployment’s replicas that are moved at once; at least one.',
  },
  healMaxLostPercent: {
    schema: integer({ min: 1, max: 100 }),
    default: 50,
    doc: 'When more than this share of the nodes seems lost, nothing is moved for it: the fault is more likely here.',
  },
  placementSearchSteps: {
    schema: integer({ min: 0, max: 1_000_000 }),
    default: 2000,
    doc: 'Bound of the search for a better placement in one pass of reconcile.',
  },
} as const;
