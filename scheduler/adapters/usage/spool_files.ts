/** The files of a spool on a disk. Each of these calls has reached the disk when it resolves, or has failed. */
import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';

export interface SpoolFile {
  readonly name: string;
  readonly bytes: number;
  readonly changedAtMs: number;
}

export interface SpoolFiles {
  list(): Promise<readonly SpoolFile[]>;
  read(name: string): Promise<string>;
  /**
   * Writes at a place of the file and cuts off what is behind it; at place 0 the file is made.
   * @throws the file system's error, with code ENOENT when the file is gone; what is behind the place is then not known
   */
  write(name: string, at: number, bytes: Uint8Array): Promise<void>;
  /** Puts a file in the place of another, whole. */
  replace(name: string, bytes: Uint8Array): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  remove(name: string): Promise<void>;
}

const OWNER_ONLY = 0o600;
const DRAFT = '.new';

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function writeAt(file: string, at: number, bytes: Uint8Array): Promise<void> {
  const handle = await open(file, at === 0 ? 'w' : 'r+', OWNER_ONLY);
  try {
    await handle.truncate(at);
    for (let done = 0; done < bytes.length; ) {
      const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, at + done);
      done += bytesWritten;
    }
    await handle.datasync();
  } finally {
    await handle.close();
  }
}

export function nodeSpoolFiles(folder: string): SpoolFiles {
  const inside = (name: string): string => path.join(folder, name);
  const facts = async (name: string): Promise<SpoolFile | undefined> => {
    try {
      const { size, mtimeMs } = await stat(inside(name));
      return { name, bytes: size, changedAtMs: mtimeMs };
    } catch (thrown) {
      // Another scheduler on this folder has settled it meanwhile.
      if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw thrown;
    }
  };
  return {
    async list() {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      const names = (await readdir(folder)).filter((name) => !name.endsWith(DRAFT));
      return (await Promise.all(names.map(facts))).filter((file) => file !== undefined);
    },
    read: (name) => readFile(inside(name), 'utf8'),
    async write(name, at, bytes) {
      await writeAt(inside(name), at, bytes);
      if (at === 0) await syncFolder(folder);
    },
    async replace(name, bytes) {
      const draft = inside(`${name}${DRAFT}`);
      try {
        await writeAt(draft, 0, bytes);
        await rename(draft, inside(name));
      } catch (thrown) {
        await rm(draft, { force: true });
        throw thrown;
      }
      await syncFolder(folder);
    },
    async rename(from, to) {
      await rename(inside(from), inside(to));
      await syncFolder(folder);
    },
    async remove(name) {
      await rm(inside(name), { force: true });
      await syncFolder(folder);
    },
  };
}
