/** The settings of a scheduler that are about its usage; scheduler/config.ts takes them in. */
import { byteSize, durationMs, integer } from './setting_types.ts';

export const USAGE_SETTINGS = {
  usageFlushPeriodMs: {
    schema: durationMs({ min: 50, max: 60_000 }),
    default: 1000,
    doc: 'How often sums of usage are written to the spool in `dataDir`; a scheduler that is killed loses no more than that.',
  },
  usageSettlePeriodMs: {
    schema: durationMs({ min: 100, max: 3_600_000 }),
    default: 5000,
    doc: 'How often the spool is settled into the store, where that is open.',
  },
  usageSpoolMaxBytes: {
    schema: byteSize({ min: 65_536, max: 64 * 1024 ** 3 }),
    default: 64 * 1024 * 1024,
    doc: 'Largest size of the spool while the store is away; above it usage is kept in memory.',
  },
  usageMaxSums: {
    schema: integer({ min: 16, max: 1_000_000 }),
    default: 10_000,
    doc: 'Most sums of usage in memory, one for each hour, tenant, key, model, outcome and server; what is above counts in one row for all others.',
  },
  usageKeepDays: {
    schema: integer({ min: 1, max: 3650 }),
    default: 400,
    doc: 'How long settled usage is kept.',
  },
} as const;
