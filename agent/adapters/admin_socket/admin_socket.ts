/**
 * The local admin socket: an operator's orders on the host itself, for when no scheduler can be reached. It is a Unix
 * socket that only the agent's own user (and root) may open. A socket that a dead agent left is replaced; that of a
 * living one means a second agent on the same data folder, which is refused.
 */
import { chmod, lstat, rm } from 'node:fs/promises';
import { createConnection, createServer, type Server } from 'node:net';
import { CodedError } from '../../../lib/errors.ts';
import { AdminConnection, type AdminConnectionDeps } from './connection.ts';

export interface AdminSocketOptions extends AdminConnectionDeps {
  readonly path: string;
}

export interface AdminSocket {
  /** @throws CodedError address_in_use, invalid_config */
  start(): Promise<void>;
  /** Ends every connection and takes the socket away. */
  stop(): Promise<void>;
}

const MAX_CONNECTIONS = 16;
/** sun_path of unix(7) holds 108 bytes with its end. */
export const MAX_PATH_BYTES = 107;
const PRIVATE_MASK = 0o177;

/** Whether something answers behind a socket file. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createConnection(path);
    const end = (alive: boolean): void => {
      probe.destroy();
      resolve(alive);
    };
    probe.once('connect', () => end(true));
    // A full backlog is the sign of a living listener; a refusal or an absent file that of a dead one.
    probe.once('error', (error: NodeJS.ErrnoException) => end(error.code === 'EAGAIN'));
  });
}

function listenOnce(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    // The file is made within this call: nobody gets in between it and chmod.
    const before = process.umask(PRIVATE_MASK);
    try {
      server.listen(path, () => {
        server.off('error', reject);
        resolve();
      });
    } finally {
      process.umask(before);
    }
  });
}

/** @throws CodedError address_in_use, invalid_config */
async function bind(server: Server, path: string): Promise<void> {
  if (Buffer.byteLength(path) > MAX_PATH_BYTES) {
    const text = `Setting adminSocket: ${path} is longer than the ${MAX_PATH_BYTES} bytes of a socket's path.`;
    throw new CodedError('invalid_config', text, { param: 'adminSocket' });
  }
  try {
    await listenOnce(server, path);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code !== 'EADDRINUSE') {
      const text = `Setting adminSocket: ${path} cannot be opened (${code ?? 'unknown reason'}).`;
      throw new CodedError('invalid_config', text, { param: 'adminSocket', cause });
    }
    if (await answers(path)) {
      const text = `Another agent listens on ${path}; it has this data folder.`;
      throw new CodedError('address_in_use', text, { param: 'adminSocket', cause });
    }
    if (!(await lstat(path)).isSocket()) {
      const text = `Setting adminSocket: ${path} is no socket and is left as it is.`;
      throw new CodedError('invalid_config', text, { param: 'adminSocket', cause });
    }
    await rm(path, { force: true });
    await listenOnce(server, path);
  }
  await chmod(path, 0o600);
}

export function createAdminSocket(options: AdminSocketOptions): AdminSocket {
  const open = new Set<AdminConnection>();
  const server = createServer((socket) => {
    const connection = new AdminConnection(socket, options);
    open.add(connection);
    socket.once('close', () => open.delete(connection));
  });
  server.maxConnections = MAX_CONNECTIONS;
  return {
    start: () => bind(server, options.path),
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const connection of open) connection.destroy();
      }),
  };
}
