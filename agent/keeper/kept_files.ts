/**
 * What a keeper on Node writes: the engine's output into a file of bounded size, and the state file. Nothing here ever
 * makes the reader of the engine's pipe wait: bytes that the disk does not take in time are dropped and counted.
 */
import { constants } from 'node:fs';
import { type FileHandle, open, rename, rm, writeFile } from 'node:fs/promises';
import { LIFE_FILES } from '../core/keeper_protocol.ts';

const MAX_QUEUED_BYTES = 256 * 1024;
const STATE_RETRY_MS = 500;
const NEWLINE = 0x0a;

const APPEND = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NOCTTY;

/** The end of the output, from a line's start where there is one. */
export class Tail {
  readonly #room: number;
  #pieces: Buffer[] = [];
  #length = 0;

  constructor(room: number) {
    this.#room = room;
  }

  add(piece: Buffer): void {
    this.#pieces.push(piece);
    this.#length += piece.length;
    // Joined now and then, so that neither many small pieces nor much more than the room is held.
    if (this.#length > 2 * this.#room || this.#pieces.length > 256) this.#pieces = [this.#newest()];
    this.#length = this.#pieces.length === 1 ? (this.#pieces[0] as Buffer).length : this.#length;
  }

  #newest(): Buffer {
    const all = Buffer.concat(this.#pieces);
    return all.subarray(Math.max(0, all.length - this.#room));
  }

  text(): string {
    const newest = this.#newest();
    const lineEnd = newest.length < this.#room ? -1 : newest.indexOf(NEWLINE);
    return newest.toString('utf8', lineEnd + 1 === newest.length ? 0 : lineEnd + 1);
  }
}

/** Appends to a file and begins a new one when it is full; one older file is kept. */
export class OutputFile {
  readonly #file: string;
  readonly #maxBytes: number;
  #handle: FileHandle | undefined;
  #queue: Buffer[] = [];
  #queuedBytes = 0;
  #work: Promise<void> = Promise.resolve();
  #busy = false;
  #told = 0;
  totalBytes = 0;
  droppedBytes = 0;

  constructor(file: string, maxBytes: number) {
    this.#file = file;
    this.#maxBytes = maxBytes;
    // An engine that says nothing has a file too, for whoever looks into it.
    this.take(Buffer.alloc(0));
  }

  take(piece: Buffer): void {
    this.totalBytes += piece.length;
    if (this.#queuedBytes + piece.length > MAX_QUEUED_BYTES) {
      this.droppedBytes += piece.length;
      return;
    }
    this.#queue.push(piece);
    this.#queuedBytes += piece.length;
    if (this.#busy) return;
    this.#busy = true;
    this.#work = this.#drain();
  }

  /** Resolves when nothing is queued. */
  async flush(): Promise<void> {
    await this.#work;
  }

  async #drain(): Promise<void> {
    while (this.#queue.length > 0) {
      const piece = Buffer.concat(this.#queue);
      this.#queue = [];
      const written = await this.#write(piece);
      this.#queuedBytes -= piece.length;
      this.droppedBytes += piece.length - written;
    }
    this.#busy = false;
  }

  async #open(coming: number): Promise<FileHandle> {
    const size = this.#handle === undefined ? 0 : (await this.#handle.stat()).size;
    if (size > 0 && size + coming > this.#maxBytes) {
      await rename(this.#file, `${this.#file}.1`);
      await this.#handle?.close();
      this.#handle = undefined;
    }
    this.#handle ??= await open(this.#file, APPEND, 0o600);
    return this.#handle;
  }

  /** How many of the bytes reached the file. A disk that is full now may have room later, so a failure is no end. */
  async #write(piece: Buffer): Promise<number> {
    let done = 0;
    try {
      const handle = await this.#open(piece.length);
      const missing = this.droppedBytes - this.#told;
      if (missing > 0) {
        await handle.write(`\n[keeper] ${missing} bytes of output are missing here\n`);
        this.#told += missing;
      }
      while (done < piece.length) done += (await handle.write(piece, done)).bytesWritten;
      return done;
    } catch {
      // The bytes that did not arrive are counted as dropped by the caller.
      return done;
    }
  }
}

/** The state file: written whole beside the old one, again and again until it works. */
export class StateFile {
  #pending: string | undefined;
  #timer: NodeJS.Timeout | undefined;
  #work: Promise<void> = Promise.resolve();
  #saved: () => void = () => undefined;

  /** @param onSaved called after the newest text is on disk */
  constructor(onSaved: () => void) {
    this.#saved = onSaved;
  }

  save(text: string): void {
    this.#pending = text;
    clearTimeout(this.#timer);
    this.#work = this.#work.then(() => this.#write());
  }

  get saved(): boolean {
    return this.#pending === undefined;
  }

  /** Resolves when the writes that have begun are over. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#work;
  }

  async #write(): Promise<void> {
    const text = this.#pending;
    if (text === undefined) return;
    const temporary = `${LIFE_FILES.state}.tmp`;
    try {
      await writeFile(temporary, `${text}\n`, { mode: 0o600, flush: true });
      await rename(temporary, LIFE_FILES.state);
      if (this.#pending === text) this.#pending = undefined;
      this.#saved();
    } catch {
      // A full disk; the socket answers all the same, and the text comes again later.
      await rm(temporary, { force: true }).catch(() => undefined);
      this.#timer = setTimeout(() => {
        this.#work = this.#work.then(() => this.#write());
      }, STATE_RETRY_MS);
    }
  }
}
