/**
 * Packs a folder so that the same content gives the same bytes: sorted names, one modification time, no owner. A host
 * can then be told by a checksum what it is to run, and anyone can build the archive again and compare.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { chmod, readdir, rename, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** The SHA-256 of a file, as hexadecimal text. */
export async function sha256Of(file: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file), hash);
  return hash.digest('hex');
}

/** Modes would differ with the umask of whoever builds: programs get 0755, all else 0644. */
async function levelModes(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const full = path.join(folder, entry.name);
    if (entry.isDirectory()) {
      await chmod(full, 0o755);
      await levelModes(full);
    } else if (entry.isFile()) {
      const { mode } = await stat(full);
      await chmod(full, (mode & 0o100) === 0 ? 0o644 : 0o755);
    }
  }
}

/**
 * Writes `folder` as a gzipped tar whose one top folder is its base name, and FILE.sha256 beside it in the form of
 * sha256sum. `mtimeS` is in seconds since the epoch. Needs GNU tar and gzip.
 * @returns the SHA-256 @throws Error when tar fails
 */
export async function packFolder(folder: string, file: string, mtimeS: number): Promise<string> {
  await chmod(folder, 0o755);
  await levelModes(folder);
  const partial = `${file}.partial`;
  await run('tar', [
    '--create',
    '--format=gnu',
    '--sort=name',
    `--mtime=@${mtimeS}`,
    '--owner=0',
    '--group=0',
    '--numeric-owner',
    '--use-compress-program=gzip -n',
    `--file=${partial}`,
    `--directory=${path.dirname(folder)}`,
    path.basename(folder),
  ]);
  // Renamed last, so that an interrupted run leaves no archive that looks whole.
  await rename(partial, file);
  return writeChecksum(file);
}

/** Writes FILE.sha256, as `sha256sum --check` reads it, and gives the sum. */
export async function writeChecksum(file: string): Promise<string> {
  const sum = await sha256Of(file);
  await writeFile(`${file}.sha256`, `${sum}  ${path.basename(file)}\n`);
  return sum;
}
