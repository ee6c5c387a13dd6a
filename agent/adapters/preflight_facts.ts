/**
 * Reads the host for the checks before a start. Every question is bounded, and one that cannot be answered leaves its
 * fact out: a check then says `unknown`, and the engine itself will tell. Model paths are followed through symbolic
 * links here, because only the file system knows where they lead.
 */
import { constants } from 'node:fs';
import { access, open, readdir, readFile, realpath, stat, statfs } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import { isConfined } from '../core/engine_spec.ts';
import type { ModelFacts, PreflightFacts } from '../core/preflight.ts';
import type { EngineAddress, HostInspector, PreflightQuestion } from '../ports.ts';

const CONNECT_TIMEOUT_MS = 1000;
const QUESTION_TIMEOUT_MS = 10_000;
/** Files of a model folder that are added up; a model has a few hundred shards at most. */
const MAX_FILES = 4096;
const GGUF_MAGIC = Buffer.from('GGUF', 'latin1');
/** What vLLM takes for the description of a model: the form of the hub, and Mistral's own. */
const CONFIG_FILES = ['config.json', 'params.json'];

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? 'unknown reason';

/** The answer, or undefined when it fails or takes too long: a network disk may hang for ever. */
async function answer<Value>(question: Promise<Value>): Promise<Value | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), QUESTION_TIMEOUT_MS);
  });
  try {
    return await Promise.race([question.catch(() => undefined), late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Whether anybody answers there. A stale socket file is free: whoever binds it removes it first. */
function isTaken(address: EngineAddress): Promise<boolean> {
  const target = address.kind === 'unix' ? { path: address.path } : { host: address.host, port: address.port };
  return new Promise((resolve) => {
    const socket = net.connect(target);
    const settle = (taken: boolean): void => {
      socket.destroy();
      resolve(taken);
    };
    socket.setTimeout(CONNECT_TIMEOUT_MS, () => settle(true));
    socket.once('connect', () => settle(true));
    socket.once('error', (error) => settle(codeOf(error) === 'EAGAIN'));
  });
}

/** Finds a program as a shell would, without one. */
async function findProgram(program: string, searchPath: string | undefined): Promise<'found' | 'missing'> {
  const folders = (searchPath ?? '').split(':').filter((folder) => folder !== '');
  const candidates = program.includes('/') ? [program] : folders.map((folder) => path.join(folder, program));
  for (const candidate of candidates) {
    const usable = await access(candidate, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (usable) return 'found';
  }
  return 'missing';
}

async function weightsIn(folder: string): Promise<number> {
  let bytes = 0;
  for (const name of (await readdir(folder)).slice(0, MAX_FILES)) {
    if (!/\.(safetensors|bin|gguf|pt|pth|npz)$/.test(name)) continue;
    bytes += (await stat(path.join(folder, name))).size;
  }
  return bytes;
}

async function isGguf(file: string): Promise<boolean> {
  const handle = await open(file, 'r');
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(GGUF_MAGIC.length), 0, GGUF_MAGIC.length, 0);
    return bytesRead === GGUF_MAGIC.length && buffer.equals(GGUF_MAGIC);
  } finally {
    await handle.close();
  }
}

async function realRoots(roots: readonly string[]): Promise<string[]> {
  const real = await Promise.all(roots.map((root) => realpath(root).catch(() => undefined)));
  return real.filter((root) => root !== undefined);
}

/** The real path under one of the roots (any place when there is none), or why not. @throws as realpath does */
async function confine(file: string, roots: readonly string[]): Promise<string | undefined> {
  const real = await realpath(file);
  if (roots.length === 0) return real;
  const allowed = await realRoots(roots);
  return allowed.length > 0 && isConfined(real, allowed) ? real : undefined;
}

async function lookAtModel(question: PreflightQuestion): Promise<ModelFacts> {
  const { model, mayBeHub, modelRoots } = question;
  const isPath = path.isAbsolute(model);
  if (!isPath && mayBeHub) return { kind: 'hub' };
  try {
    const real = await confine(model, isPath ? modelRoots : []);
    if (real === undefined) return { kind: 'outside' };
    const found = await stat(real);
    if (!found.isDirectory()) {
      await access(real, constants.R_OK);
      return (await isGguf(real)) ? { kind: 'gguf', bytes: found.size } : { kind: 'not_a_model' };
    }
    const names = await readdir(real);
    const config = CONFIG_FILES.find((name) => names.includes(name));
    if (config !== undefined) await access(path.join(real, config), constants.R_OK);
    if (config === undefined && !names.some((name) => name.endsWith('.gguf'))) return { kind: 'not_a_model' };
    return { kind: 'folder', bytes: await weightsIn(real) };
  } catch (error) {
    const code = codeOf(error);
    return code === 'ENOENT' || code === 'ENOTDIR' ? { kind: 'missing' } : { kind: 'unreadable', why: code };
  }
}

async function availableMemory(): Promise<number | undefined> {
  const text = await readFile('/proc/meminfo', 'utf8');
  const kib = /^MemAvailable:\s+(\d+) kB$/m.exec(text)?.[1];
  return kib === undefined ? undefined : Number(kib) * 1024;
}

async function freeDisk(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}

export function createHostInspector(searchPath: string | undefined): Omit<HostInspector, 'runDelaysMs'> {
  return {
    async preflight(question): Promise<PreflightFacts> {
      const [taken, program, model, memory, disk] = await Promise.all([
        answer(isTaken(question.address)),
        answer(findProgram(question.program, searchPath)),
        answer(lookAtModel(question)),
        answer(availableMemory()),
        answer(freeDisk(question.cacheFolder)),
      ]);
      return {
        ...(taken === undefined ? {} : { address: taken ? 'taken' : 'free' }),
        ...(program === undefined ? {} : { program }),
        ...(model === undefined ? {} : { model }),
        ...(memory === undefined ? {} : { hostMemoryAvailableBytes: memory }),
        ...(disk === undefined ? {} : { cacheDiskFreeBytes: disk }),
      };
    },
    async oomKills() {
      const text = await answer(readFile('/proc/vmstat', 'utf8'));
      const count = /^oom_kill (\d+)$/m.exec(text ?? '')?.[1];
      return count === undefined ? undefined : Number(count);
    },
    confinedPath: (file, roots) => answer(confine(file, roots)),
  };
}
