/**
 * A weights file beside a stamp of its size, time and SHA-256: the hash is computed once, when the file arrives, and a
 * later start only compares size and time, because reading 98 MB at every start would cost more than it protects.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { z } from 'zod';

export interface CheckedFile {
  readonly path: string;
  readonly sha256: string;
  readonly bytes: number;
}

const Stamp = z.object({
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  bytes: z.number().int().positive(),
  mtimeMs: z.number(),
});

const stampPath = (path: string): string => `${path}.json`;

/** SHA-256 of a file in hexadecimal. Rejects with the file system's error, or when `signal` fires. */
export async function hashFile(path: string, signal: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  for await (const part of createReadStream(path, { highWaterMark: 1 << 20, signal })) hash.update(part as Buffer);
  return hash.digest('hex');
}

/** Whether the file begins as every GGUF file does. */
export async function isGguf(path: string): Promise<boolean> {
  const file = await open(path, 'r');
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(4), 0, 4, 0);
    return bytesRead === 4 && buffer.toString('latin1') === 'GGUF';
  } finally {
    await file.close();
  }
}

/** The file, when it is there and as its stamp says; otherwise undefined, and it is to be fetched again. */
export async function readChecked(path: string): Promise<CheckedFile | undefined> {
  try {
    const { sha256, bytes, mtimeMs } = Stamp.parse(JSON.parse(await readFile(stampPath(path), 'utf8')));
    const found = await stat(path);
    return found.size === bytes && found.mtimeMs === mtimeMs ? { path, sha256, bytes } : undefined;
  } catch {
    // No file, no stamp or a torn one: each means that nothing can be said for the file.
    return undefined;
  }
}

/** Moves a hashed file to its place and stamps it. A crash between the two leaves a file without a stamp: fetched again. */
export async function installChecked(from: string, path: string, sha256: string): Promise<CheckedFile> {
  const { size, mtimeMs } = await stat(from);
  await rename(from, path);
  await stampInPlace(path, { sha256, bytes: size, mtimeMs });
  return { path, sha256, bytes: size };
}

/** Writes the stamp of a file that is in its place already. */
export async function stampInPlace(path: string, stamp: z.infer<typeof Stamp>): Promise<void> {
  const temporary = `${stampPath(path)}.${process.pid}`;
  await writeFile(temporary, JSON.stringify(stamp));
  await rename(temporary, stampPath(path));
}
