/**
 * Baseline: a plain Node reverse proxy, round robin over the engines' sockets, nothing else. What a relay costs when it
 * does no routing, no accounting and no lanes. Run as a process: plain_proxy.js SOCKET [SOCKET ...]
 */
import { Agent, createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';

const sockets = process.argv.slice(2);
const agents = sockets.map(() => new Agent({ keepAlive: true, timeout: 3000 }));
let turn = 0;

const server = createServer((incoming, outgoing) => {
  const index = turn++ % sockets.length;
  const upstream = request(
    {
      socketPath: sockets[index] as string,
      agent: agents[index] as Agent,
      method: incoming.method as string,
      path: incoming.url as string,
      headers: incoming.headers,
    },
    (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(outgoing);
    },
  );
  upstream.on('error', () => outgoing.destroy());
  outgoing.on('close', () => upstream.destroy());
  incoming.pipe(upstream);
});

server.listen(0, '127.0.0.1', () => {
  process.send?.({ type: 'ready', port: (server.address() as AddressInfo).port });
});
process.on('disconnect', () => process.exit(0));
process.on('SIGTERM', () => process.exit(0));
