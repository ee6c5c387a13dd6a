/** What strikes the store and its schedulers, as a table: each does its harm, mends it, and says how often it struck. */
import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmdirSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { processesFor, signalProcess } from '../../lib/io/processes.ts';
import type { ControlFleet } from './fleet.ts';
import type { Owner, Postgres, Proxy } from './postgres.ts';
import { until } from './waits.ts';

export const FAULTS = ['kill_postgres', 'kill_pglite', 'cut_commit', 'disk_full', 'kill_scheduler'] as const;
export type Fault = (typeof FAULTS)[number];

export interface Stage {
  readonly fleet: ControlFleet;
  /** The real server and the proxy before it; undefined: the embedded store. */
  readonly postgres: { readonly server: Postgres; readonly proxy: Proxy } | undefined;
  /** Folder of the embedded store. */
  readonly folder: string;
  /** A small disk that holds the store; undefined: none could be made. */
  readonly disk: string | undefined;
}

const DOWN_MS = 1500;
const CUTTING_MS = 3000;
const FULL_MS = 4000;
const ALIVE_MS = 6000;
const BLOCK = Buffer.alloc(64 * 1024, 1);

/** A file system of its own that lives in memory. @returns undefined when this user may not mount one */
export function makeSmallDisk(owner: Owner, megabytes: number): string | undefined {
  const folder = mkdtempSync(path.join(tmpdir(), 'sophia-disk-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m,mode=755`, 'sophia-store-faults', folder], {
      stdio: 'pipe',
    });
  } catch (thrown) {
    rmdirSync(folder);
    process.stderr.write(`no disk is filled, for none could be mounted: ${(thrown as Error).message}\n`);
    return undefined;
  }
  owner.teardown(() => {
    execFileSync('umount', ['-l', folder]);
    rmdirSync(folder);
  });
  return folder;
}

/** Writes until nothing more goes. */
function fill(file: string): void {
  const handle = openSync(file, 'w', 0o600);
  try {
    for (let size = BLOCK.length; size >= 512; size = size / 2) {
      try {
        for (;;) if (writeSync(handle, BLOCK, 0, size) < size) break;
      } catch (thrown) {
        if ((thrown as NodeJS.ErrnoException).code !== 'ENOSPC') throw thrown;
      }
    }
  } finally {
    closeSync(handle);
  }
}

/** PostgreSQL ends itself when it cannot write its log; otherwise it went on. */
async function revive(server: Postgres): Promise<void> {
  const isAlive = await until(() => server.isUp(), 'PostgreSQL', ALIVE_MS).then(
    () => true,
    () => false,
  );
  if (!isAlive) await server.start();
}

async function fillDisk({ disk, postgres }: Stage): Promise<number> {
  if (disk === undefined) return 0;
  const ballast = path.join(disk, 'ballast');
  try {
    // What the store frees while it runs is taken as well.
    const endMs = performance.now() + FULL_MS;
    for (let round = 0; performance.now() < endMs; round++) {
      fill(`${ballast}-${round}`);
      await sleep(500);
    }
  } finally {
    for (let round = 0; round <= FULL_MS / 500; round++) rmSync(`${ballast}-${round}`, { force: true });
  }
  if (postgres !== undefined) await revive(postgres.server);
  return 1;
}

let killed = 0;

const STRIKES: Readonly<Record<Fault, (stage: Stage) => Promise<number>>> = {
  async kill_postgres({ postgres }) {
    if (postgres === undefined) return 0;
    postgres.server.kill();
    await sleep(DOWN_MS);
    await postgres.server.start();
    return 1;
  },
  async kill_pglite({ folder, postgres }) {
    if (postgres !== undefined) return 0;
    const pids = await processesFor(folder);
    return pids.filter((pid) => signalProcess(pid, 'SIGKILL')).length;
  },
  async cut_commit({ postgres }) {
    if (postgres === undefined) return 0;
    const { proxy } = postgres;
    const before = proxy.cuts();
    let seen = 0;
    proxy.cutCommits(() => {
      seen += 1;
      if (seen % 3 !== 0) return undefined;
      return seen % 2 === 0 ? 'before' : 'after';
    });
    await sleep(CUTTING_MS);
    proxy.cutCommits(() => undefined);
    return proxy.cuts() - before;
  },
  disk_full: fillDisk,
  async kill_scheduler({ fleet }) {
    killed += 1;
    const index = killed % fleet.count;
    await fleet.kill(index);
    await fleet.start(index);
    return 1;
  },
};

/** The faults that a stage knows, in their order. */
export function faultsOf({ postgres, disk }: Stage): Fault[] {
  const missing: Fault[] = postgres === undefined ? ['kill_postgres', 'cut_commit'] : ['kill_pglite'];
  if (disk === undefined) missing.push('disk_full');
  return FAULTS.filter((fault) => !missing.includes(fault));
}

/** @returns how often it struck */
export const strike = (fault: Fault, stage: Stage): Promise<number> => STRIKES[fault](stage);
