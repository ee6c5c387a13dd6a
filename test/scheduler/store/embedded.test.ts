/** The store on the embedded database: the common suite, and what only it has: a process, a folder, a lock. */
import t from 'tap';
import { systemClock, systemRandom } from '../../../lib/io/system.ts';
import { createEmbeddedDriver } from '../../../scheduler/adapters/store/embedded/embedded_driver.ts';
import { childEnv } from '../../support/child.ts';
import { runStoreSuite } from './store_suite.ts';

t.test('the embedded store', async (t) => {
  const folder = t.testdir();
  const driver = createEmbeddedDriver({ folder, clock: systemClock, random: systemRandom, environment: childEnv() });
  t.teardown(async () => {
    const pid = driver.hostPid();
    await driver.close();
    if (pid !== undefined) process.kill(pid, 'SIGKILL');
  });
  await runStoreSuite(t, 'embedded', driver);
});
