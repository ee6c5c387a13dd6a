/**
 * Loaded into a measured process by --import: at SIGUSR2 it writes how late the process's event loop was since the last
 * time, as JSON, to the folder that its own URL names. The process itself knows nothing of it.
 */
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';

const RESOLUTION_MS = 5;
const folder = new URL(import.meta.url).searchParams.get('folder') ?? '.';
const histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
histogram.enable();

process.on('SIGUSR2', () => {
  const file = join(folder, `${process.pid}.json`);
  const p99Ms = Math.max(0, histogram.percentile(99) / 1e6 - RESOLUTION_MS);
  histogram.reset();
  writeFileSync(`${file}.draft`, JSON.stringify({ p99Ms }));
  renameSync(`${file}.draft`, file);
});
