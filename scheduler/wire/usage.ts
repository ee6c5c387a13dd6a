/**
 * Puts the ledger of usage together: what the run loop and the providers say of ended requests, the spool in the data
 * folder, and the table of the store, which is opened by others or when much has come together.
 */
import { createHash } from 'node:crypto';
import { readlink } from 'node:fs/promises';
import { hostname } from 'node:os';
import path from 'node:path';
import { randomToken } from '../../lib/ids.ts';
import type { Logger } from '../../lib/io/logger.ts';
import type { Metrics } from '../../lib/io/metrics.ts';
import { isProcess, processStartTicks } from '../../lib/io/processes.ts';
import { systemClock, systemRandom } from '../../lib/io/system.ts';
import { createUsageLedger, type UsageLedger } from '../adapters/usage/ledger.ts';
import { UsageSpool } from '../adapters/usage/spool.ts';
import { nodeSpoolFiles } from '../adapters/usage/spool_files.ts';
import { createUsageFigures, showUsage } from '../adapters/usage/usage_metrics.ts';
import type { SchedulerConfig } from '../config.ts';
import type { UsageStore } from '../core/usage/contract.ts';
import { createUsageMeter, type ProviderUsage } from '../core/usage/meter.ts';
import { createUsageTally } from '../core/usage/tally.ts';
import type { Figures } from '../ports.ts';

/** A segment is one statement when it is settled. */
const SEGMENT_BYTES = 1024 * 1024;
const DAY_MS = 86_400_000;

export interface Usage {
  readonly ledger: UsageLedger;
  readonly providers: ProviderUsage;
  /** The same figures, with every ended request accounted. */
  figuresOf(figures: Figures): Figures;
}

export interface UsageParts {
  readonly config: SchedulerConfig;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly store: UsageStore;
}

/** Names the space in which a process has its number: one of another container says nothing here. */
async function placeName(): Promise<string> {
  const space = await readlink('/proc/self/ns/pid').catch(() => 'no such link');
  return createHash('sha256').update(`${hostname()} ${space}`).digest('hex').slice(0, 8);
}

export async function createUsage({ config, logger, metrics, store }: UsageParts): Promise<Usage> {
  const figures = createUsageFigures(metrics);
  const tally = createUsageTally(config.usageMaxSums);
  const meter = createUsageMeter({ tally, wallMs: systemClock.wallMs, crowded: figures.crowded });
  const startTicks = (await processStartTicks(process.pid)) ?? '0';
  const here = await placeName();
  const spool = new UsageSpool({
    files: nodeSpoolFiles(path.join(config.dataDir, 'usage')),
    newId: () => `${process.pid}-${startTicks}-${here}-${randomToken(systemRandom, 16)}`,
    async isAlive(name) {
      const [pid = '', ticks = '', place] = name.split('-');
      if (place !== here) return undefined;
      return Number(pid) !== process.pid && (await isProcess(Number(pid), ticks));
    },
    maxBytes: config.usageSpoolMaxBytes,
    segmentBytes: SEGMENT_BYTES,
    wallMs: systemClock.wallMs,
    damaged(file, what) {
      figures.count('damaged');
      logger.warn({ file, what }, 'a segment of usage is damaged; what is sound of it counts');
    },
  });
  const ledger = createUsageLedger({
    clock: systemClock,
    logger,
    tally,
    spool,
    store,
    flushMs: config.usageFlushPeriodMs,
    settleMs: config.usageSettlePeriodMs,
    keepMs: config.usageKeepDays * DAY_MS,
    openStoreBytes: SEGMENT_BYTES,
    count: figures.count,
  });
  showUsage(metrics, ledger, spool);
  return {
    ledger,
    providers: meter,
    figuresOf: (given) => ({
      ...given,
      ended(end) {
        meter.fleetEnded(end);
        given.ended(end);
      },
    }),
  };
}
