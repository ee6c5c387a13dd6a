/** What a fetch does to the disk, in one place, so that a test can make it fail. */
import type { FileHandle } from 'node:fs/promises';
import { open, rename, rm, statfs, writeFile } from 'node:fs/promises';
import path from 'node:path';

export interface Disk {
  /** Writes all of the buffers at a place of the file. */
  write(file: FileHandle, buffers: readonly Buffer[], at: number): Promise<void>;
  freeBytes(folder: string): Promise<number>;
}

export const realDisk: Disk = {
  async write(file, buffers, at) {
    const total = buffers.reduce((sum, { length }) => sum + length, 0);
    const { bytesWritten } = await file.writev([...buffers], at);
    if (bytesWritten === total) return;
    // A short write is rare (a signal, a disk about to be full): the rest goes in pieces until an error tells why.
    const rest = Buffer.concat(buffers).subarray(bytesWritten);
    for (let done = 0; done < rest.length; ) {
      const turn = await file.write(rest, done, rest.length - done, at + bytesWritten + done);
      if (turn.bytesWritten === 0) throw Object.assign(new Error('nothing could be written'), { code: 'ENOSPC' });
      done += turn.bytesWritten;
    }
  },
  async freeBytes(folder) {
    const { bavail, bsize } = await statfs(folder);
    return bavail * bsize;
  },
};

/** Makes the entries of a folder survive a loss of power. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Replaces a small file as a whole: a reader sees the old text or the new one. */
export async function writeWhole(file: string, text: string): Promise<void> {
  const temporary = path.join(path.dirname(file), `.sophia-new-${path.basename(file)}`);
  try {
    await writeFile(temporary, text);
    await rename(temporary, file);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw error;
  }
}
