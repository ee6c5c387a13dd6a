/**
 * The models that lie in the folders of `modelRoots` without anybody having brought them, such as a share: a scheduler that is
 * told of them knows how large they are before the first engine loads one. Looked for once in a while, within bounds.
 */
import { readdir } from 'node:fs/promises';
import path from 'node:path';

export interface RootModelsOptions {
  readonly roots: readonly string[];
  /** The folder of models that were brought here, which are told of anyway. */
  readonly except: string;
  /** A monotonic clock. */
  readonly nowMs: () => number;
}

/** OWNER/NAME below a root. */
const DEPTH = 2;
const MOST_MODELS = 256;
const MOST_FOLDERS = 2048;
const AGAIN_MS = 60_000;

/** Folders with a config.json, at most so many, of which none lies in another. */
async function findModels({ roots, except }: RootModelsOptions): Promise<string[]> {
  const found: string[] = [];
  let looked = 0;
  let level = roots.map((root) => path.resolve(root));
  for (let depth = 0; depth <= DEPTH; depth++) {
    const below: string[] = [];
    for (const folder of level) {
      if (folder === except || looked >= MOST_FOLDERS || found.length >= MOST_MODELS) continue;
      looked += 1;
      // A folder that cannot be read holds no model that an engine could load.
      const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
      if (entries.some(({ name }) => name === 'config.json')) found.push(folder);
      else
        below.push(
          ...entries
            .filter((entry) => !entry.name.startsWith('.') && (entry.isDirectory() || entry.isSymbolicLink()))
            .map(({ name }) => path.join(folder, name)),
        );
    }
    level = below;
  }
  return found.toSorted();
}

/** Asked for the newest list; it looks again by itself and nobody waits for it. */
export function createRootModels(options: RootModelsOptions): () => readonly string[] {
  const { roots, nowMs } = options;
  let found: readonly string[] = [];
  let dueAtMs = -Infinity;
  return () => {
    if (roots.length > 0 && nowMs() >= dueAtMs) {
      dueAtMs = nowMs() + AGAIN_MS;
      void findModels(options).then((models) => {
        found = models;
      });
    }
    return found;
  };
}
