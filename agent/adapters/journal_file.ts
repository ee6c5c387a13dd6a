/**
 * The journals on disk: one file of lines for each engine, appended one write after another, rotated by size. What is
 * damaged is put aside, told, and a new file begun with what could be read. While the disk is full or read-only the
 * newest entries stay in memory and are tried again; no engine ever waits for its journal.
 */
import { appendFile, mkdir, readFile, rename, stat, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Clock } from '../../lib/clock.ts';
import type { Logger } from '../../lib/io/logger.ts';
import {
  JOURNAL_LIMITS,
  type JournalEntry,
  type JournalLimits,
  journalLine,
  needsRotation,
  parseJournal,
  remember,
} from '../core/journal.ts';
import type { EngineJournal } from '../ports.ts';

export interface JournalOptions {
  /** Folder with one folder for each engine. */
  readonly enginesFolder: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly limits?: JournalLimits;
  /** Pause before a write that failed is tried again. */
  readonly retryMs?: number;
}

const RETRY_MS = 5000;
const MAX_READ_BYTES = 64 * 1024 * 1024;
/** Engines whose journals are kept in memory; the agent runs fewer. */
const MAX_ENGINES = 2048;

interface Book {
  readonly engine: string;
  entries: readonly JournalEntry[];
  /** Not yet on disk, oldest first. */
  unwritten: readonly JournalEntry[];
  opened: boolean;
  /** Size of the file up to the end of the last entry that was written whole. */
  fileBytes: number;
  /** A write failed, perhaps in the middle of a line. */
  torn: boolean;
}

class FileJournal implements EngineJournal {
  readonly #options: JournalOptions;
  readonly #limits: JournalLimits;
  readonly #books = new Map<string, Book>();
  /** Writes happen one after another, in the order of their entries. */
  #work: Promise<void> = Promise.resolve();
  #degraded: string | undefined;
  #cancelRetry: (() => void) | undefined;

  constructor(options: JournalOptions) {
    this.#options = options;
    this.#limits = options.limits ?? JOURNAL_LIMITS;
  }

  degraded(): string | undefined {
    return this.#degraded;
  }

  append(entry: JournalEntry): void {
    const book = this.#bookOf(entry.engine ?? '');
    book.entries = remember(book.entries, entry, this.#limits);
    book.unwritten = remember(book.unwritten, entry, this.#limits);
    void this.#schedule(book);
  }

  async read(engine: string): Promise<readonly JournalEntry[]> {
    const book = this.#bookOf(engine);
    await this.#schedule(book);
    return book.entries;
  }

  flush(): Promise<void> {
    this.#cancelRetry?.();
    return this.#work;
  }

  #bookOf(engine: string): Book {
    const known = this.#books.get(engine);
    if (known !== undefined) return known;
    const book: Book = { engine, entries: [], unwritten: [], opened: false, fileBytes: 0, torn: false };
    if (this.#books.size >= MAX_ENGINES) this.#books.delete(this.#books.keys().next().value as string);
    this.#books.set(engine, book);
    return book;
  }

  #fileOf(book: Book): string {
    return path.join(this.#options.enginesFolder, book.engine, 'journal.ndjson');
  }

  #schedule(book: Book): Promise<void> {
    this.#work = this.#work.then(() => this.#write(book));
    return this.#work;
  }

  async #write(book: Book): Promise<void> {
    try {
      if (!book.opened) await this.#open(book);
      if (book.unwritten.length === 0) return;
      const lines = book.unwritten.map(journalLine);
      const text = lines.join('');
      const bytes = Buffer.byteLength(text);
      const file = this.#fileOf(book);
      if (book.torn) await cutBack(file, book.fileBytes);
      book.torn = false;
      if (needsRotation(book.fileBytes, bytes, this.#limits)) {
        await rename(file, `${file}.1`);
        book.fileBytes = 0;
      }
      const written = lines.length;
      await mkdir(path.dirname(file), { recursive: true, mode: 0o700 });
      book.torn = true;
      await appendFile(file, text, { mode: 0o600 });
      book.torn = false;
      book.fileBytes += bytes;
      // What came in while this was written waits for its own turn.
      book.unwritten = book.unwritten.slice(written);
      this.#recovered();
    } catch (error) {
      this.#fell(book, error as NodeJS.ErrnoException);
    }
  }

  /** Reads what an earlier agent wrote. A file that is damaged is put aside and begun anew with what is sound. */
  async #open(book: Book): Promise<void> {
    const file = this.#fileOf(book);
    const [older, text] = [await readText(`${file}.1`), await readText(file)];
    const past = parseJournal(older);
    const parsed = parseJournal(text);
    book.fileBytes = Buffer.byteLength(text);
    if (parsed.badLines > 0) {
      await rename(file, `${file}.corrupt`);
      const sound = parsed.entries.map(journalLine).join('');
      await writeFile(file, sound, { mode: 0o600 });
      book.fileBytes = Buffer.byteLength(sound);
      const { engine } = book;
      this.#options.logger.warn(
        { engine, badLines: parsed.badLines },
        'a damaged journal was put aside (journal.ndjson.corrupt)',
      );
    } else if (parsed.isTorn) {
      // A write that a crash cut: the line is closed so that the next one stands alone, and is dropped when read.
      const sound = text.slice(0, text.lastIndexOf('\n') + 1);
      await writeFile(file, sound, { mode: 0o600 });
      book.fileBytes = Buffer.byteLength(sound);
    }
    book.opened = true;
    book.entries = [...past.entries, ...parsed.entries, ...book.entries].slice(-this.#limits.maxEntries);
  }

  #recovered(): void {
    if (this.#degraded === undefined) return;
    this.#degraded = undefined;
    this.#options.logger.info({}, 'journals are written to disk again');
  }

  #fell(book: Book, error: NodeJS.ErrnoException): void {
    const why = error.code ?? error.message;
    if (this.#degraded === undefined) {
      this.#options.logger.warn({ engine: book.engine, code: why }, 'journal_degraded: journals are kept in memory');
      const last = book.entries.at(-1);
      if (last !== undefined) {
        const message = `The journal cannot be written (${why}); its newest entries are in memory only.`;
        const entry = { ...last, reason: 'journal_degraded', message };
        book.entries = remember(book.entries, entry, this.#limits);
        book.unwritten = remember(book.unwritten, entry, this.#limits);
      }
    }
    this.#degraded = why;
    this.#cancelRetry?.();
    this.#cancelRetry = this.#options.clock.after(this.#options.retryMs ?? RETRY_MS, () => {
      for (const one of this.#books.values()) if (one.unwritten.length > 0) void this.#schedule(one);
    });
  }
}

/** Takes away what a failed write left after the last whole entry: the next one would continue its line. */
async function cutBack(file: string, bytes: number): Promise<void> {
  try {
    if ((await stat(file)).size > bytes) await truncate(file, bytes);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

/** The text, empty when there is no file. @throws what reading throws otherwise */
async function readText(file: string): Promise<string> {
  try {
    const found = await stat(file);
    // What is no file of a sensible size is not ours; one bad line makes the caller put it aside.
    if (found.isFile() && found.size > MAX_READ_BYTES) return '\n';
    return found.isFile() ? await readFile(file, 'utf8') : '';
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
}

export const createJournal = (options: JournalOptions): EngineJournal => new FileJournal(options);
