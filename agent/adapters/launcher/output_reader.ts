/**
 * Reads an engine's output as one long text although its keeper begins a new file now and then. Positions count the
 * bytes since the oldest file that was there at the first look; files are known again by inode and birth, because
 * a name changes its file with each rotation.
 */
import { type FileHandle, open } from 'node:fs/promises';

interface Part {
  /** Names one file on its disk; an inode alone is given to a new file soon. */
  readonly id: string;
  readonly size: number;
  readonly handle: FileHandle;
}

interface Known {
  readonly id: string;
  /** Position of its first byte. */
  readonly base: number;
  readonly size: number;
}

export interface OutputPiece {
  readonly text: string;
  readonly nextByte: number;
}

async function openPart(file: string): Promise<Part | undefined> {
  const handle = await open(file, 'r').catch(() => undefined);
  if (handle === undefined) return undefined;
  const { ino, birthtimeNs, size } = await handle.stat({ bigint: true });
  return { id: `${ino}/${birthtimeNs}`, size: Number(size), handle };
}

/** Where a file begins, given what was known before; undefined when it is new. */
function baseOf(id: string, size: number, known: readonly Known[]): number | undefined {
  const found = known.find((one) => one.id === id);
  if (found === undefined) return undefined;
  // A file that shrank was emptied by someone: what it holds now comes after what it held.
  return size < found.size ? found.base + found.size : found.base;
}

function lay(older: Part | undefined, newer: Part | undefined, known: readonly Known[]): (Part & { base: number })[] {
  const end = known.reduce((most, one) => Math.max(most, one.base + one.size), 0);
  const laid: (Part & { base: number })[] = [];
  if (older !== undefined) laid.push({ ...older, base: baseOf(older.id, older.size, known) ?? end });
  if (newer !== undefined) {
    const last = laid[0];
    const least = last === undefined ? 0 : last.base + last.size;
    laid.push({ ...newer, base: Math.max(baseOf(newer.id, newer.size, known) ?? Math.max(end, least), least) });
  }
  return laid;
}

export class OutputReader {
  readonly #known = new Map<string, readonly Known[]>();

  /**
   * What was written from `fromByte` on, at most the newest `maxBytes` of it. A position beyond the end is taken as the
   * end, so that a very large one asks where the end is.
   */
  async read(file: string, fromByte: number, maxBytes: number): Promise<OutputPiece> {
    // The newer one first: a rotation in between then shows one file under both names, and none is missed.
    const newer = await openPart(file);
    const older = await openPart(`${file}.1`);
    try {
      const twice = older !== undefined && older.id === newer?.id;
      const parts = lay(twice ? undefined : older, newer, this.#known.get(file) ?? []);
      const last = parts.at(-1);
      if (last === undefined) return { text: '', nextByte: 0 };
      this.#known.set(
        file,
        parts.map(({ id, base, size }) => ({ id, base, size })),
      );
      const end = last.base + last.size;
      const start = Math.max(Math.min(fromByte, end), end - maxBytes);
      const pieces: Buffer[] = [];
      for (const { handle, base, size } of parts) {
        const from = Math.max(0, start - base);
        if (from >= size) continue;
        const { buffer, bytesRead } = await handle.read(Buffer.alloc(size - from), 0, size - from, from);
        pieces.push(buffer.subarray(0, bytesRead));
      }
      return { text: Buffer.concat(pieces).toString('utf8'), nextByte: end };
    } finally {
      await older?.handle.close();
      await newer?.handle.close();
    }
  }
}
