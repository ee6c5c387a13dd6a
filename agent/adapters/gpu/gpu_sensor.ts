/**
 * The agent's side of the GPU sensor: asks it at a period, gives up on it after a deadline, kills its whole process
 * group and starts another one, with backoff. The newest sample is always at hand; its age tells when readings stopped.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { type BackoffPolicy, backoffDelayMs } from '../../../lib/backoff.ts';
import type { Clock } from '../../../lib/clock.ts';
import type { Logger } from '../../../lib/io/logger.ts';
import type { RandomSource } from '../../../lib/rng.ts';
import type { GpuReader, GpuSample, GpuState } from '../../ports.ts';
import { createNoGpuReader } from './gpu_none.ts';

export interface GpuReaderOptions {
  readonly reader: 'auto' | 'nvidia-smi' | 'none';
  readonly deadlineMs: number;
  readonly periodMs: number;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly logger: Logger;
  /** The agent's environment: PATH tells where nvidia-smi is. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly onFailure: (reason: 'timeout' | 'failed' | 'crashed') => void;
}

const RESTART: BackoffPolicy = { baseMs: 1000, capMs: 60_000, minMs: 100 };
/** The agent does not wait longer than this for its first sample. */
const FIRST_SAMPLE_MS = 3000;

const figure = z.number().nonnegative().optional();
const answerSchema = z.object({
  id: z.number(),
  failure: z.string().optional(),
  gpus: z
    .array(
      z.object({
        index: z.int().min(0),
        uuid: z.string().optional(),
        name: z.string().optional(),
        driverVersion: z.string().optional(),
        utilizationRatio: figure,
        memoryUsedBytes: figure,
        memoryTotalBytes: figure,
        temperatureCelsius: figure,
        powerWatts: figure,
      }),
    )
    .optional(),
});

/** Whether a program of this name can be run from PATH. */
export function isOnPath(program: string, searchPath: string | undefined): boolean {
  return (searchPath ?? '').split(path.delimiter).some((folder) => {
    if (folder === '') return false;
    try {
      accessSync(path.join(folder, program), constants.X_OK);
      return true;
    } catch {
      // Not in this folder; the next one may have it.
      return false;
    }
  });
}

const SENSOR_MAIN = fileURLToPath(new URL('../../sensor/main.js', import.meta.url));

class GpuSensor implements GpuReader {
  readonly #options: GpuReaderOptions;
  #sample: GpuSample;
  #child: ChildProcess | undefined;
  #asked = 0;
  #failures = 0;
  #cancelDeadline: () => void = () => undefined;
  #cancelNext: () => void = () => undefined;
  #onFirst: (() => void) | undefined;
  #stopped = false;

  constructor(options: GpuReaderOptions) {
    this.#options = options;
    this.#sample = {
      source: 'nvidia-smi',
      atMs: options.clock.wallMs(),
      gpus: [],
      reason: 'nvidia-smi has not answered yet',
    };
  }

  latest(): GpuSample {
    return this.#sample;
  }

  onIncident(): void {}

  onSample(): void {}

  async start(): Promise<void> {
    const first = new Promise<void>((resolve) => {
      this.#onFirst = resolve;
    });
    this.#ask();
    const cancel = this.#options.clock.after(FIRST_SAMPLE_MS, () => this.#onFirst?.());
    await first;
    cancel();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancelNext();
    this.#cancelDeadline();
    this.#onFirst?.();
    await this.#killChild();
  }

  #spawn(): ChildProcess {
    const { environment } = this.#options;
    const child = fork(SENSOR_MAIN, [], {
      detached: true,
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
      execArgv: [],
      env: { PATH: environment['PATH'] ?? '', LANG: 'C' },
    });
    child.on('message', (message) => this.#onAnswer(child, message));
    child.on('error', () => this.#onGone(child));
    child.once('exit', () => this.#onGone(child));
    return child;
  }

  #ask(): void {
    if (this.#stopped) return;
    this.#child ??= this.#spawn();
    this.#asked += 1;
    const child = this.#child;
    // A failure to send shows as the end of the process.
    child.send({ id: this.#asked }, () => undefined);
    this.#cancelDeadline = this.#options.clock.after(this.#options.deadlineMs, () => {
      this.#fail('timeout', `nvidia-smi did not answer within ${this.#options.deadlineMs} ms`);
      void this.#killChild();
      this.#later(true);
    });
  }

  #later(failed: boolean): void {
    const { clock, periodMs, random } = this.#options;
    this.#failures = failed ? this.#failures + 1 : 0;
    const delayMs = failed ? periodMs + backoffDelayMs(this.#failures - 1, RESTART, random) : periodMs;
    this.#cancelNext();
    this.#cancelNext = clock.after(delayMs, () => this.#ask());
  }

  #onAnswer(child: ChildProcess, message: unknown): void {
    const parsed = answerSchema.safeParse(message);
    if (child !== this.#child || !parsed.success || parsed.data.id !== this.#asked) return;
    this.#cancelDeadline();
    const { gpus, failure } = parsed.data;
    if (gpus === undefined) this.#fail('failed', failure ?? 'the sensor gave no figures');
    else {
      const empty = gpus.length === 0 ? { reason: 'nvidia-smi lists no GPU' } : {};
      this.#sample = {
        source: 'nvidia-smi',
        atMs: this.#options.clock.wallMs(),
        gpus: gpus as readonly GpuState[],
        ...empty,
      };
      this.#settleFirst();
    }
    this.#later(gpus === undefined);
  }

  #onGone(child: ChildProcess): void {
    if (child !== this.#child) return;
    this.#child = undefined;
    this.#cancelDeadline();
    if (this.#stopped) return;
    this.#fail('crashed', 'the sensor process ended');
    this.#later(true);
  }

  /** The figures of the last good reading stay, with their age; the reason says why there are no newer ones. */
  #fail(kind: 'timeout' | 'failed' | 'crashed', reason: string): void {
    if (this.#failures === 0) this.#options.logger.warn({ reason }, 'GPUs cannot be read');
    this.#sample = { ...this.#sample, reason };
    this.#options.onFailure(kind);
    this.#settleFirst();
  }

  #settleFirst(): void {
    this.#onFirst?.();
    this.#onFirst = undefined;
  }

  #killChild(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
    const { pid } = child;
    return new Promise((resolve) => {
      child.once('exit', () => resolve());
      try {
        process.kill(-pid, 'SIGKILL');
      } catch {
        // The group is gone already, which was the aim.
        resolve();
      }
    });
  }
}

export function createGpuReader(options: GpuReaderOptions): GpuReader {
  const now = options.clock.wallMs();
  if (options.reader === 'none') return createNoGpuReader('GPU reading is turned off (gpuReader)', now);
  if (options.reader === 'auto' && !isOnPath('nvidia-smi', options.environment['PATH'])) {
    return createNoGpuReader('there is no nvidia-smi on PATH', now);
  }
  return new GpuSensor(options);
}
