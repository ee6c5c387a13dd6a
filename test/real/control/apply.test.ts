/**
 * From an empty fleet to engines by the command line alone: a scheduler and four agents as processes of their own, the
 * project's examples, and deployments that want GPUs.
 */
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import t from 'tap';
import { mainOf } from '../../../lib/io/local_fleet.ts';
import { packageRoot } from '../../../lib/io/package_root.ts';
import { makeHome, sophia } from '../../cli/sophia.ts';
import { startChild } from '../../support/child.ts';
import { makeControlWorld } from '../../support/control/world.ts';
import { pidsNaming } from '../../support/processes.ts';
import { until } from '../../support/waits.ts';

t.setTimeout(240_000);
const NODES = ['gpu-1', 'gpu-2', 'gpu-3', 'gpu-4'];
const GPUS_EACH = 2;
const LIMIT_MS = 60_000;

const world = await makeControlWorld(t);
const keyFile = path.join(world.root, 'first.key');

async function startScheduler() {
  const tls = path.join(world.root, 'tls');
  const file = path.join(world.root, 'scheduler.yaml');
  const config = {
    httpPort: 0,
    grpcPort: 0,
    fleetPort: 0,
    fleetCertFile: path.join(tls, 'scheduler.crt'),
    fleetKeyFile: path.join(tls, 'scheduler.key'),
    fleetCaFile: path.join(tls, 'ca.crt'),
    dataDir: path.join(world.root, 'scheduler'),
    bootstrapKeyFile: keyFile,
  };
  await writeFile(file, JSON.stringify(config));
  const child = startChild(t, { args: [mainOf('scheduler'), '--config', file] });
  const [line] = await child.waitFor(/^\{"type":"ready".*\}$/m, 30_000);
  return { child, ports: JSON.parse(line) as { httpPort: number; grpcPort: number; fleetPort: number } };
}

const { child: scheduler, ports } = await startScheduler();
const key = (await readFile(keyFile, 'utf8')).trim();
const home = makeHome(t);
const env = {
  SOPHIA_ENDPOINT: `127.0.0.1:${ports.grpcPort}`,
  SOPHIA_HTTP: `http://127.0.0.1:${ports.httpPort}`,
  SOPHIA_KEY: key,
};

async function run(...args: string[]) {
  const outcome = await sophia(t, home, args, env);
  t.comment(`$ sophia ${args.join(' ')}\n${outcome.stdout}${outcome.stderr}`);
  return outcome;
}

interface Got {
  readonly metadata: { readonly name: string };
  readonly status?: { readonly ready: number; readonly wanted: number };
}

/** Each deployment as `ready/wanted`. */
async function standing(): Promise<Record<string, string>> {
  const { stdout } = await sophia(t, home, ['get', 'deployment', '--json'], env);
  const { items } = JSON.parse(stdout) as { items: Got[] };
  return Object.fromEntries(
    items.map(({ metadata, status }) => [metadata.name, `${status?.ready ?? '?'}/${status?.wanted ?? '?'}`]),
  );
}

const reach = (wanted: Record<string, string>): Promise<void> =>
  until(async () => JSON.stringify(await standing()) === JSON.stringify(wanted), JSON.stringify(wanted), LIMIT_MS);

/** Engines of the whole fleet that run. */
async function engines(): Promise<number> {
  const { stdout } = await sophia(t, home, ['engine', 'list', '--json'], env);
  return (JSON.parse(stdout) as { engines: { event: { state: string } }[] }).engines.filter(
    ({ event }) => event.state !== 'ENGINE_STATE_STOPPED',
  ).length;
}

async function ask(model: string): Promise<number> {
  const response = await fetch(`${env.SOPHIA_HTTP}/v1/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model, prompt: 'x', max_tokens: 3 }),
  });
  await response.text();
  return response.status;
}

t.before(async () => {
  await Promise.all(NODES.map((name) => world.startNode(name, [ports.fleetPort], GPUS_EACH)));
});

t.test('the examples come to life, answer, explain themselves and go', async (t) => {
  const examples = path.join(packageRoot(), 'examples');
  t.match(await run('plan', '-f', examples), { code: 0, stdout: /chat\/0/ });
  t.match(await run('apply', '-f', examples, '--reason', 'the first fleet'), {
    code: 0,
    stdout: /deployment\/chat created/,
  });
  await reach({ batch: '1/1', chat: '2/2', 'chat-next': '1/1' });
  for (const model of ['chat', 'chat-next', 'batch']) t.equal(await ask(model), 200, model);
  t.match(await run('explain', 'deployment', 'chat'), {
    code: 0,
    stdout: /^(?=[^]*gpu-1)(?=[^]*gpu-2)(?=[^]*gpu-3)[^]*gpu-4/,
  });
  await run('describe', 'deployment', 'chat');
  t.match(await run('delete', '-f', examples, '--yes'), { code: 0, stdout: /deployment\/chat deleted/ });
  await until(async () => (await engines()) === 0, 'the end of all engines', LIMIT_MS);
});

t.test('deployments with GPUs fill the fleet, one waits and says why, and every GPU comes back', async (t) => {
  const file = path.join(world.root, 'gpus.yaml');
  const deployment = (name: string, replicas: number) => `apiVersion: sophia/v1
kind: Deployment
metadata: { name: ${name} }
spec: { engine: sim, model: sim/${name}, replicas: ${replicas}, gpusPerHost: 1, gpuMemoryBytes: 8GiB, extraFlags: [--sim-itl-ms, 2] }
---
`;
  await writeFile(file, deployment('a', 3) + deployment('b', 3) + deployment('c', 2));
  await run('apply', '-f', file);
  await reach({ a: '3/3', b: '3/3', c: '2/2' });
  await writeFile(path.join(world.root, 'more.yaml'), deployment('more', 1));
  t.match(await run('plan', '-f', path.join(world.root, 'more.yaml')), { stdout: /more\/0[^]*(wait|pending)/ });
  await run('apply', '-f', path.join(world.root, 'more.yaml'));
  await reach({ a: '3/3', b: '3/3', c: '2/2', more: '0/1' });
  t.match(await run('explain', 'deployment', 'more'), { stdout: /gpu-1/ });
  await run('delete', 'deployment', 'a', '--yes');
  await reach({ b: '3/3', c: '2/2', more: '1/1' });
  await run('delete', 'deployment', 'b', 'c', 'more', '--yes');
  await until(async () => (await engines()) === 0, 'every GPU to be free', LIMIT_MS);
});

t.test('an engine by hand answers from its node, and one of a deployment comes anew when it is deleted', async (t) => {
  const byHand = path.join(packageRoot(), 'examples', 'by-hand');
  t.match(await run('apply', '-f', byHand), { code: 0, stdout: /engine\/probe created/ });
  await until(async () => (await ask('probe')) === 200, 'the engine to answer', LIMIT_MS);
  t.match(await run('get', 'engine'), { stdout: /^probe +gpu-1 +- +declared +sim +probe +ready +placed/m });
  t.match(await run('get', 'quarantine'), { stdout: /^fan-of-gpu-4 +gpu-4 +1 +declared/m });
  await run('apply', '-f', path.join(packageRoot(), 'examples', 'deployments.yaml'));
  await reach({ batch: '0/1', chat: '2/2', 'chat-next': '1/1' });
  const { stdout } = await sophia(t, home, ['get', 'engine', '--json'], env);
  const { items } = JSON.parse(stdout) as { items: { metadata: { name: string }; status: { deployment: string } }[] };
  const name = items.find(({ status }) => status.deployment === 'chat')?.metadata.name as string;
  t.match(await run('delete', 'engine', name, '--yes', '--reason', 'it hangs'), { code: 0, stdout: /stopped/ });
  await until(async () => (await standing())['chat'] !== '2/2', 'it to be missed', LIMIT_MS);
  await reach({ batch: '0/1', chat: '2/2', 'chat-next': '1/1' });
  await run('event', 'list', '--limit', '10');
  await run('delete', '-f', byHand, '-f', path.join(packageRoot(), 'examples', 'deployments.yaml'), '--yes');
  await until(async () => (await engines()) === 0, 'the end of all engines', LIMIT_MS);
});

t.test('a scheduler that is told to stop leaves nothing behind', async (t) => {
  scheduler.signal('SIGTERM');
  t.match(await scheduler.exited, { code: 0 });
  // The process of the embedded store ends a while after its last client.
  await until(
    () => pidsNaming(path.join(world.root, 'scheduler', 'store')).length === 0,
    'the end of the store',
    LIMIT_MS,
  );
});
