/** What real GPUs answered (test/fixtures/nvidia-*), played again: NVML's raw results behind the addon's own interface. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { packageRoot } from '../../lib/io/package_root.ts';
import { type Native, type NvmlFigure, NvmlError } from '../../native/contract.ts';

/** The shape of `*-nvml.json`: a status, and the values where the status is 0. */
interface RawReading {
  readonly calls: Readonly<Record<string, readonly number[]>>;
  readonly fields: Readonly<Record<string, readonly number[]>>;
  readonly processes: readonly { readonly pid: number; readonly memoryBytes?: number }[];
}

export type Part = 'nvidia-h100' | 'nvidia-h200';
export type Moment = 'idle' | 'load';

const NOT_SUPPORTED = 3;

export const fixtureFile = (part: Part, name: string): string =>
  path.join(packageRoot(), 'test', 'fixtures', part, name);

export const readFixture = (part: Part, name: string): string => readFileSync(fixtureFile(part, name), 'utf8');

const figure = ([status = NOT_SUPPORTED, ...values]: readonly number[]): NvmlFigure => ({ status, values });

/** One GPU that answers with what was recorded; whatever was not is not supported. */
export function recordedNative(part: Part, moment: Moment): Native {
  const raw = JSON.parse(readFixture(part, `${moment}-nvml.json`)) as RawReading;
  const [, name = '', uuid = ''] = /^GPU 0: (.+) \(UUID: (.+)\)/.exec(readFixture(part, 'list.txt')) ?? [];
  const driverVersion = /^DRIVER version +: (.+)$/m.exec(readFixture(part, 'version.txt'))?.[1] ?? '';
  return {
    open: () => Promise.resolve({ driverVersion, gpus: [{ index: 0, status: 0, uuid, name }] }),
    read: (_gpu, calls, fields) =>
      Promise.resolve({
        calls: calls.map((call) => figure(raw.calls[call] ?? [])),
        fields: fields.map(({ id, scope }) => figure(scope === 0 ? (raw.fields[id] ?? []) : [])),
      }),
    processes: () => Promise.resolve(raw.processes),
    watch: () => Promise.reject(new NvmlError(NOT_SUPPORTED, 'A recording has no events.')),
    where: () => undefined,
    notify: () => undefined,
  };
}
