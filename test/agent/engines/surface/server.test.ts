/**
 * The HTTP surface over a backend whose every token the test decides: framing, limits, bad input, slow readers.
 */
import t, { type Test } from 'tap';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { request, Agent } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startSurface, type Surface, type SurfaceOptions } from '../../../../agent/engines/surface/server.ts';
import { choices, get, idsOf, post, raw, stream, textOf } from './client.ts';
import { fakeBackend, type FakeBackend, type FakeSequence } from './fake_backend.ts';

const CHAT = '/v1/chat/completions';
const ASK = { messages: [{ role: 'user', content: 'hi' }], max_tokens: 1_000 };

interface Bench {
  readonly uds: string;
  readonly backend: FakeBackend;
  readonly surface: Surface;
  sequence(index: number): Promise<FakeSequence>;
}

async function bench(
  t: Test,
  options: Partial<SurfaceOptions> = {},
  backend: FakeBackend = fakeBackend(),
): Promise<Bench> {
  const folder = mkdtempSync(join(tmpdir(), 'surface-'));
  const uds = join(folder, 's');
  const surface = await startSurface({ backend, servedModelName: 'm', listen: { uds }, ...options });
  t.teardown(async () => {
    await surface.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const sequence = async (index: number): Promise<FakeSequence> => {
    for (let wait = 0; wait < 300; wait += 1) {
      const found = backend.sequences[index];
      if (found !== undefined) return found;
      await sleep(10);
    }
    throw new Error('no such sequence');
  };
  return { uds, backend, surface, sequence };
}

t.test("bad requests are refused in vLLM's shapes and reach no backend", async (t) => {
  const { uds, backend } = await bench(t, { maxBodyBytes: 4_096, maxChoices: 1 }, fakeBackend({ contextTokens: 64 }));
  t.equal(statSync(uds).mode & 0o777, 0o600);
  const cases: readonly (readonly [string, unknown, number, string | null])[] = [
    ['bad JSON', '{"messages": [', 400, null],
    ['not an object', '[1]', 400, null],
    ['no messages', {}, 400, 'messages'],
    ['empty messages', { messages: [] }, 400, 'messages'],
    ['a number as content', { messages: [{ role: 'user', content: 5 }] }, 400, 'messages'],
    [
      'an image part',
      { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: {} }] }] },
      400,
      'messages',
    ],
    ['a negative temperature', { ...ASK, temperature: -1 }, 400, 'temperature'],
    ['top_p 0', { ...ASK, top_p: 0 }, 400, 'top_p'],
    ['max_tokens 0', { ...ASK, max_tokens: 0 }, 400, 'max_tokens'],
    ['max_tokens beyond the context', { ...ASK, max_tokens: 64 }, 400, 'max_tokens'],
    ['a prompt beyond the context', { messages: [{ role: 'user', content: 'x'.repeat(80) }] }, 400, 'input_tokens'],
    [
      'a prompt beyond the context, streamed',
      { messages: [{ role: 'user', content: 'x'.repeat(80) }], stream: true },
      400,
      'input_tokens',
    ],
    ['an unknown model', { ...ASK, model: 'other' }, 404, 'model'],
    ['stream options without stream', { ...ASK, stream_options: { include_usage: true } }, 400, 'stream_options'],
    ['an empty stop string', { ...ASK, max_tokens: 2, stop: '' }, 400, 'stop'],
    ['more choices than allowed', { ...ASK, max_tokens: 2, n: 2 }, 400, 'n'],
    ['logprobs that the backend lacks', { ...ASK, max_tokens: 2, logprobs: true }, 400, 'logprobs'],
    [
      'a forced tool that the backend cannot call',
      { ...ASK, max_tokens: 2, tool_choice: 'required', tools: [{ type: 'function', function: { name: 'f' } }] },
      400,
      'tool_choice',
    ],
    ['a body over the limit', { ...ASK, filler: 'x'.repeat(5_000) }, 413, null],
  ];
  for (const [name, body, status, param] of cases) {
    const answer = await post(uds, CHAT, body);
    t.equal(answer.status, status, `${name}: ${answer.text}`);
    const { error } = JSON.parse(answer.text);
    t.type(error.message, 'string');
    t.equal(error.code, status);
    t.equal(error.param, param, name);
  }
  for (const prompt of ['', [], [[]], [999], [-1], [1.5], 'x'.repeat(70)]) {
    t.equal((await post(uds, '/v1/completions', { prompt, max_tokens: 1 })).status, 400, JSON.stringify(prompt));
  }
  t.equal((await post(uds, CHAT, ASK, { 'content-type': 'text/plain' })).status, 415);
  t.equal((await post(uds, '/v1/embeddings', { input: 'x' })).status, 400);
  t.equal((await post(uds, '/detokenize', { tokens: [300] })).status, 400);
  t.same(await get(uds, '/no/such').then(({ status, text }) => [status, JSON.parse(text)]), [
    404,
    { detail: 'Not Found' },
  ]);
  t.equal((await get(uds, CHAT)).status, 405);
  const badUtf8 = await raw(
    uds,
    `POST ${CHAT} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 13\r\n\r\n{"prompt":"\u00ff\u00fe`,
  );
  t.match(badUtf8, /^HTTP\/1\.1 400/);
  t.match(await raw(uds, 'nonsense\r\n\r\n'), /^HTTP\/1\.1 400/);
  t.equal(backend.sequences.length, 0);
});

t.test(
  'a character comes with its last byte, whatever the cut; the ids of its parts ride with empty text',
  async (t) => {
    const { uds, sequence } = await bench(t);
    const text = 'a€🎉é';
    const open = stream(uds, CHAT, { ...ASK, return_token_ids: true });
    const running = await sequence(0);
    for (const byte of Buffer.from(text)) {
      running.emit([byte]);
      await sleep(2);
    }
    running.emit([0xf0, 0x9f]);
    running.end('length');
    t.equal(await open.ended, 'clean');
    t.equal(textOf(open.frames), text, 'an incomplete tail is not sent');
    t.same(idsOf(open.frames), [...Buffer.from(text), 0xf0, 0x9f]);
    const euro = choices(open.frames).filter((choice) => [0xe2, 0x82, 0xac].includes(choice.token_ids?.[0]));
    t.same(
      euro.map((choice) => choice.delta.content),
      ['', '', '€'],
    );
    t.match(choices(open.frames).at(-1), { finish_reason: 'length' });
  },
);

t.test('bytes that are no character become one replacement mark and break nothing after them', async (t) => {
  const { uds, sequence } = await bench(t);
  const plain = post(uds, CHAT, ASK);
  const running = await sequence(0);
  running.emit([0xff, 0x61, 0xc3, 0x62, 0x80, 0x63], true);
  running.end('stop');
  t.equal(JSON.parse((await plain).text).choices[0].message.content, '\ufffda\ufffdb\ufffdc');
});

t.test('a stop string is found across tokens, held back while it may come, and let go when it does not', async (t) => {
  const { uds, sequence } = await bench(t);
  const open = stream(uds, '/v1/completions', { prompt: 'x', max_tokens: 100, stop: ['END', 'NDX'] });
  const running = await sequence(0);
  running.emit('one EN', true);
  await open.until(6);
  t.equal(textOf(open.frames), 'one ', 'EN may become END');
  running.emit('Other E', true);
  await open.until(13);
  t.equal(textOf(open.frames), 'one ENOther ');
  running.emit('ND and more', true);
  t.equal(await open.ended, 'clean');
  t.equal(textOf(open.frames), 'one ENOther ');
  t.match(choices(open.frames).at(-1), { finish_reason: 'stop', stop_reason: 'END' });
  t.equal(running.aborted, true);

  const kept = post(uds, '/v1/completions', {
    prompt: 'x',
    max_tokens: 100,
    stop: 'END',
    include_stop_str_in_output: true,
  });
  const second = await sequence(1);
  second.emit('the END.');
  t.equal(JSON.parse((await kept).text).choices[0].text, 'the END');

  const unfinished = post(uds, '/v1/completions', { prompt: 'x', max_tokens: 100, stop: 'END' });
  const third = await sequence(2);
  third.emit('the EN');
  third.end('length');
  t.equal(JSON.parse((await unfinished).text).choices[0].text, 'the EN', 'what was held back comes at the end');
});

t.test('a slow reader gets its tokens merged into fewer chunks, loses none, and delays nobody', async (t) => {
  const { uds, sequence } = await bench(t);
  const body = JSON.stringify({ ...ASK, max_tokens: 90_000, stream: true });
  const slow = connect(uds);
  slow.pause();
  slow.write(
    `POST ${CHAT} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
  );
  const running = await sequence(0);
  for (let turn = 0; turn < 60; turn += 1) {
    for (let token = 0; token < 1_000; token += 1) running.sink.onTokens([97 + (token % 26)]);
    await sleep(1);
  }
  const other = stream(uds, CHAT, ASK);
  const second = await sequence(1);
  second.emit('quick');
  second.end('stop');
  t.equal(await other.ended, 'clean');
  running.end('length');
  let text = '';
  slow.setEncoding('latin1');
  slow.on('data', (part) => {
    text += part;
  });
  slow.resume();
  for (let wait = 0; !text.includes('[DONE]') && wait < 300; wait += 1) await sleep(20);
  slow.destroy();
  const contents = [...text.matchAll(/"content":"([a-z]*)"/g)].map((match) => match[1] as string);
  t.equal(contents.join('').length, 60_000);
  t.ok(contents.length < 40_000, `merged into ${contents.length} chunks`);
});

t.test('leaving during the body, before the first token and mid-answer frees everything', async (t) => {
  const { uds, surface, sequence, backend } = await bench(t);
  const half = connect(uds);
  half.write(
    `POST ${CHAT} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{"mess`,
  );
  await sleep(30);
  half.destroy();
  const plain = request({
    socketPath: uds,
    path: CHAT,
    method: 'POST',
    headers: { 'content-type': 'application/json' },
  });
  plain.on('error', () => undefined);
  plain.end(JSON.stringify(ASK));
  await sequence(0);
  plain.destroy();
  const open = stream(uds, CHAT, ASK);
  const running = await sequence(1);
  running.emit('abc');
  await open.until(2);
  open.leave();
  for (let wait = 0; surface.inFlight() > 0 && wait < 100; wait += 1) await sleep(10);
  t.equal(surface.inFlight(), 0);
  t.same(
    backend.sequences.map((sequence) => sequence.aborted),
    [true, true],
  );
});

t.test(
  'a connection is kept for the next request, closed after its idle time, and HTTP/1.0 gets no chunk framing',
  async (t) => {
    const { uds, sequence } = await bench(t);
    const impatient = await bench(t, { keepAliveTimeoutMs: 150 });
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const ask = (): Promise<number> =>
      new Promise((resolve, reject) => {
        const req = request(
          { socketPath: uds, path: CHAT, method: 'POST', agent, headers: { 'content-type': 'application/json' } },
          (res) => {
            res.resume();
            res.on('end', () => resolve(req.reusedSocket ? 1 : 0));
          },
        );
        req.on('error', reject);
        req.end(JSON.stringify({ ...ASK, stream: true }));
      });
    for (const [at, reused] of [0, 1, 1].entries()) {
      const done = ask();
      const running = await sequence(at);
      running.emit('x');
      running.end('stop');
      t.equal(await done, reused);
    }
    agent.destroy();
    const started = performance.now();
    await raw(impatient.uds, 'GET /ping HTTP/1.1\r\nhost: x\r\n\r\n');
    t.ok(performance.now() - started < 1_900, 'closed by the server');
    const body = JSON.stringify({ ...ASK, stream: true });
    const old = raw(
      uds,
      `POST ${CHAT} HTTP/1.0\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    );
    const running = await sequence(3);
    running.emit('old');
    running.end('stop');
    const text = await old;
    t.match(text, /\r\n\r\ndata: \{/);
    t.match(text, /data: \[DONE\]\n\n$/);
  },
);

t.test('ids: X-Request-Id names the body; prompt ids are where vLLM puts them', async (t) => {
  const { uds, sequence, backend } = await bench(t);
  const finish = async (index: number): Promise<void> => {
    const running = await sequence(index);
    running.emit('ok');
    running.end('stop');
  };
  const chat = stream(uds, CHAT, { ...ASK, return_token_ids: true }, { 'x-request-id': 'R1' });
  await finish(0);
  await chat.ended;
  t.equal(chat.frames[0].id, 'chatcmpl-R1');
  t.same(chat.frames[0].prompt_token_ids, [...Buffer.from('user:hi')]);
  t.equal(backend.sequences[0]?.request.requestId, 'chatcmpl-R1');
  const completion = stream(
    uds,
    '/v1/completions',
    { prompt: [65, 66], max_tokens: 9, return_token_ids: true },
    { 'x-request-id': 'R2' },
  );
  await finish(1);
  await completion.ended;
  t.equal(completion.frames[0].id, 'cmpl-R2');
  t.same(completion.frames[0].choices[0].prompt_token_ids, [65, 66]);
  t.same(idsOf(completion.frames), [...Buffer.from('ok')]);
});

t.test('draining refuses new work and waits for the old; a dead backend answers 503 and 500', async (t) => {
  const { uds, surface, sequence, backend } = await bench(t);
  const open = stream(uds, CHAT, ASK);
  const running = await sequence(0);
  surface.beginDrain();
  t.equal((await post(uds, CHAT, ASK)).status, 500);
  t.equal((await get(uds, '/health')).status, 200);
  let drained = false;
  const waiting = surface.drained().then(() => {
    drained = true;
  });
  await sleep(20);
  t.equal(drained, false);
  running.emit('bye');
  running.end('stop');
  t.equal(await open.ended, 'clean');
  await waiting;
  backend.dead = true;
  t.equal((await get(uds, '/health')).status, 503);
  t.equal((await post(uds, CHAT, ASK)).status, 500);
});

t.test("metrics are Prometheus text under vLLM's names, and unknown figures are absent", async (t) => {
  const { uds, sequence } = await bench(t, { servedModelName: 'we"ird' });
  const plain = post(uds, CHAT, ASK);
  const running = await sequence(0);
  running.emit('abc');
  running.end('length');
  await plain;
  const { text } = await get(uds, '/metrics');
  for (const line of text.trim().split('\n'))
    t.match(line, /^(# (HELP|TYPE) \S+ .+|[a-z0-9_:]+\{([a-z_]+="(\\.|[^"\\])*",?)+\} [0-9.e+-]+)$/);
  t.match(text, /vllm:generation_tokens_total\{engine="0",model_name="we\\"ird"\} 3\n/);
  t.match(text, /finished_reason="length"} 1\n/);
  t.match(text, /vllm:time_to_first_token_seconds_count\{[^}]*\} 1\n/);
  t.notMatch(text, /kv_cache_usage_perc/);
});
