/**
 * The embedded database seen from its clients. Whoever needs it first starts its process; others on the same machine,
 * the command line among them, join. When the process dies, calls on their way fail with a coded error, and the next
 * one starts it again.
 */
import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { BackoffPolicy } from '../../../../lib/backoff.ts';
import type { Clock } from '../../../../lib/clock.ts';
import { CodedError, type ErrorCode } from '../../../../lib/errors.ts';
import type { RandomSource } from '../../../../lib/rng.ts';
import { createRepeat } from '../repeat.ts';
import type { SqlDriver, SqlRow } from '../sql_driver.ts';
import { newestSocket, shortSocketPath } from './folder_lock.ts';
import { createFrameReader, encodeFrame, type HostHello, type HostResponse, PROTOCOL } from './frames.ts';

export interface EmbeddedDriverOptions {
  /** Made when absent; private to the user. */
  readonly folder: string;
  readonly clock: Clock;
  readonly random: RandomSource;
  /** What the process inherits. */
  readonly environment: NodeJS.ProcessEnv;
  readonly statementTimeoutMs?: number;
  /** Longest time for the process to open the folder, which after a crash includes recovery. */
  readonly startTimeoutMs?: number;
}

const STATEMENT_TIMEOUT_MS = 30_000;
const START_TIMEOUT_MS = 120_000;
/** How often the process is started, or looked for, for one statement. */
const MAX_ROUNDS = 5;
const MAX_WAITING = 1000;
const PAUSES: BackoffPolicy = { baseMs: 50, capMs: 2_000, minMs: 20 };
const LOG = 'host.log';

interface Waiting {
  readonly resolve: (rows: readonly SqlRow[]) => void;
  readonly reject: (error: unknown) => void;
  readonly cancelTimer: () => void;
}

interface Connection {
  readonly socket: Socket;
  readonly waiting: Map<number, Waiting>;
  /** Process id of the database's process. */
  pid: number;
  isOpen: boolean;
}

const gone = (cause?: unknown): CodedError =>
  new CodedError('store_unavailable', 'The process of the embedded store ended.', cause === undefined ? {} : { cause });

/** A database's error in the form that sql_errors.ts reads. */
function databaseError({ state, message }: NonNullable<HostResponse['error']>): Error {
  return Object.assign(new Error(message), { code: state });
}

function settle(connection: Connection, response: HostResponse): void {
  const waiting = connection.waiting.get(response.id);
  // The one who asked has given up.
  if (waiting === undefined) return;
  connection.waiting.delete(response.id);
  waiting.cancelTimer();
  if (response.error === undefined) waiting.resolve(response.rows ?? []);
  else waiting.reject(databaseError(response.error));
}

function breakOff(connection: Connection): void {
  connection.isOpen = false;
  for (const waiting of connection.waiting.values()) {
    waiting.cancelTimer();
    waiting.reject(gone());
  }
  connection.waiting.clear();
}

/** Connects to the process that holds the folder; undefined when none does. */
function join({ folder, clock, startTimeoutMs }: EmbeddedDriverOptions): Promise<Connection | undefined> {
  const name = newestSocket(folder);
  if (name === undefined) return Promise.resolve(undefined);
  return new Promise((resolve, reject) => {
    const handle = openSync(folder, 'r');
    const socket = createConnection({ path: shortSocketPath(handle, name) });
    const connection: Connection = { socket, waiting: new Map(), pid: 0, isOpen: true };
    const cancel = clock.after(startTimeoutMs ?? START_TIMEOUT_MS, () => {
      reject(new CodedError('store_timeout', 'The process of the embedded store is there and does not speak.'));
      socket.destroy();
    });
    const read = createFrameReader((message) => {
      if (connection.pid !== 0) {
        settle(connection, message as HostResponse);
        return;
      }
      const hello = message as HostHello;
      connection.pid = hello.pid;
      cancel();
      if (hello.protocol === PROTOCOL) resolve(connection);
      else
        reject(
          new CodedError('store_schema', 'The embedded store is run by a process of another version; stop that first.'),
        );
    });
    socket.on('data', (chunk: Buffer) => {
      try {
        read(chunk);
      } catch (thrown) {
        socket.destroy(thrown as Error);
      }
    });
    socket.once('connect', () => closeSync(handle));
    socket.once('error', () => {
      if (socket.connecting) closeSync(handle);
    });
    socket.once('close', () => {
      cancel();
      breakOff(connection);
      resolve(undefined);
    });
  });
}

/** Starts the process. Resolves when it is ready, or when another holds the folder already. */
function startHost(options: EmbeddedDriverOptions): Promise<void> {
  const log = openSync(path.join(options.folder, LOG), 'a', 0o600);
  const program = fileURLToPath(new URL('./host.js', import.meta.url));
  // A group of its own: Ctrl-C reaches the parent alone.
  const child = spawn(process.execPath, [program, options.folder], {
    stdio: ['ignore', log, log, 'ipc'],
    detached: true,
    env: options.environment,
  });
  closeSync(log);
  return new Promise<void>((resolve, reject) => {
    const cancel = options.clock.after(options.startTimeoutMs ?? START_TIMEOUT_MS, () => {
      child.kill('SIGKILL');
      reject(new CodedError('store_timeout', 'The embedded store did not open its folder in time.'));
    });
    child.on('message', (message: { type?: unknown; code?: ErrorCode; message?: string }) => {
      if (message.type === 'made') return;
      if (message.type === 'ready') resolve();
      else if (message.code === 'store_locked' && message.message?.startsWith('Another') === true) resolve();
      else reject(new CodedError(message.code ?? 'store_unavailable', message.message ?? 'The embedded store failed.'));
    });
    child.once('error', (error) => reject(gone(error)));
    child.once('exit', (code) => {
      cancel();
      // It has set up a new folder, or found another in it: whoever asked looks again.
      if (code === 0) resolve();
      else reject(gone());
    });
    child.on('message', (message: { type?: unknown }) => {
      if (message.type === 'made') return;
      cancel();
      // It lives as long as it has clients; this process may end without it.
      child.disconnect();
      child.unref();
    });
  });
}

async function connect(options: EmbeddedDriverOptions): Promise<Connection> {
  mkdirSync(options.folder, { recursive: true, mode: 0o700 });
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const joined = await join(options);
    if (joined !== undefined) return joined;
    await startHost(options);
  }
  throw gone();
}

function send(
  connection: Connection,
  id: number,
  sql: string,
  params: readonly string[],
  limitMs: number,
  clock: Clock,
) {
  return new Promise<readonly SqlRow[]>((resolve, reject) => {
    if (!connection.isOpen) {
      reject(gone());
      return;
    }
    if (connection.waiting.size >= MAX_WAITING) {
      reject(new CodedError('store_busy', 'Too many calls wait for the embedded store.'));
      return;
    }
    const cancelTimer = clock.after(limitMs, () => {
      connection.waiting.delete(id);
      reject(new CodedError('store_timeout', 'The embedded store did not answer in time.'));
    });
    connection.waiting.set(id, { resolve, reject, cancelTimer });
    connection.socket.write(encodeFrame({ id, sql, params }));
  });
}

export interface EmbeddedDriver extends SqlDriver {
  /** Process id of the database's process, once it was reached. */
  readonly hostPid: () => number | undefined;
}

export function createEmbeddedDriver(options: EmbeddedDriverOptions): EmbeddedDriver {
  const { clock, random } = options;
  let connection: Promise<Connection> | undefined;
  let current: Connection | undefined;
  let nextId = 1;
  let closed = false;

  const ensure = async (): Promise<Connection> => {
    if (closed) throw gone();
    if (current?.isOpen === false) {
      connection = undefined;
      current = undefined;
    }
    connection ??= connect(options);
    try {
      current = await connection;
      return current;
    } catch (thrown) {
      connection = undefined;
      throw thrown;
    }
  };
  const repeat = createRepeat({ clock, random, pauses: PAUSES, isClosed: () => closed });
  return {
    hostPid: () => current?.pid,
    query(sql, params, asked) {
      const limitMs = asked.timeoutMs ?? options.statementTimeoutMs ?? STATEMENT_TIMEOUT_MS;
      return repeat(asked, async () => send(await ensure(), nextId++, sql, params, limitMs, clock));
    },
    async close() {
      if (closed) return;
      closed = true;
      const open = await connection?.catch(() => undefined);
      open?.socket.destroy();
    },
  };
}
