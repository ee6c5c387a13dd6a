/**
 * PGlite's files on the host's disk, made durable: its WASM calls fsync, but the file system layer under it (Emscripten's
 * NODEFS) has no such operation and reports success, and PGlite also starts PostgreSQL with fsync off (-F). An
 * acknowledged change would then survive a killed process and not a lost power supply. Here the call reaches the disk.
 */
import { closeSync, fsyncSync, openSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { PGlite } from '@electric-sql/pglite';
import { NodeFS } from '@electric-sql/pglite/nodefs';

interface NodeStream {
  readonly nfd?: number;
}

/** The part of Emscripten's module that is changed. */
interface NodeFileSystem {
  readonly NODEFS?: { readonly stream_ops: { fsync?: (stream: NodeStream) => number } };
}

type InitResult = Awaited<ReturnType<NodeFS['init']>>;

/** NodeFS whose fsync is one. */
export class DurableNodeFS extends NodeFS {
  override async init(...args: Parameters<NodeFS['init']>): Promise<InitResult> {
    const result = await super.init(...args);
    const first = (module: NodeFileSystem): void => {
      const { NODEFS } = module;
      if (NODEFS === undefined) throw new Error('PGlite has no NODEFS any more.');
      NODEFS.stream_ops.fsync = (stream) => {
        // A folder has no handle of its own there.
        if (stream.nfd !== undefined) fsyncSync(stream.nfd);
        return 0;
      };
    };
    const preRun = (result.emscriptenOpts.preRun ?? []) as unknown as ((module: NodeFileSystem) => void)[];
    return { ...result, emscriptenOpts: { ...result.emscriptenOpts, preRun: [first, ...preRun] as never } };
  }
}

const DROPPED = new Set(['-F']);
/** fdatasync, the default, does not reach the file system layer; fsync does. Memory for a small table of events. */
const SETTINGS = ['fsync=on', 'wal_sync_method=fsync', 'full_page_writes=on', 'shared_buffers=32MB', 'wal_buffers=1MB'];

export const durableStartParams: readonly string[] = [
  ...PGlite.defaultStartParams.filter((param) => !DROPPED.has(param)),
  ...SETTINGS.flatMap((setting) => ['-c', setting]),
];

/** fsync of one file or folder. */
export function syncPath(file: string): void {
  const handle = openSync(file, 'r');
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

/** Brings a freshly made data folder onto the disk, its folders included. */
export function syncFolder(folder: string): void {
  for (const item of readdirSync(folder, { withFileTypes: true })) {
    const file = path.join(folder, item.name);
    if (item.isDirectory()) syncFolder(file);
    else if (item.isFile()) syncPath(file);
  }
  syncPath(folder);
}
