/**
 * A streamed chat through a real socket, from the first byte to [DONE], and every way in which it can end otherwise.
 */
import t from 'tap';
import { CodedError } from '../../../lib/errors.ts';
import { chunkEvent, finishEvent } from '../../support/fake_generator.ts';
import { beginCall, call, eventsOf, pumpUntilBlocked, startDoor, STREAM_BODY, until } from '../../support/http_door.ts';

const CHAT = '/v1/chat/completions';

t.test('a streamed chat arrives as server-sent events and ends with [DONE]', async (t) => {
  const { port, generator, close } = await startDoor();
  t.teardown(close);
  generator.onStart = (run) => {
    run.sink.onHead();
    run.tokens('Hello');
    run.tokens(' wörld');
    run.sink.onTokens(Buffer.from(finishEvent()), Buffer.alloc(0), 2);
    run.sink.onDone({ promptTokens: 3, completionTokens: 2 });
  };
  const answer = await call(port, { path: CHAT, body: STREAM_BODY });
  t.equal(answer.status, 200);
  t.equal(answer.headers['content-type'], 'text/event-stream');
  t.match(answer.headers['x-request-id'], /^req_/);
  const events = eventsOf(answer.text);
  t.equal(events.at(-1), '[DONE]');
  t.equal(events.length, 4);
  t.equal(JSON.parse(events[0] as string).choices[0].delta.role, 'assistant');
  t.equal(JSON.parse(events[1] as string).choices[0].delta.content, ' wörld');
});

t.test('an engine error before the head is an HTTP error that SDKs understand', async (t) => {
  const { port, generator, close } = await startDoor();
  t.teardown(close);
  generator.onStart = (run) =>
    run.sink.onError(new CodedError('engine_overloaded', 'The engine is full.', { retryAfterMs: 1500 }));
  const answer = await call(port, { path: CHAT, body: STREAM_BODY, headers: { 'x-request-id': 'my-id.1' } });
  t.equal(answer.status, 503);
  t.equal(answer.headers['x-request-id'], 'my-id.1');
  t.equal(answer.headers['x-should-retry'], 'true');
  t.equal(answer.headers['retry-after-ms'], '1500');
  t.equal(answer.headers['retry-after'], '2');
  const { error } = JSON.parse(answer.text);
  t.match(error, { code: 'engine_overloaded', type: 'server_error', param: null });
});

t.test('an error right after the head, before anything left, still becomes an HTTP error', async (t) => {
  const { port, generator, close } = await startDoor();
  t.teardown(close);
  generator.onStart = (run) => {
    run.sink.onHead();
    run.sink.onError(new CodedError('engine_died', 'The engine went away.'));
  };
  const answer = await call(port, { path: CHAT, body: STREAM_BODY });
  t.equal(answer.status, 502);
});

t.test('an error after the first token is an event, and no [DONE] follows', async (t) => {
  const { port, generator, close } = await startDoor();
  t.teardown(close);
  generator.onStart = (run) => {
    run.sink.onHead();
    run.tokens('a');
    run.tokens('b');
    run.sink.onError(new CodedError('engine_died', 'The engine went away.'));
  };
  const answer = await call(port, { path: CHAT, body: STREAM_BODY });
  t.equal(answer.status, 200);
  const events = eventsOf(answer.text);
  t.equal(events.length, 3);
  t.match(JSON.parse(events[2] as string), { error: { code: 'engine_died', message: 'The engine went away.' } });
  t.notMatch(answer.text, /\[DONE\]/);
});

t.test('a refusal by the generator is told with its status, and nothing is cancelled', async (t) => {
  const { port, generator, close } = await startDoor();
  t.teardown(close);
  generator.refuseWith = new CodedError('model_not_found', 'No such model.', { param: 'model' });
  const answer = await call(port, { path: CHAT, body: STREAM_BODY });
  t.equal(answer.status, 404);
  t.equal(answer.headers['x-should-retry'], 'false');
  t.equal(JSON.parse(answer.text).error.param, 'model');
});

t.test('a sink that is called before start() returns is served all the same', async (t) => {
  const { port, generator, close } = await startDoor();
  t.teardown(close);
  generator.whenSync = true;
  generator.onStart = (run) => {
    run.sink.onHead();
    run.tokens('now');
    run.sink.onDone(undefined);
  };
  const answer = await call(port, { path: CHAT, body: STREAM_BODY });
  t.equal(eventsOf(answer.text).length, 2);
  t.same(generator.runs[0]?.cancels, []);
});

t.test('the head is flushed when the engine has answered, before any token', async (t) => {
  const { port, generator, close } = await startDoor();
  t.teardown(close);
  const { head, whole } = beginCall(port, { path: CHAT, body: STREAM_BODY });
  const run = await generator.run(0);
  run.sink.onHead();
  const response = await head;
  t.equal(response.statusCode, 200);
  run.tokens('x');
  run.sink.onDone(undefined);
  t.equal(eventsOf((await whole()).text).length, 2);
});

t.test('silence is bridged by comments between events, and only once the engine has answered', async (t) => {
  const { port, generator, close } = await startDoor({ pingIntervalMs: 40 });
  t.teardown(close);
  const { whole, head } = beginCall(port, { path: CHAT, body: STREAM_BODY });
  let hasHead = false;
  head.then(
    () => {
      hasHead = true;
    },
    () => {},
  );
  const run = await generator.run(0);
  await new Promise((resolve) => setTimeout(resolve, 120));
  t.notOk(hasHead, 'no ping commits a status before the engine has answered');
  run.sink.onHead();
  await new Promise((resolve) => setTimeout(resolve, 120));
  run.tokens('x');
  run.sink.onDone(undefined);
  const { text } = await whole();
  t.match(text, /^(: ping\n\n)+data: /);
  t.equal(eventsOf(text).length, 2);
});

for (const phase of ['before the head', 'after the head', 'between tokens'] as const) {
  t.test(`a client that goes away ${phase} cancels exactly once`, async (t) => {
    const { port, generator, metrics, close } = await startDoor();
    t.teardown(close);
    const { request, head, whole } = beginCall(port, { path: CHAT, body: STREAM_BODY });
    const run = await generator.run(0);
    if (phase !== 'before the head') run.sink.onHead();
    if (phase === 'between tokens') run.tokens('a');
    if (phase !== 'before the head') await head;
    request.destroy();
    await whole().catch(() => {});
    await until(() => run.cancels.length > 0, 'cancel');
    run.tokens('late');
    run.sink.onDone(undefined);
    await new Promise((resolve) => setTimeout(resolve, 20));
    t.same(run.cancels, ['client_gone']);
    t.match(
      await metrics.render(),
      /chat_requests_total\{model="org\/model",outcome="cancelled",code="cancelled",door="http"\} 1/,
    );
    t.match(await metrics.render(), /chat_requests_active\{door="http"\} 0/);
  });
}

t.test('a client that goes away while its body is being sent starts nothing', async (t) => {
  const { port, generator, close } = await startDoor();
  t.teardown(close);
  const { request, whole } = beginCall(port, {
    path: CHAT,
    method: 'POST',
    headers: { 'content-type': 'application/json', 'content-length': '1000' },
  });
  request.on('error', () => {});
  await new Promise((resolve) => setTimeout(resolve, 30));
  request.destroy();
  await whole().catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, 30));
  t.equal(generator.runs.length, 0);
});

t.test('two streams on one keep-alive connection do not mix, and a plain answer may follow', async (t) => {
  const { port, generator, close } = await startDoor();
  t.teardown(close);
  generator.onStart = (run) => {
    run.sink.onHead();
    for (let i = 0; i < 50; i++) run.tokens(`t${i}`);
    run.sink.onDone(undefined);
  };
  const { Agent, request } = await import('node:http');
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  t.teardown(() => agent.destroy());
  const ask = (): Promise<string> =>
    new Promise((resolve, reject) => {
      const headers = { authorization: 'Bearer sk-user', 'content-type': 'application/json' };
      const sent = request({ port, path: CHAT, method: 'POST', headers, agent }, (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (part: string) => {
          text += part;
        });
        response.on('end', () => resolve(text));
      });
      sent.on('error', reject);
      sent.end(STREAM_BODY);
    });
  for (let i = 0; i < 3; i++) t.equal(eventsOf(await ask()).length, 51);
});

t.test('pipelined requests are answered one after the other', async (t) => {
  const { port, generator, close } = await startDoor();
  t.teardown(close);
  generator.onStart = (run) => {
    run.sink.onHead();
    const text = `run${generator.runs.indexOf(run)}`;
    run.tokens(text);
    run.tokens(`${text}-more`);
    // The first ends last, so that the second has to wait with its bytes.
    setTimeout(() => run.sink.onDone(undefined), generator.runs.indexOf(run) === 0 ? 60 : 0);
  };
  const { sendRaw } = await import('../../support/http_door.ts');
  const one = (more: string): string =>
    `POST ${CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-user\r\ncontent-type: application/json\r\n${more}content-length: ${STREAM_BODY.length}\r\n\r\n${STREAM_BODY}`;
  const text = await sendRaw(port, [one('') + one('connection: close\r\n')]);
  t.equal(text.split('HTTP/1.1 200').length, 3);
  t.ok(text.indexOf('run0-more') < text.indexOf('run1'), 'the second answer comes after the first');
  t.ok(text.indexOf('[DONE]') < text.indexOf('run1'));
  t.match(text, /run1-more/);
});

t.test('an HTTP/1.0 client gets the stream without chunk framing', async (t) => {
  const { port, generator, close } = await startDoor();
  t.teardown(close);
  generator.onStart = (run) => {
    run.sink.onHead();
    run.tokens('a');
    run.tokens('b');
    run.sink.onDone(undefined);
  };
  const { sendRaw } = await import('../../support/http_door.ts');
  const text = await sendRaw(port, [
    `POST ${CHAT} HTTP/1.0\r\nauthorization: Bearer sk-user\r\ncontent-type: application/json\r\ncontent-length: ${STREAM_BODY.length}\r\n\r\n${STREAM_BODY}`,
  ]);
  const [, body = ''] = text.split('\r\n\r\n');
  t.equal(eventsOf(body).length, 3);
  t.notMatch(text, /transfer-encoding/i);
  t.ok(body.startsWith('data: '));
});

t.test('coalescing holds later tokens into fewer writes, never the first', async (t) => {
  const { port, generator, close } = await startDoor({ coalesceMs: 60 });
  t.teardown(close);
  const { head } = beginCall(port, { path: CHAT, body: STREAM_BODY });
  const run = await generator.run(0);
  run.sink.onHead();
  run.tokens('first');
  const response = await head;
  const parts: string[] = [];
  response.setEncoding('utf8');
  response.on('data', (part: string) => parts.push(part));
  await until(() => parts.length === 1, 'first token');
  t.match(parts[0], /first/);
  for (let i = 0; i < 5; i++) {
    run.tokens(`later${i}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
  t.equal(parts.length, 1, 'later tokens wait');
  await until(() => parts.length > 1, 'the flush');
  t.equal(eventsOf(parts.slice(1).join('')).length, 5);
  t.equal(parts.length, 2, 'and leave in one write');
  run.sink.onDone(undefined);
});

t.test('a slow reader gets no credit, holds bounded memory, and gets every byte in the end', async (t) => {
  const windowBytes = 64 * 1024;
  const { port, generator, close } = await startDoor({ clientWindowBytes: windowBytes });
  t.teardown(close);
  const { head } = beginCall(port, { path: CHAT, body: STREAM_BODY });
  const run = await generator.run(0);
  run.sink.onHead();
  const response = await head;
  response.pause();
  // The agent's part: sends while it has credit.
  const filler = 'x'.repeat(4000);
  /** 80 MB: more than the kernel holds for one connection. */
  const MOST = 20_000;
  let sent = 0;
  let count = 0;
  const pump = (most: number): void => {
    while (sent < run.creditBytes + run.granted && count < most) {
      run.tokens(filler + count, count);
      count += 1;
      sent += Buffer.byteLength(chunkEvent(filler + (count - 1), count - 1));
    }
  };
  await pumpUntilBlocked(
    () => pump(MOST),
    () => sent,
  );
  t.ok(count < MOST, 'credit ran out while the client did not read');
  // What the kernel took is granted again; what waits in this process is one window and one frame at most.
  t.ok(sent - run.granted <= run.creditBytes + 4200, 'no more is on its way than one window');
  let text = '';
  response.setEncoding('utf8');
  response.on('data', (part: string) => {
    text += part;
  });
  response.resume();
  const total = count + 100;
  for (let i = 0; i < 400 && count < total; i++) {
    pump(total);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  run.sink.onDone(undefined);
  await new Promise((resolve) => response.on('end', resolve));
  t.equal(eventsOf(text).length, total + 1);
});

t.test('a client that never reads is given up, and the engine is told', async (t) => {
  const { port, generator, close } = await startDoor({
    pingIntervalMs: 40,
    stallTimeoutMs: 100,
    clientWindowBytes: 1024 * 1024 * 64,
  });
  t.teardown(close);
  const { head, whole } = beginCall(port, { path: CHAT, body: STREAM_BODY });
  const run = await generator.run(0);
  run.sink.onHead();
  const response = await head;
  response.pause();
  const big = 'y'.repeat(1024 * 1024);
  for (let i = 0; i < 16; i++) run.tokens(big, i);
  await until(() => run.cancels.length > 0, 'cancel');
  t.same(run.cancels, ['client_stalled']);
  response.resume();
  await whole().catch(() => {});
});

t.test('a drained door finishes its streams, refuses new ones and says so', async (t) => {
  const { port, generator, door, close } = await startDoor();
  t.teardown(close);
  const { head, whole } = beginCall(port, { path: CHAT, body: STREAM_BODY });
  const run = await generator.run(0);
  run.sink.onHead();
  run.tokens('a');
  await head;
  door.drain();
  const refused = await call(port, { path: CHAT, body: STREAM_BODY });
  t.equal(refused.status, 503);
  t.equal(JSON.parse(refused.text).error.code, 'draining');
  t.equal(refused.headers['x-should-retry'], 'true');
  t.equal((await call(port, { path: '/health/ready', key: null })).status, 503);
  t.equal((await call(port, { path: '/health/live', key: null })).status, 200);
  let isIdle = false;
  const idle = door.idle().then(() => {
    isIdle = true;
  });
  await new Promise((resolve) => setImmediate(resolve));
  t.notOk(isIdle);
  run.tokens('b');
  run.sink.onDone(undefined);
  t.equal(eventsOf((await whole()).text).at(-1), '[DONE]');
  await idle;
});

t.test('names of models that clients made up never become labels', async (t) => {
  const { port, generator, metrics, close } = await startDoor();
  t.teardown(close);
  for (let i = 0; i < 30; i++) {
    const body = STREAM_BODY.replace(/"model":"[^"]*"/, `"model":"made-up-${i}"`);
    const { whole } = beginCall(port, { path: CHAT, body });
    const run = await generator.run(i);
    run.sink.onError(new CodedError('model_not_found', 'There is no such model.'));
    await whole();
  }
  const text = await metrics.render();
  t.notMatch(text, /made-up/);
  t.match(text, /chat_requests_total\{model="unknown",outcome="client_error",code="model_not_found",door="http"\} 30/);
});
