/**
 * Usage and changes of keys as operators see them: a scheduler as a process with its embedded store, an agent that the
 * test plays, and the command line; requests that end well and badly, and a scheduler that is killed and started again.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t, { type Test } from 'tap';
import { writePair } from '../../../lib/io/local_ca.ts';
import { mainOf } from '../../../lib/io/local_fleet.ts';
import { makeHome, sophia } from '../../cli/sophia.ts';
import { startChild } from '../../support/child.ts';
import { createFakeAgent, type FakeRequest, readyEngine, testAuthority } from '../../support/fake_agent.ts';
import { until } from '../../support/waits.ts';

t.setTimeout(120_000);
const root = await mkdtemp(path.join(tmpdir(), 'usage-test-'));
t.teardown(() => rm(root, { recursive: true, force: true }));
const authority = await testAuthority();
const ca = await writePair(root, 'ca', authority.ca);
const own = await writePair(root, 'scheduler', await authority.issue('scheduler', ['localhost']));
const pair = await authority.issue('gpu-1');
const keyFile = path.join(root, 'first.key');
const configFile = path.join(root, 'scheduler.yaml');
await writeFile(
  configFile,
  JSON.stringify({
    ...{ httpPort: 0, grpcPort: 0, fleetPort: 0, dataDir: path.join(root, 'data'), bootstrapKeyFile: keyFile },
    ...{ fleetCertFile: own.certFile, fleetKeyFile: own.keyFile, fleetCaFile: ca.certFile },
    ...{ usageFlushPeriodMs: 50, usageSettlePeriodMs: 200 },
  }),
);

/** Plain requests are answered; a stream gets three tokens and no end. */
function answer(request: FakeRequest): void {
  request.head();
  if (JSON.parse(request.body)['stream'] === true) {
    for (const index of [0, 1, 2]) request.tokens('x', [7], index);
    return;
  }
  request.bodyPart('{"choices":[]}', true);
  request.done({ usage: { promptTokens: 9, cachedPromptTokens: 4, completionTokens: 5 } });
}

const home = makeHome(t);

/** One life of the scheduler. */
async function startScheduler(t: Test) {
  const child = startChild(t, { args: [mainOf('scheduler'), '--config', configFile] });
  const [line] = await child.waitFor(/^\{"type":"ready".*\}$/m, 30_000);
  const { httpPort, grpcPort, fleetPort } = JSON.parse(line) as Record<string, number>;
  const agent = createFakeAgent({ port: fleetPort as number, authority, pair, nodeName: 'gpu-1', sessionId: 's1' });
  t.teardown(() => agent.close());
  agent.openSession({ engines: [readyEngine('e0', 'm')] });
  agent.openLane({ onSubmit: answer });
  const first = (await readFile(keyFile, 'utf8')).trim();
  const env = { SOPHIA_ENDPOINT: `127.0.0.1:${grpcPort}`, SOPHIA_KEY: first };
  const get = async (route: string): Promise<Response> =>
    fetch(`http://127.0.0.1:${httpPort}${route}`, { headers: { authorization: `Bearer ${first}` } });
  await until(async () => (await get('/health/ready')).status === 200, 'an engine');
  return {
    child,
    first,
    metrics: async () => (await get('/metrics')).text(),
    events: async () => (await get('/admin/v1/events?kind=key')).json() as Promise<{ events: { reason: string }[] }>,
    usage: async (query: string) => (await get(`/admin/v1/usage?${query}`)).json() as Promise<Listed>,
    chat: (key: string, body: object = {}, signal?: AbortSignal) =>
      fetch(`http://127.0.0.1:${httpPort}/v1/chat/completions`, {
        method: 'POST',
        headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
        body: JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'hello' }], ...body }),
        ...(signal === undefined ? {} : { signal }),
      }),
    text: (...args: string[]) => sophia(t, home, args, env),
    async run<Answer>(...args: string[]): Promise<Answer> {
      const outcome = await sophia(t, home, [...args, '--json'], env);
      t.equal(outcome.code, 0, `${args.join(' ')}: ${outcome.stderr}`);
      return JSON.parse(outcome.stdout.trim().split('\n').at(-1) ?? '{}') as Answer;
    },
  };
}

interface Listed {
  readonly source: string;
  readonly rows: readonly { readonly tenant: string; readonly outcome: string; readonly completionTokens: number }[];
}

interface Made {
  readonly key: { readonly id: string };
  readonly secret: string;
}

t.test('usage outlives the kill of its scheduler, and each change of a key is in the log', async (t) => {
  const before = await startScheduler(t);
  t.equal((await before.chat(before.first)).status, 200);
  // Nobody has needed the store yet; whoever makes a key needs it.
  const made = await before.run<Made>('key', 'create', '--name', 'bot', '--tenant', 'acme', '--reason', 'for the bot');
  t.equal((await before.chat(made.secret)).status, 200);
  const leaving = new AbortController();
  const left = await before.chat(made.secret, { stream: true }, leaving.signal);
  await left.body?.getReader().read();
  leaving.abort();
  t.match(await before.usage(`since=${Date.now()}`), { source: 'store', rows: [{ tenant: 'acme' }] });
  t.equal((await before.chat(made.secret)).status, 200);
  await until(async () => /^sophia_usage_waiting_sums 0$/m.test(await before.metrics()), 'the last to be on the disk');
  before.child.signal('SIGKILL');
  await before.child.exited;

  const after = await startScheduler(t);
  const { rows } = await after.usage('');
  const key = made.key.id;
  t.match(
    rows.filter(({ tenant }) => tenant === 'acme'),
    [
      { key, model: 'm', outcome: 'cancelled', servedBy: 'fleet', requests: 1, untold: 1, completionTokens: Number },
      { key, outcome: 'ok', requests: 2, untold: 0, promptTokens: 18, cachedTokens: 8, completionTokens: 10 },
    ],
  );
  const relayed = rows.find(({ outcome }) => outcome === 'cancelled')?.completionTokens ?? 0;
  t.ok(relayed >= 1 && relayed <= 3, `${relayed} tokens of the answer that was left`);
  t.match(await after.usage('by=tenant'), { rows: [{ tenant: 'acme', requests: 3 }, { requests: 1 }] });
  t.match(
    (await after.text('usage', 'list', '--by', 'key', '--since', '2h')).stdout,
    /TENANT +KEY +REQUESTS[^]*acme +\w{12} +3 /,
  );
  await after.run('key', 'revoke', key, '--reason', 'leaked');
  const { events } = await after.events();
  t.match(
    events.filter(({ reason }) => ['for the bot', 'leaked'].includes(reason)),
    [
      { kind: 'access.granted', actor: /^key:/, reason: 'for the bot' },
      { kind: 'access.revoked', actor: /^key:/, reason: 'leaked' },
    ],
  );
  t.match(events, [{ actor: 'bootstrap' }]);
  t.notMatch(JSON.stringify(events), made.secret.split('-').at(-1) ?? 'none');
});
