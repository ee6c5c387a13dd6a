/**
 * Our GPU readers on a real driver: NVML against nvidia-smi field by field and both against nvidia-smi's own query, memory
 * per process, figures under a matrix product, a killed process's memory, a stopped sensor, and the ways down.
 */
import { chmodSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { createGpuHealthStore } from '../../../agent/adapters/gpu/health_store.ts';
import type { GpuState } from '../../../agent/ports.ts';
import { GpuWatch } from '../../../agent/run_loop/gpu_watch.ts';
import { createLogger } from '../../../lib/io/logger.ts';
import { processFacts } from '../../../lib/io/processes.ts';
import { systemClock } from '../../../lib/io/system.ts';
import { loadNative } from '../../../native/contract.ts';
import type { GpuEvent } from '../../../proto/gen/fleet/v1/GpuEvent.ts';
import { compareGpus } from '../../support/gpu_fields.ts';
import { until } from '../../support/waits.ts';
import { fresh, GIB, HELD_BYTES, hostReader, LIBRARY, MIB, querySmi, sampled, scratch, sensors } from './host.ts';
import { startProgram } from './programs.ts';

t.setTimeout(600_000);

const CONTEXT_BYTES = 2 * GIB;

t.test('the readers agree with each other, and with what nvidia-smi prints by itself', async (t) => {
  const nvml = await sampled(hostReader(t));
  const smi = await sampled(hostReader(t, { reader: 'nvidia-smi' }));
  for (const { field, left, right, alike } of compareGpus(nvml, smi)) {
    t.comment(`${field.padEnd(26)} ${String(left).padEnd(44)} ${String(right)}`);
    // What one of the two has no word for is no disagreement.
    t.ok(alike || left === undefined || right === undefined, `${field}: ${String(left)} and ${String(right)}`);
  }
  const words = ['name', 'uuid', 'driver_version', 'persistence_mode', 'mig.mode.current'];
  const [name, uuid, driver, persistence, mig] = querySmi(...words);
  t.match(nvml, { name, uuid, driverVersion: driver, persistenceMode: persistence === 'Enabled' });
  t.equal(nvml.migEnabled ?? false, mig === 'Enabled');
  const memory = ['memory.total', 'memory.used', 'memory.free', 'memory.reserved'];
  const [total, used, free, reserved] = querySmi(...memory).map((mib) => Number(mib) * MIB) as [
    number,
    number,
    number,
    number,
  ];
  const figures = [nvml.memoryTotalBytes, nvml.memoryUsedBytes, nvml.memoryFreeBytes] as number[];
  for (const [index, figure] of [total, used, free].entries())
    t.ok(Math.abs((figures[index] as number) - figure) <= MIB, `${memory[index]}: ${figures[index]} and ${figure}`);
  t.ok(Math.abs(total - used - free - reserved) <= 3 * MIB, 'what is reserved is neither used nor free');
  const rest = ['compute_cap', 'vbios_version', 'power.limit', 'clocks.max.sm', 'ecc.mode.current', 'compute_mode'];
  t.comment(`${rest.join(', ')}: ${querySmi(...rest).join(', ')}`);
});

t.test('the driver takes our registration for events', async (t) => {
  const load = loadNative();
  if (load.kind === 'absent') throw new Error('The addon is not built.');
  await load.native.open(LIBRARY);
  await t.resolves(load.native.watch(() => undefined));
});

const memoryOf = (gpu: GpuState, pid: number): number | undefined =>
  gpu.processes?.find((one) => one.pid === pid)?.memoryBytes;

t.test('memory per process, and the memory of one that is killed', async (t) => {
  const nvml = hostReader(t);
  const smi = hostReader(t, { reader: 'nvidia-smi' });
  const before = await sampled(nvml);
  await sampled(smi);
  const holder = await startProgram('hold.py', [String(HELD_BYTES)], /held/);
  t.teardown(() => holder.stop());
  const [, free, total] = /context (\d+) (\d+)/.exec(holder.output()) ?? [];
  const held = await fresh(nvml);
  t.equal(
    (held.memoryFreeBytes as number) + (held.memoryUsedBytes as number),
    Number(total),
    'the total that CUDA tells',
  );
  t.comment(`CUDA: ${free} of ${total} bytes free; NVML: total ${held.memoryTotalBytes}`);
  for (const gpu of [held, await fresh(smi)]) {
    const own = memoryOf(gpu, holder.pid) ?? 0;
    t.ok(own >= HELD_BYTES && own < HELD_BYTES + CONTEXT_BYTES, `pid ${holder.pid}: ${own / MIB} MiB`);
    const grown = (gpu.memoryUsedBytes as number) - (before.memoryUsedBytes as number);
    t.ok(Math.abs(grown - own) < 64 * MIB, `used grew by ${Math.round(grown / MIB)} MiB`);
  }
  const killedAtMs = performance.now();
  let goneAfterMs = Number.NaN;
  holder.process.once('exit', () => (goneAfterMs = performance.now() - killedAtMs));
  holder.stop();
  await until(() => {
    nvml.readProcessesSoon();
    return memoryOf(nvml.latest().gpus[0] as GpuState, holder.pid) === undefined;
  }, 'the killed process to leave the list');
  const facts = await processFacts(holder.pid);
  t.not(facts?.alive, true, 'who has left the list does not live');
  const after = await fresh(nvml);
  t.ok(
    Math.abs((after.memoryUsedBytes as number) - (before.memoryUsedBytes as number)) < 64 * MIB,
    'all is given back',
  );
  t.comment(`8 GiB: gone ${goneAfterMs.toFixed(0)} ms after SIGKILL`);
});

t.test('busy, hot and hungry under a matrix product, and no reason to act', async (t) => {
  const nvml = hostReader(t);
  const smi = hostReader(t, { reader: 'nvidia-smi' });
  const events: GpuEvent[] = [];
  const watch = watched(t, nvml, events, 60_000);
  const idle = await sampled(nvml);
  await sampled(smi);
  const multiplier = await startProgram('multiply.py', ['12'], /multiplying/);
  t.teardown(() => multiplier.stop());
  await sleep(5000);
  const [busy, bySmi] = [await fresh(nvml), await fresh(smi)];
  for (const gpu of [busy, bySmi]) {
    t.ok((gpu.utilizationRatio as number) >= 0.9, `busy ${gpu.utilizationRatio}`);
    t.ok(
      (gpu.powerWatts as number) > (idle.powerWatts as number) * 1.5,
      `${idle.powerWatts} W, then ${gpu.powerWatts} W`,
    );
    t.ok((gpu.temperatureCelsius as number) > (idle.temperatureCelsius as number), `${gpu.temperatureCelsius} C`);
    t.ok((memoryOf(gpu, multiplier.pid) ?? 0) > 3 * 8192 ** 2 * 2, 'its three matrices are told');
  }
  const [, teraflops] = await multiplier.waitFor(/teraflops (\d+)/, 60_000);
  t.comment(
    `${teraflops} TFLOP/s; ${busy.powerWatts} W, ${busy.temperatureCelsius} C, memory ${busy.memoryTemperatureCelsius} C,` +
      ` SM ${busy.smClockMhz} MHz, reasons 0x${busy.clocksEventReasons?.toString(16)}`,
  );
  t.equal(watch.healthOf(0), 'ok');
  t.same(events, [], 'a limit of power under load is no fault');
});

function watched(
  t: { teardown(work: () => void): unknown },
  reader: ReturnType<typeof hostReader>,
  events: GpuEvent[],
  blindAfterMs: number,
): GpuWatch {
  const folder = scratch(t as Parameters<typeof scratch>[0]);
  const watch = new GpuWatch({
    reader,
    store: createGpuHealthStore(path.join(folder, 'data')),
    clock: systemClock,
    bootId: 'boot',
    policy: { quarantineShare: 1, blindAfterMs, expectGpus: true },
    log: createLogger({ name: 'test', level: 'silent' }),
    onEvent: (event) => events.push(event),
    onOrder: () => undefined,
  });
  watch.start();
  t.teardown(() => watch.stop());
  return watch;
}

t.test('a stopped sensor: the loop does not notice, the alarm comes, and figures come back', async (t) => {
  const failures: string[] = [];
  const reader = hostReader(t, { nvmlTimeoutMs: 1500, onFailure: (reason) => failures.push(reason) });
  const events: GpuEvent[] = [];
  const watch = watched(t, reader, events, 2000);
  await sampled(reader);
  let latest = performance.now();
  let longestLagMs = 0;
  const pulse = setInterval(() => {
    const now = performance.now();
    longestLagMs = Math.max(longestLagMs, now - latest - 20);
    latest = now;
  }, 20);
  t.teardown(() => clearInterval(pulse));
  const stopped = new Set<number>();
  await until(
    async () => {
      // A stopped sensor is killed and replaced; its successors are stopped too until somebody has said so.
      for (const pid of (await sensors()).filter((one) => !stopped.has(one))) {
        process.kill(pid, 'SIGSTOP');
        stopped.add(pid);
      }
      return events.some(({ kind }) => kind === 'blind');
    },
    'the alarm',
    60_000,
  );
  t.ok(failures.includes('timeout'), failures.join());
  t.ok(watch.blind);
  t.match(reader.latest().reason, /did not answer|process ended/);
  t.ok(reader.latest().gpus.length > 0, 'the last figures stay, with their age');
  const letGoAtMs = Date.now();
  await until(() => reader.latest().atMs > letGoAtMs && reader.latest().reason === undefined, 'figures again', 90_000);
  await until(() => !watch.blind, 'the end of the alarm', 30_000);
  t.equal(watch.healthOf(0), 'ok');
  await until(async () => (await sensors()).every((pid) => !stopped.has(pid)), 'the stopped sensors to be gone');
  t.ok(longestLagMs < 500, `the loop was late by ${longestLagMs.toFixed(1)} ms at most`);
  t.comment(`${stopped.size} sensors stopped; loop late by ${longestLagMs.toFixed(1)} ms at most`);
});

t.test('without NVML nvidia-smi tells; one that hangs is given up; without either there are no GPUs', async (t) => {
  const folder = scratch(t);
  const missing = path.join(folder, 'libnvidia-ml.so.1');
  const smi = hostReader(t, { nvmlLibrary: missing });
  const gpu = await sampled(smi);
  t.equal(smi.latest().source, 'nvidia-smi');
  t.match(gpu, { memoryTotalBytes: Number, powerWatts: Number, processes: [] });
  const failures: string[] = [];
  writeFileSync(path.join(folder, 'nvidia-smi'), '#!/bin/sh\nexec sleep 987\n');
  chmodSync(path.join(folder, 'nvidia-smi'), 0o755);
  const hung = hostReader(t, {
    nvmlLibrary: missing,
    nvidiaSmiTimeoutMs: 1000,
    environment: { PATH: `${folder}:/usr/bin:/bin` },
    onFailure: (reason) => failures.push(reason),
  });
  await hung.start();
  await until(() => failures.includes('timeout'), 'the deadline', 30_000);
  t.match(hung.latest(), { source: 'nvidia-smi', gpus: [], reason: /did not answer within 1000 ms/ });
  const none = hostReader(t, { nvmlLibrary: missing, environment: { PATH: '/nowhere' } });
  await none.start();
  t.match(none.latest(), { source: 'none', gpus: [], reason: /there is no nvidia-smi on PATH/ });
});
