/** The embedded database's process is killed while it writes: what was acknowledged is there, once. */
import type { Test } from 'tap';
import type { EmbeddedDriver } from '../../../scheduler/adapters/store/embedded/embedded_driver.ts';
import type { EventStore } from '../../../scheduler/core/events/store_port.ts';
import { isAlive } from '../../support/child.ts';
import { until } from '../../support/waits.ts';
import { audit, deployment, newSchema, openOn } from './store_suite.ts';

/** kill -9 of the database's process. */
export async function killHost(driver: EmbeddedDriver): Promise<void> {
  const pid = driver.hostPid() as number;
  process.kill(pid, 'SIGKILL');
  await until(() => !isAlive(pid), 'the end of the process');
}

/** Every acknowledged append is there once, whatever was killed meanwhile. */
async function checkAcknowledged(t: Test, store: EventStore, acknowledged: ReadonlyMap<string, number>): Promise<void> {
  const rows = await store.read(0, 5000);
  const byName = new Map<string, number[]>();
  for (const { resourceName, seq } of rows) byName.set(resourceName, [...(byName.get(resourceName) ?? []), seq]);
  for (const [name, seq] of acknowledged) t.same(byName.get(name), [seq], `${name} is there once`);
  t.equal(rows.length, byName.size);
}

/** Three writers while the process is killed each time that so many appends have been acknowledged. */
export async function survivesKills(
  t: Test,
  driver: EmbeddedDriver,
  each: number,
  killsAt: readonly number[],
): Promise<void> {
  const schema = newSchema();
  const store = await openOn(driver, schema);
  const acknowledged = new Map<string, number>();
  let failed = 0;
  const write = async (worker: number): Promise<void> => {
    for (let index = 0; index < each; index++) {
      const name = `w${worker}-${index}`;
      const outcome = await store.append({ idempotencyId: name, items: [deployment(name, 1)] });
      if (outcome.kind === 'appended') acknowledged.set(name, outcome.lastSeq);
      else failed++;
    }
  };
  const writing = Promise.all([0, 1, 2].map(write));
  for (const after of killsAt) {
    await until(() => acknowledged.size >= after, `${after} acknowledged appends`, 60_000);
    await killHost(driver);
  }
  await writing;
  t.equal(failed, 0);
  t.equal(acknowledged.size, 3 * each, 'each append came to its end');
  await checkAcknowledged(t, store, acknowledged);
  t.match(await audit(driver, schema), { events: 3 * each, found: 0 });
  t.equal(store.health().state, 'up');
}
