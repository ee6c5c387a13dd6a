/**
 * One process per data folder: two that open it corrupt it (github.com/electric-sql/pglite/issues/1106), also when one
 * of them only takes a lock away from a holder that is alive and busy. Node has no flock, so the lock is a listening Unix
 * socket in the folder: the kernel answers for a process that lives, however busy or stopped it is, and refuses for one
 * that is gone.
 *
 * Sockets are numbered. Who finds the highest one dead links its own one number higher, which only one can do, and then
 * looks whether it is the highest. The highest is never removed, so that a number never comes twice.
 */
import { randomUUID } from 'node:crypto';
import { linkSync, readdirSync, rmSync, statfsSync } from 'node:fs';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import path from 'node:path';
import { CodedError } from '../../../../lib/errors.ts';

const SOCKET = /^lock\.(\d{1,15})\.sock$/;
const OWN = /^own\.\d+\.[0-9a-f]+\.sock$/;
const MAX_ROUNDS = 100;

/** Magic numbers of statfs(2) for file systems that other machines may share: there a socket says nothing of them. */
const SHARED_FILE_SYSTEMS: ReadonlyMap<number, string> = new Map([
  [0x6969, 'NFS'],
  [0xff534d42, 'CIFS'],
  [0xfe534d42, 'SMB2'],
  [0x517b, 'SMB'],
  [0x47504653, 'GPFS'],
  [0x0bd00bd0, 'Lustre'],
  [0x00c36400, 'Ceph'],
  [0x5346414f, 'AFS'],
]);

export interface FolderLock {
  readonly server: Server;
  readonly number: number;
  release(): Promise<void>;
}

const nameOf = (number: number): string => `lock.${number}.sock`;

/** The numbers of the sockets in the folder, highest first. */
export function lockNumbers(folder: string): number[] {
  return readdirSync(folder)
    .flatMap((name) => {
      const match = SOCKET.exec(name);
      return match === null ? [] : [Number(match[1])];
    })
    .toSorted((left, right) => right - left);
}

/** The path of the newest socket relative to the folder, or undefined. */
export function newestSocket(folder: string): string | undefined {
  const number = lockNumbers(folder)[0];
  return number === undefined ? undefined : nameOf(number);
}

/** Whether somebody listens. Anything but a plain "nobody" counts as somebody. */
function isAlive(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ path: socketPath });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      resolve(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT');
    });
  });
}

function refuseSharedDisk(folder: string): void {
  const name = SHARED_FILE_SYSTEMS.get(statfsSync(folder).type);
  if (name === undefined) return;
  const message = `The data folder is on ${name}, where another machine could open it too; the embedded store needs a local disk.`;
  throw new CodedError('store_locked', message);
}

function listen(server: Server, socketPath: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(socketPath, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

function tryLink(own: string, target: string): boolean {
  try {
    linkSync(own, target);
    return true;
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw thrown;
  }
}

/** Removes the sockets of those that are gone; the link that is our lock stays. */
async function sweep(mine: number): Promise<void> {
  for (const number of lockNumbers('.')) if (number < mine) rmSync(nameOf(number), { force: true });
  for (const name of readdirSync('.')) {
    if (OWN.test(name) && !(await isAlive(name))) rmSync(name, { force: true });
  }
}

/** One round: the number that is now ours, `held` while another lives, or undefined to look again. */
async function claim(own: string): Promise<number | 'held' | undefined> {
  const highest = lockNumbers('.')[0] ?? 0;
  if (highest > 0 && (await isAlive(nameOf(highest)))) return 'held';
  const mine = highest + 1;
  if (!tryLink(own, nameOf(mine))) return undefined;
  if (lockNumbers('.')[0] === mine) return mine;
  rmSync(nameOf(mine));
  return undefined;
}

/**
 * Takes the lock of the current working folder: paths of sockets must be short, so the process moves there first.
 * @param onConnection gets the connections of clients and of those that only ask whether we live
 * @returns undefined when another process holds it
 * @throws CodedError store_locked on a shared disk
 */
export async function lockWorkingFolder(onConnection: (socket: Socket) => void): Promise<FolderLock | undefined> {
  refuseSharedDisk('.');
  const own = `own.${process.pid}.${randomUUID().slice(0, 8)}.sock`;
  const server = createServer(onConnection);
  await listen(server, own);
  const close = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve());
    });
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const claimed = await claim(own);
    if (claimed === 'held') break;
    if (claimed === undefined) continue;
    await sweep(claimed);
    return { server, number: claimed, release: close };
  }
  await close();
  return undefined;
}

/** A path of a socket that is short enough wherever the folder lies (Linux: through our own open handle of it). */
export function shortSocketPath(folderHandle: number, name: string): string {
  return path.posix.join('/proc/self/fd', String(folderHandle), name);
}
