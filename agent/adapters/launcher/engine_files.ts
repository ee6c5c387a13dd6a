/**
 * The files of engines. Below the folder of an engine each of its lives has a folder of its own, with what its keeper
 * and a later agent need; it is removed when the end of that life has been taken. What holds an environment is 0600.
 */
import { mkdir, open, readdir, readFile, realpath, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { CodedError } from '../../../lib/errors.ts';
import { LIFE_FILES } from '../../core/keeper_protocol.ts';
import type { LaunchPlan } from '../../ports.ts';

const MAX_PLAN_BYTES = 4 * 1024 * 1024;
const MAX_STATE_BYTES = 2 * 1024 * 1024;
const LIFE_FOLDER = /^life-([1-9]\d{0,15})$/;
const INCARNATION_FILE = 'incarnation';

/** The life of an engine that left a folder. */
export interface Life {
  readonly engine: string;
  readonly incarnation: number;
  readonly folder: string;
}

const planSchema: z.ZodType<LaunchPlan> = z.object({
  engine: z.string(),
  incarnation: z.int().min(1),
  command: z.string().min(1),
  args: z.array(z.string()),
  environment: z.record(z.string(), z.string()),
  workingDirectory: z.string().startsWith('/'),
  outputFile: z.string().startsWith('/'),
  address: z.discriminatedUnion('kind', [
    z.object({ kind: z.literal('unix'), path: z.string() }),
    z.object({ kind: z.literal('tcp'), host: z.string(), port: z.int().min(1).max(65_535) }),
  ]),
  specHash: z.string(),
});

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? 'unknown reason';

const isAbsent = (error: unknown): boolean => codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR';

/** Runs what writes below the data folder; its failure is one that a person has to deal with. */
export async function onDisk<Result>(work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof CodedError) throw cause;
    throw new CodedError('storage_failed', `The data folder of the agent cannot be written: ${codeOf(cause)}.`, {
      cause,
    });
  }
}

/** Undefined when there is no such file or when it is larger than anything of ours. */
async function readBounded(file: string, maxBytes: number): Promise<string | undefined> {
  try {
    if ((await stat(file)).size > maxBytes) return undefined;
    return await readFile(file, 'utf8');
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

/** Writes a file whole, on the disk when it resolves: a power cut leaves the old one or the new one. */
async function writeWhole(file: string, text: string): Promise<void> {
  const temporary = `${file}.tmp`;
  try {
    const handle = await open(temporary, 'w', 0o600);
    try {
      await handle.writeFile(text);
      await handle.datasync();
    } finally {
      await handle.close();
    }
    await rename(temporary, file);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

export class EngineFiles {
  readonly root: string;

  constructor(enginesFolder: string) {
    this.root = enginesFolder;
  }

  life(engine: string, incarnation: number): Life {
    return { engine, incarnation, folder: path.join(this.root, engine, `life-${incarnation}`) };
  }

  /** Every life that left a folder, oldest first. Anything else in the folder is not looked at. */
  async lives(): Promise<Life[]> {
    const found: Life[] = [];
    for (const engine of await this.#names(this.root))
      for (const name of await this.#names(path.join(this.root, engine))) {
        const number = LIFE_FOLDER.exec(name)?.[1];
        if (number !== undefined) found.push(this.life(engine, Number(number)));
      }
    return found.sort((a, b) => a.incarnation - b.incarnation);
  }

  async #names(folder: string): Promise<string[]> {
    try {
      return await readdir(folder);
    } catch (error) {
      if (isAbsent(error)) return [];
      throw error;
    }
  }

  /** @throws CodedError storage_failed */
  async makeLife(life: Life, plan: LaunchPlan, launch: string): Promise<void> {
    await onDisk(async () => {
      await mkdir(plan.workingDirectory, { recursive: true, mode: 0o700 });
      await mkdir(life.folder, { recursive: true, mode: 0o700 });
      await writeWhole(path.join(life.folder, LIFE_FILES.plan), JSON.stringify(plan));
      await writeWhole(path.join(life.folder, LIFE_FILES.launch), launch);
      if (plan.address.kind !== 'unix') return;
      await mkdir(path.dirname(plan.address.path), { recursive: true, mode: 0o700 });
      await rm(plan.address.path, { force: true });
    });
  }

  /** The plan of a life; undefined when it is not one that an agent wrote for exactly this life. */
  async readPlan(life: Life): Promise<LaunchPlan | undefined> {
    const text = await readBounded(path.join(life.folder, LIFE_FILES.plan), MAX_PLAN_BYTES);
    if (text === undefined) return undefined;
    try {
      const plan = planSchema.parse(JSON.parse(text));
      return plan.engine === life.engine && plan.incarnation === life.incarnation ? plan : undefined;
    } catch {
      // A plan that was cut or altered proves nothing, so that nothing is done in its name.
      return undefined;
    }
  }

  async readState(life: Life): Promise<string | undefined> {
    return readBounded(path.join(life.folder, LIFE_FILES.state), MAX_STATE_BYTES);
  }

  /** The last words of a keeper that could not begin. */
  async readKeeperLog(life: Life): Promise<string> {
    return ((await readBounded(path.join(life.folder, LIFE_FILES.log), MAX_STATE_BYTES)) ?? '').trim();
  }

  /** Keeps a keeper that has not read its launch file yet from starting; false when it had read it. */
  async withdrawLaunch(life: Life): Promise<boolean> {
    try {
      await rm(path.join(life.folder, LIFE_FILES.launch));
      return true;
    } catch (error) {
      if (isAbsent(error)) return false;
      throw error;
    }
  }

  async removeLife(life: Life, plan: LaunchPlan): Promise<void> {
    // A keeper that was killed in this moment may still be writing.
    await rm(life.folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 });
    if (plan.address.kind === 'unix') await rm(plan.address.path, { force: true });
  }

  /** The folder that /proc shows as an engine's own. */
  realFolder(plan: LaunchPlan): Promise<string> {
    return realpath(plan.workingDirectory).catch(() => plan.workingDirectory);
  }

  /**
   * A number that no life of the engine has had. Where the count cannot be read it goes on from the seconds since the
   * epoch, which no count reaches.
   * @throws CodedError storage_failed when it cannot be written down: then it could come twice
   */
  nextIncarnation(engine: string, nowMs: number): Promise<number> {
    return onDisk(async () => {
      const folder = path.join(this.root, engine);
      await mkdir(folder, { recursive: true, mode: 0o700 });
      const file = path.join(folder, INCARNATION_FILE);
      const text = await readBounded(file, 64).catch(() => '');
      const isFirst = text === undefined && (await stat(file).catch(() => undefined)) === undefined;
      const counted = /^\d{1,15}\s*$/.test(text ?? '') ? Number(text) : Math.floor(nowMs / 1000);
      const lived = (await this.lives()).filter((life) => life.engine === engine).map((life) => life.incarnation);
      const next = Math.max(isFirst ? 0 : counted, ...lived) + 1;
      await writeWhole(file, String(next));
      return next;
    });
  }
}
