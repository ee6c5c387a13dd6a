/**
 * One file on its way: which parts are there, which are being fetched, and the checksum, which follows the written bytes so
 * that it is ready soon after the last of them. The bytes are read back from the disk for it: that costs a copy out of
 * memory, judges what is really there, and is the same after a restart.
 */
import { createHash } from 'node:crypto';
import { type FileHandle, open, readFile, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { hashText } from '../../core/spec_text.ts';
import type { Check } from '../../core/model_files/listing.ts';
import {
  contiguousBytes,
  type FileProgress,
  freshProgress,
  isWhole,
  nextPart,
  type PartRange,
  presentBytes,
  resumeFrom,
  type SavedProgress,
  wrote,
} from '../../core/model_files/parts.ts';
import { type Disk, writeWhole } from './disk.ts';
import { fetchFailure } from './fetch_failure.ts';
import type { MeasuredEntry } from './listers.ts';

const HASH_BLOCK_BYTES = 256 * 1024;
const SAVE_EVERY_BYTES = 64 * 1024 * 1024;
const SAVE_EVERY_MS = 1000;

export interface FilePullOptions {
  /** Where files lie that are not whole. */
  readonly folder: string;
  readonly partBytes: number;
  readonly disk: Disk;
}

async function readSaved(file: string): Promise<SavedProgress | undefined> {
  try {
    const saved = JSON.parse(await readFile(file, 'utf8')) as SavedProgress;
    return Array.isArray(saved.done) ? saved : undefined;
  } catch {
    // There is none, or a crash tore it: the file is fetched from its start.
    return undefined;
  }
}

export class FilePull {
  readonly entry: MeasuredEntry;
  /** The source cannot give parts of it: one stream from the start. */
  single = false;
  /** Nodes of the fleet that gave bytes of it, an earlier life of the agent included. */
  readonly peers: Set<string>;
  readonly #options: FilePullOptions;
  readonly #handle: FileHandle;
  readonly #taken = new Set<number>();
  #progress: FileProgress;
  #etag: string | undefined;
  #waiters: (() => void)[] = [];
  #closed = false;
  #round = 0;
  #digest: Promise<string | undefined>;
  #unsavedBytes = 0;
  #savedAtMs = performance.now();
  #saving: Promise<void> | undefined;

  private constructor(
    entry: MeasuredEntry,
    options: FilePullOptions,
    handle: FileHandle,
    progress: FileProgress,
    peers: readonly string[] = [],
  ) {
    this.entry = entry;
    this.peers = new Set(peers);
    this.#options = options;
    this.#handle = handle;
    this.#progress = progress;
    this.#etag = entry.etag;
    this.#digest = this.#followed();
  }

  /** Whether an earlier fetch has checked the file and put it in its place, as the very file that is wanted now. */
  static async isFinished(entry: MeasuredEntry, folder: string, place: string): Promise<boolean> {
    const found = await stat(place).catch(() => undefined);
    if (found?.isFile() !== true || found.size !== entry.bytes) return false;
    const saved = await readSaved(path.join(folder, `${hashText(entry.path)}.json`));
    return saved !== undefined && isWhole(saved) && resumeFrom(saved, entry) !== undefined;
  }

  /** Goes on with what an earlier fetch left, where it is of the same file. */
  static async open(entry: MeasuredEntry, options: FilePullOptions): Promise<FilePull> {
    const base = path.join(options.folder, hashText(entry.path));
    const saved = await readSaved(`${base}.json`);
    const resumed = saved === undefined ? undefined : resumeFrom(saved, entry);
    const handle = await open(`${base}.part`, resumed === undefined ? 'w+' : 'r+').catch(
      (error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return undefined;
        throw error;
      },
    );
    const fresh = (): FileProgress => freshProgress(entry.bytes, options.partBytes);
    // Its state is there and its bytes are not: somebody cleaned up.
    if (handle === undefined) return new FilePull(entry, options, await open(`${base}.part`, 'w+'), fresh());
    const pull = new FilePull(entry, options, handle, resumed ?? fresh(), resumed === undefined ? [] : saved?.peers);
    // Written before the first byte: without it a fetch that is cut would not know whose bytes it has.
    await pull.save();
    return pull;
  }

  get #base(): string {
    return path.join(this.#options.folder, hashText(this.entry.path));
  }

  get presentBytes(): number {
    return presentBytes(this.#progress);
  }

  /** All bytes are there and nobody fetches any. */
  get isDone(): boolean {
    return isWhole(this.#progress) && this.#taken.size === 0;
  }

  /** The next part that nobody fetches. */
  claim(): PartRange | undefined {
    const range = this.single && this.#taken.size > 0 ? undefined : nextPart(this.#progress, this.#taken);
    if (range === undefined) return undefined;
    this.#taken.add(range.index);
    return this.single ? { index: range.index, from: 0, to: this.entry.bytes } : range;
  }

  release({ index }: PartRange): void {
    this.#taken.delete(index);
  }

  /** What of a range is still missing. */
  rest(range: PartRange): PartRange {
    if (this.single) return { ...range, from: 0, to: this.entry.bytes };
    const have = this.#progress.done[range.index] as number;
    return { ...range, from: range.index * this.#progress.partBytes + have };
  }

  /**
   * The source answers with the whole file whatever is asked: it begins anew, in one stream. Its sum begins anew too, for
   * bytes that are written again must be read again.
   */
  startOver(): void {
    this.single = true;
    this.peers.clear();
    this.#progress = freshProgress(this.entry.bytes, this.#progress.partBytes);
    this.#round += 1;
    this.#wake();
    this.#digest = this.#followed();
  }

  #followed(): Promise<string | undefined> {
    const digest = this.#follow(this.#round);
    // Whoever finishes the file awaits it; until then a disk that fails is nobody's surprise.
    digest.catch(() => undefined);
    return digest;
  }

  /** @throws FetchFailure `changed` when a file that has no checksum is another one now */
  noteEtag(etag: string | undefined): void {
    if (this.entry.check !== undefined || etag === undefined) return;
    this.#etag ??= etag;
    if (etag !== this.#etag)
      throw fetchFailure('changed', `${this.entry.path} changed at its source.`, { file: this.entry.path });
  }

  async write(buffers: readonly Buffer[], at: number): Promise<void> {
    const bytes = buffers.reduce((sum, { length }) => sum + length, 0);
    if (bytes === 0) return;
    const round = this.#round;
    await this.#options.disk.write(this.#handle, buffers, at);
    if (round !== this.#round) return;
    this.#progress = wrote(this.#progress, at, bytes);
    this.#wake();
    this.#unsavedBytes += bytes;
    const isDue = performance.now() - this.#savedAtMs > SAVE_EVERY_MS || this.#unsavedBytes >= SAVE_EVERY_BYTES;
    if (isDue && this.#saving === undefined) await this.save();
  }

  /** Remembers what is there; the bytes are on the disk before it says so. */
  save(): Promise<void> {
    this.#unsavedBytes = 0;
    this.#savedAtMs = performance.now();
    this.#saving ??= this.#saveNow().finally(() => {
      this.#saving = undefined;
    });
    return this.#saving;
  }

  async #saveNow(): Promise<void> {
    const { path: name, check } = this.entry;
    const saved: SavedProgress = {
      ...this.#progress,
      path: name,
      ...(check === undefined ? {} : { check }),
      ...(this.#etag === undefined ? {} : { etag: this.#etag }),
      ...(this.peers.size === 0 ? {} : { peers: [...this.peers] }),
    };
    await this.#handle.datasync();
    await writeWhole(`${this.#base}.json`, JSON.stringify(saved));
  }

  #wake(): void {
    for (const waiter of this.#waiters.splice(0)) waiter();
  }

  /** Hashes the bytes from the start as far as there is no gap, then waits for more. Undefined: it was given up. */
  async #follow(round: number): Promise<string | undefined> {
    const { check, bytes } = this.entry;
    if (check === undefined) return '';
    const hash = createHash(check.kind === 'git' ? 'sha1' : 'sha256');
    if (check.kind === 'git') hash.update(`blob ${bytes}\0`);
    const block = Buffer.allocUnsafe(Math.min(HASH_BLOCK_BYTES, Math.max(1, bytes)));
    for (let at = 0; at < bytes; ) {
      if (this.#closed || round !== this.#round) return undefined;
      const until = contiguousBytes(this.#progress);
      if (until <= at) {
        await new Promise<void>((resolve) => this.#waiters.push(resolve));
        continue;
      }
      const { bytesRead } = await this.#handle.read(block, 0, Math.min(block.length, until - at), at);
      if (bytesRead === 0) return 'shorter than it was written';
      hash.update(block.subarray(0, bytesRead));
      at += bytesRead;
    }
    return hash.digest('hex');
  }

  /**
   * Checks the whole file and moves it to its place, or throws it away.
   * @throws FetchFailure `wrong_bytes`, with the sums
   */
  async finish(place: string): Promise<void> {
    const { check, path: name } = this.entry;
    const found = await this.#digest;
    if (check !== undefined && found !== check.hex) {
      await this.discard();
      const what = check.kind === 'git' ? "git's name" : 'SHA-256';
      const message = `${name} has wrong bytes: its ${what} is ${String(found)}, it should be ${check.hex}. They are thrown away.`;
      throw fetchFailure('wrong_bytes', message, { file: name });
    }
    // What is remembered of it from now on tells that the file in its place is this one.
    await this.#saveLast();
    await this.#handle.sync();
    await this.#end();
    await rename(`${this.#base}.part`, place);
  }

  async discard(): Promise<void> {
    await this.#end();
    await rm(`${this.#base}.json`, { force: true });
    await rm(`${this.#base}.part`, { force: true });
  }

  /** Lets go of it and remembers how far it is. A disk that fails now costs bytes, not the agent. */
  async close(): Promise<void> {
    if (this.#closed) return;
    await this.#saveLast().catch(() => undefined);
    await this.#end();
  }

  async #saveLast(): Promise<void> {
    await this.#saving;
    await this.save();
  }

  async #end(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#wake();
    await this.#digest.catch(() => undefined);
    await this.#handle.close();
  }
}

/** The sum of a file that is whole already. @throws the file system's error, or the reason of `signal` */
export async function sumOf(file: string, check: Check, bytes: number, signal: AbortSignal): Promise<string> {
  const hash = createHash(check.kind === 'git' ? 'sha1' : 'sha256');
  if (check.kind === 'git') hash.update(`blob ${bytes}\0`);
  const handle = await open(file, 'r');
  try {
    const block = Buffer.allocUnsafe(HASH_BLOCK_BYTES);
    for (;;) {
      signal.throwIfAborted();
      const { bytesRead } = await handle.read(block, 0, block.length);
      if (bytesRead === 0) return hash.digest('hex');
      hash.update(block.subarray(0, bytesRead));
    }
  } finally {
    await handle.close();
  }
}
