/** The real clock and chance, and the package's own folder. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { findPackage, packageRoot, packageVersion } from '../../../lib/io/package_root.ts';
import { systemClock, systemRandom } from '../../../lib/io/system.ts';

t.test('the clock gives epoch and monotonic milliseconds and runs tasks once', async (t) => {
  t.ok(Math.abs(systemClock.wallMs() - Date.now()) < 1_000);
  const before = systemClock.monotonicMs();
  let runs = 0;
  await new Promise<void>((resolve) => {
    systemClock.after(5, () => {
      runs += 1;
      resolve();
    });
  });
  t.ok(systemClock.monotonicMs() > before);
  t.equal(runs, 1);
});

t.test('a cancelled task does not run, and a very long delay does not fire at once', async (t) => {
  let runs = 0;
  const count = (): void => void (runs += 1);
  systemClock.after(1, count)();
  const cancel = systemClock.after(1e15, count);
  await new Promise<void>((resolve) => systemClock.after(-5, resolve));
  await new Promise<void>((resolve) => systemClock.after(20, resolve));
  cancel();
  t.equal(runs, 0);
});

t.test('chance is within its range and does not repeat', async (t) => {
  const drawn = Array.from({ length: 1_000 }, () => systemRandom.next());
  t.ok(drawn.every((value) => value >= 0 && value < 1));
  t.equal(new Set(drawn).size, 1_000);
  t.equal(systemRandom.bytes(16).length, 16);
});

t.test('the package finds itself, wherever its code was compiled to', async (t) => {
  t.ok(existsSync(join(packageRoot(), 'package.json')));
  t.ok(existsSync(join(packageRoot(), 'proto')));
  t.match(packageVersion(), /^\d+\.\d+\.\d+/);
  const folder = t.testdir({
    'package.json': JSON.stringify({ name: 'sophia-fleet', version: '9.9.9' }),
    build: { inner: { 'package.json': JSON.stringify({ name: 'another' }) } },
  });
  t.same(findPackage(join(folder, 'build', 'inner')), { folder, version: '9.9.9' });
  t.throws(() => findPackage('/'), /No package\.json of sophia-fleet/);
});
