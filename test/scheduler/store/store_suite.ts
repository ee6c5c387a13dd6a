/**
 * What every store must do, run on each: the embedded database in the suite, PostgreSQL and PostgreSQL behind pgbouncer
 * in a real lane. Each case has a schema of its own in one database.
 */
import { randomUUID } from 'node:crypto';
import type { Test } from 'tap';
import { systemClock, systemRandom } from '../../../lib/io/system.ts';
import { hmacOf } from '../../../scheduler/adapters/store/keys.ts';
import { auditStore } from '../../../scheduler/adapters/store/audit.ts';
import { stateAt } from '../../../scheduler/adapters/store/checkpoints.ts';
import { openEventStore } from '../../../scheduler/adapters/store/event_store.ts';
import { createUsageTable } from '../../../scheduler/adapters/store/usage_table.ts';
import type { UsageRow } from '../../../scheduler/core/usage/contract.ts';
import { migrate, migrationsFolder, readMigrations } from '../../../scheduler/adapters/store/migrate.ts';
import type { SqlDriver } from '../../../scheduler/adapters/store/sql_driver.ts';
import type { EventRow } from '../../../scheduler/core/events/event.ts';
import { desiredResource, freezeOf } from '../../../scheduler/core/events/projection.ts';
import type { AppendItem, EventStore } from '../../../scheduler/core/events/store_port.ts';

export const MAC = hmacOf('ab'.repeat(32));
let schemas = 0;
export const newSchema = (): string => `case_${process.pid}_${++schemas}`;

/** A driver that is not closed with the store: the cases share it. */
export const shared = (driver: SqlDriver): SqlDriver => ({ query: driver.query, close: async () => undefined });

export function openOn(driver: SqlDriver, schema: string, mac = MAC): Promise<EventStore> {
  return openEventStore({
    driver: shared(driver),
    mac,
    clock: systemClock,
    random: systemRandom,
    schema,
    newLogId: randomUUID(),
  });
}

export const deployment = (name: string, replicas: number, more: Partial<AppendItem> = {}): AppendItem => ({
  kind: 'desired.created',
  resource: { kind: 'Deployment', name },
  actor: 'key:ops',
  reason: 'test',
  correlationId: 'req_1',
  after: { spec: { model: 'm', replicas }, labels: { team: 'a' } },
  ...more,
});

export const audit = (driver: SqlDriver, schema: string) => auditStore({ driver: shared(driver), mac: MAC, schema });

async function appends(t: Test, driver: SqlDriver): Promise<void> {
  const schema = newSchema();
  const store = await openOn(driver, schema);
  t.equal((await store.head()).seq, 0);
  const first = await store.append({ idempotencyId: 'a', items: [deployment('chat', 1), deployment('code', 2)] });
  t.match(first, { kind: 'appended', firstSeq: 1, lastSeq: 2, repeated: false });
  t.match(await store.append({ idempotencyId: 'a', items: [deployment('chat', 1), deployment('code', 2)] }), {
    ...first,
    repeated: true,
  });
  t.same(await store.append({ idempotencyId: 'a', items: [deployment('chat', 9)] }), { kind: 'id_reused' });
  const change = deployment('chat', 3, { kind: 'desired.changed', expected: 2 });
  t.same(await store.append({ idempotencyId: 'b', items: [change] }), {
    kind: 'conflict',
    index: 0,
    expected: 2,
    actual: 1,
  });
  t.match(await store.append({ idempotencyId: 'b', items: [{ ...change, expected: 1 }] }), {
    kind: 'appended',
    lastSeq: 3,
  });
  t.same(await store.append({ idempotencyId: 'c', items: [deployment('chat', 1)] }), {
    kind: 'conflict',
    index: 0,
    expected: 'absent',
    actual: 3,
  });
  const hostile = deployment("x'); drop table events; --<b>", 1);
  t.match(await store.append({ idempotencyId: 'd', items: [hostile] }), { kind: 'invalid', index: 0 });
  const quotes = deployment('q', 1, { reason: `'; drop table "events"; -- \\ <script> \u2028 'é'` });
  t.match(await store.append({ idempotencyId: 'e', items: [quotes] }), { kind: 'appended', lastSeq: 4 });
  const entry = await store.get('desired', 'Deployment', 'chat');
  t.match(entry, { version: 3, actor: 'key:ops' });
  t.same(desiredResource(entry as never)?.spec, { model: 'm', replicas: 3 });
  const names = (await store.list('desired', { kind: '', name: '' }, 10)).map(({ name }) => name);
  t.same(names, ['chat', 'code', 'q']);
  t.same(
    (await store.list('desired', { kind: 'Deployment', name: 'chat' }, 1)).map(({ name }) => name),
    ['code'],
  );
  t.equal(await store.get('desired', 'Deployment', 'none'), undefined);
  t.equal(store.health().state, 'up');
  t.match(await audit(driver, schema), { events: 4, lastSeq: 4, entries: 3, found: 0, findings: [] });
}

async function races(t: Test, driver: SqlDriver): Promise<void> {
  const schema = newSchema();
  const stores = await Promise.all([openOn(driver, schema), openOn(driver, schema), openOn(driver, schema)]);
  const outcomes = await Promise.all(
    Array.from({ length: 24 }, (_, index) =>
      (stores[index % 3] as EventStore).append({ idempotencyId: `r${index}`, items: [deployment(`d${index}`, 1)] }),
    ),
  );
  t.ok(outcomes.every(({ kind }) => kind === 'appended'));
  const seqs = outcomes.flatMap((outcome) => (outcome.kind === 'appended' ? [outcome.lastSeq] : []));
  t.same(
    seqs.toSorted((left, right) => left - right),
    Array.from({ length: 24 }, (_, index) => index + 1),
  );
  // The same repetition from several schedulers has one effect.
  const same = await Promise.all(
    stores.map((store) => store.append({ idempotencyId: 'same', items: [deployment('one', 1)] })),
  );
  t.same(
    same.map((outcome) => (outcome.kind === 'appended' ? outcome.lastSeq : outcome)),
    [25, 25, 25],
  );
  // Of those that know the same version one wins.
  const both = await Promise.all(
    stores.map((store, index) =>
      store.append({
        idempotencyId: `v${index}`,
        items: [deployment('one', index + 2, { kind: 'desired.changed', expected: 25 })],
      }),
    ),
  );
  t.same(both.map(({ kind }) => kind).toSorted(), ['appended', 'conflict', 'conflict']);
  t.match(await audit(driver, schema), { events: 26, found: 0 });
}

async function leases(t: Test, driver: SqlDriver): Promise<void> {
  const store = await openOn(driver, newSchema());
  t.equal(await store.leases.look('leader'), undefined);
  t.match(await store.leases.acquire('leader', 'a#1', 60_000), { kind: 'held', lease: { epoch: 1, holder: 'a#1' } });
  t.match(await store.leases.acquire('leader', 'a#1', 60_000), { kind: 'held', lease: { epoch: 1 } });
  t.match(await store.leases.acquire('leader', 'b#1', 60_000), { kind: 'taken', lease: { epoch: 1, holder: 'a#1' } });
  const write = (epoch: number, id: string) =>
    store.append({ idempotencyId: id, items: [deployment(id, 1)], fence: { lease: 'leader', epoch } });
  t.match(await write(1, 'w1'), { kind: 'appended' });
  t.match(await store.leases.renew('leader', 'a#1', 1, 1), { kind: 'held' });
  await new Promise((resolve) => setTimeout(resolve, 20));
  // Ended, and nobody took it: the holder goes on under its epoch.
  t.match(await store.leases.renew('leader', 'a#1', 1, 1), { kind: 'held', lease: { epoch: 1 } });
  await new Promise((resolve) => setTimeout(resolve, 20));
  t.match(await store.leases.acquire('leader', 'b#1', 60_000), { kind: 'held', lease: { epoch: 2, holder: 'b#1' } });
  t.match(await store.leases.renew('leader', 'a#1', 1, 60_000), { kind: 'lost', lease: { epoch: 2 } });
  t.same(await write(1, 'w2'), { kind: 'fenced', epoch: 2 });
  t.match(await write(2, 'w3'), { kind: 'appended' });
  t.match(await store.leases.release('leader', 'b#1', 2), { kind: 'held' });
  const over = await store.leases.acquire('leader', 'c#1', 60_000, 40);
  t.match(over, { kind: 'held', lease: { epoch: 41, holder: 'c#1' } }, 'above what agents have seen');
  t.ok(over.kind === 'held' && over.lease.leftMs > 50_000 && over.lease.leftMs <= 60_000);
  t.same(await write(7, 'w4'), { kind: 'fenced', epoch: 41 });
  await t.rejects(store.leases.acquire('leader', 'd', 0), { code: 'invalid_value' });
  await t.rejects(store.leases.acquire('', 'd', 5), { code: 'invalid_value' });
}

async function replays(t: Test, driver: SqlDriver): Promise<void> {
  const schema = newSchema();
  const store = await openOn(driver, schema);
  t.equal(await store.checkpoint(), undefined);
  for (let index = 1; index <= 10; index++)
    await store.append({ idempotencyId: `i${index}`, items: [deployment(`d${index}`, index)] });
  const freeze: AppendItem = {
    ...deployment('fleet', 0),
    kind: 'freeze.set',
    resource: { kind: 'Fleet', name: 'fleet' },
    after: { why: 'x' },
  };
  await store.append({ idempotencyId: 'f', items: [freeze] });
  const checkpoint = await store.checkpoint();
  t.equal(checkpoint?.seq, 11);
  await store.append({ idempotencyId: 'g', items: [{ ...freeze, kind: 'freeze.lifted', after: null }] });
  await store.append({ idempotencyId: 'h', items: [deployment('d1', 0, { kind: 'desired.deleted', after: null })] });
  const past = await stateAt(store, { seq: 4 });
  t.same(
    past.list('desired').map(({ name }) => name),
    ['d1', 'd2', 'd3', 'd4'],
  );
  t.ok(freezeOf(await stateAt(store, { seq: 11 })));
  const now = await stateAt(store, {});
  t.notOk(freezeOf(now));
  t.equal(now.size(), 9);
  t.equal((await stateAt(store, { atMs: 1 })).size(), 0);
  // Retention: only what an anchor covers goes, and the state stays.
  const rows = await store.read(0, 100);
  const anchored = { seq: 12, hash: (rows[11] as EventRow).hash };
  t.same(await store.archive({ seq: 12, hash: 'other' }, 0, async () => undefined), {
    kind: 'not_covered',
    by: 'anchor',
  });
  t.same(await store.archive(anchored, 5, async () => undefined), { kind: 'not_covered', by: 'checkpoint' });
  const kept: EventRow[] = [];
  t.same(
    await store.archive(anchored, 0, async (part) => {
      kept.push(...part);
    }),
    { kind: 'archived', upTo: 11, events: 11 },
  );
  t.same(kept, rows.slice(0, 11));
  t.same(
    (await store.read(0, 100)).map(({ seq }) => seq),
    [12, 13],
  );
  t.equal((await stateAt(store, {})).snapshot(), now.snapshot());
  await t.rejects(stateAt(store, { seq: 3 }), { code: 'invalid_value' });
  t.match(await audit(driver, schema), { events: 2, archivedSeq: 11, lastSeq: 13, entries: 9, found: 0 });
  await driver.query(`update ${schema}.log_head set archived_seq = 12`, [], { repeatable: false });
  t.ok((await audit(driver, schema)).findings.some(({ kind }) => kind === 'archive_forged'));
}

async function restores(t: Test, driver: SqlDriver): Promise<void> {
  const schema = newSchema();
  const store = await openOn(driver, schema);
  for (let index = 1; index <= 4; index++)
    await store.append({ idempotencyId: `i${index}`, items: [deployment(`d${index}`, index)] });
  const { logId } = await store.head();
  // An older backup: the end of the log is gone, and nothing else is wrong.
  const [, second] = await store.read(0, 2);
  await driver.query(`delete from ${schema}.events where seq > 2`, [], { repeatable: false });
  await driver.query(`update ${schema}.log_head set seq = 2, hash = '${second?.hash}'`, [], { repeatable: false });
  const refused = await store.append({ idempotencyId: 'i5', items: [deployment('d5', 1)] });
  t.same(refused, { kind: 'behind', problem: { kind: 'behind', headSeq: 2, knownSeq: 4, missing: 2 } });
  t.match(store.health(), { state: 'behind', gap: { kind: 'behind', missing: 2 } });
  const fresh = await openOn(driver, schema);
  t.match(await fresh.remember({ seq: 3, hash: 'f'.repeat(64) }, logId), { kind: 'behind', missing: 1 });
  await fresh.acceptLog();
  t.equal(fresh.health().state, 'up');
  await driver.query(`delete from ${schema}.entries where version > 2`, [], { repeatable: false });
  await driver.query(`delete from ${schema}.appends where last_seq > 2`, [], { repeatable: false });
  for (const name of ['e3', 'e4', 'e5'])
    t.match(await fresh.append({ idempotencyId: name, items: [deployment(name, 1)] }), { kind: 'appended' });
  // The first scheduler comes back and finds another event where its own was.
  t.match(await store.append({ idempotencyId: 'i6', items: [deployment('d6', 1)] }), {
    kind: 'behind',
    problem: { kind: 'diverged', seq: 4 },
  });
  t.match(await store.remember({ seq: 1, hash: 'x' }, 'another'), { kind: 'diverged' });
}

async function follows(t: Test, driver: SqlDriver): Promise<void> {
  const store = await openOn(driver, newSchema());
  const controller = new AbortController();
  const seen: number[] = [];
  const following = (async () => {
    for await (const rows of store.follow(0, 5, controller.signal)) {
      seen.push(...rows.map(({ seq }) => seq));
      if (seen.length >= 3) controller.abort();
    }
  })();
  for (const name of ['a', 'b', 'c']) await store.append({ idempotencyId: name, items: [deployment(name, 1)] });
  await following;
  t.same(seen, [1, 2, 3]);
  await t.rejects(store.read(0, 100_000), { code: 'invalid_value' });
}

async function settlesUsage(t: Test, driver: SqlDriver): Promise<void> {
  const schema = newSchema();
  await openOn(driver, schema);
  const table = createUsageTable(shared(driver), schema);
  await table.probe();
  const row = (change: Partial<UsageRow> = {}): UsageRow => ({
    ...{
      periodMs: 7_200_000,
      tenant: 'a',
      key: 'k',
      model: "m'; drop table usage; --",
      outcome: 'ok',
      servedBy: 'fleet',
    },
    ...{ requests: 1, untold: 0, promptTokens: 5, cachedTokens: 2, completionTokens: 3 },
    ...change,
  });
  const batch = (spool: string, number: number, rows: readonly UsageRow[]) => ({ spool, number, rows });
  t.equal(await table.settle(batch('one', 1, [row(), row({ tenant: 'b' })])), true);
  t.equal(await table.settle(batch('one', 1, [row(), row({ tenant: 'b' })])), false, 'sent again');
  t.equal(await table.settle(batch('one', 3, [row({ requests: -1, promptTokens: 2 ** 40 })])), true);
  t.equal(await table.settle(batch('one', 2, [row()])), false, 'older than what counted');
  t.equal(await table.settle(batch('one', 4, [])), true, 'nothing in it');
  // Several settle side by side, about the same keys in another order, and each batch is sent twice.
  const rows = Array.from({ length: 20 }, (_, index) => row({ tenant: `t${index}`, periodMs: 3_600_000 }));
  const sent = ['p', 'q', 'r'].flatMap((spool, index) => {
    const mixed = index % 2 === 0 ? rows : rows.toReversed();
    return [table.settle(batch(spool, 1, mixed)), table.settle(batch(spool, 1, mixed))];
  });
  t.equal((await Promise.all(sent)).filter(Boolean).length, 3);
  const all = { sinceMs: 0, untilMs: 8_000_000_000_000 };
  t.match(await table.list({ ...all, sinceMs: 7_200_000 }, ''), [
    {
      tenant: 'a',
      key: 'k',
      model: "m'; drop table usage; --",
      requests: 0,
      promptTokens: 5 + 2 ** 40,
      cachedTokens: 4,
    },
    { tenant: 'b', outcome: 'ok', servedBy: 'fleet', requests: 1, completionTokens: 3, periodMs: 0 },
  ]);
  t.match(await table.list({ ...all, untilMs: 7_200_000 }, 'hour'), [
    { periodMs: 3_600_000, requests: 60, tenant: '' },
  ]);
  t.equal((await table.list(all, 'tenant')).length, 22);
  t.match(await table.list(all, 'key'), [{ tenant: 'a', key: 'k', model: '' }]);
  t.equal((await table.list(all, 'model')).length, 1);
  await table.prune(7_200_000);
  t.equal((await table.list(all, 'tenant')).length, 2);
  t.equal(await table.settle(batch('one', 4, [row()])), false, 'a spool that was heard of since stays known');
  t.throws(() => createUsageTable(shared(driver), 'x; drop'), /no name of a schema/);
}

async function migrates(t: Test, driver: SqlDriver): Promise<void> {
  const schema = newSchema();
  const all = readMigrations(migrationsFolder());
  const ask = (sql: string) => driver.query(sql, [], { repeatable: false });
  t.equal(await migrate(driver, schema, all.slice(0, 1)), 1);
  await ask(`insert into ${schema}.entries values ('desired', 'Node', 'old', 1, '{}')`);
  await ask(`insert into ${schema}.log_head values (1, 'log', 0, 'x', 0)`);
  // Two schedulers start at once on the first schema, with its data.
  t.same(await Promise.all([migrate(driver, schema, all), migrate(driver, schema, all)]), [all.length, all.length]);
  t.match(await ask(`select archived_seq from ${schema}.log_head`), [{ archived_seq: '0' }]);
  t.equal((await ask(`select 1 from ${schema}.entries`)).length, 1);
  // A neighbour of the version before goes on; one for which the schema is too new, or changed, does not.
  t.equal(await migrate(driver, schema, all.slice(0, 1)), all.length);
  await ask(`update ${schema}.migrations set compatible = 2 where version = 2`);
  await t.rejects(migrate(driver, schema, all.slice(0, 1)), { code: 'store_schema', message: /newer version/ });
  await ask(`update ${schema}.migrations set checksum = 'x' where version = 1`);
  await t.rejects(migrate(driver, schema, all), { code: 'store_schema', message: /differs/ });
  const twice = newSchema();
  const both = await Promise.all([1, 2, 3].map(() => migrate(driver, twice, all)));
  t.same(both, [all.length, all.length, all.length], 'an empty store is set up by three at once');
}

async function keys(t: Test, driver: SqlDriver): Promise<void> {
  const schema = newSchema();
  const store = await openOn(driver, schema);
  const other = hmacOf('cd'.repeat(32));
  await t.rejects(openOn(driver, schema, other), { code: 'store_corrupt' });
  await store.append({ idempotencyId: 'a', items: [deployment('a', 1)] });
  await t.rejects(openOn(driver, schema, other), { code: 'store_corrupt' });
  await t.rejects(openOn(driver, 'Bad"name'), { code: 'invalid_value' });
}

const CASES = { appends, races, leases, replays, restores, follows, settlesUsage, migrates, keys };

/** Runs every case on the store behind `driver`. */
export async function runStoreSuite(t: Test, name: string, driver: SqlDriver): Promise<void> {
  for (const [title, run] of Object.entries(CASES)) await t.test(`${name}: ${title}`, (t) => run(t, driver));
}
