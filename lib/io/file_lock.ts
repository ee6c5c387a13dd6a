/**
 * Keeps two processes from fetching the same files at the same time. The lock saves downloads, it does not guard
 * correctness: what is fetched is checked and put in its place by an atomic rename, so a lock that is taken over wrongly
 * costs bandwidth and nothing else. A folder may be shared over a network, so a holder is known by its host too.
 */
import { randomUUID } from 'node:crypto';
import { readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';

const POLL_MS = 100;
const HEARTBEAT_MS = 2_000;
/** A holder that has not touched its lock for so long is stopped or on another machine that is gone. */
const STALE_MS = 30_000;

async function tryTake(path: string, content: string): Promise<boolean> {
  try {
    await writeFile(path, content, { flag: 'wx' });
    return true;
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw thrown;
  }
}

function isAlive(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (thrown) {
    return (thrown as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** True when the holder is dead or silent; a lock that has vanished meanwhile counts as neither. */
async function isStale(path: string): Promise<boolean> {
  try {
    const [pid, host] = (await readFile(path, 'utf8')).split(' ');
    const { mtimeMs } = await stat(path);
    const silentMs = Date.now() - mtimeMs;
    // The holder writes its pid right after creating the file; a moment of emptiness is not death. Of a process on another
    // host only its silence tells.
    const isOurs = host === undefined || host === hostname();
    return silentMs > STALE_MS || (isOurs && silentMs > POLL_MS && !isAlive(Number(pid)));
  } catch {
    return false;
  }
}

/**
 * Waits for the lock, runs `task` and releases it. Rejects when `signal` fires while waiting, or with the file system's
 * error when the lock cannot be written.
 */
export async function withLock<T>(path: string, signal: AbortSignal, task: () => Promise<T>): Promise<T> {
  const content = `${process.pid} ${hostname()} ${randomUUID()}`;
  while (!(await tryTake(path, content))) {
    signal.throwIfAborted();
    if (await isStale(path)) await rm(path, { force: true });
    else await sleep(POLL_MS, undefined, { signal });
  }
  const heartbeat = setInterval(() => {
    const now = new Date();
    // A lock that was taken away is noticed at the release.
    utimes(path, now, now).catch(() => clearInterval(heartbeat));
  }, HEARTBEAT_MS);
  try {
    return await task();
  } finally {
    clearInterval(heartbeat);
    const held = await readFile(path, 'utf8').catch(() => '');
    if (held === content) await rm(path, { force: true });
  }
}
