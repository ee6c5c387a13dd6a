/**
 * The only file of bench/ that reads the environment: what the started processes inherit, and where the weights of the
 * embedded model lie once `sophia up` has fetched them.
 */
import { readdir } from 'node:fs/promises';
import { homedir } from 'node:os';
import path from 'node:path';

export function benchEnvironment(): NodeJS.ProcessEnv {
  return process.env;
}

/** A model file out of this user's cache; undefined when there is none. */
export async function findWeights(): Promise<string | undefined> {
  const cache = process.env['XDG_CACHE_HOME'] ?? path.join(homedir(), '.cache');
  const folder = path.join(cache, 'sophia-fleet', 'weights');
  try {
    const file = (await readdir(folder)).find((name) => name.endsWith('.gguf'));
    return file === undefined ? undefined : path.join(folder, file);
  } catch {
    // Nothing was ever fetched.
    return undefined;
  }
}
