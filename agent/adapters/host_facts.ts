/**
 * Facts and readings of the host by systeminformation. Two of its calls are never used: graphics() runs nvidia-smi
 * synchronously, and currentLoad() runs a program synchronously at each call, 30 ms and more during which the agent would
 * stand still; the load is taken from the counters of the kernel instead. A fact that cannot be read stays unknown.
 */
import { statfs } from 'node:fs/promises';
import os from 'node:os';
import si from 'systeminformation';
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
  readonly busyMs: number;
  readonly allMs: number;
}

/** Sums over all cores since boot. */
function cpuTimes(): CpuTimes {
  let idleMs = 0;
  let allMs = 0;
  for (const { times } of os.cpus()) {
    idleMs += times.idle;
    allMs += times.user + times.nice + times.sys + times.irq + times.idle;
  }
  return { busyMs: allMs - idleMs, allMs };
}

/** @param dataFolder the disk whose free space counts */
export function createHostFacts(dataFolder: string): HostFactsReader {
  let last = cpuTimes();
  const utilization = (): number | undefined => {
    const now = cpuTimes();
    const allMs = now.allMs - last.allMs;
    const ratio = allMs > 0 ? (now.busyMs - last.busyMs) / allMs : undefined;
    last = now;
    return ratio === undefined ? undefined : Math.min(1, Math.max(0, ratio));
  };
  return {
    async facts() {
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
      };
    },
    async reading() {
      const [memory, disk] = await Promise.all([orUndefined(si.mem()), orUndefined(statfs(dataFolder))]);
      return {
        ...known('cpuUtilizationRatio', utilization()),
        ...known('memoryUsedBytes', memory === undefined ? undefined : memory.total - memory.available),
        loadAverage_1m: os.loadavg()[0] ?? 0,
        ...known('diskFreeBytes', disk === undefined ? undefined : disk.bavail * disk.bsize),
      };
    },
  };
}
