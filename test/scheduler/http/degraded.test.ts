/** The name of a degraded mode at the doors for HTTP and WebSocket, through real sockets. */
import t from 'tap';
import { WebSocket } from 'ws';
import { finishEvent } from '../../support/fake_generator.ts';
import { CHAT_BODY, call, KEYS, PLAIN_BODY, startDoor, STREAM_BODY } from '../../support/http_door.ts';

const CHAT = '/v1/chat/completions';
const NO_IDS = Buffer.alloc(0);

t.test('the head of a stream names the mode, and a head that left without it is followed by a comment', async (t) => {
  const { port, generator, close } = await startDoor();
  t.teardown(close);
  generator.onStart = (run) => {
    run.sink.onDegraded?.('panic');
    run.sink.onHead();
    run.tokens('a');
    run.sink.onDone(undefined);
    run.sink.onDegraded?.('too late');
  };
  const named = await call(port, { path: CHAT, body: STREAM_BODY });
  t.equal(named.headers['x-sophia-degraded'], 'panic');
  t.notMatch(named.text, /degraded|late/);
  generator.onStart = (run) => {
    run.sink.onQueued?.({ position: 1 });
    run.sink.onDegraded?.('provider:far');
    run.sink.onHead();
    run.sink.onTokens(Buffer.from(finishEvent()), NO_IDS, 0);
    run.sink.onDone(undefined);
  };
  const told = await call(port, { path: CHAT, body: STREAM_BODY });
  t.equal(told.headers['x-sophia-degraded'], undefined);
  t.match(told.text, /^: queued position=1 eta=unknown\n\n: degraded mode=provider:far\n\ndata: /);
});

t.test('a plain answer names the mode', async (t) => {
  const { port, generator, close } = await startDoor();
  t.teardown(close);
  generator.onStart = (run) => {
    run.sink.onDegraded?.('secondary_pool');
    run.sink.onHead();
    run.sink.onBody(Buffer.from('{}'), true);
    run.sink.onDone(undefined);
  };
  const answer = await call(port, { path: CHAT, body: PLAIN_BODY });
  t.equal(answer.headers['x-sophia-degraded'], 'secondary_pool');
  t.equal(answer.text, '{}');
});

t.test('the start of a chat on a WebSocket names the mode', async (t) => {
  const { port, generator, close } = await startDoor();
  t.teardown(close);
  generator.onStart = (run) => {
    run.sink.onDegraded?.('stale');
    run.sink.onHead();
    run.sink.onDone(undefined);
  };
  const socket = new WebSocket(`ws://127.0.0.1:${port}/ws/chat`, ['sophia.v1', `sophia.key.${KEYS.user}`]);
  t.teardown(() => socket.terminate());
  const start = await new Promise((resolve) => {
    socket.on('open', () =>
      socket.send(JSON.stringify({ type: 'chat', id: 'c1', body: { ...CHAT_BODY, stream: true } })),
    );
    socket.on('message', (data: Buffer) => {
      const message = JSON.parse(data.toString('utf8')) as { type: string };
      if (message.type === 'start' || message.type === 'error') resolve(message);
    });
  });
  t.match(start, { type: 'start', id: 'c1', degraded: 'stale' });
});
