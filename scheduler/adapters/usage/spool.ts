/**
 * Usage on the disk of this scheduler until the store has it. A life of a scheduler has a spool of its own, in numbered
 * segments; a segment is settled whole, under the name of the spool and its number, and removed. So a segment that comes
 * back, after a crash between the two or from a backup, is known and not counted again. Segments that earlier lives left
 * are taken over when their process is gone.
 */
import { crc32 } from 'node:zlib';
import type { UsageRow } from '../../core/usage/contract.ts';
import { decodeSegment, encodeRecord, type Segment } from '../../core/usage/record.ts';
import { mergeRows } from '../../core/usage/tally.ts';
import type { SpoolFile, SpoolFiles } from './spool_files.ts';

export interface SpoolOptions {
  readonly files: SpoolFiles;
  /** A name for a new spool: `PID-START-PLACE-RANDOM`, which says whose it is. */
  newId(): string;
  /** Whether another process lives of which a spool is; undefined where that cannot be seen from here. */
  isAlive(spool: string): Promise<boolean | undefined>;
  readonly maxBytes: number;
  /** A segment is closed when it is as large. */
  readonly segmentBytes: number;
  readonly wallMs: () => number;
  /** Something of the spool cannot be read; told once a segment. */
  readonly damaged: (file: string, what: readonly string[]) => void;
}

export interface SpoolSegment {
  readonly spool: string;
  readonly number: number;
  readonly name: string;
  readonly bytes: number;
  readonly records: number;
}

/** `taken`: the spool has the rows from now on, though `error` may keep it from writing them yet. */
export interface WriteOutcome {
  readonly taken: boolean;
  /** There is no room for more in the spool. */
  readonly full?: true;
  readonly error?: unknown;
}

const NAME = /^(\d+-\d+-[0-9a-f]+-[a-z0-9]+)\.(\d+)\.(open|taken)$/;
/** A segment that was changed more recently is left alone where its writer may be in another container. */
const QUIET_MS = 10_000;

const checksum = (text: string): number => crc32(text);

interface Own {
  spool: string;
  number: number;
  bytes: number;
  records: number;
}

function countLines(text: string): number {
  let count = 0;
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) count++;
  return count;
}

const isGone = (thrown: unknown): boolean => (thrown as NodeJS.ErrnoException).code === 'ENOENT';

/** Its calls must not overlap. */
export class UsageSpool {
  readonly #options: SpoolOptions;
  #closed: SpoolSegment[] = [];
  readonly #told = new Set<string>();
  #own: Own;
  /** Rows that it has and could not write yet; they may be on the disk in part, or whole. */
  #pending: readonly UsageRow[] = [];

  constructor(options: SpoolOptions) {
    this.#options = options;
    this.#own = { spool: options.newId(), number: 1, bytes: 0, records: 0 };
  }

  /** Of all segments. */
  get bytes(): number {
    return this.#closed.reduce((sum, { bytes }) => sum + bytes, this.#own.bytes);
  }

  get records(): number {
    return this.#closed.reduce((sum, { records }) => sum + records, this.#own.records);
  }

  /** Rows that it has and could not write yet. */
  get waiting(): number {
    return this.#pending.length;
  }

  /** Segments that nobody writes to any more, those of one spool in their order. */
  get closed(): readonly SpoolSegment[] {
    return this.#closed;
  }

  get ownId(): string {
    return this.#own.spool;
  }

  /** Takes over what other lives have left. @throws what the file system says */
  async adopt(): Promise<void> {
    const { files, wallMs, isAlive } = this.#options;
    const known = new Set(this.#closed.map(({ name }) => name));
    const found: SpoolSegment[] = [];
    for (const file of await files.list()) {
      const [, spool = '', number, state] = NAME.exec(file.name) ?? [];
      if (spool === '' || spool === this.#own.spool || known.has(file.name)) continue;
      const lives = await isAlive(spool);
      if (lives === true) continue;
      if (lives === undefined && state === 'open' && wallMs() - file.changedAtMs < QUIET_MS) continue;
      const segment = await this.#take(file, spool, Number(number), state === 'open');
      if (segment !== undefined) found.push(segment);
    }
    this.#closed.push(...found);
    this.#closed.sort((a, b) => (a.spool === b.spool ? a.number - b.number : a.spool < b.spool ? -1 : 1));
  }

  /** A writer that lives after all finds its file gone and begins a new spool. */
  async #take(file: SpoolFile, spool: string, number: number, isOpen: boolean): Promise<SpoolSegment | undefined> {
    const { files } = this.#options;
    const name = `${spool}.${number}.taken`;
    try {
      if (isOpen) await files.rename(file.name, name);
      return { spool, number, name, bytes: file.bytes, records: countLines(await files.read(name)) };
    } catch (thrown) {
      if (isGone(thrown)) return undefined;
      throw thrown;
    }
  }

  /**
   * Writes what could not be written before, then one record more.
   * @param force also above the bound, for the last record of a life
   */
  async write(rows: readonly UsageRow[], force = false): Promise<WriteOutcome> {
    try {
      await this.#flush();
    } catch (error) {
      return { taken: false, error };
    }
    if (rows.length === 0) return { taken: true };
    if (!force && this.bytes >= this.#options.maxBytes) return { taken: false, full: true };
    this.#pending = rows;
    try {
      await this.#flush();
      return { taken: true };
    } catch (error) {
      return { taken: true, error };
    }
  }

  async #flush(): Promise<void> {
    if (this.#pending.length === 0) return;
    const own = this.#own;
    const line = Buffer.from(encodeRecord(own.records + 1, this.#pending, checksum));
    try {
      await this.#options.files.write(this.#ownName(), own.bytes, line);
    } catch (thrown) {
      if (!isGone(thrown) || own.bytes === 0) throw thrown;
      // Somebody has taken the segment, and with it what was in it.
      this.#own = { spool: this.#options.newId(), number: 1, bytes: 0, records: 0 };
      await this.#flush();
      return;
    }
    own.bytes += line.length;
    own.records += 1;
    this.#pending = [];
    if (own.bytes >= this.#options.segmentBytes) await this.#compact(this.#close());
  }

  #ownName(): string {
    return `${this.#own.spool}.${this.#own.number}.open`;
  }

  #close(): SpoolSegment {
    const { spool, number, bytes, records } = this.#own;
    const segment = { spool, number, bytes, records, name: this.#ownName() };
    this.#closed.push(segment);
    this.#own = { spool, number: number + 1, bytes: 0, records: 0 };
    return segment;
  }

  /** The same sums with fewer words: while the store is away much of the spool is about the same keys. */
  async #compact(segment: SpoolSegment): Promise<void> {
    const { rows } = await this.read(segment);
    const bytes = Buffer.from(encodeRecord(1, rows, checksum));
    if (bytes.length >= segment.bytes) return;
    // Where that fails the segment stays as it was, which is as good and only longer; whoever wrote is told why.
    await this.#options.files.replace(segment.name, bytes);
    this.#closed = this.#closed.map((each) =>
      each === segment ? { ...segment, bytes: bytes.length, records: 1 } : each,
    );
  }

  /**
   * Closes the segment that is written to, so that it can be settled.
   * @throws what the file system says, while a record waits to be written: half of it may be there
   */
  async closeOwn(): Promise<void> {
    await this.#flush();
    if (this.#own.bytes > 0) this.#close();
  }

  /** What is sound of a segment, no two rows of one key. @throws what the file system says */
  async read(segment: SpoolSegment): Promise<Segment> {
    const found = decodeSegment(await this.#options.files.read(segment.name), checksum);
    if (found.damages.length > 0 && !this.#told.has(segment.name)) {
      this.#told.add(segment.name);
      this.#options.damaged(segment.name, found.damages);
    }
    return { ...found, rows: mergeRows(found.rows) };
  }

  /** Everything that is on the disk or waits for it. */
  async readAll(): Promise<UsageRow[]> {
    const rows = [...this.#pending];
    for (const segment of this.#closed) rows.push(...(await this.read(segment)).rows);
    if (this.#own.bytes > 0) {
      const { spool, number, bytes, records } = this.#own;
      rows.push(...(await this.read({ spool, number, bytes, records, name: this.#ownName() })).rows);
    }
    return rows;
  }

  /** It is settled. @throws what the file system says; it is then removed the next time */
  async remove(segment: SpoolSegment): Promise<void> {
    await this.#options.files.remove(segment.name);
    this.#told.delete(segment.name);
    this.#closed = this.#closed.filter((each) => each !== segment && each.name !== segment.name);
  }
}
