/**
 * Records what nvidia-smi prints and what NVML answers on this host, at rest and under a load, as fixtures for the tests
 * of the GPU readers. What names one part (UUID, serial, place on the bus, board) is replaced by made-up text.
 *
 * Usage: SOPHIA_GPU_PYTHON=... node build/test/real/gpu/record.js OUT_FOLDER
 */
import { execFile } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { loadNative, MOST_FIELDS, type Native, NVML_CALLS } from '../../../native/contract.ts';
import { startProgram } from './programs.ts';

const QUERY = [
  'index,name,uuid,serial,pci.bus_id,driver_version,vbios_version,compute_cap,memory.total,memory.reserved',
  'memory.used,memory.free,utilization.gpu,utilization.memory,temperature.gpu,temperature.memory',
  'temperature.gpu.tlimit,power.draw,power.draw.average,power.draw.instant,power.limit,enforced.power.limit',
  'clocks.sm,clocks.mem,clocks.max.sm,clocks.max.mem,clocks_event_reasons.active,clocks_event_reasons.supported',
  'ecc.mode.current,ecc.errors.corrected.aggregate.total,ecc.errors.uncorrected.aggregate.total',
  'mig.mode.current,persistence_mode,compute_mode,pstate,remapped_rows.correctable,remapped_rows.uncorrectable',
  'remapped_rows.pending,remapped_rows.failure',
].join(',');

const SMI: Readonly<Record<string, readonly string[]>> = {
  'version.txt': ['--version'],
  'list.txt': ['-L'],
  'q.txt': ['-q'],
  'q.xml': ['-q', '-x'],
  'query-gpu.csv': [`--query-gpu=${QUERY}`, '--format=csv'],
  'query-compute-apps.csv': ['--query-compute-apps=pid,process_name,used_memory,gpu_uuid', '--format=csv'],
  'topo.txt': ['topo', '-m'],
  'pmon.txt': ['pmon', '-c', '1', '-s', 'um'],
  'dmon.txt': ['dmon', '-c', '1', '-s', 'pucvmet'],
  'c2c.txt': ['c2c', '-s'],
  'nvlink.txt': ['nvlink', '-s'],
  'mig.txt': ['mig', '-lgi'],
};
const SMI_TIMEOUT_MS = 30_000;
/** Ids of fields that NVML 13 knows; each is asked once. */
const LAST_FIELD = 290;
const HELD_BYTES = 8 * 2 ** 30;
const LOAD_SECONDS = 25;
const SETTLE_MS = 4000;

/** What is printed, and how it ended when it did not end well. */
function smi(args: readonly string[]): Promise<string> {
  return new Promise((resolve) => {
    execFile('nvidia-smi', [...args], { timeout: SMI_TIMEOUT_MS, maxBuffer: 2 ** 24 }, (error, out, complaint) => {
      const end = error === null ? '' : `# exit ${String(error.code)}\n`;
      resolve(`${out}${complaint === '' ? '' : `# standard error: ${complaint}`}${end}`);
    });
  });
}

/** All calls and all fields of a GPU, each with NVML's own status. */
async function raw(native: Native, gpu: number): Promise<object> {
  const { calls } = await native.read(gpu, NVML_CALLS, []);
  const ids = Array.from({ length: LAST_FIELD }, (_, index) => index + 1);
  const fields: Record<string, readonly [number, number?]> = {};
  for (let at = 0; at < ids.length; at += MOST_FIELDS) {
    const part = ids.slice(at, at + MOST_FIELDS);
    const { fields: figures } = await native.read(
      gpu,
      [],
      part.map((id) => ({ id, scope: 0 })),
    );
    for (const [index, { status, values }] of figures.entries())
      fields[String(part[index])] = status === 0 ? [status, values[0] as number] : [status];
  }
  const processes = await native.processes(gpu).catch((error: unknown) => String(error));
  return {
    calls: Object.fromEntries(
      NVML_CALLS.map((name, index) => {
        const { status, values } = calls[index] as (typeof calls)[number];
        return [name, status === 0 ? [status, ...values] : [status]];
      }),
    ),
    fields,
    processes,
  };
}

/** Names of one part, which are nobody's business, and what stands for them. */
function replacements(xml: string): (readonly [string, string])[] {
  const madeUp: Readonly<Record<string, string>> = {
    uuid: 'GPU-00000000-1111-2222-3333-444444444444',
    serial: '1650000000000',
    board_id: '0x100',
    pci_bus_id: '00000000:01:00.0',
    chassis_serial_number: '0000000000000',
    gpu_pdi: '0x0000000000000001',
    pdi: '0x0000000000000001',
    clusteruuid: '00000000-0000-0000-0000-000000000000',
    cluster_uuid: '00000000-0000-0000-0000-000000000000',
  };
  return Object.entries(madeUp).flatMap(([tag, instead]) => {
    const found = new RegExp(`<${tag}>([^<]*)</${tag}>`, 'i').exec(xml)?.[1];
    return found === undefined || found === 'N/A' || found === instead ? [] : [[found, instead] as const];
  });
}

async function recordMoment(folder: string, moment: string, native: Native): Promise<void> {
  const names = replacements(await smi(['-q', '-x']));
  const clean = (text: string): string => {
    const replaced = names.reduce((whole, [from, to]) => whole.replaceAll(from, to), text);
    return replaced.replaceAll(/[0-9A-F]{8}:[0-9A-F]{2}:[0-9A-F]{2}\.[0-9A-F]/gi, '00000000:01:00.0');
  };
  const write = (name: string, text: string): void =>
    writeFileSync(path.join(folder, `${moment}-${name}`), clean(text));
  // NVML first: nvidia-smi is itself a client of the driver.
  write('nvml.json', `${JSON.stringify(await raw(native, 0), null, 1)}\n`);
  for (const [name, args] of Object.entries(SMI)) write(name, await smi(args));
}

const folder = process.argv[2];
const load = loadNative();
if (folder === undefined || load.kind === 'absent') {
  process.stderr.write('record: give a folder, and build the addon first\n');
  process.exit(2);
}
mkdirSync(folder, { recursive: true });
const { driverVersion, gpus } = await load.native.open('libnvidia-ml.so.1');
process.stdout.write(`${JSON.stringify({ driverVersion, gpus })}\n`);
await recordMoment(folder, 'idle', load.native);
const holder = await startProgram('hold.py', [String(HELD_BYTES)], /held/);
const multiplier = await startProgram('multiply.py', [String(LOAD_SECONDS)], /multiplying/);
await sleep(SETTLE_MS);
await recordMoment(folder, 'load', load.native);
process.stdout.write(`${JSON.stringify({ holder: holder.pid, multiplier: multiplier.pid })}\n`);
holder.stop();
multiplier.stop();
