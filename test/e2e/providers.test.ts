/** Fallbacks with real processes: from the socket of a client to a provider on loopback, with a fleet that has lost its engines. */
import { chmod, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import t from 'tap';
import { eventually } from '../support/child.ts';
import { simEngine, startFleet, type TestFleet } from '../support/fleet.ts';
import { answering, events, startProvider, streaming } from '../support/provider_server.ts';

const MODEL = 'sim/model-a';
const KEY = 'sk-canary-0123456789';

const ask = (fleet: TestFleet, body: object): Promise<Response> =>
  fetch(`${fleet.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${fleet.key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: MODEL, max_tokens: 4, messages: [{ role: 'user', content: 'Go on' }], ...body }),
  });

const get = async (fleet: TestFleet, route: string): Promise<string> =>
  (await fetch(`${fleet.url}${route}`, { headers: { authorization: `Bearer ${fleet.key}` } })).text();

await t.test('a fleet without engines answers by its providers and says so', async (t) => {
  const router = await startProvider(streaming(events.openrouter));
  const broken = await startProvider(answering(500, 'oops'));
  t.teardown(() => Promise.all([router.close(), broken.close()]));
  const keyFile = path.join(t.testdir(), 'key');
  await writeFile(keyFile, `${KEY}\n`);
  await chmod(keyFile, 0o600);
  const fleet = await startFleet(t, {
    engines: [simEngine({ name: 'sim-0', model: MODEL })],
    scheduler: {
      queueSilentMs: 200,
      queueNoticePeriodMs: 200,
      logLevel: 'debug',
      leaveFleetTenants: ['local'],
      providers: [
        { name: 'second', url: broken.url, leavesFleet: false, models: { [MODEL]: 'x' } },
        {
          name: 'router',
          url: router.url,
          dialect: 'openrouter',
          apiKeyFile: keyFile,
          models: { [MODEL]: 'far/model', 'far-only': 'far/model' },
          outputPricePerMillion: 3,
        },
      ],
      fallbacks: { [MODEL]: ['second', 'router'], 'far-only': ['router'] },
    },
  });
  const served = await ask(fleet, { stream: true });
  t.equal(served.headers.get('x-sophia-degraded'), null);
  t.match(await served.text(), /\[DONE\]/);
  t.equal(router.asked.length, 0, 'an engine is there');
  const models = await get(fleet, '/v1/models');
  t.notMatch(models, /far-only/);
  const only = await ask(fleet, { model: 'far-only', stream: true });
  t.equal(only.headers.get('x-sophia-degraded'), 'provider:router');
  t.match(await only.text(), /"content":"away".*\[DONE\]\n\n$/s);
  process.kill(fleet.agent.pid, 'SIGKILL');
  await eventually('the engine is gone', async () => (await get(fleet, '/health/ready')).includes('not_ready'));
  const answer = await ask(fleet, { stream: true, stream_options: { include_usage: true } });
  t.equal(answer.status, 200);
  t.equal(answer.headers.get('x-sophia-degraded'), 'provider:router');
  const text = await answer.text();
  t.match(text, /"choices":\[\],"usage":\{"prompt_tokens":9.*\[DONE\]\n\n$/s);
  t.notMatch(text, /queued/, 'it was asked before the client was told to wait');
  t.equal(router.asked.at(-1)?.headers.authorization, `Bearer ${KEY}`);
  t.same(router.asked.at(-1)?.body['provider'], { data_collection: 'deny' });
  const metrics = await get(fleet, '/metrics');
  t.match(metrics, /sophia_degraded_total\{mode="provider:router"\} 2/);
  t.match(metrics, /sophia_provider_requests_total\{provider="second",code="provider_failed"\} 1/);
  t.match(metrics, /sophia_provider_breaker\{provider="router",state="closed"\} 1/);
  t.match(metrics, /sophia_provider_cost_total\{provider="router"\} 0\.000012/);
  // The log is written beside the requests, so that its lines may come after the answer.
  const readLog = (): Promise<string> => readFile(fleet.scheduler.logFile, 'utf8');
  await eventually('the failed fallback is in the log', async () => /"fallback failed"/.test(await readLog()));
  const log = await readLog();
  t.notMatch(log + metrics + text, /canary/);
  // Its engine lives on, and a new agent takes it over, so that the end of the test finds it.
  await fleet.restartAgent();
  await eventually('the engine is back', async () => !(await get(fleet, '/health/ready')).includes('not_ready'));
  t.equal((await ask(fleet, {})).headers.get('x-sophia-degraded'), null, 'the fleet serves again');
});
