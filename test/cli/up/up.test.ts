/** `sophia up` as a newcomer meets it, with simulated engines: a first answer, the commands beside it, a clean end. */
import { spawnSync } from 'node:child_process';
import t from 'tap';
import { eventually } from '../../support/child.ts';
import { makeHome, sophia } from '../sophia.ts';
import { left, ready, up } from './started.ts';

t.setTimeout(300_000);

t.test('the printed curl line streams an answer, the commands see the fleet, and Ctrl-C leaves nothing', async (t) => {
  const home = makeHome(t);
  const child = up(t, home);
  const banner = await ready(child);
  t.equal(banner.engine, 'sim');
  const curl = spawnSync('bash', ['-c', banner.curl], { encoding: 'utf8' });
  t.match(curl.stdout, /^data: \{"id":"chatcmpl-/);
  t.match(curl.stdout, /data: \[DONE\]\n\n$/);
  t.match(curl.stdout, /simulated/);

  const engines = JSON.parse((await sophia(t, home, ['--json', 'engine', 'list'])).stdout) as { engines: object[] };
  t.match(engines.engines, [{ routable: true }, { routable: true }], 'up made its context the current one');
  const table = (await sophia(t, home, ['engine', 'list'])).stdout;
  t.match(table, /sim \(simulated\)/, 'a simulated engine says so');
  t.match((await sophia(t, home, ['engine', 'show', 'sim-0'])).stdout, /ready/);
  t.match((await sophia(t, home, ['node', 'list'])).stdout, /connected/);
  const node = (JSON.parse((await sophia(t, home, ['--json', 'node', 'list'])).stdout) as { nodes: { name: string }[] })
    .nodes[0];
  t.match((await sophia(t, home, ['node', 'show', node?.name as string])).stdout, /sim-1/);
  t.match((await sophia(t, home, ['model', 'list'])).stdout, /simulated-model +2/);
  t.match((await sophia(t, home, ['model', 'show', 'simulated-model'])).stdout, /2 ready of 2/);
  t.match((await sophia(t, home, ['status'])).stdout, /serving/);
  t.match((await sophia(t, home, ['explain', 'deployment', 'simulated-model'])).stdout, /sim-0/);
  t.equal((await sophia(t, home, ['engine', 'show', 'nobody'])).code, 1);
  t.equal((await sophia(t, home, ['model', 'show', 'nobody'])).code, 1);

  const requestId = /"id":"chatcmpl-([^"]+)"/.exec(curl.stdout)?.[1] as string;
  t.match((await sophia(t, home, ['explain', 'request', requestId])).stdout, /picked/i);
  const chat = await sophia(t, home, ['chat', 'Hello', 'there']);
  t.match(chat.stdout, /simulated/, 'the chat command answers');

  child.signal('SIGINT');
  const { code } = await child.exited;
  t.equal(code, 0);
  await eventually('no process is left', () => left(home).length === 0);
});

t.test('a key that was made works, one that was revoked does not, and no file or log holds the secret', async (t) => {
  const home = makeHome(t);
  const child = up(t, home, '--engines', '1');
  const { url } = await ready(child);
  const made = await sophia(t, home, [
    '--json',
    'key',
    'create',
    '--name',
    'test',
    '--tenant',
    'acme',
    '--expires-in-days',
    '1',
  ]);
  const { secret, key } = JSON.parse(made.stdout) as { secret: string; key: { id: string } };
  const models = (): Promise<Response> => fetch(`${url}/models`, { headers: { authorization: `Bearer ${secret}` } });
  t.equal((await models()).status, 200);
  const denied = await sophia(t, home, ['key', 'list'], { SOPHIA_KEY: secret });
  t.equal(denied.code, 1, 'a user may not list keys');
  t.match((await sophia(t, home, ['key', 'list'])).stdout, /acme +user +valid/);
  t.equal((await sophia(t, home, ['key', 'revoke', key.id])).code, 0);
  t.equal((await models()).status, 401);
  const shown = await sophia(t, home, ['key', 'show', key.id]);
  t.match(shown.stdout, /^tenant: +acme$/m);
  t.match(shown.stdout, /^state: +revoked$/m);
  child.signal('SIGINT');
  await child.exited;
  const grep = spawnSync('grep', ['-rl', secret.slice(-20), home.root], { encoding: 'utf8' });
  t.equal(grep.stdout, '', 'the secret was written nowhere');
});
