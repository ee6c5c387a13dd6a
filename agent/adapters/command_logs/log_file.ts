/**
 * The output of one engine as a file that grows and is rotated away (`output.log` becomes `output.log.1`): its last
 * lines, and what comes after them. A file that was rotated stays open until it has been read to its end, so a slow
 * reader loses nothing to one rotation; what more rotations took is said and not hidden.
 */
import { type FileHandle, open } from 'node:fs/promises';

const BLOCK_BYTES = 64 * 1024;
const NEWLINE = 0x0a;

/** Where reading goes on: in this file, from this byte. */
export interface LogPosition {
  readonly handle: FileHandle;
  readonly inode: bigint;
  atByte: number;
}

/** Opens a log at a byte; undefined while there is no such file. */
export async function openLog(file: string, atByte: number): Promise<LogPosition | undefined> {
  try {
    const handle = await open(file, 'r');
    const { ino } = await handle.stat({ bigint: true });
    return { handle, inode: ino, atByte };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

async function readAt(handle: FileHandle, atByte: number, bytes: number): Promise<Buffer> {
  const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(bytes), 0, bytes, atByte);
  return buffer.subarray(0, bytesRead);
}

/** The next block after the position, which moves; empty at the end. A file that was cut short is read anew. */
export async function readNext(position: LogPosition): Promise<Buffer> {
  const { size } = await position.handle.stat();
  if (size < position.atByte) position.atByte = 0;
  const block = await readAt(position.handle, position.atByte, Math.min(BLOCK_BYTES, size - position.atByte));
  position.atByte += block.length;
  return block;
}

/** The byte at which the last `lines` lines of a file begin, looking back at most `maxBytes`. */
async function startOfLastLines(
  position: LogPosition,
  lines: number,
  maxBytes: number,
): Promise<{ readonly atByte: number; readonly found: number }> {
  const { size } = await position.handle.stat();
  if (lines === 0) return { atByte: size, found: 0 };
  const floor = Math.max(0, size - maxBytes);
  let end = size;
  // The newline that ends the last line begins no further one; a last line without one counts as well.
  let found = -1;
  if (size > 0 && (await readAt(position.handle, size - 1, 1))[0] !== NEWLINE) found = 0;
  while (end > floor) {
    const start = Math.max(floor, end - BLOCK_BYTES);
    const block = await readAt(position.handle, start, end - start);
    for (let at = block.length - 1; at >= 0; at--) {
      if (block[at] !== NEWLINE) continue;
      found += 1;
      if (found === lines) return { atByte: start + at + 1, found };
    }
    end = start;
  }
  return { atByte: floor, found: size === 0 ? 0 : found + 1 };
}

/**
 * Where to begin so that at least the last `lines` lines are read where there are so many: the rotated file first when
 * the present one has too few. The caller closes what it gets.
 */
export async function openTail(file: string, lines: number, maxBytes: number): Promise<LogPosition[]> {
  const now = await openLog(file, 0);
  if (now === undefined) return [];
  const { atByte, found } = await startOfLastLines(now, lines, maxBytes);
  now.atByte = atByte;
  if (found >= lines || atByte > 0) return [now];
  const before = await openLog(`${file}.1`, 0);
  if (before === undefined) return [now];
  if (before.inode === now.inode) {
    // It was rotated in this very moment: what is open is all there is.
    await before.handle.close();
    return [now];
  }
  before.atByte = (await startOfLastLines(before, lines - found, maxBytes)).atByte;
  return [before, now];
}

/**
 * The file to read after `position` has been read to its end and another file stands in its place: the rotated one when
 * that came between, else the present one. `skipped`: it cannot be known whether anything was lost in between.
 */
export async function nextAfter(
  file: string,
  position: LogPosition,
): Promise<{ readonly next: LogPosition; readonly skipped: boolean } | undefined> {
  const now = await openLog(file, 0);
  if (now === undefined) return undefined;
  if (now.inode === position.inode) {
    await now.handle.close();
    return undefined;
  }
  const before = await openLog(`${file}.1`, 0);
  if (before === undefined) return { next: now, skipped: true };
  if (before.inode === position.inode) {
    await before.handle.close();
    return { next: now, skipped: false };
  }
  await now.handle.close();
  return { next: before, skipped: true };
}
