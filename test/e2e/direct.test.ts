/** Route and step aside: a client asks the scheduler where to go, and the agent answers it as the scheduler would have. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import OpenAI from 'openai';
import t from 'tap';
import type { Engine__Output } from '../../proto/gen/admin/v1/Engine.ts';
import type { RouteResponse__Output } from '../../proto/gen/inference/v1/RouteResponse.ts';
import { eventually } from '../support/child.ts';
import { callDirect, openDirect, route } from '../support/direct.ts';
import { engineLoad } from '../support/engine_client.ts';
import { simEngine, startFleet } from '../support/fleet.ts';
import { PROMPTS } from '../support/identical.ts';

const MODEL = 'sim/model-a';
const SLOW = 'sim/slow';
const fleet = await startFleet(t, {
  engines: [
    simEngine({ name: 'sim-0', model: MODEL }),
    simEngine({ name: 'slow', model: SLOW, flags: ['--sim-itl-ms', '50'] }),
  ],
  scheduler: { schedulerId: 'sched-1', directLeaseMs: 1500 },
  agent: { directPort: 0 },
});
const key = fleet.key;

const metricsOf = async (): Promise<string> =>
  (await fetch(`${fleet.url}/metrics`, { headers: { authorization: `Bearer ${key}` } })).text();
const running = async (): Promise<number> => {
  const { engines } = await fleet.admin<{ engines: Engine__Output[] }>('ListEngines');
  return engines.reduce((sum, engine) => sum + engine.runningRequests, 0);
};
const nothingHeld = (): Promise<void> =>
  eventually(
    'no place is held',
    async () => (await running()) === 0 && /^sophia_direct_leases 0$/m.test(await metricsOf()),
  );

/** Chunks without what differs between any two requests: their id and time, and how much of the prompt was at hand. */
const plain = (text: string): string =>
  text.replaceAll(/"id":"[^"]*"/g, '"id":""').replaceAll(/"(created|cached_tokens)":\d+/g, '"$1":0');

await t.test('an engine is found once its agent has said that it knows the key', async (t) => {
  let answer: RouteResponse__Output | undefined;
  await eventually('a ticket', async () => {
    answer = await route(fleet, { envelope: { model: MODEL } }).catch(() => undefined);
    return answer !== undefined;
  });
  const { url, engine, expiresAtMs, ticket } = answer as RouteResponse__Output;
  t.match(url, /^http:\/\/127\.0\.0\.1:\d+\/v1\/chat\/completions$/);
  t.equal(engine, 'test-node/sim-0');
  t.ok(expiresAtMs > Date.now() && expiresAtMs < Date.now() + 60_000);
  const body = { model: MODEL, messages: PROMPTS[0], max_tokens: 4 };
  t.match(await callDirect({ url, ticket, body }), { status: 200 });
});

await t.test('the answer is that of the scheduler, streamed and plain, chat and completions', async (t) => {
  const bodies = [
    ...PROMPTS.map((messages) => ({ messages, stream: true, stream_options: { include_usage: true } })),
    { messages: PROMPTS[0], stream: true },
    { messages: PROMPTS[1] },
    { prompt: 'The sea', stream: true },
    { prompt: 'The sea' },
  ];
  for (const own of bodies) {
    const body = JSON.stringify({ model: MODEL, max_tokens: 40, temperature: 0, ...own });
    const endpoint = 'prompt' in own ? 'ENDPOINT_COMPLETIONS' : 'ENDPOINT_CHAT_COMPLETIONS';
    const at = 'prompt' in own ? '/v1/completions' : '/v1/chat/completions';
    const relayed = await callDirect({ url: `${fleet.url}${at}`, ticket: key, body });
    const ticket = await route(fleet, { envelope: { model: MODEL, endpoint }, body: Buffer.from(body) });
    const direct = await callDirect({ ...ticket, body });
    t.equal(direct.status, 200);
    t.equal(plain(direct.text), plain(relayed.text), 'byte by byte');
    t.equal(direct.headers['content-type'], relayed.headers['content-type']);
    t.equal(direct.headers['x-request-id'], ticket.requestId);
  }
  await nothingHeld();
  t.match(await metricsOf(), /chat_requests_total\{model="sim\/model-a",outcome="ok",code="ok",door="direct"\} 10/);
});

await t.test(
  'the tenant, the model and the tokens are accounted by the scheduler, and the decision is explained',
  async (t) => {
    const body = { model: MODEL, messages: PROMPTS[0], max_tokens: 7, ignore_eos: true, stream: true };
    const ticket = await route(fleet, { envelope: { model: MODEL, id: 'req-direct-1' } });
    t.equal(ticket.requestId, 'req-direct-1');
    await callDirect({ ...ticket, body });
    await nothingHeld();
    const explained = await fleet.admin<{ outcome: string; outputTokens: number; candidates: { picked: boolean }[] }>(
      'ExplainRequest',
      { requestId: 'req-direct-1' },
    );
    t.match(explained, { outcome: 'finished', outputTokens: 7, tenant: 'local' });
    t.ok(explained.candidates.some((each) => each.picked));
  },
);

await t.test('an OpenAI client needs the address and the ticket in place of the key', async (t) => {
  const { url, ticket } = await route(fleet, { envelope: { model: MODEL } });
  const client = new OpenAI({ baseURL: new URL('/v1', url).href, apiKey: ticket, maxRetries: 0 });
  const messages = [{ role: 'user', content: 'Hello' }] as const;
  const stream = await client.chat.completions.create({ model: MODEL, messages: [...messages], stream: true });
  let text = '';
  for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? '';
  t.ok(text.length > 0);
  const again = client.chat.completions.create({ model: MODEL, messages: [...messages] });
  await t.rejects(again, { status: 401, code: 'ticket_used' });
});

await t.test('what has no good ticket is refused with a code', async (t) => {
  const body = { model: MODEL, messages: PROMPTS[0], max_tokens: 4 };
  const good = await route(fleet, { envelope: { model: MODEL } });
  const { url, ticket } = good;
  const [head, payload, signature] = ticket.split('.') as [string, string, string];
  const claims = JSON.parse(Buffer.from(payload, 'base64url').toString()) as Record<string, unknown>;
  const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const unsigned = `${encode({ alg: 'none', typ: 'sophia-ticket+jwt' })}.${payload}.`;
  const forged: Record<string, string> = {
    'another payload': `${head}.${encode({ ...claims, mdl: SLOW })}.${signature}`,
    'a cut signature': `${head}.${payload}.${signature.slice(0, -4)}`,
    'no algorithm': unsigned,
    'an unknown key': `${encode({ alg: 'EdDSA', kid: 'x', typ: 'sophia-ticket+jwt' })}.${payload}.${signature}`,
    'a symmetric algorithm': `${encode({ alg: 'HS256', kid: 'x' })}.${payload}.${signature}`,
    'an API key': key,
    'a long one': 'a'.repeat(5000),
  };
  for (const [name, other] of Object.entries(forged)) {
    const answer = await callDirect({ url, ticket: other, body });
    t.match(answer, { status: 401, code: 'ticket_invalid' }, name);
    t.equal(answer.headers['x-should-retry'], 'false');
  }
  t.match(await callDirect({ url, body }), { status: 401, code: 'ticket_missing' });
  t.match(await callDirect({ url: url.replace('/chat', ''), ticket, body }), {
    status: 403,
    code: 'ticket_wrong_request',
  });
  t.match(await callDirect({ url, ticket, body: { ...body, model: SLOW } }), {
    status: 403,
    code: 'ticket_wrong_request',
  });
  t.match(await callDirect({ url, ticket, body: '{"model":' }), { status: 400, code: 'malformed_json' });
  t.match(await callDirect({ url, ticket, body: { ...body, kv_transfer_params: {} } }), {
    status: 400,
    code: 'unknown_field',
  });
  const media = [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'http://169.254.169.254/' } }] }];
  t.match(await callDirect({ url, ticket, body: { ...body, messages: media } }), {
    status: 400,
    code: 'invalid_value',
  });
  t.match(await callDirect({ url, ticket, body: 'x'.repeat(9 << 20) }), { status: 413, code: 'body_too_large' });
  const text = { 'content-type': 'text/plain' };
  t.match(await callDirect({ url, ticket, body, headers: text }), { status: 415, code: 'unsupported_media_type' });
  const { origin } = new URL(url);
  for (const other of ['/', '/metrics', '/health', '/v1/models', '/v1/embeddings', '/v1/chat/completions/..'])
    t.match(
      await callDirect({ url: `${origin}${other}`, ticket, body }),
      { status: 404, code: 'route_not_found' },
      other,
    );
  t.match(await callDirect({ url, ticket, body: '', method: 'GET' }), { status: 405, code: 'method_not_allowed' });
  t.match(await callDirect({ url, ticket, body }), { status: 200 }, 'and after all that the ticket opens');
  t.match(await callDirect({ url, ticket, body }), { status: 401, code: 'ticket_used' }, 'once');
  await nothingHeld();
});

await t.test('of many calls with one ticket at a time one is let in', async (t) => {
  const body = { model: MODEL, messages: PROMPTS[0], max_tokens: 4 };
  const ticket = await route(fleet, { envelope: { model: MODEL } });
  const answers = await Promise.all(Array.from({ length: 20 }, () => callDirect({ ...ticket, body })));
  t.equal(answers.filter(({ status }) => status === 200).length, 1);
  t.equal(answers.filter(({ code }) => code === 'ticket_used').length, 19);
});

await t.test('a ticket that is bound to a body is for its bytes only', async (t) => {
  const body = JSON.stringify({ model: MODEL, messages: PROMPTS[0], max_tokens: 4 });
  const bodySha256 = createHash('sha256').update(body).digest();
  for (const bound of [{ body: Buffer.from(body) }, { bodySha256 }, { body: Buffer.from(body), bodySha256 }]) {
    const ticket = await route(fleet, { envelope: { model: MODEL }, ...bound });
    t.match(await callDirect({ ...ticket, body: `${body} ` }), { status: 403, code: 'ticket_wrong_request' });
    t.match(await callDirect({ ...ticket, body }), { status: 200 });
  }
});

await t.test('Route lets in and refuses as Generate does', async (t) => {
  const refusals: readonly (readonly [object, string])[] = [
    [{}, 'missing_field'],
    [{ envelope: { model: 'no-such' } }, 'model_not_found'],
    [{ envelope: { model: MODEL, endpoint: 'ENDPOINT_EMBEDDINGS' } }, 'not_supported'],
    [{ envelope: { model: MODEL }, body: Buffer.from('{"model":"x","messages":[]}') }, 'invalid_value'],
    [{ envelope: { model: MODEL, id: 'a b' } }, 'invalid_value'],
    [{ envelope: { model: MODEL }, bodySha256: Buffer.alloc(31) }, 'invalid_value'],
    [{ envelope: { model: MODEL, deadlineMs: 0 } }, 'deadline_exceeded'],
  ];
  for (const [request, code] of refusals) await t.rejects(route(fleet, request), { code }, code);
  await t.rejects(route({ ...fleet, key: 'sk-not-a-key' }, { envelope: { model: MODEL } }), {
    code: 'unauthenticated',
  });
});

await t.test(
  'a client that goes away or does not read ends or holds back its engine, and the place is given back',
  async (t) => {
    const body = { model: SLOW, messages: PROMPTS[0], max_tokens: 2000, ignore_eos: true, stream: true };
    const call = openDirect({ ...(await route(fleet, { envelope: { model: SLOW } })), body });
    await call.begun;
    t.equal(await running(), 1, 'it is counted while it runs');
    // Longer than a lease lasts without a word: the agent says again that it runs.
    await new Promise((resolve) => setTimeout(resolve, 2500));
    t.equal(await running(), 1, 'and stays counted');
    call.leave();
    await nothingHeld();
    const slow = fleet.engines.find(({ model }) => model === SLOW);
    await eventually('the engine is idle', async () => {
      const { running: now } = await engineLoad((slow as NonNullable<typeof slow>).address);
      return now === 0;
    });
    t.match(
      await metricsOf(),
      /chat_requests_total\{model="sim\/slow",outcome="cancelled",code="cancelled",door="direct"\} 1/,
    );
  },
);

await t.test('an engine that dies ends the stream with a coded error, and its tickets are stale', async (t) => {
  const slow = fleet.engines.find(({ model }) => model === SLOW);
  const body = { model: SLOW, messages: PROMPTS[0], max_tokens: 2000, ignore_eos: true, stream: true };
  const call = openDirect({ ...(await route(fleet, { envelope: { model: SLOW } })), body });
  const waiting = await route(fleet, { envelope: { model: SLOW } });
  await call.begun;
  process.kill((slow as NonNullable<typeof slow>).pid, 'SIGKILL');
  const { text, code } = await call.answer;
  t.equal(code, 'engine_died', text.slice(-200));
  t.notMatch(text, /\[DONE\]/);
  await nothingHeld();
  await eventually('a ready engine again', () =>
    route(fleet, { envelope: { model: SLOW } }).then(
      () => true,
      () => false,
    ),
  );
  t.match(await callDirect({ ...waiting, body }), { status: 410, code: 'ticket_stale' });
});

await t.test('neither ticket nor key is in a log', async (t) => {
  const { ticket } = await route(fleet, { envelope: { model: MODEL } });
  const [, payload, signature] = ticket.split('.') as [string, string, string];
  for (const name of ['scheduler', 'agent']) {
    const log = await readFile(path.join(fleet.root, 'logs', `${name}.log`), 'utf8');
    t.notMatch(log, payload);
    t.notMatch(log, signature);
    t.notMatch(log, 'PRIVATE KEY');
  }
});

await t.test('the fleet stops and leaves no process behind', async (t) => {
  await fleet.stop();
  t.pass('nothing is left');
});
