/** Usage on its way to the store, for /metrics: what happens is counted, what waits is looked up at each scrape. */
import type { Metrics } from '../../../lib/io/metrics.ts';
import type { UsageEvent, UsageLedger } from './ledger.ts';
import type { UsageSpool } from './spool.ts';

export interface UsageFigures {
  count(event: UsageEvent): void;
  /** A request that counts among all others, because there was no room for its sum. */
  crowded(): void;
}

export function createUsageFigures(metrics: Metrics): UsageFigures {
  const events = metrics.counter('sophia_usage_events_total');
  const dropped = metrics.counter('dropped_total');
  return {
    count: (event) => events.inc({ event }),
    crowded: () => dropped.inc({ where: 'usage_detail' }),
  };
}

export function showUsage(metrics: Metrics, ledger: Pick<UsageLedger, 'waiting'>, spool: UsageSpool): void {
  const sums = metrics.gauge('sophia_usage_waiting_sums');
  const bytes = metrics.gauge('sophia_usage_spooled_bytes');
  const records = metrics.gauge('sophia_usage_unsettled_records');
  metrics.onRender(() => {
    sums.set({}, ledger.waiting());
    bytes.set({}, spool.bytes);
    records.set({}, spool.records);
  });
}
