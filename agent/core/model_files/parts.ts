/**
 * One file as parts that are fetched by themselves, several at a time. What is there already is remembered as the length
 * of each part's beginning, so that a cut, a restart or a crash costs at most what was not yet on the disk.
 */
import type { Check, FileEntry } from './listing.ts';

export interface FileProgress {
  readonly bytes: number;
  readonly partBytes: number;
  /** For each part how many bytes of its beginning are there. */
  readonly done: readonly number[];
}

/** What is on disk beside a file that is not complete. */
export interface SavedProgress extends FileProgress {
  readonly path: string;
  readonly check?: Check;
  readonly etag?: string;
  /** Nodes of the fleet that gave some of the bytes; the others came from the source. */
  readonly peers?: readonly string[];
}

const partSize = ({ bytes, partBytes }: Pick<FileProgress, 'bytes' | 'partBytes'>, index: number): number =>
  Math.min(partBytes, bytes - index * partBytes);

export function freshProgress(bytes: number, partBytes: number): FileProgress {
  return { bytes, partBytes, done: Array.from({ length: Math.ceil(bytes / partBytes) }, () => 0) };
}

const same = (left: Check | undefined, right: Check | undefined): boolean =>
  left?.kind === right?.kind && left?.hex === right?.hex;

/**
 * The progress to go on with, or undefined when what is there is of another file. A file with a checksum is the same as
 * long as that is: hosts behind a hub give no ETag, or each its own. One without is the same only by its ETag.
 */
export function resumeFrom(
  saved: SavedProgress,
  entry: FileEntry & { readonly bytes: number },
): FileProgress | undefined {
  const { bytes, partBytes, done } = saved;
  if (saved.path !== entry.path || bytes !== entry.bytes || !same(saved.check, entry.check)) return undefined;
  if (entry.check === undefined && (entry.etag === undefined || saved.etag !== entry.etag)) return undefined;
  if (!Number.isInteger(partBytes) || partBytes < 1 || done.length !== Math.ceil(bytes / partBytes)) return undefined;
  const sound = done.every((have, index) => Number.isInteger(have) && have >= 0 && have <= partSize(saved, index));
  return sound ? { bytes, partBytes, done } : undefined;
}

export const presentBytes = ({ done }: FileProgress): number => done.reduce((sum, have) => sum + have, 0);

export const isWhole = (progress: FileProgress): boolean => presentBytes(progress) === progress.bytes;

/** Bytes from the start of the file without a gap. */
export function contiguousBytes(progress: FileProgress): number {
  let total = 0;
  for (const [index, have] of progress.done.entries()) {
    total += have;
    if (have < partSize(progress, index)) break;
  }
  return total;
}

export interface PartRange {
  readonly index: number;
  /** First missing byte of the part, and the byte after its last. */
  readonly from: number;
  readonly to: number;
}

/** The first part that lacks bytes and that nobody else fetches. */
export function nextPart(progress: FileProgress, taken: ReadonlySet<number>): PartRange | undefined {
  const index = progress.done.findIndex((have, part) => have < partSize(progress, part) && !taken.has(part));
  if (index === -1) return undefined;
  const start = index * progress.partBytes;
  return { index, from: start + (progress.done[index] as number), to: start + partSize(progress, index) };
}

/** After `count` bytes were written at `at`, which follows on what its part had; they may reach into later parts. */
export function wrote(progress: FileProgress, at: number, count: number): FileProgress {
  const done = [...progress.done];
  let from = at;
  while (from < at + count) {
    const index = Math.floor(from / progress.partBytes);
    const start = index * progress.partBytes;
    const until = Math.min(at + count, start + partSize(progress, index));
    done[index] = Math.max(done[index] ?? 0, until - start);
    from = until;
  }
  return { ...progress, done };
}
