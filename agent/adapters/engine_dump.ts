/**
 * Writes down what a wedged engine was doing before it is killed: its last lines, its metrics, where each process stands
 * in the kernel, and py-spy's stacks where py-spy is installed. Bounded in time, size and number of files.
 */
import { execFile } from 'node:child_process';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import path from 'node:path';
import { promisify } from 'node:util';
import type { Logger } from '../../lib/io/logger.ts';
import type { EngineAddress, EngineDumper } from '../ports.ts';

const run = promisify(execFile);

const MAX_PIDS = 16;
const MAX_FILES = 4;
const MAX_PART_CHARS = 256 * 1024;
const PY_SPY_TIMEOUT_MS = 4000;
const METRICS_TIMEOUT_MS = 1000;
/** The whole dump must not keep a wedged engine alive for long. */
const TOTAL_TIMEOUT_MS = 8000;

const clipped = (text: string): string => text.slice(0, MAX_PART_CHARS);

/** The text of a file of /proc, or why there is none. */
const procFile = (pid: number, name: string): Promise<string> =>
  readFile(`/proc/${pid}/${name}`, 'utf8').catch((error: NodeJS.ErrnoException) => `(${error.code ?? 'unreadable'})`);

async function processPart(pid: number): Promise<string> {
  const [command, status, wchan, stack] = await Promise.all(
    ['cmdline', 'status', 'wchan', 'stack'].map((name) => procFile(pid, name)),
  );
  const state = /^(?:Name|State|Threads|VmRSS|PPid):.*$/gm;
  return [
    `== process ${pid}: ${(command ?? '').replaceAll('\0', ' ').slice(0, 500)}`,
    ...((status ?? '').match(state) ?? []),
    `wchan: ${wchan}`,
    `stack: ${stack}`,
  ].join('\n');
}

async function pySpyPart(pid: number, searchPath: string | undefined): Promise<string> {
  try {
    // A process that is stopped or stuck in the kernel cannot be paused, so it is read without a pause.
    const { stdout } = await run('py-spy', ['dump', '--nonblocking', '--pid', String(pid)], {
      timeout: PY_SPY_TIMEOUT_MS,
      killSignal: 'SIGKILL',
      maxBuffer: 4 * MAX_PART_CHARS,
      env: { PATH: searchPath ?? '' },
    });
    return `== py-spy ${pid}\n${clipped(stdout)}`;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return `== py-spy ${pid}: none (${code === 'ENOENT' ? 'py-spy is not installed' : message.split('\n', 1)[0]})`;
  }
}

function metricsPart(address: EngineAddress): Promise<string> {
  const target = address.kind === 'unix' ? { socketPath: address.path } : { host: address.host, port: address.port };
  return new Promise((resolve) => {
    let text = '';
    const settle = (said: string): void => resolve(`== metrics\n${clipped(said)}`);
    const request = http.get({ ...target, path: '/metrics', agent: false, timeout: METRICS_TIMEOUT_MS }, (response) => {
      response.setEncoding('utf8');
      response.on('data', (piece: string) => {
        text += piece;
        if (text.length > MAX_PART_CHARS) request.destroy();
      });
      response.on('close', () => settle(text));
    });
    request.on('timeout', () => request.destroy(new Error('no answer')));
    request.on('error', (error) => settle(`none (${error.message})`));
  });
}

/** Keeps the newest files of the folder and removes the others. */
async function prune(folder: string): Promise<void> {
  const names = (await readdir(folder)).filter((name) => name.endsWith('.txt')).toSorted();
  for (const name of names.slice(0, -MAX_FILES)) await rm(path.join(folder, name), { force: true });
}

async function atMost<Value>(work: Promise<Value>, fallback: Value): Promise<Value> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<Value>((resolve) => {
    timer = setTimeout(() => resolve(fallback), TOTAL_TIMEOUT_MS);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

export function createEngineDumper(searchPath: string | undefined, logger: Logger): EngineDumper {
  return {
    async dump({ engine, incarnation, folder, pids, address, why, lastLines }) {
      const dumps = path.join(folder, 'dumps');
      const file = path.join(dumps, `${String(incarnation).padStart(8, '0')}.txt`);
      const some = pids.slice(0, MAX_PIDS);
      try {
        const parts = await Promise.all([
          atMost(metricsPart(address), '== metrics: none in time'),
          ...some.map((pid) => atMost(processPart(pid), `== process ${pid}: none in time`)),
          ...some.map((pid) => atMost(pySpyPart(pid, searchPath), `== py-spy ${pid}: none in time`)),
        ]);
        await mkdir(dumps, { recursive: true, mode: 0o700 });
        const head = `engine ${engine}, life ${incarnation}\n${why}\n\n== last lines\n${lastLines}`;
        await writeFile(file, `${[head, ...parts].join('\n\n')}\n`, { mode: 0o600 });
        await prune(dumps);
        return file;
      } catch (error) {
        logger.warn({ engine, err: error }, 'what a wedged engine was doing could not be written down');
        return undefined;
      }
    },
  };
}
