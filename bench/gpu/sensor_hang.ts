/**
 * `npm run bench -- sensor-hang`: the GPU driver hangs for good under a real agent. The figures are how late the agent's
 * event loop was meanwhile, against a control run with a healthy driver, and whether the agent raised its alarm.
 */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type BenchFleet, startBenchFleet } from '../bench_fleet.ts';
import { round } from '../process_stats.ts';
import { alignRows } from '../relay/print.ts';
import { createFakeNvml, gh200 } from './fake_nvml.ts';

export interface SensorHangOptions {
  readonly json?: true;
  readonly seconds: number;
}

export interface SensorHangReport {
  readonly seconds: number;
  readonly controlLagP99Ms: number;
  readonly hungLagP99Ms: number;
  /** The agent told that it is blind on a host that has GPUs. */
  readonly staleAlarm: boolean;
}

const ANSWER_MS = 5000;
const NVML_TIMEOUT_MS = 1000;
/** After the start the loop still loads code; that is no lag of a running agent. */
const SETTLE_MS = 2000;

const HANG = ['hang call=nvmlInit_v2 ms=-1', 'hang call=nvmlDeviceGetMemoryInfo_v2 ms=-1'];

/** Asks the agent's monitor for the lag since the last time. */
async function lagP99Ms(pid: number, folder: string): Promise<number> {
  const file = path.join(folder, `${pid}.json`);
  rmSync(file, { force: true });
  process.kill(pid, 'SIGUSR2');
  const endMs = Date.now() + ANSWER_MS;
  while (!existsSync(file)) {
    if (Date.now() > endMs) throw new Error('The agent did not tell the lag of its loop.');
    await sleep(10);
  }
  return (JSON.parse(readFileSync(file, 'utf8')) as { p99Ms: number }).p99Ms;
}

async function phase(fleet: BenchFleet, folder: string, seconds: number): Promise<number> {
  await lagP99Ms(fleet.agent.pid, folder);
  await sleep(seconds * 1000);
  return lagP99Ms(fleet.agent.pid, folder);
}

async function measure(seconds: number, folder: string): Promise<SensorHangReport> {
  const nvml = createFakeNvml(folder);
  nvml.play(gh200(0), gh200(1));
  const monitor = new URL('./lag_monitor.js', import.meta.url);
  monitor.searchParams.set('folder', folder);
  const fleet = await startBenchFleet({
    engines: 1,
    simFlags: [],
    nodeOptions: `--import=${monitor.href}`,
    agent: {
      gpuReader: 'nvml',
      nvmlLibrary: nvml.library,
      nvmlTimeoutMs: NVML_TIMEOUT_MS,
      gpuPeriodMs: 1000,
      gpuBlindAfterMs: Math.max(1000, Math.floor((seconds * 1000) / 4)),
    },
  });
  try {
    await sleep(SETTLE_MS);
    process.stderr.write('control run: a healthy driver\n');
    const controlLagP99Ms = await phase(fleet, folder, seconds);
    process.stderr.write('the driver hangs\n');
    nvml.play(gh200(0), gh200(1), ...HANG);
    const hungLagP99Ms = await phase(fleet, folder, seconds);
    const log = readFileSync(fleet.agent.logFile, 'utf8').split('\n');
    return {
      seconds,
      controlLagP99Ms: round(controlLagP99Ms),
      hungLagP99Ms: round(hungLagP99Ms),
      staleAlarm: log.some((line) => line.includes('"kind":"blind"')),
    };
  } finally {
    await fleet.stop();
  }
}

export async function runSensorHang(options: SensorHangOptions): Promise<void> {
  const folder = await mkdtemp(path.join(tmpdir(), 'sophia-sensor-hang-'));
  try {
    const report = await measure(options.seconds, folder);
    process.stdout.write(`${options.json === true ? JSON.stringify(report) : print(report)}\n`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function print(report: SensorHangReport): string {
  return alignRows([
    ['loop lag of the agent', 'p99 ms'],
    ['healthy driver', report.controlLagP99Ms],
    ['driver that hangs', report.hungLagP99Ms],
  ]).concat(`\n\n${report.seconds} s each; alarm raised: ${report.staleAlarm ? 'yes' : 'no'}`);
}
