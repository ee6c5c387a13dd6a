/**
 * Facts of the host by systeminformation, asked once at the start, and its readings from the counters of the kernel,
 * because a reading is taken for ever: systeminformation's currentLoad() runs a program synchronously, its mem() costs
 * ten times the two files that are read here, and Node's os.cpus() opens a file per core. The package itself is loaded
 * only for the facts. Its graphics() is never used, as it runs nvidia-smi synchronously. What cannot be read stays
 * unknown.
 */
import { readFile, statfs } from 'node:fs/promises';
import os from 'node:os';
import type { Clock } from '../../lib/clock.ts';
import type { HostReading } from '../../proto/gen/fleet/v1/HostReading.ts';
import type { HostFactsReader } from '../ports.ts';

async function orUndefined<Value>(work: Promise<Value>): Promise<Value | undefined> {
  try {
    return await work;
  } catch {
    // Unknown is a normal answer here: the reading is left out, never guessed.
    return undefined;
  }
}

const known = <Key extends string, Value>(key: Key, value: Value | undefined): { [K in Key]?: Value } =>
  (value === undefined || value === '' ? {} : { [key]: value }) as { [K in Key]?: Value };

interface CpuTimes {
  readonly busy: number;
  readonly all: number;
}

/**
 * Jiffies since boot, summed over all cores: the first line of /proc/stat, proc(5). The time of guests is in `user`
 * already, and waiting for a disk is not work.
 */
export function parseCpuTimes(stat: string): CpuTimes | undefined {
  const [name, ...fields] = stat.slice(0, stat.indexOf('\n')).split(/ +/);
  const counts = fields.slice(0, 8).map(Number);
  if (name !== 'cpu' || counts.length < 4 || counts.some((count) => !Number.isFinite(count))) return undefined;
  const all = counts.reduce((sum, count) => sum + count, 0);
  return { busy: all - (counts[3] ?? 0) - (counts[4] ?? 0), all };
}

/** Bytes that are not available to a new program, of /proc/meminfo. */
export function parseMemoryUsed(meminfo: string): number | undefined {
  const kib = (name: string): number => Number(new RegExp(`^${name}: +(\\d+) kB$`, 'm').exec(meminfo)?.[1]);
  const used = (kib('MemTotal') - kib('MemAvailable')) * 1024;
  return Number.isFinite(used) ? used : undefined;
}

/** Load and memory move fast enough for this; the space on a disk is asked for less often, as it may be a slow one. */
const READ_PERIOD_MS = 5000;
const DISK_PERIOD_MS = 30_000;

/** Remembers an answer for a while, and asks once when several ask. */
function remembered<Value>(clock: Clock, periodMs: number, ask: () => Promise<Value>): () => Promise<Value> {
  let answer: Promise<Value> | undefined;
  let askedAtMs = 0;
  return () => {
    const nowMs = clock.monotonicMs();
    if (answer === undefined || nowMs - askedAtMs >= periodMs) {
      answer = ask();
      askedAtMs = nowMs;
    }
    return answer;
  };
}

/**
 * @param dataFolder the disk whose free space counts
 * @param gangAddress where other hosts reach engines of this one
 */
export function createHostFacts(dataFolder: string, clock: Clock, gangAddress?: string): HostFactsReader {
  let last: CpuTimes | undefined;
  const utilization = async (): Promise<number | undefined> => {
    const now = parseCpuTimes((await orUndefined(readFile('/proc/stat', 'latin1'))) ?? '');
    const before = last;
    last = now;
    if (now === undefined || before === undefined || now.all <= before.all) return undefined;
    return Math.min(1, Math.max(0, (now.busy - before.busy) / (now.all - before.all)));
  };
  let diskFree: number | undefined;
  // A disk that hangs (a network share) keeps its last figure and holds up nothing.
  const readDisk = remembered(clock, DISK_PERIOD_MS, async () => {
    const disk = await orUndefined(statfs(dataFolder));
    diskFree = disk === undefined ? undefined : disk.bavail * disk.bsize;
  });
  const read = remembered(clock, READ_PERIOD_MS, async (): Promise<HostReading> => {
    void readDisk();
    const [cpuUtilizationRatio, meminfo] = await Promise.all([
      utilization(),
      orUndefined(readFile('/proc/meminfo', 'latin1')),
    ]);
    return {
      ...known('cpuUtilizationRatio', cpuUtilizationRatio),
      ...known('memoryUsedBytes', meminfo === undefined ? undefined : parseMemoryUsed(meminfo)),
      loadAverage_1m: os.loadavg()[0] ?? 0,
      ...known('diskFreeBytes', diskFree),
    };
  });
  return {
    async facts() {
      const { default: si } = await import('systeminformation');
      const [cpu, memory, system] = await Promise.all([
        orUndefined(si.cpu()),
        orUndefined(si.mem()),
        orUndefined(si.osInfo()),
      ]);
      return {
        hostname: os.hostname(),
        ...known('os', system === undefined ? undefined : `${system.distro} ${system.release}`.trim()),
        ...known('kernel', system?.kernel),
        architecture: process.arch,
        ...known('cpuModel', cpu === undefined ? undefined : `${cpu.manufacturer} ${cpu.brand}`.trim()),
        cpuCores: os.availableParallelism(),
        ...known('memoryBytes', memory?.total),
        nodeVersion: process.version,
        ...known('gangAddress', gangAddress),
      };
    },
    reading: read,
  };
}
