/** The embedded store through faults that take long or need root: many kills, and a disk that is full. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { systemClock, systemRandom } from '../../../lib/io/system.ts';
import {
  createEmbeddedDriver,
  type EmbeddedDriver,
} from '../../../scheduler/adapters/store/embedded/embedded_driver.ts';
import { childEnv } from '../../support/child.ts';
import { killHost, survivesKills } from '../../scheduler/store/kills.ts';
import { audit, deployment, newSchema, openOn } from '../../scheduler/store/store_suite.ts';

const openDriver = (folder: string): EmbeddedDriver =>
  createEmbeddedDriver({ folder, clock: systemClock, random: systemRandom, environment: childEnv() });

t.test('killed twelve times while it writes, it loses and doubles nothing', async (t) => {
  const driver = openDriver(t.testdir());
  const killsAt = Array.from({ length: 12 }, (_, index) => 8 + 10 * index);
  await survivesKills(t, driver, 50, killsAt);
  await killHost(driver);
  await driver.close();
});

t.test('a full disk refuses changes, keeps what was acknowledged, and takes changes again', async (t) => {
  t.equal(userInfo().uid, 0, 'a small file system is mounted, which needs root');
  const mount = mkdtempSync(path.join(tmpdir(), 'sophia-disk-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=160m', 'tmpfs', mount]);
  const driver = openDriver(path.join(mount, 'store'));
  t.teardown(async () => {
    await killHost(driver);
    await driver.close();
    execFileSync('umount', ['-l', mount]);
    rmSync(mount, { recursive: true });
  });
  const schema = newSchema();
  const store = await openOn(driver, schema);
  let acknowledged = 0;
  const write = async (id: string): Promise<string> => {
    const after = {
      spec: { text: id.padEnd(100_000, 'x').replaceAll('x', () => Math.random().toString(36).slice(2, 3)) },
      labels: {},
    };
    try {
      const outcome = await store.append({ idempotencyId: id, items: [deployment(id, 1, { after })] });
      if (outcome.kind === 'appended' && !outcome.repeated) acknowledged++;
      return outcome.kind;
    } catch (thrown) {
      return (thrown as { code?: string }).code ?? String(thrown);
    }
  };
  t.equal(await write('first'), 'appended');
  const free = Number(execFileSync('df', ['--output=avail', '-B1', mount], { encoding: 'utf8' }).split('\n')[1]);
  const ballast = path.join(mount, 'ballast');
  writeFileSync(ballast, Buffer.alloc(Math.max(0, free - 1_000_000)));
  let said = '';
  for (let index = 0; index < 200 && said !== 'store_full'; index++) said = await write(`more-${index}`);
  t.equal(said, 'store_full');
  t.equal(store.health().state, 'full');
  rmSync(ballast);
  for (let index = 0; index < 20 && said !== 'appended'; index++) {
    said = await write('again');
    if (said !== 'appended') await new Promise((resolve) => setTimeout(resolve, 500));
  }
  t.equal(said, 'appended');
  t.equal(store.health().state, 'up');
  const report = await audit(driver, schema);
  t.equal(report.found, 0);
  t.ok(report.events >= acknowledged, `${report.events} events, ${acknowledged} acknowledged`);
});
