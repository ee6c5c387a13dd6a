/**
 * Two bare hosts with a real systemd become a fleet by one ansible-playbook command over SSH, and stay one: a second run
 * changes nothing, the watchdog restarts a stopped agent under its running engine, a reboot and a power cut bring all
 * back. A power cut here kills the host's processes; what the kernel had not written yet is not lost with them.
 */
import path from 'node:path';
import { homedir } from 'node:os';
import t from 'tap';
import { ensureWeights } from '../../../cli/weights/weights.ts';
import { COLLECTION, partsOf, run, until, World } from './world.ts';

const CACHE = path.join(process.env['XDG_CACHE_HOME'] ?? path.join(homedir(), '.cache'), 'sophia-fleet');
const MODEL = 'smollm2';
const UNITS = { a: 'sophia-scheduler.service', b: 'sophia-agent.service' } as const;
const LIMIT_MS = 300_000;

t.setTimeout(1_400_000);

const parts = partsOf(process.env);
const world = new World(parts);
t.teardown(() => world.down());

const weights = await ensureWeights({ cacheDir: CACHE });
if (!weights.ok) throw new Error(`the weights cannot be had: ${weights.message} ${weights.whatToDo}`);
const sha256 = (await run('sha256sum', [weights.path])).stdout.split(' ')[0];

await world.up();
world.writeInventory(
  { agent_watchdog_s: 10 },
  [
    {
      name: 'llama-0',
      kind: 'llama',
      model: '/srv/sophia/models/smollm2.gguf',
      servedModelName: MODEL,
      extraFlags: ['--threads', '1'],
    },
  ],
  [{ src: weights.path, name: 'smollm2.gguf', sha256 }],
);

/** The figures of Ansible's last lines: how many tasks changed, failed, were unreachable, over all hosts. */
function recapOf(stdout: string): Record<'ok' | 'changed' | 'failed' | 'unreachable', number> {
  const recap = stdout.slice(stdout.lastIndexOf('PLAY RECAP'));
  const sum = (name: string): number =>
    [...recap.matchAll(new RegExp(`\\b${name}=(\\d+)`, 'g'))].reduce((total, [, count]) => total + Number(count), 0);
  return { ok: sum('ok'), changed: sum('changed'), failed: sum('failed'), unreachable: sum('unreachable') };
}

let key = '';
const completion = (): Promise<string> =>
  until('a completion', LIMIT_MS, async () => (await world.complete(MODEL, key)) || undefined);
const mainPid = (): Promise<string> => world.say('b', 'systemctl show --value --property=MainPID sophia-agent');
const enginePid = (): Promise<string> => world.say('b', 'pgrep --newest --full engines/llama/main.js');

t.test('a dry run on bare hosts fails nowhere and leaves nothing', async (t) => {
  const ran = await world.playbook('site.yml', '--check');
  if (!t.equal(ran.code, 0, 'the playbook ran')) t.comment(ran.stdout.slice(-8000) + ran.stderr);
  t.equal((await world.ssh('a', 'ls -d /opt/sophia /etc/sophia /etc/systemd/system/sophia*')).stdout, '');
});

t.test('one command turns bare hosts into a fleet that answers', async (t) => {
  const startedMs = Date.now();
  const ran = await world.playbook('site.yml');
  if (!t.equal(ran.code, 0, 'the playbook ran')) t.comment(ran.stdout.slice(-8000) + ran.stderr);
  key = await world.say('a', 'cat /var/lib/sophia-scheduler/admin.key');
  const text = await completion();
  t.comment(`bare hosts to a first completion: ${((Date.now() - startedMs) / 60_000).toFixed(2)} minutes`);
  t.comment(`the model said: ${JSON.stringify(text)}`);
  for (const host of ['a', 'b'] as const) {
    const status = await world.say(host, `systemctl show --property=StatusText,NRestarts,Type ${UNITS[host]}`);
    t.match(status, /Type=notify/);
    t.match(status, /NRestarts=0/);
    t.comment(status.replaceAll('\n', ' '));
  }
});

t.test('a second run changes nothing, and neither would a dry run', async (t) => {
  const before = await mainPid();
  for (const args of [[], ['--check']]) {
    const ran = await world.playbook('site.yml', ...args);
    t.equal(ran.code, 0, ran.code === 0 ? 'the playbook ran' : ran.stdout.slice(-4000));
    t.match(recapOf(ran.stdout), { changed: 0, failed: 0, unreachable: 0 }, `changed=0 with [${args.join(' ')}]`);
  }
  t.equal(await mainPid(), before, 'the agent was not restarted');
});

t.test('a variable of the wrong kind is refused before anything is done', async (t) => {
  const ran = await world.playbook('site.yml', '--extra-vars', '{"scheduler_http_port": "many"}');
  t.not(ran.code, 0);
  t.match(ran.stdout, /scheduler_http_port.*(int|many)/);
});

t.test('the units are sound and closed', async (t) => {
  for (const host of ['a', 'b'] as const) {
    const file = `/etc/systemd/system/${UNITS[host]}`;
    const verify = await world.ssh(host, `systemd-analyze verify ${file}`);
    t.equal(verify.code, 0, verify.stderr);
    const security = await world.ssh(host, `systemd-analyze security --offline=yes --threshold=40 ${file}`);
    t.equal(security.code, 0, security.stdout.split('\n').slice(-3).join(' '));
    t.comment(security.stdout.trim().split('\n').at(-1));
    const [user] = (
      await world.say(host, `ps -o user:32= -p $(systemctl show --value -p MainPID ${UNITS[host]})`)
    ).split('\n');
    t.match(user, /^sophia-/, 'it runs as a user of its own');
  }
  t.notMatch((await world.ssh('b', 'runuser -u sophia-agent -- cat /etc/sophia/tls/host.key')).stdout, /KEY/);
});

t.test('the watchdog ends and restarts an agent that stands still, while its engine lives', async (t) => {
  const engine = await enginePid();
  const agent = await mainPid();
  await world.say('b', `kill -STOP ${agent}`);
  const stoppedMs = Date.now();
  await until('another agent', LIMIT_MS, async () => {
    const now = await mainPid();
    return now !== agent && now !== '0' ? now : undefined;
  });
  t.comment(`another agent ${Date.now() - stoppedMs} ms after the stop`);
  t.match(await world.say('b', 'journalctl --unit=sophia-agent --output=cat --no-pager'), /Watchdog timeout/);
  t.ok(await completion());
  t.equal(await enginePid(), engine, 'the engine is the same process');
});

t.test('a reboot brings all back', async (t) => {
  await world.reboot('b');
  t.ok(await completion());
});

t.test('a power cut brings all back', async (t) => {
  await world.cutPower('b');
  t.ok(await completion());
});

t.test('molecule converges the same hosts, finds them idempotent and verifies them', async (t) => {
  const ran = await world.molecule('test');
  if (!t.equal(ran.code, 0, 'molecule ran')) t.comment(ran.stdout.slice(-8000) + ran.stderr.slice(-4000));
});

t.test('the collection satisfies ansible-lint at its strictest', async (t) => {
  const bin = path.join(parts.venv, 'bin');
  const lint = await run(path.join(bin, 'ansible-lint'), ['--profile', 'production', '--offline', '--nocolor'], {
    cwd: COLLECTION,
    env: { PATH: `${bin}:${process.env['PATH'] ?? ''}` },
  });
  t.equal(lint.code, 0, lint.stdout.slice(-4000) + lint.stderr.slice(-4000));
});
