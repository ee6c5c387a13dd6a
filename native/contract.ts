/**
 * The whole seam to native code: finds the addon, gives its functions types, and turns what they throw into coded errors
 * once. A package without the addon (no C compiler at install) is a normal case and a value, not an error.
 * NVML's status numbers are those of NVIDIA's nvml.h (nvmlReturn_t, 13.5).
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { CodedError } from '../lib/errors.ts';
import { packageRoot } from '../lib/io/package_root.ts';

/** What one question to a GPU can be, in the order of `nvml_call_id` in native/addon/nvml.h. */
export const NVML_CALLS = [
  'utilization',
  'memory',
  'temperature',
  'smClock',
  'memoryClock',
  'eventReasons',
  'power',
  'migMode',
  'persistence',
  'numaNode',
  'addressingMode',
  'slowdownLimit',
  'memoryLimit',
  'eccCorrected',
  'eccUncorrected',
  'remappedRows',
  'pcieReplays',
] as const;
export type NvmlCall = (typeof NVML_CALLS)[number];

/** nvmlReturn_t, as far as the sensor acts on it. */
export const NVML_STATUS = {
  ok: 0,
  not_supported: 3,
  no_permission: 4,
  driver_not_loaded: 9,
  library_missing: 12,
  function_not_found: 13,
  gpu_lost: 15,
  reset_required: 16,
  driver_mismatch: 18,
} as const;
export type NvmlFailure = Exclude<keyof typeof NVML_STATUS, 'ok'> | 'other';

/** Kinds of events as nvml.h numbers them. */
export const NVML_EVENT = { doubleBitEcc: 0x2, xid: 0x8, unavailable: 0x4000, recoveryAction: 0x8000 } as const;

/** Most fields of one `read`. */
export const MOST_FIELDS = 64;

const NAME_OF_STATUS = new Map<number, NvmlFailure>(
  Object.entries(NVML_STATUS)
    .filter(([name]) => name !== 'ok')
    .map(([name, status]) => [status, name as NvmlFailure]),
);

/** NVML refused. `message` is NVML's own sentence, or the loader's where the library is missing. */
export class NvmlError extends CodedError {
  readonly status: number;
  readonly failure: NvmlFailure;

  constructor(status: number, message: string, cause?: unknown) {
    super('gpu_unreadable', message, { cause });
    this.name = 'NvmlError';
    this.status = status;
    this.failure = NAME_OF_STATUS.get(status) ?? 'other';
  }
}

export interface NvmlGpu {
  readonly index: number;
  /** NVML's status of taking the GPU's handle; all but 0 means that it cannot be read. */
  readonly status: number;
  /** Empty where the driver does not tell. */
  readonly uuid: string;
  readonly name: string;
}

export interface NvmlField {
  readonly id: number;
  /** For instance the number of a link; 0 where the field has no parts. */
  readonly scope: number;
}

export interface NvmlFigure {
  readonly status: number;
  /** Four numbers of a call, one of a field; without meaning unless `status` is 0. */
  readonly values: readonly number[];
}

export interface NvmlReading {
  /** In the order of the question. */
  readonly calls: readonly NvmlFigure[];
  readonly fields: readonly NvmlFigure[];
}

export interface NvmlProcess {
  readonly pid: number;
  readonly memoryBytes?: number;
}

export interface Native {
  /** Loads the library and starts NVML; again after a failure. @throws NvmlError */
  open(library: string): Promise<{ readonly driverVersion: string; readonly gpus: readonly NvmlGpu[] }>;
  /** All calls and one GetFieldValues of a GPU. @throws NvmlError when the GPU cannot be asked at all */
  read(gpu: number, calls: readonly NvmlCall[], fields: readonly NvmlField[]): Promise<NvmlReading>;
  /** Processes with memory on the GPU, of all its MIG devices. @throws NvmlError */
  processes(gpu: number): Promise<readonly NvmlProcess[]>;
  /** Tells events from a thread of its own until the process ends; once per process. @throws NvmlError */
  watch(listener: (gpu: number, kind: number, data: number) => void): Promise<void>;
  /** What the driver is being asked at this moment; `gpu` is -1 for the library as a whole. */
  where(): { readonly call: string; readonly gpu: number } | undefined;
  /**
   * sd_notify(3).
   * @param path of systemd's NOTIFY_SOCKET; `@` first for an abstract one
   * @throws CodedError native_unusable when the datagram cannot be sent
   */
  notify(path: string, message: string): void;
}

/** The addon's own functions, as native/addon/addon.c exports them. */
interface Addon {
  open(library: string): Promise<{ driverVersion: string; gpus: NvmlGpu[] }>;
  read(gpu: number, calls: readonly number[], fields: readonly number[], scopes: readonly number[]): Promise<number[]>;
  processes(gpu: number): Promise<number[]>;
  watch(listener: (gpu: number, kind: number, data: number) => void): Promise<void>;
  where(): { call: string; gpu: number } | undefined;
  notify(path: string, message: string): string | undefined;
}

const VALUES_PER_CALL = 4;

/** Where the addon of this machine lies, whether it is there or not. */
export function addonPath(): string {
  return join(packageRoot(), 'native', 'out', `${process.platform}-${process.arch}`, 'sophia.node');
}

function toNativeError(thrown: unknown): CodedError {
  const { status, message } = thrown as { status?: unknown; message?: unknown };
  if (typeof status === 'number') return new NvmlError(status, String(message), thrown);
  return new CodedError('native_unusable', `The native addon refused: ${String(message)}.`, { cause: thrown });
}

async function coded<Value>(work: () => Promise<Value>): Promise<Value> {
  try {
    return await work();
  } catch (thrown) {
    throw toNativeError(thrown);
  }
}

function figuresOf(flat: readonly number[], from: number, count: number, width: number): NvmlFigure[] {
  return Array.from({ length: count }, (_, index) => {
    const at = from + index * (width + 1);
    return { status: flat[at] as number, values: flat.slice(at + 1, at + 1 + width) };
  });
}

function wrap(addon: Addon): Native {
  return {
    open: (library) => coded(() => addon.open(library)),
    read: async (gpu, calls, fields) => {
      const numbers = calls.map((call) => NVML_CALLS.indexOf(call));
      const ids = fields.map(({ id }) => id);
      const scopes = fields.map(({ scope }) => scope);
      const flat = await coded(() => addon.read(gpu, numbers, ids, scopes));
      const fieldsAt = calls.length * (VALUES_PER_CALL + 1);
      return {
        calls: figuresOf(flat, 0, calls.length, VALUES_PER_CALL),
        fields: figuresOf(flat, fieldsAt, fields.length, 1),
      };
    },
    processes: async (gpu) => {
      const flat = await coded(() => addon.processes(gpu));
      return Array.from({ length: flat.length / 2 }, (_, index) => {
        const memoryBytes = flat[index * 2 + 1] as number;
        return { pid: flat[index * 2] as number, ...(memoryBytes < 0 ? {} : { memoryBytes }) };
      });
    },
    watch: (listener) => coded(() => addon.watch(listener)),
    where: () => addon.where(),
    notify: (path, message) => {
      const failure = addon.notify(path, message);
      if (failure !== undefined)
        throw new CodedError('native_unusable', `The notification could not be sent: ${failure}.`);
    },
  };
}

export type NativeLoad =
  | { readonly kind: 'loaded'; readonly native: Native }
  | { readonly kind: 'absent'; readonly path: string };

/**
 * @param file the addon; the one of this machine when absent
 * @throws CodedError native_unusable when the file is there but cannot be loaded
 */
export function loadNative(file: string = addonPath()): NativeLoad {
  if (!existsSync(file)) return { kind: 'absent', path: file };
  try {
    return { kind: 'loaded', native: wrap(createRequire(import.meta.url)(file) as Addon) };
  } catch (cause) {
    throw new CodedError('native_unusable', 'The native addon cannot be loaded on this machine.', { cause });
  }
}
