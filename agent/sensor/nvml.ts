/**
 * Reads GPUs by NVML through the native addon. What a GPU does not have (FUNCTION_NOT_FOUND, NOT_SUPPORTED) is remembered
 * and not asked again; until it is known, and for ever where it is not there, the reading is absent, never 0.
 */
import { readFileSync } from 'node:fs';
import {
  MOST_FIELDS,
  type Native,
  NVML_STATUS,
  type NvmlCall,
  NvmlError,
  type NvmlField,
  type NvmlFigure,
} from '../../native/contract.ts';
import { type Group, GROUPS, type GpuFacts, type ReadGpu, type Readings } from './messages.ts';
import {
  C2C_BANDWIDTH,
  C2C_ERRORS,
  C2C_LINK_COUNT,
  C2C_POWER_STATE,
  C2C_STATUS,
  CALL_READINGS,
  type CallReading,
  FIELD_READINGS,
  MOST_C2C_LINKS,
  SUM_READINGS,
  throttleFields,
} from './nvml_table.ts';

/** One life of NVML: which GPUs there are and what each of them cannot tell. */
export interface NvmlSession {
  readonly gpus: readonly (GpuFacts & { readonly lost: boolean })[];
  /** @throws NvmlError when a GPU refuses in a way that is no answer */
  read(groups: readonly Group[], skip: readonly number[]): Promise<readonly ReadGpu[]>;
}

/** What is known of one GPU between readings. */
interface Device {
  readonly index: number;
  /** Keys of calls and fields that it does not have. */
  readonly missing: Set<string>;
  migEnabled?: boolean;
}

type Figures = Map<string, readonly number[]>;

const fieldKey = ({ id, scope }: NvmlField): string => `${id}:${scope}`;
const field = (id: number, scope = 0): NvmlField => ({ id, scope });

const ABSENT: ReadonlySet<number> = new Set([NVML_STATUS.not_supported, NVML_STATUS.function_not_found]);

/** Thrown inside a reading when the GPU is gone: the rest of its readings has no meaning. */
const isLost = (error: unknown): boolean => error instanceof NvmlError && error.failure === 'gpu_lost';

/** Asks what the GPU is not known to lack; figures of what it answered. @throws NvmlError gpu_lost */
async function ask(
  native: Native,
  device: Device,
  calls: readonly NvmlCall[],
  fields: readonly NvmlField[],
): Promise<{ readonly figures: Figures; readonly needsReset: boolean }> {
  const askedCalls = [...new Set(calls)].filter((call) => !device.missing.has(call));
  const askedFields = fields.filter((one) => !device.missing.has(fieldKey(one))).slice(0, MOST_FIELDS);
  const figures: Figures = new Map();
  let needsReset = false;
  if (askedCalls.length + askedFields.length === 0) return { figures, needsReset };
  const reading = await native.read(device.index, askedCalls, askedFields);
  const take = (key: string, { status, values }: NvmlFigure): void => {
    if (status === NVML_STATUS.ok) figures.set(key, values);
    else if (status === NVML_STATUS.gpu_lost) throw new NvmlError(status, 'The GPU is lost.');
    else if (status === NVML_STATUS.reset_required) needsReset = true;
    else if (ABSENT.has(status)) device.missing.add(key);
  };
  reading.calls.forEach((figure, index) => take(askedCalls[index] as string, figure));
  reading.fields.forEach((figure, index) => take(fieldKey(askedFields[index] as NvmlField), figure));
  return { figures, needsReset };
}

/** A NUMA node's memory, of the kernel's own table; nothing where there is no such node. */
function numaMemory(folder: string, node: number): Readings {
  try {
    const table = readFileSync(`${folder}/node${node}/meminfo`, 'utf8');
    const bytes = (name: string): number => Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(table)?.[1]) * 1024;
    const [total, free] = [bytes('MemTotal'), bytes('MemFree')];
    return {
      ...(Number.isFinite(total) ? { numaMemoryTotalBytes: total } : {}),
      ...(Number.isFinite(free) ? { numaMemoryFreeBytes: free } : {}),
    };
  } catch {
    // A GPU whose memory is no NUMA node of the host: the reading is unknown.
    return {};
  }
}

function takeSums(figures: Figures, group: Group, throttle: readonly number[]): Readings {
  const sumOf = (fields: readonly number[]): number | undefined => {
    const known = fields.flatMap((id) => figures.get(fieldKey(field(id)))?.[0] ?? []);
    return known.length === 0 ? undefined : known.reduce((sum, one) => sum + one, 0);
  };
  const readings: Readings = {};
  for (const sum of SUM_READINGS.filter((one) => one.group === group)) {
    const value = sumOf(sum.fields);
    if (value !== undefined) Object.assign(readings, sum.take(value));
  }
  const throttled = group === 'throttle' ? sumOf(throttle) : undefined;
  return throttled === undefined ? readings : { ...readings, throttledNs: throttled };
}

/** One group but C2C: its calls, its fields, its sums, and in a second round what stands in for missing fields. */
async function readPlain(native: Native, device: Device, group: Group, throttle: readonly number[]) {
  const fieldReadings = FIELD_READINGS.filter((one) => one.group === group);
  const sums = SUM_READINGS.filter((one) => one.group === group).flatMap(({ fields }) => fields);
  const wanted = [
    ...fieldReadings.map((one) => field(one.field)),
    ...[...sums, ...(group === 'throttle' ? throttle : [])].map((id) => field(id)),
  ];
  const calls = CALL_READINGS[group];
  const { figures, needsReset } = await ask(
    native,
    device,
    calls.map(({ call }) => call),
    wanted,
  );
  const readings = takeSums(figures, group, throttle);
  const takeCalls = (list: readonly CallReading[], from: Figures): void => {
    for (const { call, take } of list) {
      const values = from.get(call);
      if (values !== undefined) Object.assign(readings, take(values));
    }
  };
  takeCalls(calls, figures);
  const instead: CallReading[] = [];
  for (const one of fieldReadings) {
    const key = fieldKey(field(one.field));
    const values = figures.get(key);
    if (values !== undefined) Object.assign(readings, one.take(values[0] as number));
    else if (one.insteadAsk !== undefined && device.missing.has(key)) instead.push(one.insteadAsk);
  }
  if (instead.length > 0) {
    const second = await ask(
      native,
      device,
      instead.map(({ call }) => call),
      [],
    );
    const fromFields = { ...readings };
    takeCalls(instead, second.figures);
    // One call stands in for several fields, also for those that are there.
    Object.assign(readings, fromFields);
  }
  return { readings, needsReset };
}

async function readC2c(native: Native, device: Device): Promise<Readings> {
  const counted = await ask(native, device, [], [C2C_LINK_COUNT]);
  const links = counted.figures.get(fieldKey(C2C_LINK_COUNT))?.[0];
  if (links === undefined || links === 0) return links === undefined ? {} : { c2cLinkCount: 0 };
  const scopes = Array.from({ length: Math.min(links, MOST_C2C_LINKS) }, (_, scope) => scope);
  const each = (id: number): NvmlField[] => scopes.map((scope) => field(id, scope));
  const ids = [C2C_STATUS, C2C_BANDWIDTH, ...C2C_ERRORS, C2C_POWER_STATE];
  const { figures } = await ask(native, device, [], ids.flatMap(each));
  const known = (...wanted: readonly number[]): number[] =>
    wanted.flatMap(each).flatMap((one) => figures.get(fieldKey(one))?.[0] ?? []);
  const sum = (values: readonly number[]): number => values.reduce((total, one) => total + one, 0);
  const [status, bandwidth, errors, power] = [
    known(C2C_STATUS),
    known(C2C_BANDWIDTH),
    known(...C2C_ERRORS),
    known(C2C_POWER_STATE),
  ];
  return {
    c2cLinkCount: links,
    ...(status.length === 0 ? {} : { c2cLinksActive: status.filter((one) => one === 1).length }),
    ...(bandwidth.length === 0 ? {} : { c2cBandwidthMbps: sum(bandwidth) }),
    ...(errors.length === 0 ? {} : { c2cErrorTotal: sum(errors) }),
    ...(power.length === 0 ? {} : { c2cLowPower: power.includes(1) }),
  };
}

/** The list of processes; where it cannot be had, it is unknown and not empty. */
async function readProcesses(native: Native, device: Device): Promise<Readings> {
  if (device.missing.has('processes')) return {};
  try {
    // A pid of 0 is a process of another container, which nobody here can join to an engine.
    const list = (await native.processes(device.index)).filter(({ pid }) => pid > 0);
    return { processes: list.map(({ pid, memoryBytes }) => ({ pid, memoryBytes })) };
  } catch (error) {
    if (!(error instanceof NvmlError) || isLost(error)) throw error;
    if (ABSENT.has(error.status)) device.missing.add('processes');
    return {};
  }
}

interface Session {
  readonly native: Native;
  readonly numaFolder: string;
  readonly throttle: readonly number[];
}

async function readGroup(session: Session, device: Device, group: Group): Promise<Readings> {
  const { native, numaFolder, throttle } = session;
  if (group === 'c2c') return readC2c(native, device);
  const { readings, needsReset } = await readPlain(native, device, group, throttle);
  // A GPU that answers "reset required" to everything cannot tell its recovery action any more.
  if (needsReset && group === 'health' && (readings.recoveryAction ?? 'none') === 'none')
    readings.recoveryAction = 'reset';
  if (group === 'gh200' && readings.numaNode !== undefined)
    Object.assign(readings, numaMemory(numaFolder, readings.numaNode));
  if (group !== 'process') return readings;
  if (readings.migEnabled !== device.migEnabled) {
    // Split or whole, a GPU can tell other things: ask for all of them again.
    device.missing.clear();
    if (readings.migEnabled !== undefined) device.migEnabled = readings.migEnabled;
  }
  return { ...readings, ...(await readProcesses(native, device)) };
}

async function readGpu(session: Session, device: Device, groups: readonly Group[]): Promise<ReadGpu> {
  const read: ReadGpu = { index: device.index, groups: {} };
  try {
    for (const group of GROUPS)
      if (groups.includes(group)) read.groups[group] = await readGroup(session, device, group);
    return read;
  } catch (error) {
    if (isLost(error)) return { index: device.index, lost: true, groups: {} };
    throw error;
  }
}

/**
 * Starts NVML.
 * @param numaFolder where the kernel tells of NUMA nodes: /sys/devices/system/node
 * @throws NvmlError when there is no library, no driver, or one that does not fit
 */
export async function openNvml(native: Native, library: string, numaFolder: string): Promise<NvmlSession> {
  const { driverVersion, gpus } = await native.open(library);
  const session: Session = { native, numaFolder, throttle: throttleFields(driverVersion) };
  const devices = gpus.map(({ index }): Device => ({ index, missing: new Set() }));
  return {
    gpus: gpus.map(({ index, status, uuid, name }) => ({
      index,
      ...(uuid === '' ? {} : { uuid }),
      ...(name === '' ? {} : { name }),
      ...(driverVersion === '' ? {} : { driverVersion }),
      lost: status === NVML_STATUS.gpu_lost,
    })),
    read: async (groups, skip) => {
      const read: ReadGpu[] = [];
      for (const device of devices) if (!skip.includes(device.index)) read.push(await readGpu(session, device, groups));
      return read;
    },
  };
}
