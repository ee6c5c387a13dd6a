/**
 * The models in the hub's cache of this host: an engine that names a model of the hub finds it there, and so nobody brings it.
 * Looked for once in a while, within bounds; only what a branch of the cache points at, or the only one that there is.
 */
import { open, readdir } from 'node:fs/promises';
import path from 'node:path';
import { commitIn, hubModelOf } from '../../core/model_files/hub_cache.ts';

export interface HubModel {
  /** As deployments name it, such as Qwen/Qwen3-8B. */
  readonly name: string;
  readonly commit: string;
  readonly folder: string;
}

const MOST_MODELS = 256;
const MOST_CACHES = 8;
const AGAIN_MS = 60_000;
const COMMIT_BYTES = 64;

async function readCommit(file: string): Promise<string | undefined> {
  try {
    const opened = await open(file, 'r');
    try {
      const { bytesRead, buffer } = await opened.read(Buffer.alloc(COMMIT_BYTES), 0, COMMIT_BYTES, 0);
      return commitIn(buffer.toString('latin1', 0, bytesRead));
    } finally {
      await opened.close();
    }
  } catch {
    // There is no such branch: what was fetched by a commit has none.
    return undefined;
  }
}

async function snapshotIn(folder: string): Promise<string | undefined> {
  const commits = await readdir(path.join(folder, 'snapshots')).catch((): string[] => []);
  const main = await readCommit(path.join(folder, 'refs', 'main'));
  if (main !== undefined && commits.includes(main)) return main;
  const [only, ...others] = commits.filter((each) => commitIn(each) !== undefined);
  return others.length === 0 ? only : undefined;
}

async function findModels(cache: string): Promise<HubModel[]> {
  const found: HubModel[] = [];
  for (const entry of (await readdir(cache).catch((): string[] => [])).toSorted()) {
    const name = hubModelOf(entry);
    if (name === undefined || found.length >= MOST_MODELS) continue;
    const commit = await snapshotIn(path.join(cache, entry));
    if (commit !== undefined) found.push({ name, commit, folder: path.join(cache, entry, 'snapshots', commit) });
  }
  return found;
}

/**
 * Asked for the newest list of a cache; it looks again by itself and nobody waits for it.
 * @param nowMs a monotonic clock
 */
export function createHubModels(nowMs: () => number): (cache: string) => readonly HubModel[] {
  const known = new Map<string, { models: readonly HubModel[]; dueAtMs: number }>();
  return (cache) => {
    const entry = known.get(cache) ?? { models: [], dueAtMs: -Infinity };
    if (!known.has(cache) && known.size >= MOST_CACHES) return [];
    known.set(cache, entry);
    if (nowMs() >= entry.dueAtMs) {
      entry.dueAtMs = nowMs() + AGAIN_MS;
      void findModels(cache).then((models) => {
        entry.models = models;
      });
    }
    return entry.models;
  };
}
