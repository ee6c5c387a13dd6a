/**
 * The folder of models on this host. A model that is whole lies in a folder of its own, NAME@TAG, beside a record of its
 * files; what is on its way lies in .sophia-fetch. A model appears by one rename and goes by one, so nobody ever sees a
 * part of one under its name, whenever the power fails.
 */
import { mkdir, readdir, readFile, rename, rm, stat, utimes } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { syncFolder, writeWhole } from './disk.ts';
import type { MeasuredEntry } from './listers.ts';
import { treeOf } from './model_pull.ts';

const RECORD = '.sophia-model.json';
const FETCH_FOLDER = '.sophia-fetch';
const TRASH_PREFIX = '.sophia-trash-';

const ModelRecord = z.object({
  key: z.string(),
  source: z.string(),
  resolved: z.string(),
  files: z.array(z.object({ path: z.string(), bytes: z.number(), mtimeMs: z.number(), sum: z.string().optional() })),
  /** Bytes that other nodes gave, by their names. */
  peers: z.record(z.string(), z.number()).optional(),
});

/** A file as it was when it was checked; without a sum nothing but its source can tell whether it is right. */
export type StoredEntry = z.infer<typeof ModelRecord>['files'][number];

/** A model that is whole. */
export interface StoredFiles {
  readonly folder: string;
  readonly key: string;
  readonly source: string;
  readonly resolved: string;
  readonly files: readonly string[];
  readonly entries: readonly StoredEntry[];
  readonly peers: Readonly<Record<string, number>>;
  readonly bytes: number;
  /** Wall clock, milliseconds since the epoch. */
  readonly lastWantedAtMs: number;
}

/** Something on its way, or left behind. */
export interface Leftover {
  readonly key: string;
  readonly folder: string;
  readonly bytes: number;
  readonly touchedAtMs: number;
}

async function walk(folder: string, below = ''): Promise<string[]> {
  const found: string[] = [];
  for (const entry of await readdir(path.join(folder, below), { withFileTypes: true })) {
    const name = path.posix.join(below, entry.name);
    if (entry.isDirectory()) found.push(...(await walk(folder, name)));
    else found.push(name);
  }
  return found;
}

/** The model of a folder; undefined when it is none, or when one of its files is not as it was when it was checked. */
async function readStored(folder: string): Promise<StoredFiles | undefined> {
  try {
    const file = path.join(folder, RECORD);
    const record = ModelRecord.parse(JSON.parse(await readFile(file, 'utf8')));
    for (const { path: name, bytes, mtimeMs } of record.files) {
      const found = await stat(path.join(folder, name));
      if (found.size !== bytes || found.mtimeMs !== mtimeMs) return undefined;
    }
    const { key, source, resolved, files: entries, peers = {} } = record;
    const bytes = record.files.reduce((sum, one) => sum + one.bytes, 0);
    const { mtimeMs: lastWantedAtMs } = await stat(file);
    const files = entries.map((one) => one.path);
    return { folder, key, source, resolved, files, entries, peers, bytes, lastWantedAtMs };
  } catch {
    // No record, a torn one, or a file that is gone: such a folder is no model, whatever it was.
    return undefined;
  }
}

export class ModelsFolder {
  readonly root: string;
  #trash = 0;

  constructor(root: string) {
    this.root = root;
  }

  get lockFile(): string {
    return path.join(this.root, '.sophia-lock');
  }

  workFolder(key: string): string {
    return path.join(this.root, FETCH_FOLDER, key);
  }

  async make(): Promise<void> {
    await mkdir(path.join(this.root, FETCH_FOLDER), { recursive: true, mode: 0o755 });
  }

  /** Whether the files of a model are as they were when they were checked. */
  async isSound({ folder }: StoredFiles): Promise<boolean> {
    return (await readStored(folder)) !== undefined;
  }

  /** All models that are whole; folders that are of no use are left to `sweep`. */
  async stored(): Promise<readonly StoredFiles[]> {
    const entries = await readdir(this.root, { withFileTypes: true });
    const folders = entries.filter((entry) => entry.isDirectory() && !entry.name.startsWith('.sophia-'));
    const found = await Promise.all(folders.map(({ name }) => readStored(path.join(this.root, name))));
    return found.filter((one) => one !== undefined);
  }

  async leftovers(): Promise<readonly Leftover[]> {
    const parent = path.join(this.root, FETCH_FOLDER);
    const found: Leftover[] = [];
    for (const key of await readdir(parent)) {
      const folder = path.join(parent, key);
      let bytes = 0;
      for (const name of await walk(folder)) bytes += (await stat(path.join(folder, name))).blocks * 512;
      found.push({ key, folder, bytes, touchedAtMs: (await stat(folder)).mtimeMs });
    }
    return found;
  }

  /**
   * Removes what a crash left half removed, models of which a file has changed since it was checked, and partial files
   * that nothing has wanted for long.
   */
  async sweep(isWanted: (key: string) => boolean, wallMs: number, leftoverMs: number): Promise<void> {
    const entries = await readdir(this.root, { withFileTypes: true });
    for (const { name } of entries.filter((entry) => entry.isDirectory())) {
      const folder = path.join(this.root, name);
      if (name.startsWith(TRASH_PREFIX)) await rm(folder, { recursive: true, force: true });
      else if (!name.startsWith('.sophia-') && (await this.#isDamaged(folder))) await this.remove(folder);
    }
    for (const { key, folder, touchedAtMs } of await this.leftovers())
      if (!isWanted(key) && wallMs - touchedAtMs > leftoverMs) await this.remove(folder);
  }

  /** A folder of ours that is no model any more; what people put here themselves is left alone. */
  async #isDamaged(folder: string): Promise<boolean> {
    const isOurs = await stat(path.join(folder, RECORD)).then(
      () => true,
      () => false,
    );
    return isOurs && (await readStored(folder)) === undefined;
  }

  /** Under another name at once, then file by file. */
  async remove(folder: string): Promise<void> {
    this.#trash += 1;
    const trash = path.join(this.root, `${TRASH_PREFIX}${process.pid}-${this.#trash}`);
    await rename(folder, trash);
    await rm(trash, { recursive: true, force: true });
  }

  /** A wanted model is the last to go. */
  async touch({ folder }: StoredFiles, wallMs: number): Promise<void> {
    await utimes(path.join(folder, RECORD), wallMs / 1000, wallMs / 1000);
  }

  async touchWork(key: string, wallMs: number): Promise<void> {
    await utimes(this.workFolder(key), wallMs / 1000, wallMs / 1000);
  }

  /** Gives the checked files of a fetch their place. @param name of the folder to be */
  async publish(
    about: Pick<StoredFiles, 'key' | 'source' | 'resolved' | 'peers'> & { readonly name: string },
    files: readonly MeasuredEntry[],
  ): Promise<StoredFiles> {
    const { key, source, resolved, peers, name } = about;
    const tree = treeOf(this.workFolder(key));
    const wanted = new Set(files.map((entry) => entry.path));
    // A source that changed meanwhile has left files of its older self.
    for (const found of await walk(tree)) if (!wanted.has(found)) await rm(path.join(tree, found), { force: true });
    const entries: StoredEntry[] = [];
    for (const { path: file, bytes, check } of files) {
      const { mtimeMs } = await stat(path.join(tree, file));
      entries.push({
        path: file,
        bytes,
        mtimeMs,
        ...(check === undefined ? {} : { sum: `${check.kind}:${check.hex}` }),
      });
    }
    await writeWhole(path.join(tree, RECORD), JSON.stringify({ key, source, resolved, files: entries, peers }));
    await syncFolder(tree);
    const folder = path.join(this.root, name);
    // Whatever has the name is no model of this source, or it would have been found.
    await stat(folder).then(
      () => this.remove(folder),
      () => undefined,
    );
    await rename(tree, folder);
    await syncFolder(this.root);
    await rm(this.workFolder(key), { recursive: true, force: true });
    const stored = await readStored(folder);
    if (stored === undefined) throw Object.assign(new Error(`${folder} vanished`), { code: 'EIO' });
    return stored;
  }
}
