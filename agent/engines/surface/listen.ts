/**
 * Listening on a Unix socket or a TCP port, with the two cases that a restarted engine meets: a socket file left by a
 * killed one, which may be replaced, and a socket or port that another process still serves, which may not.
 */
import { chmodSync, existsSync, unlinkSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';

/** Where to listen: exactly one way. Port 0 picks a free one. */
export type Listen = { readonly uds: string } | { readonly host: string; readonly port: number };

const BACKLOG = 2_048;

/** Listens, or rejects with an Error whose message says why in one line ("Address already in use ..."). */
export async function listen(server: Server, where: Listen): Promise<void> {
  if ('uds' in where) await removeStaleSocket(where.uds);
  await new Promise<void>((resolve, reject) => {
    const fail = (error: NodeJS.ErrnoException): void => reject(explain(error, where));
    server.once('error', fail);
    const done = (): void => {
      server.off('error', fail);
      // The socket's folder is private already; this only keeps a mistake there from opening the engine to everyone.
      if ('uds' in where) chmodSync(where.uds, 0o600);
      resolve();
    };
    if ('uds' in where) server.listen({ path: where.uds, backlog: BACKLOG }, done);
    else server.listen({ host: where.host, port: where.port, backlog: BACKLOG }, done);
  });
}

/** Fails as `listen` would, and leaves nothing behind: asked before an engine spends its time on loading. */
export async function assertListenable(where: Listen): Promise<void> {
  if ('port' in where && where.port === 0) return;
  const probe = createServer();
  await listen(probe, where);
  await new Promise<void>((resolve) => {
    probe.close(() => resolve());
  });
}

function explain(error: NodeJS.ErrnoException, where: Listen): Error {
  const place = 'uds' in where ? where.uds : `${where.host}:${where.port}`;
  const reason = error.code === 'EADDRINUSE' ? 'Address already in use' : error.message;
  return new Error(`[Errno ${error.errno ?? ''}] ${reason}: ${place}`, { cause: error });
}

/** A socket file that nobody serves is removed; one that is served stays, and listening on it fails. */
async function removeStaleSocket(path: string): Promise<void> {
  if (!existsSync(path)) return;
  const served = await new Promise<boolean>((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code !== 'ECONNREFUSED'));
  });
  if (!served) unlinkSync(path);
}
