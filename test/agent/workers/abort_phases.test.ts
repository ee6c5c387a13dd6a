/** A client that goes away is told to the engine in every phase of its request, and nothing is said after it. */
import net from 'node:net';
import t from 'tap';
import { EnginePool, type ExchangeSink } from '../../../agent/workers/engine_connection.ts';
import type { EngineAddress } from '../../../agent/ports.ts';
import { type Answer, type FakeLane, until } from '../../support/fake_scheduler.ts';
import { type RawExchange, startRawEngine } from '../support/raw_engine.ts';
import { type RelayStand, startStand } from '../support/relay_stand.ts';

/** Brings a request into a phase; the cancel follows. */
const PHASES: readonly (readonly [
  name: string,
  bring: (exchange: RawExchange, answer: Answer, lane: FakeLane) => Promise<void>,
  body?: object,
])[] = [
  ['in prefill, before the head', async () => undefined],
  [
    'after the head, before the first token',
    async (exchange, answer) => {
      exchange.begin();
      await until(() => answer.head, 'the head');
    },
  ],
  [
    'in the middle of the stream',
    async (exchange, answer) => {
      exchange.begin();
      exchange.token(1);
      await until(() => answer.ids.length === 1, 'a token');
    },
  ],
  [
    'in the middle of an event',
    async (exchange, answer) => {
      exchange.begin();
      exchange.token(1);
      exchange.socket.write('40\r\ndata: {"id":');
      await until(() => answer.ids.length === 1, 'a token');
    },
  ],
  [
    'after the last token, before the end of the answer',
    async (exchange, answer) => {
      exchange.begin();
      exchange.token(1);
      exchange.event('{"id":"a","choices":[{"index":0,"text":"end","finish_reason":"stop","token_ids":[2]}]}');
      await until(() => answer.text.includes('end'), 'the last token');
    },
  ],
  [
    'while a plain answer is being made',
    async (exchange) => void exchange.socket.write('HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n'),
    { model: 'raw' },
  ],
  [
    'while an error is being told',
    async (exchange) => void exchange.socket.write('HTTP/1.1 500 X\r\ncontent-length: 100\r\n\r\n{"error"'),
  ],
];

type Checks = Pick<typeof t, 'equal'>;

async function checkCancelled(t: Checks, stand: RelayStand, exchange: RawExchange, answer: Answer): Promise<void> {
  await until(() => exchange.gone(), 'the engine to see its client go');
  await until(() => stand.stats()?.openByEngine['raw'] === 0, 'nothing is open');
  t.equal(answer.late, 0, 'nothing comes after the cancel');
  t.equal(stand.stats()?.counters.detached, 0);
  t.equal(stand.stats()?.progress['raw']?.figures.waitingFirst, 0);
}

t.test('a cancel reaches the engine', async (t) => {
  const stand = await startStand(t);
  const lane = await stand.lane();
  for (const [name, bring, body] of PHASES) {
    const { answer, exchange } = await stand.begin(body === undefined ? {} : { body });
    await until(() => stand.stats()?.openByEngine['raw'] === 1, 'the request to be counted');
    await bring(exchange, answer, lane);
    lane.cancel(answer);
    await t.test(name, async (t) => checkCancelled(t, stand, exchange, answer));
  }
});

t.test('a cancel of a request that is held back by its client reaches the engine', async (t) => {
  const stand = await startStand(t);
  const lane = await stand.lane();
  const { answer, exchange } = await stand.begin({ credit: 10, autoCredit: false });
  exchange.begin();
  for (let id = 0; id < 50; id++) exchange.token(id, 'x'.repeat(100));
  await until(() => (stand.stats()?.progress['raw']?.figures.stalled ?? 0) === 1, 'the stall');
  lane.cancel(answer);
  await checkCancelled(t, stand, exchange, answer);
  t.equal(stand.stats()?.progress['raw']?.figures.stalled, 0);
});

t.test('a deadline reaches the engine too, and its client is told', async (t) => {
  const stand = await startStand(t);
  const { answer, exchange } = await stand.begin({ meta: { deadlineMs: 200 } });
  t.match((await answer.ended).failed, { code: 'deadline_exceeded' });
  await until(() => exchange.gone(), 'the engine to see its client go');
});

const silent = (failures: string[]): ExchangeSink => ({
  onHead: () => undefined,
  onBody: () => undefined,
  onReadEnd: () => undefined,
  onComplete: () => failures.push('complete'),
  onFailed: (error) => failures.push(error.code),
});

t.test('an abort while the connection is being made or the request written says nothing more', async (t) => {
  const failures: string[] = [];
  const sockets: net.Socket[] = [];
  let received = 0;
  const server = net.createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => socket.destroy());
    socket.on('data', (bytes) => {
      received += bytes.length;
      // It reads one piece, then no more: the rest of the request stays with its sender.
      socket.pause();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  const { port } = server.address() as net.AddressInfo;
  const address: EngineAddress = { kind: 'tcp', host: '127.0.0.1', port };
  const pool = new EnginePool(address, { connectTimeoutMs: 2000, idleSocketMs: 3000, maxIdle: 4 });
  t.teardown(() => pool.destroy());
  const request = { method: 'POST' as const, path: '/v1/completions', headers: [], body: Buffer.alloc(20 << 20, 'x') };
  pool.send(request, silent(failures)).abort();
  const writing = pool.send(request, silent(failures));
  await until(() => received > 0, 'the first piece');
  writing.abort();
  for (const socket of sockets) socket.on('data', () => socket.resume()).resume();
  await until(() => sockets.every((socket) => socket.destroyed), 'the connections to be closed');
  t.ok(received < request.body.length, 'the rest of the request was not sent');
  t.same(failures, []);
});

t.test('a reused connection: what may be sent again is, once, and what may have begun is not', async (t) => {
  let act: (exchange: RawExchange) => void = () => undefined;
  const engine = await startRawEngine((exchange) => act(exchange));
  t.teardown(() => engine.close());
  const address: EngineAddress = { kind: 'unix', path: engine.path };
  const pool = new EnginePool(address, { connectTimeoutMs: 2000, idleSocketMs: 60_000, maxIdle: 4 });
  t.teardown(() => pool.destroy());
  const request = { method: 'POST' as const, path: '/v1/completions', headers: [], body: Buffer.from('{}') };
  const ask = (): Promise<string> =>
    new Promise((resolve) => {
      pool.send(request, {
        onHead: () => undefined,
        onBody: () => undefined,
        onReadEnd: () => undefined,
        onComplete: () => resolve('complete'),
        onFailed: (error) => resolve(error.code),
      });
    });
  const good = (exchange: RawExchange): void => exchange.json(200, {});
  act = good;
  t.equal(await ask(), 'complete');
  const before = engine.exchanges.length;
  act = (exchange) => void setTimeout(() => exchange.socket.destroy(), 400);
  t.equal(await ask(), 'engine_died', 'a close that comes late is a death over the request');
  t.equal(engine.exchanges.length, before + 1, 'it was asked once');
  t.equal(pool.resentTotal, 0);
  act = good;
  t.equal(await ask(), 'complete');
  act = (exchange) => {
    exchange.socket.destroy();
    act = good;
  };
  t.equal(await ask(), 'complete', 'a close at once has crossed the request');
  t.equal(pool.resentTotal, 1);
  act = (exchange) => exchange.socket.destroy();
  t.equal(await ask(), 'engine_died', 'a second send is the last');
  t.equal(pool.resentTotal, 2);
});
