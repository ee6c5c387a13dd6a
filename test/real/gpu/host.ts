/** What the tests of this lane share: our readers on this host's driver, and nvidia-smi asked past them. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Test } from 'tap';
import { createGpuReader, type GpuReaderOptions } from '../../../agent/adapters/gpu/gpu_sensor.ts';
import type { GpuReader, GpuState } from '../../../agent/ports.ts';
import { livingProcesses } from '../../../lib/io/processes.ts';
import { OPTIONS } from '../../support/gpu_bench.ts';
import { removeFolder, until } from '../../support/waits.ts';

export const LIBRARY = 'libnvidia-ml.so.1';
export const MIB = 2 ** 20;
export const GIB = 2 ** 30;
export const HELD_BYTES = 8 * GIB;
const SMI_TIMEOUT_MS = 30_000;

/** A reader on the real driver, with this process's environment, that stops with the test. */
export function hostReader(t: Test, options: Partial<GpuReaderOptions> = {}): GpuReader {
  const reader = createGpuReader({ ...OPTIONS, nvmlLibrary: LIBRARY, environment: process.env, ...options });
  t.teardown(() => reader.stop());
  return reader;
}

/** Starts a reader and waits for a sample in which everything has been read once. */
export async function sampled(reader: GpuReader): Promise<GpuState> {
  await reader.start();
  await until(() => reader.latest().gpus[0]?.processes !== undefined, 'the first whole sample', 60_000);
  return reader.latest().gpus[0] as GpuState;
}

/** The state of GPU 0 in a sample that is asked for after this call. */
export async function fresh(reader: GpuReader): Promise<GpuState> {
  const sinceMs = Date.now();
  const gpu = (): GpuState | undefined => reader.latest().gpus[0];
  await until(() => (gpu()?.processesAtMs ?? 0) > sinceMs, 'a fresh sample', 60_000);
  const atMs = reader.latest().atMs;
  await until(() => reader.latest().atMs > atMs, 'a whole fresh sample', 60_000);
  return gpu() as GpuState;
}

/** Fields of GPU 0 as nvidia-smi prints them by itself, without units. */
export function querySmi(...fields: readonly string[]): string[] {
  const args = [`--query-gpu=${fields.join(',')}`, '--format=csv,noheader,nounits', '--id=0'];
  const line = execFileSync('nvidia-smi', args, { encoding: 'utf8', timeout: SMI_TIMEOUT_MS });
  return line.trim().split(', ');
}

/** The sensor processes that this process has started. */
export async function sensors(): Promise<number[]> {
  const own = (await livingProcesses()).filter(({ parent }) => parent === process.pid);
  const texts = await Promise.all(
    own.map(({ pid }) => readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => 'it has ended since')),
  );
  return own.filter((_, index) => texts[index]?.includes('sensor/main.js')).map(({ pid }) => pid);
}

/** Where the loader finds the driver on a host on which it does not find it by itself. */
export const driverPath = (): Record<string, string> => {
  const libraries = process.env['LD_LIBRARY_PATH'];
  return libraries === undefined ? {} : { LD_LIBRARY_PATH: libraries };
};

export function scratch(t: Test): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'fleet-gpu-'));
  t.teardown(() => removeFolder(folder));
  return folder;
}
