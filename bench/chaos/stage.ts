/** What a storm of faults needs around a fleet: a small disk for the agent's data, and a GPU reader that can hang. */
import { execFile } from 'node:child_process';
import { chmod, mkdir, rm, stat, statfs, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import type { SupervisedFleet } from '../supervised/fleet.ts';
import { connectInspector, type Inspector, openInspector } from '../supervised/inspector.ts';

const run = promisify(execFile);
const DISK_MB = 96;
const FILLER_BLOCK_BYTES = 1024 * 1024;

/** Mounts a small disk of its own; false where this user may not. */
export async function mountSmallDisk(folder: string): Promise<boolean> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  try {
    await run('mount', ['-t', 'tmpfs', '-o', `size=${DISK_MB}m,mode=0700`, 'sophia-bench', folder]);
    return true;
  } catch {
    // Without the right to mount, the fault of a full disk is left out, which the report says.
    return false;
  }
}

export async function unmountSmallDisk(folder: string): Promise<void> {
  await run('umount', ['--lazy', folder]);
}

/** Fills the disk to its last byte; the result frees it again. */
export async function fillDisk(folder: string): Promise<() => Promise<void>> {
  const file = path.join(folder, 'filler');
  const { bavail, bsize } = await statfs(folder);
  const block = Buffer.alloc(FILLER_BLOCK_BYTES, 0x20);
  const free = (): Promise<void> => rm(file, { force: true });
  try {
    for (let left = bavail * bsize + FILLER_BLOCK_BYTES; left > 0; left -= block.length)
      await writeFile(file, block, { flag: 'a', mode: 0o600 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') {
      await free();
      throw error;
    }
  }
  return free;
}

/** The folder that the agent's programs are looked for in first. */
export const programFolder = (root: string): string => path.join(root, 'programs');
const hangFile = (root: string): string => path.join(root, 'hang');
const askedFile = (root: string): string => path.join(root, 'asked');

const SMI_ANSWER = [
  '<?xml version="1.0" ?>',
  '<nvidia_smi_log><driver_version>580.00</driver_version><attached_gpus>1</attached_gpus>',
  '<gpu id="00000000:01:00.0"><product_name>Simulated</product_name><uuid>GPU-0</uuid></gpu></nvidia_smi_log>',
].join('\n');

/** Puts an nvidia-smi where the agent finds it first: it answers, or hangs for as long as the file of that name lies. */
export async function makeGpuProgram(root: string): Promise<string> {
  const folder = programFolder(root);
  const file = path.join(folder, 'nvidia-smi');
  await mkdir(folder, { recursive: true });
  const script = [
    '#!/bin/sh',
    `if [ -e '${hangFile(root)}' ]; then exec sleep 600; fi`,
    `: > '${askedFile(root)}'`,
    `cat <<'END'\n${SMI_ANSWER}\nEND`,
  ];
  await writeFile(file, `${script.join('\n')}\n`);
  await chmod(file, 0o755);
  return folder;
}

export const hangGpuProgram = (root: string): Promise<void> => writeFile(hangFile(root), '');
export const releaseGpuProgram = (root: string): Promise<void> => rm(hangFile(root), { force: true });

/** When the GPU program last answered, milliseconds since the epoch; 0: never. */
export async function gpuAnsweredAtMs(root: string): Promise<number> {
  try {
    return (await stat(askedFile(root))).mtimeMs;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return 0;
  }
}

/** Opens the inspector of the present agent once in its life, and connects for the time of one piece of work. */
export class AgentInspector {
  readonly #fleet: SupervisedFleet;
  #pid = 0;
  #address = '';

  constructor(fleet: SupervisedFleet) {
    this.#fleet = fleet;
  }

  /** Opens it at the beginning of each life, so that its descriptors are there before any are counted. */
  async open(): Promise<void> {
    const pid = this.#fleet.agentPid();
    if (pid === this.#pid) return;
    this.#address = await openInspector(pid, path.join(this.#fleet.root, 'logs', 'agent.log'));
    this.#pid = pid;
  }

  async use<Result>(work: (inspector: Inspector) => Promise<Result>): Promise<Result> {
    await this.open();
    const inspector = await connectInspector(this.#address);
    try {
      return await work(inspector);
    } finally {
      await inspector.close();
    }
  }
}
