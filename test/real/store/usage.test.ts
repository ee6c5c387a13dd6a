/** Usage on a real PostgreSQL: two schedulers settle through connections that are cut in commits, and a server that dies. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t, { type Test } from 'tap';
import { makePostgres, makeProxy, type Cut } from '../../../bench/store_faults/postgres.ts';
import { systemClock, systemRandom } from '../../../lib/io/system.ts';
import { seededRandom } from '../../../lib/rng.ts';
import { createPgDriver } from '../../../scheduler/adapters/store/pg_driver.ts';
import { createUsageTable } from '../../../scheduler/adapters/store/usage_table.ts';
import { createUsageLedger } from '../../../scheduler/adapters/usage/ledger.ts';
import { nodeSpoolFiles } from '../../../scheduler/adapters/usage/spool_files.ts';
import { UsageSpool } from '../../../scheduler/adapters/usage/spool.ts';
import { createUsageTally } from '../../../scheduler/core/usage/tally.ts';
import { openOn } from '../../scheduler/store/store_suite.ts';
import { usageRow } from '../../scheduler/usage/usage_fixture.ts';
import { silentLog } from '../../scheduler/fakes.ts';
import { until } from '../../support/waits.ts';

function openDriver(t: Test, url: string) {
  const driver = createPgDriver({ url, clock: systemClock, random: systemRandom, statementTimeoutMs: 5000 });
  t.teardown(() => driver.close());
  return driver;
}

function openScheduler(t: Test, url: string, name: string) {
  const folder = mkdtempSync(path.join(tmpdir(), 'usage-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const tally = createUsageTally(1000);
  const events: string[] = [];
  const table = createUsageTable(openDriver(t, url));
  const spool = new UsageSpool({
    files: nodeSpoolFiles(folder),
    newId: () => `1-1-ab-${name}`,
    isAlive: async () => false,
    maxBytes: 10_000_000,
    segmentBytes: 5000,
    wallMs: systemClock.wallMs,
    damaged: () => t.fail('nothing is damaged'),
  });
  const ledger = createUsageLedger({
    ...{ clock: systemClock, logger: silentLog, tally, spool, flushMs: 5, settleMs: 10, keepMs: 1e13 },
    openStoreBytes: 1,
    store: { isOpen: () => true, table: async () => table },
    count: (event) => void events.push(event),
  });
  const used = (index: number): void => {
    const row = usageRow({ tenant: `t${index % 9}`, key: `k${index % 4}`, promptTokens: index });
    tally.add(row, row);
  };
  return { ledger, spool, used, events };
}

t.test('cut in commits and killed again and again, each request counts once', { timeout: 120_000 }, async (t) => {
  const pg = await makePostgres(t);
  await (await openOn(openDriver(t, pg.url), 'sophia')).head();
  const proxy = await makeProxy(t, pg.port);
  const random = seededRandom(11);
  proxy.cutCommits((): Cut => {
    const chance = random.next();
    return chance < 0.1 ? 'before' : chance < 0.3 ? 'after' : undefined;
  });
  const both = [openScheduler(t, proxy.url, 'one'), openScheduler(t, proxy.url, 'two')];
  for (const { ledger } of both) ledger.start();
  let tokens = 0;
  for (let index = 0; index < 3000; index++) {
    for (const { used } of both) used(index);
    tokens += 2 * index;
    if (index % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    if (index % 1000 !== 500) continue;
    pg.kill();
    await new Promise((resolve) => setTimeout(resolve, 200));
    await pg.start();
  }
  await until(() => both.every(({ spool, ledger }) => spool.records === 0 && ledger.waiting() === 0), 'all', 60_000);
  for (const { ledger } of both) await ledger.stop();
  t.ok(proxy.cuts() > 5, `${proxy.cuts()} cuts`);
  const events = both.flatMap((each) => each.events);
  t.ok(events.includes('settle_failed') || events.includes('repeated'), [...new Set(events)].join(', '));
  const sums = pg.sql('select sum(requests), sum(prompt_tokens) from sophia.usage').trim();
  t.equal(sums, `6000|${tokens}`);
});
