/** The ledger between requests and the store: flushed, settled once, through a store and a disk that come and go. */
import t, { type Test } from 'tap';
import { systemClock } from '../../../lib/io/system.ts';
import { createUsageLedger, type LedgerOptions } from '../../../scheduler/adapters/usage/ledger.ts';
import { nodeSpoolFiles } from '../../../scheduler/adapters/usage/spool_files.ts';
import type { SpoolOptions } from '../../../scheduler/adapters/usage/spool.ts';
import type { UsageStore } from '../../../scheduler/core/usage/contract.ts';
import { createUsageTally } from '../../../scheduler/core/usage/tally.ts';
import { until } from '../../support/waits.ts';
import { silentLog } from '../fakes.ts';
import { failingFiles, memoryTable, openFolder, requestsIn, type SpoolFixture, usageRow } from './usage_fixture.ts';

interface Life {
  readonly table?: ReturnType<typeof memoryTable>;
  readonly isOpen?: (() => boolean) | undefined;
  readonly spool?: Partial<SpoolOptions>;
  readonly change?: Partial<LedgerOptions>;
}

function openLedger(t: Test, folder: SpoolFixture, life: Life = {}) {
  const table = life.table ?? memoryTable();
  const files = failingFiles(nodeSpoolFiles(folder.folder));
  const tally = createUsageTally(100);
  const spool = folder.open({ files, ...life.spool });
  const events: string[] = [];
  let opened = 0;
  const store: UsageStore = {
    isOpen: 'isOpen' in life ? life.isOpen : () => true,
    table: async () => {
      opened++;
      return table;
    },
  };
  const ledger = createUsageLedger({
    clock: systemClock,
    logger: silentLog,
    tally,
    spool,
    store,
    flushMs: 5,
    settleMs: 10,
    keepMs: 1000,
    openStoreBytes: 1_000_000,
    count: (event) => void events.push(event),
    ...life.change,
  });
  const used = (change: Parameters<typeof usageRow>[0] = {}): void => {
    const row = usageRow(change);
    tally.add(row, row);
  };
  return { ledger, table, files, tally, spool, events, used, opened: () => opened };
}

t.test('usage goes to the disk and from there into the store, and is forgotten here', async (t) => {
  const { ledger, table, spool, events, used } = openLedger(t, openFolder(t));
  ledger.start();
  for (let n = 0; n < 3; n++) used();
  await until(() => requestsIn(table.rows()) === 3 && spool.records === 0, 'the first three');
  used({ tenant: 'b' });
  await until(() => requestsIn(table.rows()) === 4 && spool.bytes === 0, 'the fourth');
  t.ok(events.includes('spooled') && events.includes('settled'));
  t.ok((table.prunedBefore ?? 0) > 0, 'what is older than is kept was forgotten');
  used();
  await ledger.stop();
  t.equal(requestsIn(table.rows()), 5, 'the last is settled at the end');
});

t.test('with the store away usage stays in the spool, in one segment, and is settled once it is back', async (t) => {
  const folder = openFolder(t);
  const { ledger, table, spool, events, used } = openLedger(t, folder);
  table.failWith = 'store_unavailable';
  ledger.start();
  used();
  await until(() => events.filter((event) => event === 'settle_failed').length >= 3, 'some tries');
  used();
  await until(() => spool.records === 2, 'both on the disk');
  t.equal(spool.closed.length, 0);
  await t.rejects(ledger.list({ by: '' }), { code: 'store_unavailable' });
  table.failWith = undefined;
  await until(() => requestsIn(table.rows()) === 2 && spool.records === 0, 'the store to have both');
  // Counted, and the answer lost: sent again, and not counted again.
  table.loseAnswer = true;
  used();
  await until(() => events.includes('repeated'), 'a batch that had counted');
  t.equal(requestsIn(table.rows()), 3);
  await ledger.stop();
});

t.test('killed between the store and the disk, the next life counts nothing twice', async (t) => {
  const folder = openFolder(t);
  const table = memoryTable();
  const first = openLedger(t, folder, { table });
  for (let n = 0; n < 4; n++) {
    await first.spool.write([usageRow()]);
    await first.spool.closeOwn();
  }
  for (const segment of first.spool.closed.slice(0, 2)) {
    const { rows } = await first.spool.read(segment);
    await table.settle({ ...segment, rows });
  }
  const second = openLedger(t, folder, { table });
  t.match(await second.ledger.list({ by: 'tenant' }), {
    rows: [{ tenant: 'a', requests: 4 }],
    source: 'store',
    unsettledRecords: 0,
  });
  t.same(second.events, ['repeated', 'repeated', 'settled', 'settled']);
});

t.test('two schedulers settle side by side', async (t) => {
  const table = memoryTable();
  const both = [openLedger(t, openFolder(t), { table }), openLedger(t, openFolder(t), { table })];
  for (const { ledger, used } of both) {
    ledger.start();
    used();
  }
  await until(() => requestsIn(table.rows()) === 2, 'both');
  for (const { ledger } of both) await ledger.stop();
});

t.test('a store that nobody needed is opened by who asks, or for much', async (t) => {
  const { ledger, table, spool, used, opened } = openLedger(t, openFolder(t), {
    isOpen: () => false,
    change: { openStoreBytes: 200 },
  });
  ledger.start();
  used();
  await until(() => spool.records === 1, 'the disk');
  t.equal(opened(), 0);
  t.match(await ledger.list({ by: 'model' }), { rows: [{ model: 'm', requests: 1, tenant: '' }] });
  t.equal(opened(), 1);
  for (let n = 0; n < 4; n++) {
    used();
    await until(() => spool.records === n + 1 || opened() > 1, 'a record more');
  }
  await until(() => requestsIn(table.rows()) === 5, 'much to be settled');
  await ledger.stop();
});

t.test('without a store the spool is the ledger', async (t) => {
  const folder = openFolder(t);
  const first = openLedger(t, folder, { isOpen: undefined });
  first.used();
  await first.ledger.stop();
  const { ledger, used } = openLedger(t, folder, { isOpen: undefined });
  ledger.start();
  used({ tenant: 'b', periodMs: 7_200_000 });
  t.match(await ledger.list({ by: 'tenant' }), {
    source: 'spool',
    rows: [
      { tenant: 'a', requests: 1 },
      { tenant: 'b', requests: 1 },
    ],
    truncated: false,
  });
  const span = await ledger.list({ by: '', sinceMs: 7_300_000, untilMs: 7_400_000 });
  t.match(span, { sinceMs: 7_200_000, untilMs: 10_800_000, rows: [{ tenant: 'b' }] });
  t.equal(span.rows.length, 1);
  for (const wrong of [
    { by: 'colour' },
    { by: '', sinceMs: -1 },
    { by: '', sinceMs: 5, untilMs: 4 },
    { by: '', untilMs: 1e300 },
  ])
    await t.rejects(ledger.list(wrong), { code: 'invalid_value' }, JSON.stringify(wrong));
  await ledger.stop();
});

t.test('a disk that is full keeps usage in memory; a spool that is full too', async (t) => {
  const { ledger, files, table, events, spool, used } = openLedger(t, openFolder(t), {
    spool: { maxBytes: 200 },
  });
  table.failWith = 'store_unavailable';
  files.failWith = 'ENOSPC';
  ledger.start();
  for (let n = 0; n < 3; n++) {
    used();
    const failures = events.length;
    await until(() => events.slice(failures).filter((event) => event === 'write_failed').length >= 2, 'failed writes');
  }
  t.ok(ledger.waiting() > 0, 'kept in memory');
  files.failWith = undefined;
  for (let n = 0; n < 6; n++) {
    used();
    const { records } = spool;
    await until(() => spool.records > records || events.includes('spool_full'), 'a record more or no room');
  }
  t.ok(events.includes('spool_full'));
  t.equal(events.filter((event) => event === 'spool_full').length, 1);
  table.failWith = undefined;
  await until(() => requestsIn(table.rows()) === 9, 'all that was used');
  await ledger.stop();
});
