/**
 * Starts engines as process groups of their own, with their output in a file, so that nothing ties an engine to the
 * agent's life. What runs is written down beside it, so that a later agent finds what a dead one left. A group is swept
 * when its first process has ended: vLLM's workers survive their parent and would keep the GPU.
 */
import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { CodedError } from '../../../lib/errors.ts';
import type { Logger } from '../../../lib/io/logger.ts';
import type { EngineExit, EngineLauncher, LaunchedEngine, LaunchPlan } from '../../ports.ts';
import { LIFE_VARIABLE, lifeMark } from '../../core/launch_plan.ts';
import { groupMembers, hasVariable, processStartTicks, signalGroup, signalProcess } from './processes.ts';

const MAX_OUTPUT_BYTES = 64 * 1024 * 1024;
const SWEEP_ROUNDS = 40;
const SWEEP_PAUSE_MS = 50;
const MAX_RECORD_BYTES = 16 * 1024;

const recordSchema = z.object({
  pid: z.int().min(2),
  /** Field 22 of /proc/PID/stat: with the pid it names one process for as long as the host is up. */
  startTicks: z.string(),
  specHash: z.string(),
  incarnation: z.int().min(1),
});

type ProcessRecord = z.infer<typeof recordSchema>;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

async function writeWhole(file: string, text: string): Promise<void> {
  const temporary = `${file}.tmp`;
  await writeFile(temporary, text, { mode: 0o600 });
  await rename(temporary, file);
}

async function readSmall(file: string): Promise<string | undefined> {
  try {
    const text = await readFile(file, 'utf8');
    return text.length > MAX_RECORD_BYTES ? undefined : text;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function parseRecord(text: string | undefined): ProcessRecord | undefined {
  if (text === undefined) return undefined;
  try {
    return recordSchema.parse(JSON.parse(text));
  } catch {
    // A record cut by a crash names no process that could be proven; it is treated as absent.
    return undefined;
  }
}

/** Kills what is left of a process group and waits until it is gone. */
async function sweepGroup(pgid: number): Promise<boolean> {
  for (let round = 0; round < SWEEP_ROUNDS; round++) {
    if (!signalGroup(pgid, 'SIGKILL')) return true;
    if ((await groupMembers(pgid)).length === 0) return true;
    await pause(SWEEP_PAUSE_MS);
  }
  return false;
}

async function anyHas(pids: readonly number[], mark: string): Promise<boolean> {
  for (const pid of pids) if (await hasVariable(pid, LIFE_VARIABLE, mark)) return true;
  return false;
}

async function rotateOutput(file: string): Promise<void> {
  const size = await stat(file).then(
    (found) => found.size,
    () => 0,
  );
  if (size > MAX_OUTPUT_BYTES) await rename(file, `${file}.1`);
}

class FileLauncher implements EngineLauncher {
  readonly #enginesFolder: string;
  readonly #logger: Logger;

  constructor(enginesFolder: string, logger: Logger) {
    this.#enginesFolder = enginesFolder;
    this.#logger = logger;
  }

  #folderOf(engine: string): string {
    return path.join(this.#enginesFolder, engine);
  }

  #recordOf(engine: string): string {
    return path.join(this.#folderOf(engine), 'process.json');
  }

  async #afterExit(plan: LaunchPlan, pid: number): Promise<void> {
    if (!(await sweepGroup(pid)))
      this.#logger.error({ engine: plan.engine, pid }, 'processes of the engine cannot be killed');
    await rm(this.#recordOf(plan.engine), { force: true });
    if (plan.address.kind === 'unix') await rm(plan.address.path, { force: true });
  }

  #spawn(plan: LaunchPlan): Promise<Pick<LaunchedEngine, 'pid' | 'exited' | 'ended'>> {
    const output = openSync(plan.outputFile, 'a', 0o600);
    return new Promise((resolve, reject) => {
      const child = spawn(plan.command, plan.args, {
        cwd: plan.workingDirectory,
        env: plan.environment,
        detached: true,
        stdio: ['ignore', output, output],
      });
      closeSync(output);
      let ended = false;
      const exited = new Promise<EngineExit>((exitResolve) => {
        child.once('exit', (code, signal) => {
          ended = true;
          const exit: EngineExit = {
            ...(code === null ? {} : { exitCode: code }),
            ...(signal === null ? {} : { signal }),
          };
          const pid = child.pid;
          const swept = pid === undefined ? Promise.resolve() : this.#afterExit(plan, pid);
          swept.then(
            () => exitResolve(exit),
            (error: unknown) => {
              this.#logger.error({ engine: plan.engine, err: error }, 'cleaning up after the engine failed');
              exitResolve(exit);
            },
          );
        });
      });
      child.once('spawn', () => resolve({ pid: child.pid as number, exited, ended: () => ended }));
      child.once('error', (cause: NodeJS.ErrnoException) => {
        const why = cause.code === 'ENOENT' ? 'there is no such program' : (cause.code ?? 'unknown reason');
        reject(new CodedError('engine_unreachable', `The engine program cannot be started: ${why}.`, { cause }));
      });
    });
  }

  async nextIncarnation(engine: string): Promise<number> {
    await mkdir(this.#folderOf(engine), { recursive: true, mode: 0o700 });
    const file = path.join(this.#folderOf(engine), 'incarnation');
    const before = Number.parseInt((await readSmall(file)) ?? '0', 10);
    const next = Number.isSafeInteger(before) && before >= 0 ? before + 1 : 1;
    await writeWhole(file, String(next));
    return next;
  }

  async launch(plan: LaunchPlan): Promise<LaunchedEngine> {
    await mkdir(plan.workingDirectory, { recursive: true, mode: 0o700 });
    if (plan.address.kind === 'unix') {
      await mkdir(path.dirname(plan.address.path), { recursive: true, mode: 0o700 });
      await rm(plan.address.path, { force: true });
    }
    await rotateOutput(plan.outputFile);
    const { pid, exited, ended } = await this.#spawn(plan);
    const startTicks = await processStartTicks(pid);
    if (startTicks !== undefined) {
      const record: ProcessRecord = { pid, startTicks, specHash: plan.specHash, incarnation: plan.incarnation };
      await writeWhole(this.#recordOf(plan.engine), JSON.stringify(record));
    }
    const launched: LaunchedEngine = {
      pid,
      startedAtMs: Date.now(),
      keeperPid: pid,
      ended,
      died: exited,
      exited,
      processes: () => groupMembers(pid),
      signal: (name) => {
        if (name === 'SIGKILL') signalGroup(pid, name);
        else signalProcess(pid, name);
      },
    };
    return launched;
  }

  async readOutput(file: string, fromByte: number, maxBytes: number): ReturnType<EngineLauncher['readOutput']> {
    const handle = await open(file, 'r').catch(() => undefined);
    if (handle === undefined) return { text: '', nextByte: fromByte };
    try {
      const { size } = await handle.stat();
      const start = Math.max(size < fromByte ? 0 : fromByte, size - maxBytes);
      const { bytesRead, buffer } = await handle.read(
        Buffer.alloc(Math.max(0, size - start)),
        0,
        Math.max(0, size - start),
        start,
      );
      return { text: buffer.toString('utf8', 0, bytesRead), nextByte: start + bytesRead };
    } finally {
      await handle.close();
    }
  }

  adoptable(): ReturnType<EngineLauncher['adoptable']> {
    return Promise.resolve([]);
  }

  async leftovers(): Promise<readonly { engine: string; pid: number; specHash: string; stop(): Promise<void> }[]> {
    const names = await readdir(this.#enginesFolder).catch(() => []);
    const found = [];
    for (const engine of names) {
      const record = parseRecord(await readSmall(this.#recordOf(engine)).catch(() => undefined));
      if (record === undefined) continue;
      // The first process is proven by pid and start time. When it is gone, the mark in the environment of what is left
      // of its group is the proof: a number alone may have been given to a stranger.
      const alive = (await processStartTicks(record.pid)) === record.startTicks;
      const mark = lifeMark(this.#enginesFolder, engine, record.incarnation);
      const ours = alive || (await anyHas(await groupMembers(record.pid), mark));
      if (!ours) {
        await rm(this.#recordOf(engine), { force: true });
        continue;
      }
      found.push({
        engine,
        pid: record.pid,
        specHash: record.specHash,
        stop: async () => {
          if (!(await sweepGroup(record.pid)))
            this.#logger.error({ engine, pid: record.pid }, 'a leftover engine cannot be killed');
          await rm(this.#recordOf(engine), { force: true });
        },
      });
    }
    return found;
  }
}

/** @param enginesFolder one folder per engine is made below it, 0700, because vLLM's socket is open to all */
export function createLauncher(enginesFolder: string, logger: Logger): FileLauncher {
  return new FileLauncher(enginesFolder, logger);
}
