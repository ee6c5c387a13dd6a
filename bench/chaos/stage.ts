/** What a storm of faults needs around a fleet: a small disk for the agent's data, and a GPU reader that can hang. */
import { execFile } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readdir, rm, statfs, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { weightsFolder } from '../config.ts';
import { createFakeNvml, type FakeNvml, gh200 } from '../gpu/fake_nvml.ts';
import type { SupervisedFleet } from '../supervised/fleet.ts';
import { connectInspector, type Inspector, openInspector } from '../supervised/inspector.ts';

const run = promisify(execFile);
const DISK_MB = 96;
const FILLER_BLOCK_BYTES = 1024 * 1024;

/** A model file out of this user's cache; undefined when there is none. */
export async function findWeights(): Promise<string | undefined> {
  const folder = weightsFolder();
  try {
    const file = (await readdir(folder)).find((name) => name.endsWith('.gguf'));
    return file === undefined ? undefined : path.join(folder, file);
  } catch {
    // Nothing was ever fetched.
    return undefined;
  }
}

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

/** A GPU reader that can be made to hang, and what the agent must be told of it. */
export interface GpuStage {
  readonly reader: 'nvml' | 'nvidia-smi';
  readonly settings: Readonly<Record<string, unknown>>;
  /** A folder of its own, to come first on the agent's PATH. */
  readonly programs: string;
  hang(): Promise<void>;
  release(): Promise<void>;
}

const SMI_ANSWER = [
  '<?xml version="1.0" ?>',
  '<nvidia_smi_log><driver_version>580.00</driver_version><attached_gpus>1</attached_gpus>',
  '<gpu id="00000000:01:00.0"><product_name>Simulated</product_name><uuid>GPU-0</uuid></gpu></nvidia_smi_log>',
].join('\n');
const NVML_HANG = ['hang call=nvmlInit_v2 ms=-1', 'hang call=nvmlDeviceGetMemoryInfo_v2 ms=-1'];
const TIMEOUT_MS = 1500;
const PERIOD_MS = 500;

/** An nvidia-smi that answers, or hangs for as long as a file lies. */
async function makeSmi(programs: string): Promise<GpuStage> {
  const file = path.join(programs, 'nvidia-smi');
  const hangFile = path.join(programs, 'hang');
  const script = `#!/bin/sh\nif [ -e '${hangFile}' ]; then exec sleep 600; fi\ncat <<'END'\n${SMI_ANSWER}\nEND\n`;
  await writeFile(file, script);
  await chmod(file, 0o755);
  return {
    reader: 'nvidia-smi',
    settings: { gpuReader: 'nvidia-smi', nvidiaSmiTimeoutMs: TIMEOUT_MS, nvidiaSmiPeriodMs: PERIOD_MS },
    programs,
    hang: () => writeFile(hangFile, ''),
    release: () => rm(hangFile, { force: true }),
  };
}

/** A false NVML where there is a C compiler, because it hangs inside the driver's library; else an nvidia-smi. */
export async function makeGpuStage(): Promise<GpuStage> {
  const programs = await mkdtemp(path.join(tmpdir(), 'sophia-bench-'));
  let nvml: FakeNvml;
  try {
    nvml = createFakeNvml(programs);
  } catch {
    // Without a compiler the other reader is as good a victim.
    return makeSmi(programs);
  }
  nvml.play(gh200(0));
  return {
    reader: 'nvml',
    settings: { gpuReader: 'nvml', nvmlLibrary: nvml.library, nvmlTimeoutMs: TIMEOUT_MS, gpuPeriodMs: PERIOD_MS },
    programs,
    hang: async () => nvml.play(gh200(0), ...NVML_HANG),
    release: async () => nvml.play(gh200(0)),
  };
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
