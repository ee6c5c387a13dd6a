/** The support of the end-to-end tests itself: it must not be blind to what a fleet leaves behind. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import t from 'tap';
import { isAlive } from './child.ts';
import { simEngine, startFleet } from './fleet.ts';

t.test('stopping a fleet fails when a process of it lives on, and ends that process', async (t) => {
  const tasks: (() => unknown)[] = [];
  const owner = { teardown: (task: () => unknown) => void tasks.push(task) };
  const fleet = await startFleet(owner, { engines: [simEngine({ name: 'one', model: 'm' })] });
  t.equal(tasks.length, 1, 'the owner stops it at its end');
  t.match(fleet.engines, [{ name: 'one', model: 'm', pid: Number }]);
  t.ok(isAlive(fleet.engines[0]?.pid ?? -1));
  // What escapes from a stop is no child any more; it is known by the folder in which it works.
  const stray = spawn('sleep', ['60'], { cwd: fleet.root, detached: true, stdio: 'ignore' });
  const gone = new Promise((resolve) => stray.once('exit', resolve));
  await t.rejects(fleet.stop(), { message: new RegExp(`left processes behind:\n${stray.pid} .*sleep 60$`) });
  await gone;
  t.notOk(isAlive(fleet.engines[0]?.pid ?? -1), 'the engine is stopped');
  t.notOk(existsSync(fleet.root), 'the folder is gone');
});

t.test('a fleet that cannot come up says why', async (t) => {
  const broken = simEngine({ name: 'one', model: 'm', flags: ['--sim-no-such-flag'] });
  const start = startFleet(t, { engines: [broken], agent: { maxRestarts: 0 }, readyTimeoutMs: 3_000 });
  await t.rejects(start, { message: /1 engines were not ready.*one: ENGINE_STATE_/ });
});
