/**
 * Weights by hub id, where the hub is in reach. The downloader of node-llama-cpp knows the hub's addresses, split files
 * and resumed downloads; it is imported only when asked for, because it loads a good part of that library.
 */
import { mkdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { hashFile, readChecked, stampInPlace } from './checked_file.ts';
import { endedBy, failure, fileFailure, type FetchContext, type WeightsResult } from './result.ts';

const HUB_ID = /^(?:hf:|huggingface:)?(\w[\w.-]*\/\w[\w.-]*(?:\/[\w./-]+\.gguf)?(?::[\w.-]+)?)$/;

const HUB_ADDRESS = 'https://huggingface.co/';
const REACH_LIMIT_MS = 10_000;

/** The address for the downloader when `spec` has the form of a hub id, else undefined. */
export function hubUri(spec: string): string | undefined {
  const match = HUB_ID.exec(spec);
  return match === null || match[1]?.includes('..') ? undefined : `hf:${match[1]}`;
}

/** The downloader asks the hub for the file's size without heeding a signal, so the wait for it is cut here. */
function untilAborted<T>(task: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(signal.reason);
    if (signal.aborted) stop();
    signal.addEventListener('abort', stop, { once: true });
    task.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
  });
}

/** Whether the hub answers at all: the downloader's own retries would take minutes to say that it does not. */
async function hubInReach(signal: AbortSignal): Promise<boolean> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(REACH_LIMIT_MS)]);
  return fetch(HUB_ADDRESS, { method: 'HEAD', signal: limit }).then(
    () => true,
    () => false,
  );
}

/** Downloads into `cacheDir`/hub, or finds there what an earlier call left. Never rejects. */
export async function fetchFromHub(uri: string, cacheDir: string, context: FetchContext): Promise<WeightsResult> {
  const folder = path.join(cacheDir, 'hub');
  try {
    await mkdir(folder, { recursive: true });
    if (!(await hubInReach(context.signal))) {
      return context.signal.aborted
        ? endedBy(context.signal)
        : failure('no_network', `The hub at ${HUB_ADDRESS} cannot be reached.`);
    }
    const { createModelDownloader } = await import('node-llama-cpp');
    const downloader = await untilAborted(
      createModelDownloader({
        modelUri: uri,
        dirPath: folder,
        showCliProgress: false,
        onProgress: ({ downloadedSize, totalSize }) =>
          context.onProgress({ receivedBytes: downloadedSize, totalBytes: totalSize }),
      }),
      context.signal,
    );
    const file = await downloader.download({ signal: context.signal });
    const known = await readChecked(file);
    if (known !== undefined) return { ok: true, ...known, source: 'cache' };
    const sha256 = await hashFile(file, context.signal);
    const { size, mtimeMs } = await stat(file);
    await stampInPlace(file, { sha256, bytes: size, mtimeMs });
    return { ok: true, path: file, sha256, bytes: size, source: 'hub' };
  } catch (thrown) {
    if (context.signal.aborted) return endedBy(context.signal);
    if (
      (thrown as NodeJS.ErrnoException).syscall !== undefined &&
      (thrown as NodeJS.ErrnoException).path !== undefined
    ) {
      return fileFailure(thrown, 'storing the weights');
    }
    const { message, cause } = thrown as Error;
    const status = /\b(40[134])\b/.exec(message)?.[1];
    if (status !== undefined)
      return failure('not_found', `The hub answered ${status} for ${uri}: it does not exist, or it asks for a login.`);
    const why = cause instanceof Error ? `${message} (${cause.message})` : message;
    return failure('no_network', `${uri} could not be fetched from the hub: ${why.slice(0, 300)}.`);
  }
}
