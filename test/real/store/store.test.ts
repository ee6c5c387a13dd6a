/** The store on a real PostgreSQL, directly and behind pgbouncer's transaction pool, and through its faults. */
import t, { type Test } from 'tap';
import { seededRandom } from '../../../lib/rng.ts';
import { systemClock, systemRandom } from '../../../lib/io/system.ts';
import { createPgDriver } from '../../../scheduler/adapters/store/pg_driver.ts';
import type { SqlDriver } from '../../../scheduler/adapters/store/sql_driver.ts';
import type { EventStore } from '../../../scheduler/core/events/store_port.ts';
import { audit, deployment, newSchema, openOn, runStoreSuite } from '../../scheduler/store/store_suite.ts';
import { until } from '../../support/waits.ts';
import { makeBouncer, makePostgres, makeProxy, type Cut } from '../../../bench/store_faults/postgres.ts';

function openDriver(t: Test, url: string, statementTimeoutMs = 10_000): SqlDriver {
  const driver = createPgDriver({
    url,
    clock: systemClock,
    random: systemRandom,
    maxConnections: 8,
    statementTimeoutMs,
  });
  t.teardown(() => driver.close());
  return driver;
}

interface Told {
  readonly acknowledged: Map<string, number>;
  readonly failures: string[];
  /** The test has ended. */
  isOver?: true;
}

/** Writers that append one event each time, and try again with the same id until they are told the outcome. */
async function writeAll(store: EventStore, writers: number, each: number, told: Told): Promise<void> {
  await Promise.all(
    Array.from({ length: writers }, async (_, writer) => {
      for (let index = 0; index < each && !told.isOver; index++) {
        const name = `w${writer}-${index}`;
        for (let attempt = 0; attempt < 60 && !told.isOver; attempt++) {
          try {
            const outcome = await store.append({ idempotencyId: name, items: [deployment(name, 1)] });
            if (outcome.kind === 'appended') told.acknowledged.set(name, outcome.lastSeq);
            else told.failures.push(JSON.stringify(outcome));
            break;
          } catch (thrown) {
            told.failures.push((thrown as { code?: string }).code ?? String(thrown));
            await new Promise((resolve) => setTimeout(resolve, 100));
          }
        }
      }
    }),
  );
}

async function checkTold(t: Test, driver: SqlDriver, schema: string, store: EventStore, told: Told, total: number) {
  const rows = await store.read(0, 5000);
  const seqs = new Map(rows.map(({ resourceName, seq }) => [resourceName, seq]));
  t.equal(told.acknowledged.size, total, `each append came to its end: ${[...new Set(told.failures)].join(', ')}`);
  t.equal(rows.length, total, 'none was done twice');
  t.same(
    [...told.acknowledged].filter(([name, seq]) => seqs.get(name) !== seq),
    [],
    'none is lost',
  );
  t.match(await audit(driver, schema), { events: total, found: 0 });
  t.ok(
    told.failures.every((code) => code.startsWith('store_')),
    `failures are coded: ${[...new Set(told.failures)].join(', ')}`,
  );
}

t.test('PostgreSQL', async (t) => {
  const pg = await makePostgres(t);
  await t.test('the suite', async (t) => runStoreSuite(t, 'postgres', openDriver(t, pg.url)));
  await t.test('the suite behind pgbouncer', async (t) => {
    const driver = openDriver(t, await makeBouncer(t, pg));
    await runStoreSuite(t, 'pgbouncer', driver);
    await t.rejects(driver.query('select pg_sleep(20)', [], { repeatable: false, timeoutMs: 200 }), {
      code: 'store_timeout',
    });
    const [row] = await driver.query('show statement_timeout', [], { repeatable: true, timeoutMs: 4321 });
    t.equal(row?.['statement_timeout'], '4321ms');
    t.equal(pg.sql('show statement_timeout').trim(), '0', 'nothing is left in a session');
  });

  await t.test('a connection that is cut in the middle of a commit loses and doubles nothing', async (t) => {
    const proxy = await makeProxy(t, pg.port);
    const driver = openDriver(t, proxy.url);
    const schema = newSchema();
    const store = await openOn(driver, schema);
    const random = seededRandom(7);
    const told: Told = { acknowledged: new Map(), failures: [] };
    proxy.cutCommits((): Cut => {
      const chance = random.next();
      return chance < 0.1 ? 'before' : chance < 0.25 ? 'after' : undefined;
    });
    await writeAll(store, 6, 40, told);
    proxy.cutCommits(() => undefined);
    t.ok(proxy.cuts() > 20, `${proxy.cuts()} cuts`);
    await checkTold(t, driver, schema, store, told, 240);
  });

  await t.test('killed with -9 again and again, it loses and doubles nothing', async (t) => {
    const driver = openDriver(t, pg.url);
    const schema = newSchema();
    const store = await openOn(driver, schema);
    const told: Told = { acknowledged: new Map(), failures: [] };
    t.teardown(() => {
      told.isOver = true;
    });
    const writing = writeAll(store, 6, 60, told);
    for (const after of [60, 160, 260]) {
      await until(() => told.acknowledged.size >= after, `${after} acknowledged appends`, 60_000);
      pg.kill();
      await new Promise((resolve) => setTimeout(resolve, 300));
      await pg.start();
    }
    await writing;
    await checkTold(t, driver, schema, store, told, 360);
    t.equal(store.health().state, 'up');
  });

  await t.test('stopped, read-only, slow and refusing stores are told apart', async (t) => {
    const driver = openDriver(t, pg.url, 1_000);
    const store = await openOn(driver, newSchema());
    const write = (id: string) => store.append({ idempotencyId: id, items: [deployment(id, 1)] });
    pg.sql('alter system set default_transaction_read_only = on');
    pg.sql('select pg_reload_conf()');
    const isReadOnly = async (): Promise<boolean> => {
      const [row] = await driver.query('show default_transaction_read_only', [], { repeatable: true });
      return row?.['default_transaction_read_only'] === 'on';
    };
    await until(isReadOnly, 'the new setting');
    await t.rejects(write('ro'), { code: 'store_read_only' });
    t.equal(store.health().state, 'read_only');
    t.equal((await store.head()).seq, 0, 'reading goes on');
    pg.sql('alter system reset default_transaction_read_only');
    pg.sql('select pg_reload_conf()');
    await until(async () => !(await isReadOnly()), 'the old setting');
    t.match(await write('rw'), { kind: 'appended' });
    t.equal(store.health().state, 'up');
    await t.rejects(driver.query('select pg_sleep(5)', [], { repeatable: false }), { code: 'store_timeout' });
    pg.stop();
    await t.rejects(write('down'), { code: 'store_unavailable' });
    t.equal(store.health().state, 'down');
    await pg.start();
    t.match(await write('down'), { kind: 'appended' }, 'it reconnects by itself');
    const nobody = openDriver(t, pg.url.replace('sophia@', 'nobody@'));
    await t.rejects(nobody.query('select 1', [], { repeatable: true }), { code: 'store_refused' });
    pg.sql('create role weak login');
    const weak = openDriver(t, pg.url.replace('sophia@', 'weak@'));
    await t.rejects(openOn(weak, newSchema()), { code: 'store_refused' });
  });

  await t.test('a serialisation failure is tried again', async (t) => {
    const driver = openDriver(t, pg.url);
    await driver.query('create table tries (n int)', [], { repeatable: false });
    await driver.query('create sequence tries_seq', [], { repeatable: false });
    const sql = `do $$ begin
      if nextval('tries_seq') < 3 then raise exception 'again' using errcode = '40001'; end if;
      insert into tries values (1); end $$`;
    await driver.query(sql, [], { repeatable: false });
    t.equal(pg.sql('select count(*) from tries').trim(), '1');
  });

  await t.test('a role with synchronous_commit off still keeps what is acknowledged', async (t) => {
    pg.sql('create role hasty login superuser; alter role hasty set synchronous_commit = off');
    const driver = openDriver(t, pg.url.replace('sophia@', 'hasty@'));
    const [row] = await driver.query('show synchronous_commit', [], { repeatable: true });
    t.equal(row?.['synchronous_commit'], 'on');
  });
});
