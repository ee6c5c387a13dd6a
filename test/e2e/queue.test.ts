/** Requests that wait for an engine, from the socket of a client to the engine and back, with real processes. */
import t from 'tap';
import { eventually } from '../support/child.ts';
import { simEngine, startFleet, type TestFleet } from '../support/fleet.ts';

const MODEL = 'sim/model-a';
const ONE_AT_A_TIME = { limits: { maxConcurrentRequests: 1 } };

function ask(fleet: TestFleet, body: object, headers: Readonly<Record<string, string>> = {}): Promise<Response> {
  return fetch(`${fleet.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${fleet.key}`, 'content-type': 'application/json', ...headers },
    body: JSON.stringify({
      model: MODEL,
      stream: true,
      ignore_eos: true,
      messages: [{ role: 'user', content: 'Go on' }],
      ...body,
    }),
  });
}

async function metric(fleet: TestFleet, name: string): Promise<string> {
  const answer = await fetch(`${fleet.url}/metrics`, { headers: { authorization: `Bearer ${fleet.key}` } });
  return (await answer.text())
    .split('\n')
    .filter((line) => line.startsWith(name))
    .join('\n');
}

const waiting = async (fleet: TestFleet, count: number): Promise<boolean> =>
  (await metric(fleet, 'sophia_queue_requests')).endsWith(`"${MODEL}"} ${count}`);

await t.test('a full fleet holds what comes, tells streams their place, and refuses what is too much', async (t) => {
  const fleet = await startFleet(t, {
    engines: [{ ...simEngine({ name: 'sim-0', model: MODEL, flags: ['--sim-itl-ms', '20'] }), ...ONE_AT_A_TIME }],
    scheduler: { queueSilentMs: 300, queueNoticePeriodMs: 200, queueMaxRequests: 6, queueTenantSharePercent: 50 },
  });
  const long = await ask(fleet, { max_tokens: 100 });
  const waits = ask(fleet, { max_tokens: 3 });
  const plain = ask(fleet, { max_tokens: 3, stream: false });
  await eventually('both wait', () => waiting(fleet, 2));
  const gone = new AbortController();
  const left = fetch(`${fleet.url}/v1/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${fleet.key}`, 'content-type': 'application/json', 'x-request-id': 'gone-1' },
    body: JSON.stringify({ model: MODEL, prompt: 'never', max_tokens: 3, stream: true }),
    signal: gone.signal,
  }).catch((error: unknown) => error);
  await eventually('the third waits', () => waiting(fleet, 3));
  const refused = await ask(fleet, { max_tokens: 3 });
  t.equal(refused.status, 429);
  t.match(await refused.json(), { error: { code: 'overloaded', type: 'rate_limit_error' } });
  t.match(refused.headers.get('retry-after'), /^\d+$/);
  t.equal(refused.headers.get('x-should-retry'), 'true');
  t.match(await metric(fleet, 'sophia_queue_shed_total'), /reason="tenant_share"} 1/);
  const seen = await fleet.admin<{ queue: unknown }>('ExplainRequest', { requestId: 'gone-1' });
  t.match(seen.queue, { position: 3, waitedMs: Number });
  const { models } = await fleet.admin<{ models: unknown[] }>('ListModels');
  t.match(models, [{ id: MODEL, queuedRequests: 3 }]);
  const streamed = await waits;
  t.equal(streamed.status, 200, 'the head is there before an engine');
  gone.abort();
  await left;
  await eventually('the one whose client went away is out', () => waiting(fleet, 2));
  t.match(await long.text(), /data: \[DONE\]\n\n$/);
  const text = await streamed.text();
  t.match(text, /^: queued position=1 eta=\w+\n\n/);
  t.match(text, /data: \[DONE\]\n\n$/);
  const whole = await plain;
  t.equal(whole.status, 200);
  t.match(await whole.json(), { usage: { completion_tokens: 3 } });
  const explained = await fleet.admin<{ outcome: string; candidates: { picked: boolean }[] }>('ExplainRequest', {
    requestId: 'gone-1',
  });
  t.equal(explained.outcome, 'cancelled');
  t.notOk(
    explained.candidates.some((candidate) => candidate.picked),
    'no engine ever had it',
  );
});

await t.test('a model whose engine is still starting is waited for', async (t) => {
  const fleet = await startFleet(t, {
    engines: [simEngine({ name: 'sim-0', model: MODEL, flags: ['--sim-start-ms', '1500'] })],
    awaitRoutable: 0,
    scheduler: { queueSilentMs: 100, queueNoticePeriodMs: 100 },
  });
  const answer = await ask(fleet, { max_tokens: 3 });
  t.equal(answer.status, 200);
  const text = await answer.text();
  t.match(text, /^: queued position=1 eta=unknown\n\n/);
  t.match(text, /data: \[DONE\]\n\n$/);
});
