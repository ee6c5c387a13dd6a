/**
 * Reads GPUs through the sensor process: by NVML, else by nvidia-smi, else not at all, each named as the source of the
 * figures. The newest sample is always at hand and its age tells when readings stopped; a driver that hangs costs a
 * stale reading, the GPU that hung it is let alone for a while, and the agent never waits.
 */
import { accessSync, constants, existsSync } from 'node:fs';
import path from 'node:path';
import { type BackoffPolicy, backoffDelayMs } from '../../../lib/backoff.ts';
import type { Clock } from '../../../lib/clock.ts';
import type { Logger } from '../../../lib/io/logger.ts';
import type { RandomSource } from '../../../lib/rng.ts';
import { addonPath } from '../../../native/contract.ts';
import type { GpuIncident, GpuReader, GpuSample, GpuState } from '../../ports.ts';
import { type Group, GROUPS } from '../../sensor/messages.ts';
import { createNoGpuReader } from './gpu_none.ts';
import { GpuTable, GROUP_PERIODS_MS } from './gpu_table.ts';
import { type Outcome, SensorProcess, type SensorProcessOptions } from './sensor_process.ts';

export interface GpuReaderOptions extends Pick<SensorProcessOptions, 'spawn' | 'kill' | 'startTimeoutMs'> {
  readonly reader: 'auto' | 'nvml' | 'nvidia-smi' | 'none';
  /** A path, or a name that the loader looks up. */
  readonly nvmlLibrary: string;
  /** Time for one round of NVML calls. */
  readonly nvmlTimeoutMs: number;
  readonly nvidiaSmiTimeoutMs: number;
  /** How often the load is read by NVML; the other groups have periods of their own. */
  readonly periodMs: number;
  readonly nvidiaSmiPeriodMs: number;
  readonly groupPeriodsMs?: Partial<Record<Group, number>>;
  /** Where the kernel tells of NUMA nodes. */
  readonly numaFolder?: string;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly logger: Logger;
  /** The agent's environment: PATH tells where nvidia-smi is. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly onFailure: (reason: 'timeout' | 'failed' | 'crashed' | 'stuck') => void;
}

const RESTART: BackoffPolicy = { baseMs: 1000, capMs: 60_000, minMs: 100 };
/** A GPU that hung the driver is asked again after this. */
const SUSPECT: BackoffPolicy = { baseMs: 10_000, capMs: 300_000, minMs: 5000 };
/** A driver may be loaded after the agent has started. */
const NVML_RETRY: BackoffPolicy = { baseMs: 60_000, capMs: 600_000, minMs: 30_000 };
/** The agent does not wait longer than this for its first sample. */
const FIRST_SAMPLE_MS = 3000;
/** These mean that there is no NVML to be had here now, not that a GPU is ill. */
const NO_NVML: ReadonlySet<string> = new Set([
  'addon_absent',
  'native',
  'library_missing',
  'driver_not_loaded',
  'driver_mismatch',
  'function_not_found',
  'no_permission',
]);

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

/**
 * The sensor's whole environment. The loader's path is of it: where the driver is mounted into a container or by a
 * package manager of its own, nothing else leads to libnvidia-ml, also for nvidia-smi itself.
 */
function sensorEnvironment(environment: GpuReaderOptions['environment']): Record<string, string> {
  const libraries = environment['LD_LIBRARY_PATH'];
  return {
    PATH: environment['PATH'] ?? '',
    LANG: 'C',
    ...(libraries === undefined ? {} : { LD_LIBRARY_PATH: libraries }),
  };
}

type Mode = 'nvml' | 'nvidia-smi' | 'none';

class GpuSensor implements GpuReader {
  readonly #options: GpuReaderOptions;
  readonly #sensor: SensorProcess;
  readonly #table = new GpuTable();
  readonly #incidentListeners: ((incident: GpuIncident) => void)[] = [];
  readonly #sampleListeners: ((sample: GpuSample) => void)[] = [];
  #sample: GpuSample;
  #mode: Mode;
  #open = false;
  readonly #dueAtMs = new Map<Group, number>();
  readonly #suspects = new Map<number, { failures: number; untilMs: number; call: string }>();
  #failures = 0;
  #nvmlRetries = 0;
  #nvmlRetryAtMs = Number.POSITIVE_INFINITY;
  #wake: () => void = () => undefined;
  #onFirst: (() => void) | undefined;
  #stopped = false;

  constructor(options: GpuReaderOptions, mode: Mode) {
    const { clock, environment } = options;
    this.#options = options;
    this.#mode = mode;
    this.#sample = { source: mode, atMs: clock.wallMs(), gpus: [], reason: `${mode} has not answered yet` };
    this.#sensor = new SensorProcess({
      clock,
      environment: sensorEnvironment(environment),
      ...(options.startTimeoutMs === undefined ? {} : { startTimeoutMs: options.startTimeoutMs }),
      ...(options.spawn === undefined ? {} : { spawn: options.spawn }),
      ...(options.kill === undefined ? {} : { kill: options.kill }),
      onIncident: ({ index, what, xid, atMs }) => {
        const uuid = this.#table.uuidOf(index);
        // What the driver has to say about its GPU now is asked at once and not at the next period.
        this.#dueAtMs.set('health', 0);
        this.#tell([
          {
            index,
            kind: what,
            atMs,
            ...(uuid === undefined ? {} : { uuid }),
            ...(xid === undefined ? {} : { xid }),
          },
        ]);
        this.#wake();
      },
    });
  }

  latest(): GpuSample {
    return this.#sample;
  }

  onIncident(listener: (incident: GpuIncident) => void): void {
    this.#incidentListeners.push(listener);
  }

  onSample(listener: (sample: GpuSample) => void): void {
    this.#sampleListeners.push(listener);
  }

  readProcessesSoon(): void {
    // A sensor that fails is asked at its own pace, whoever waits.
    if (this.#failures > 0 || this.#mode === 'none') return;
    this.#dueAtMs.set('process', 0);
    this.#wake();
  }

  async start(): Promise<void> {
    const first = new Promise<void>((resolve) => {
      this.#onFirst = resolve;
    });
    const cancel = this.#options.clock.after(FIRST_SAMPLE_MS, () => this.#onFirst?.());
    void this.#loop();
    await first;
    cancel();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#onFirst?.();
    this.#wake();
    await this.#sensor.stop();
  }

  async #loop(): Promise<void> {
    while (!this.#stopped) {
      const delayMs = await this.#turn();
      if (!this.#stopped) await this.#pause(delayMs);
    }
  }

  #pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#options.clock.after(delayMs, resolve);
      this.#wake = () => {
        cancel();
        resolve();
      };
    });
  }

  /** One question; answers how long to wait before the next. */
  #turn(): Promise<number> {
    const now = this.#options.clock.monotonicMs();
    if (this.#mode !== 'nvml' && now < this.#nvmlRetryAtMs)
      return this.#mode === 'nvidia-smi' ? this.#readSmi() : Promise.resolve(this.#nvmlRetryAtMs - now);
    return this.#open ? this.#readNvml(now) : this.#openNvml();
  }

  async #openNvml(): Promise<number> {
    const { nvmlLibrary: library, numaFolder = '/sys/devices/system/node', nvmlTimeoutMs, clock } = this.#options;
    const outcome = await this.#sensor.ask({ ask: 'open', library, numaFolder }, nvmlTimeoutMs);
    if (this.#stopped) return 0;
    if (outcome.kind !== 'answer') return this.#onNoAnswer(outcome);
    const { answer } = outcome;
    if (answer.kind === 'opened') {
      this.#mode = 'nvml';
      this.#open = true;
      this.#nvmlRetries = 0;
      this.#nvmlRetryAtMs = Number.POSITIVE_INFINITY;
      this.#dueAtMs.clear();
      this.#tell(this.#table.list(answer.gpus, clock.wallMs()));
      return 0;
    }
    const { failure, reason } = answer.kind === 'failed' ? answer : { failure: 'native', reason: 'no answer' };
    if (this.#options.reader !== 'auto') return this.#fail('failed', reason);
    return this.#fallBack(failure, reason);
  }

  /** No NVML: nvidia-smi where there is one, else nothing; NVML is tried again later, more and more rarely. */
  #fallBack(failure: string, reason: string): number {
    const { clock, environment, logger, random } = this.#options;
    const smi = isOnPath('nvidia-smi', environment['PATH']);
    if (!smi && !NO_NVML.has(failure)) return this.#fail('failed', reason);
    this.#nvmlRetryAtMs =
      failure === 'addon_absent'
        ? Number.MAX_SAFE_INTEGER
        : clock.monotonicMs() + backoffDelayMs(this.#nvmlRetries, NVML_RETRY, random);
    if (this.#nvmlRetries === 0) logger.info({ reason, source: smi ? 'nvidia-smi' : 'none' }, 'no NVML on this host');
    this.#nvmlRetries += 1;
    this.#mode = smi ? 'nvidia-smi' : 'none';
    if (smi && this.#sample.gpus.length === 0) this.#sample = { ...this.#sample, source: 'nvidia-smi' };
    if (smi) return 0;
    // Nothing to ask, so no process waits for it.
    this.#sensor.kill();
    this.#publish('none', [], `${reason}; there is no nvidia-smi on PATH`);
    return 0;
  }

  async #readNvml(now: number): Promise<number> {
    const { nvmlTimeoutMs, clock } = this.#options;
    for (const [index, { untilMs }] of this.#suspects)
      if (untilMs <= now && this.#table.indexes().includes(index)) this.#dueAtMs.clear();
    const groups = GROUPS.filter((group) => (this.#dueAtMs.get(group) ?? 0) <= now);
    const skip = [...this.#suspects].filter(([, { untilMs }]) => untilMs > now).map(([index]) => index);
    const indexes = this.#table.indexes();
    if (groups.length === 0) return Math.max(0, Math.min(...this.#dueAtMs.values()) - now);
    if (indexes.length > 0 && indexes.every((index) => skip.includes(index)))
      return Math.max(0, Math.min(...[...this.#suspects.values()].map(({ untilMs }) => untilMs)) - now);
    for (const group of groups) this.#dueAtMs.set(group, now + this.#periodOf(group));
    const askedAtMs = clock.wallMs();
    const outcome = await this.#sensor.ask({ ask: 'read', groups, skip }, nvmlTimeoutMs);
    if (this.#stopped) return 0;
    if (outcome.kind !== 'answer') return this.#onNoAnswer(outcome);
    if (outcome.answer.kind !== 'read') {
      this.#open = false;
      this.#sensor.kill();
      return this.#fail('failed', outcome.answer.kind === 'failed' ? outcome.answer.reason : 'no answer');
    }
    for (const { index } of outcome.answer.gpus) this.#suspects.delete(index);
    this.#tell(this.#table.take(outcome.answer.gpus, clock.wallMs(), askedAtMs));
    this.#publish('nvml', this.#table.states(), this.#reasonOfNvml());
    return Math.max(0, Math.min(...this.#dueAtMs.values()) - clock.monotonicMs());
  }

  #reasonOfNvml(): string | undefined {
    if (this.#table.indexes().length === 0) return 'NVML lists no GPU';
    const hung = [...this.#suspects].map(([index, { call }]) => `GPU ${index} does not answer (${call})`);
    return hung.length === 0 ? undefined : hung.join('; ');
  }

  #periodOf(group: Group): number {
    const { groupPeriodsMs, periodMs } = this.#options;
    return groupPeriodsMs?.[group] ?? (group === 'load' ? periodMs : GROUP_PERIODS_MS[group]);
  }

  async #readSmi(): Promise<number> {
    const { nvidiaSmiTimeoutMs, nvidiaSmiPeriodMs, clock } = this.#options;
    const askedAtMs = clock.wallMs();
    const outcome = await this.#sensor.ask({ ask: 'nvidia-smi' }, nvidiaSmiTimeoutMs);
    if (this.#stopped) return 0;
    if (outcome.kind === 'timeout')
      return nvidiaSmiPeriodMs + this.#fail('timeout', `nvidia-smi did not answer within ${nvidiaSmiTimeoutMs} ms`);
    if (outcome.kind !== 'answer') return nvidiaSmiPeriodMs + this.#onNoAnswer(outcome);
    const { answer } = outcome;
    if (answer.kind !== 'smi') {
      const reason = answer.kind === 'failed' ? answer.reason : 'the sensor gave no figures';
      return nvidiaSmiPeriodMs + this.#fail('failed', reason);
    }
    this.#publish(
      'nvidia-smi',
      (answer.gpus as readonly GpuState[]).map((gpu) =>
        gpu.processes === undefined ? gpu : { ...gpu, processesAtMs: askedAtMs },
      ),
      answer.gpus.length === 0 ? 'nvidia-smi lists no GPU' : undefined,
    );
    return nvidiaSmiPeriodMs;
  }

  /** The sensor hung, ended or could not be started. */
  #onNoAnswer(outcome: Exclude<Outcome, { kind: 'answer' }>): number {
    const { nvmlTimeoutMs, clock, random } = this.#options;
    this.#open = false;
    if (outcome.kind === 'gone') return this.#fail('crashed', 'the sensor process ended');
    if (outcome.kind === 'stuck')
      return this.#fail(
        'stuck',
        `${outcome.unreaped} sensor processes hang in the driver and cannot be ended; no other is started`,
      );
    const { place } = outcome;
    const where = place === undefined ? '' : ` (${place.call}${place.gpu < 0 ? '' : ` of GPU ${place.gpu}`})`;
    const delayMs = this.#fail('timeout', `NVML did not answer within ${nvmlTimeoutMs} ms${where}`);
    if (place === undefined || place.gpu < 0) return delayMs;
    const failures = (this.#suspects.get(place.gpu)?.failures ?? 0) + 1;
    const untilMs = clock.monotonicMs() + backoffDelayMs(failures - 1, SUSPECT, random);
    this.#suspects.set(place.gpu, { failures, untilMs, call: place.call });
    this.#table.forget(place.gpu);
    const uuid = this.#table.uuidOf(place.gpu);
    this.#tell([
      { index: place.gpu, kind: 'unavailable', atMs: clock.wallMs(), ...(uuid === undefined ? {} : { uuid }) },
    ]);
    // The other GPUs are not to go blind with it.
    return this.#table.indexes().length > this.#suspects.size ? (RESTART.minMs as number) : delayMs;
  }

  /** The figures of the last good reading stay, with their age; the reason says why there are no newer ones. */
  #fail(kind: 'timeout' | 'failed' | 'crashed' | 'stuck', reason: string): number {
    const { logger, onFailure, random } = this.#options;
    if (this.#failures === 0) logger.warn({ reason }, 'GPUs cannot be read');
    this.#failures += 1;
    this.#sample = { ...this.#sample, reason };
    onFailure(kind);
    this.#settleFirst();
    return backoffDelayMs(this.#failures - 1, RESTART, random);
  }

  #publish(source: Mode, gpus: readonly GpuState[], reason: string | undefined): void {
    this.#failures = 0;
    this.#sample = {
      source,
      atMs: this.#options.clock.wallMs(),
      gpus,
      ...(reason === undefined ? {} : { reason }),
    };
    this.#settleFirst();
    for (const listener of this.#sampleListeners) listener(this.#sample);
  }

  #tell(incidents: readonly GpuIncident[]): void {
    for (const incident of incidents) for (const listener of this.#incidentListeners) listener(incident);
  }

  #settleFirst(): void {
    this.#onFirst?.();
    this.#onFirst = undefined;
  }
}

export function createGpuReader(options: GpuReaderOptions): GpuReader {
  const { reader, clock, environment } = options;
  if (reader === 'none') return createNoGpuReader('GPU reading is turned off (gpuReader)', clock.wallMs());
  if (reader === 'nvidia-smi') return new GpuSensor(options, 'nvidia-smi');
  // Without the addon and without nvidia-smi there is nothing that a sensor could ask.
  if (reader === 'auto' && !existsSync(addonPath()) && !isOnPath('nvidia-smi', environment['PATH']))
    return createNoGpuReader('the native addon is not built, and there is no nvidia-smi on PATH', clock.wallMs());
  return new GpuSensor(options, 'nvml');
}
