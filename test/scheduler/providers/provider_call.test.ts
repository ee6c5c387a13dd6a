/** The connection to a provider: what takes too long there is given up. */
import net, { type AddressInfo } from 'node:net';
import t from 'tap';
import { systemClock } from '../../../lib/io/system.ts';
import { callProvider, openAgent } from '../../../scheduler/adapters/providers/provider_call.ts';
import type { ProviderFailure } from '../../../scheduler/core/providers/dialect.ts';

const ORDER = {
  endpoint: 'chat' as const,
  model: 'm',
  stream: true,
  wantUsage: false,
  body: Buffer.from('{}'),
  creditBytes: 1,
};

function failureAt(url: URL, connectTimeoutMs: number): Promise<ProviderFailure> {
  const agent = openAgent(url, 1);
  const address = { url, apiKey: undefined, agent, connectTimeoutMs, idleTimeoutMs: 60_000 };
  return new Promise((resolve, reject) => {
    const unexpected = (): void => reject(new Error('an answer came'));
    const call = callProvider(systemClock, address, ORDER, {
      onEvents: unexpected,
      onBody: unexpected,
      onDone: unexpected,
      onFailed: (failure) => {
        call.grant(1);
        call.cancel();
        resolve(failure);
      },
    });
  });
}

t.test('a provider that takes the connection but does not shake hands is given up', async (t) => {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => void sockets.add(socket.on('error', () => {})));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const failure = await failureAt(new URL(`https://127.0.0.1:${port}/v1`), 100);
  t.match(failure, { verdict: 'fault', error: { code: 'provider_unreachable', message: /took too long/ } });
});

t.test('an address where nobody listens is told as such', async (t) => {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  const failure = await failureAt(new URL(`http://127.0.0.1:${port}/v1`), 5000);
  t.match(failure, { verdict: 'fault', error: { code: 'provider_unreachable', message: /lost/ } });
});
