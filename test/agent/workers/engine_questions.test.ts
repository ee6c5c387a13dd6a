/** Questions on a kept connection: used again while it is fresh, replaced when the engine closed it, closed when idle. */
import net from 'node:net';
import type { AddressInfo } from 'node:net';
import t from 'tap';
import { createQuestions } from '../../../agent/workers/engine_questions.ts';
import type { EngineAddress } from '../../../agent/ports.ts';
import { until } from '../../support/waits.ts';

const OK = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok';

interface Played {
  readonly address: EngineAddress;
  readonly sockets: net.Socket[];
  readonly asked: string[];
  /** What the engine does with the next questions; undefined: it answers. */
  answer: ((socket: net.Socket, text: string) => void) | undefined;
  /** Takes no connection any more; those that are open stay. */
  close(): void;
}

/** An engine of raw bytes. */
async function play(t: { teardown: (work: () => void) => unknown }): Promise<Played> {
  const sockets: net.Socket[] = [];
  const asked: string[] = [];
  const server = net.createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => undefined);
    socket.on('data', (bytes) => {
      const text = bytes.toString('latin1');
      asked.push(text.slice(0, text.indexOf(' HTTP')));
      if (played.answer === undefined) socket.write(OK);
      else played.answer(socket, text);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const played: Played = {
    address: { kind: 'tcp', host: '127.0.0.1', port },
    sockets,
    asked,
    answer: undefined,
    close: () => server.close(),
  };
  return played;
}

t.test('questions that follow each other share a connection, which is closed when nobody asks any more', async (t) => {
  const engine = await play(t);
  const ask = createQuestions();
  t.same(await ask(engine.address, '/health', 5000), { status: 200, text: 'ok' });
  t.same(await ask(engine.address, '/metrics', 5000), { status: 200, text: 'ok' });
  t.same([engine.sockets.length, engine.asked], [1, ['GET /health', 'GET /metrics']]);
  const both = await Promise.all([ask(engine.address, '/a', 5000), ask(engine.address, '/b', 5000)]);
  t.same(both, [
    { status: 200, text: 'ok' },
    { status: 200, text: 'ok' },
  ]);
  t.equal(engine.sockets.length, 2, 'one question at a time on each');
  await until(() => engine.sockets.every((socket) => socket.destroyed), 'the agent to close them');
  t.same(await ask(engine.address, '/health', 5000), { status: 200, text: 'ok' });
  t.equal(engine.sockets.length, 3);
});

t.test('a question asked anew proves that the engine still takes connections', async (t) => {
  const engine = await play(t);
  const ask = createQuestions();
  t.same(await ask(engine.address, '/metrics', 5000), { status: 200, text: 'ok' });
  t.same(await ask(engine.address, '/health', 5000, 'anew'), { status: 200, text: 'ok' });
  t.equal(engine.sockets.length, 2);
  engine.close();
  t.same(await ask(engine.address, '/metrics', 5000), { status: 200, text: 'ok' }, 'the kept one still answers');
  t.equal(await ask(engine.address, '/health', 5000, 'anew'), 'refused');
});

t.test('a connection that the engine closes as it is used is no sign of a bad engine', async (t) => {
  const engine = await play(t);
  const ask = createQuestions();
  await ask(engine.address, '/health', 5000);
  engine.answer = (socket) => {
    engine.answer = undefined;
    // Later than what the relay would call a close that crossed its request.
    setTimeout(() => socket.end(), 300);
  };
  t.same(await ask(engine.address, '/health', 5000), { status: 200, text: 'ok' });
  t.same([engine.asked.length, engine.sockets.length], [3, 2]);
  engine.answer = (socket) => socket.destroy();
  t.equal(await ask(engine.address, '/health', 5000), 'refused', 'but one that closes each is');
});

t.test(
  'an engine that stops answering is late, also on a kept connection, and that one is not used again',
  async (t) => {
    const engine = await play(t);
    const ask = createQuestions();
    await ask(engine.address, '/health', 5000);
    engine.answer = () => undefined;
    t.equal(await ask(engine.address, '/health', 50), 'timeout');
    t.equal(await ask(engine.address, '/health', 50), 'timeout');
    engine.answer = undefined;
    t.same(await ask(engine.address, '/health', 5000), { status: 200, text: 'ok' });
    t.equal(engine.sockets.length, 3);
  },
);

t.test('what is no whole answer, or too long a one, is none', async (t) => {
  const engine = await play(t);
  const ask = createQuestions();
  const answers = [
    'HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok',
    'SSH-2.0-x\r\n',
    `HTTP/1.1 200 OK\r\n\r\n${' '.repeat(5_000_000)}`,
  ];
  for (const text of answers) {
    engine.answer = (socket) => socket.end(text);
    t.equal(await ask(engine.address, '/metrics', 5000), 'refused', text.slice(0, 40));
  }
});
