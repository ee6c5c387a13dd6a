/** Orders in a whole fleet: logs of a real agent through its scheduler and on its own socket, and an agent's sudden end. */
import { existsSync, readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { makeHome, sophia, startSophia } from '../cli/sophia.ts';
import { eventually } from '../support/child.ts';
import { simEngine, startFleet } from '../support/fleet.ts';

/** The one socket of an agent below a folder. */
function socketBelow(root: string): string {
  const found = readdirSync(root)
    .map((name) => path.join(root, name, 'admin.sock'))
    .find((file) => existsSync(file));
  if (found === undefined) throw new Error(`no agent has a socket below ${root}`);
  return found;
}

t.test('logs come through the scheduler and on the local socket, and a killed agent ends them', async (t) => {
  const fleet = await startFleet(t, { engines: [simEngine({ name: 'sim-0', model: 'sim/model-a' })] });
  const home = makeHome(t);
  const remote = ['--endpoint', fleet.grpcAddress];
  const env = { SOPHIA_KEY: fleet.key };
  const shown = await sophia(t, home, [...remote, 'engine', 'logs', 'sim-0'], env);
  t.equal(shown.code, 0, shown.stderr);
  t.match(shown.stdout, /\S/, 'the engine has written something');

  const place = socketBelow(fleet.root);
  t.equal(statSync(place).mode & 0o777, 0o600);
  const local = await sophia(t, home, ['--agent-socket', place, 'engine', 'logs', 'sim-0']);
  t.equal(local.stdout, shown.stdout);
  t.match((await sophia(t, home, ['--agent-socket', place, 'engine', 'list'])).stdout, /test-node\/sim-0 .* ready/);

  const followed = startSophia(t, home, [...remote, 'engine', 'logs', 'sim-0', '-f'], env);
  await eventually('the log is read', () => followed.stdout().length >= shown.stdout.length, 20_000);
  process.kill(fleet.agent.pid, 'SIGKILL');
  t.equal((await followed.exited).code, 1);
  t.match(followed.stderr(), /session of test-node was lost/);
  // The engine lives on; the next agent takes it over and ends it with itself.
  await fleet.restartAgent();
  await fleet.stop();
});
