/**
 * The data folder of `sophia up`: private to the user, and one `up` at a time owns it.
 */
import { existsSync } from 'node:fs';
import { mkdir, open, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { CodedError } from '../../lib/errors.ts';

export interface DataFolder {
  readonly root: string;
  /** Gives the folder free for the next `up`. */
  release(): Promise<void>;
}

const unwritable = (root: string, cause: unknown): CodedError =>
  new CodedError('cannot_start', `The data folder ${root} cannot be written.`, { param: 'dataDir', cause });

/**
 * Creates a folder and those above it. Node's own `recursive` tries for ever where a file system says ENOENT for a folder
 * whose parent is there, as /proc does.
 */
async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { mode: 0o700 });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') return;
    const above = path.dirname(folder);
    if (code !== 'ENOENT' || existsSync(above)) throw error;
    await makeFolder(above);
    await mkdir(folder, { mode: 0o700 });
  }
}

/**
 * Creates the folder when it is absent, and takes it.
 * @throws CodedError cannot_start when the folder cannot be written or another `up` owns it
 */
export async function openDataFolder(root: string): Promise<DataFolder> {
  try {
    await makeFolder(root);
  } catch (cause) {
    throw unwritable(root, cause);
  }
  const file = path.join(root, 'up.pid');
  for (let attempt = 0; attempt < 2; attempt++) {
    try {
      const handle = await open(file, 'wx', 0o600);
      await handle.writeFile(`${process.pid}\n`);
      await handle.close();
      return { root, release: () => rm(file, { force: true }) };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw unwritable(root, error);
      const owner = Number.parseInt(await readFile(file, 'utf8').catch(() => ''), 10);
      if (await isUp(owner)) {
        throw new CodedError(
          'cannot_start',
          `Another \`sophia up\` (pid ${owner}) uses ${root}; stop it or give --data-dir.`,
          {
            param: 'dataDir',
          },
        );
      }
      await rm(file, { force: true });
    }
  }
  throw new CodedError('cannot_start', `The data folder ${root} is being taken by another \`sophia up\`.`, {
    param: 'dataDir',
  });
}

/** Whether a process of this program still lives under the pid: a reused pid of another program does not count. */
async function isUp(pid: number): Promise<boolean> {
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
  const commandLine = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => undefined);
  return commandLine === undefined || /\0up(\0|$)/.test(commandLine);
}
