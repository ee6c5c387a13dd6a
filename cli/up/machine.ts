/**
 * What `sophia up` and `sophia doctor` find out about this machine: programs on PATH, GPUs, what a model argument is.
 * Every question has a deadline: nvidia-smi hangs on a GPU that degrades.
 */
import { execFile } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { stat } from 'node:fs/promises';
import path from 'node:path';

export interface RunResult {
  readonly ok: boolean;
  readonly output: string;
  readonly why: 'done' | 'absent' | 'timeout' | 'failed';
}

/** Runs a program without a shell; its outcome is a value. */
export function run(program: string, args: readonly string[], timeoutMs: number): Promise<RunResult> {
  return new Promise((resolve) => {
    execFile(
      program,
      args,
      { timeout: timeoutMs, killSignal: 'SIGKILL', maxBuffer: 1 << 20 },
      (error, stdout, stderr) => {
        const output = `${stdout}${stderr}`.trim();
        if (error === null) resolve({ ok: true, output, why: 'done' });
        else if (error.code === 'ENOENT') resolve({ ok: false, output: '', why: 'absent' });
        else resolve({ ok: false, output, why: error.killed === true ? 'timeout' : 'failed' });
      },
    );
  });
}

/** Path of a program on the given PATH, or undefined. */
export function findProgram(name: string, pathVariable: string | undefined): string | undefined {
  for (const folder of (pathVariable ?? '').split(path.delimiter)) {
    if (folder === '') continue;
    const file = path.join(folder, name);
    try {
      accessSync(file, constants.X_OK);
      return file;
    } catch {
      // Not in this folder: the next one is looked at.
      continue;
    }
  }
  return undefined;
}

const SMI_TIMEOUT_MS = 8000;

export interface GpuAnswer {
  readonly count: number;
  readonly why: RunResult['why'];
  readonly output: string;
}

/** How many GPUs nvidia-smi names. No nvidia-smi is a normal answer: no GPU. */
export async function countGpus(): Promise<GpuAnswer> {
  const { ok, output, why } = await run('nvidia-smi', ['-L'], SMI_TIMEOUT_MS);
  const count = ok ? output.split('\n').filter((line) => /^GPU \d+:/.test(line)).length : 0;
  return { count, why, output };
}

/** What a `--model` value is on this machine. */
export async function modelKind(model: string | undefined): Promise<'none' | 'folder' | 'file' | 'other'> {
  if (model === undefined) return 'none';
  const found = await stat(model).catch(() => undefined);
  if (found === undefined) return 'other';
  return found.isDirectory() ? 'folder' : 'file';
}
