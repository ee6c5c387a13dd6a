/**
 * The process of the embedded database: PGlite runs in it and nowhere else, because a statement holds its thread, and
 * because only one process may open the folder. Clients speak to the socket that is also the folder's lock. It ends when
 * its last client has gone, on SIGTERM, and at once when PostgreSQL inside of it panics: whoever needs it starts it anew.
 *
 * Use: node host.js FOLDER. Over an IPC channel it tells { type: 'ready' }, { type: 'made' } when it has set up a new
 * folder and ends, or { type: 'failed', code, message }.
 */
import { existsSync, mkdirSync, renameSync, rmSync, statfsSync } from 'node:fs';
import type { Socket } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { PGlite } from '@electric-sql/pglite';
import { CodedError, toCodedError } from '../../../../lib/errors.ts';
import { DurableNodeFS, durableStartParams, syncFolder, syncPath } from './durable_files.ts';
import { type FolderLock, lockWorkingFolder } from './folder_lock.ts';
import { createFrameReader, encodeFrame, type HostRequest, type HostResponse, PROTOCOL } from './frames.ts';

const DATA = 'pg';
/** A new folder is set up under this name, and gets its own when it is whole and on the disk. */
const NEW = 'pg.new';
/** Without clients it stays so long: time for the first to connect, and for a restarted scheduler to find it. */
const LINGER_MS = 5_000;
/** Free space below which a panic is taken for a full disk. */
const FULL_BYTES = 32 * 1024 * 1024;

/** PostgreSQL's text as it is, for every type that the store uses: bool, int8, int2, int4, text, json, times. */
const PLAIN = Object.fromEntries(
  [16, 20, 21, 23, 25, 114, 700, 701, 1043, 1114, 1184, 1700, 2205, 2950, 3802].map((oid) => [
    oid,
    (text: string) => text,
  ]),
);

function isDiskFull(): boolean {
  const { bavail, bsize } = statfsSync('.');
  return bavail * bsize < FULL_BYTES;
}

async function openDatabase(folder: string): Promise<PGlite> {
  const database = new PGlite({ fs: new DurableNodeFS(folder), startParams: [...durableStartParams] });
  await database.waitReady;
  return database;
}

/** A statement's answer; anything but an error of SQL means that PostgreSQL is gone, and this process with it. */
async function answer(database: PGlite, request: HostRequest, panic: (thrown: unknown) => void): Promise<HostResponse> {
  const { id, sql, params } = request;
  try {
    const { rows } = await database.query<Record<string, string | null>>(sql, [...params], { parsers: PLAIN });
    return { id, rows };
  } catch (thrown) {
    const { code, message } = thrown as { code?: unknown; message?: unknown };
    const isSql = typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code);
    if (!isSql) panic(thrown);
    const state = isSql ? code : isDiskFull() ? '53100' : '57P02';
    return { id, error: { state, message: String(message) } };
  }
}

function serve(database: Promise<PGlite>, onClients: (count: number) => void, panic: (thrown: unknown) => void) {
  const clients = new Set<Socket>();
  return (socket: Socket): void => {
    clients.add(socket);
    onClients(clients.size);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      clients.delete(socket);
      onClients(clients.size);
    });
    const read = createFrameReader((message) => {
      void database
        .then((opened) => answer(opened, message as HostRequest, panic))
        .then((response) => socket.writable && socket.write(encodeFrame(response)));
    });
    socket.on('data', (chunk: Buffer) => {
      try {
        read(chunk);
      } catch {
        socket.destroy();
      }
    });
    socket.write(encodeFrame({ pid: process.pid, protocol: PROTOCOL }));
  };
}

/** Our parent may have gone: what it does not hear it cannot need. */
function tell(message: object): Promise<void> {
  return new Promise((resolve) => {
    if (process.send === undefined || !process.connected) resolve();
    else process.send(message, () => resolve());
  });
}

async function takeLock(folder: string, onConnection: (socket: Socket) => void): Promise<FolderLock> {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  process.chdir(folder);
  const lock = await lockWorkingFolder(onConnection);
  if (lock === undefined) throw new CodedError('store_locked', 'Another process holds the data folder.');
  return lock;
}

/**
 * Sets up a new folder and ends: the process that has done so holds 500 MB more than one that opens it. What an
 * interrupted attempt has left is begun anew.
 */
async function makeDatabase(): Promise<never> {
  rmSync(NEW, { recursive: true, force: true });
  mkdirSync(NEW, { mode: 0o700 });
  const database = await openDatabase(NEW);
  await database.close();
  syncFolder(NEW);
  renameSync(NEW, DATA);
  syncPath('.');
  await tell({ type: 'made' });
  process.exit(0);
}

async function run(folder: string): Promise<void> {
  let lingering: NodeJS.Timeout | undefined;
  let ending = false;
  let database: Promise<PGlite> | undefined;
  let opened: (database: Promise<PGlite>) => void = () => undefined;
  const ready = new Promise<PGlite>((resolve) => {
    opened = (promise) => void promise.then(resolve, () => undefined);
  });
  const end = (code: number): void => {
    if (ending) return;
    ending = true;
    void (async () => {
      if (code === 0) await (await database)?.close();
      process.exit(code);
    })();
  };
  const onClients = (count: number): void => {
    clearTimeout(lingering);
    if (count === 0) lingering = setTimeout(() => end(0), LINGER_MS);
  };
  // The answers that are on their way get a moment to leave.
  const panic = (thrown: unknown): void => {
    process.stderr.write(`${thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown)}\n`);
    setTimeout(() => process.exit(1), 50);
  };
  process.on('SIGTERM', () => end(0));
  // Ctrl-C is for the foreground process, which may still need us while it drains.
  process.on('SIGINT', () => undefined);
  let clients = 0;
  let isReady = false;
  const onCount = (count: number): void => {
    clients = count;
    // Opening the folder may take longer than it stays without clients.
    if (isReady) onClients(count);
  };
  await takeLock(folder, serve(ready, onCount, panic));
  try {
    if (!existsSync(DATA)) await makeDatabase();
    database = openDatabase(DATA);
    opened(database);
    await database;
  } catch (thrown) {
    const code = isDiskFull() ? 'store_full' : 'store_corrupt';
    throw new CodedError(code, 'The embedded database cannot open its data folder.', { cause: thrown });
  }
  isReady = true;
  onClients(clients);
  await tell({ type: 'ready', pid: process.pid });
}

// Measured: the optimising compiler doubles the CPU of a start and adds 50 MB, for statements that are not faster by it.
setFlagsFromString('--liftoff-only');

try {
  await run(process.argv[2] ?? '.');
} catch (thrown) {
  const error = toCodedError(thrown);
  const cause = error.cause instanceof Error ? ` ${error.cause.message}` : '';
  process.stderr.write(`${error.message}${cause}\n`);
  await tell({ type: 'failed', code: error.code, message: error.message });
  process.exit(2);
}
