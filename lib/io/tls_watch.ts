/**
 * Keeps the certificates of a process fresh: looks at their files every few seconds and hands on a set that is whole and
 * sound. It polls instead of asking the kernel: certbot and Kubernetes swap symbolic links above the files, which
 * inotify on the files does not see, and some network file systems tell nothing at all. Whatever is not sound is kept
 * out, and what was in use stays in use: a rotation that goes wrong must not become an outage.
 */
import { readFileSync, statSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import type { Clock } from '../clock.ts';
import { type CodedError, toCodedError } from '../errors.ts';
import type { Logger } from './logger.ts';
import {
  checkSuccessor,
  checkTls,
  type TlsFile,
  type TlsFiles,
  type TlsMaterial,
  type TlsSet,
  unreadable,
} from './tls_files.ts';

export interface TlsWatchOptions {
  /** Which certificate it is, in log lines. */
  readonly certificate: string;
  readonly files: TlsFiles;
  /**
   * For a client that is known by its certificate: the name that a later one must carry, signed by an authority of the
   * `ca` file if the first one was. Absent for a server, whose `ca` file is that of its clients.
   */
  readonly commonName?: string;
  /** How often the files are looked at, in milliseconds. */
  readonly reloadMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
}

export interface TlsWatchEvents {
  /** A sound set that differs from the last one. */
  readonly onChange: (set: TlsSet) => void;
  /** When the set in use expires, in wall-clock milliseconds; at the start and at each change. */
  readonly onExpiry: (expiresAtMs: number) => void;
  /** A changed set was taken into use, or refused; the same refusal is told once. */
  readonly onReload: (outcome: 'loaded' | 'refused') => void;
}

export interface TlsWatch {
  /** The set in use. */
  current(): TlsSet;
  start(events: TlsWatchEvents): void;
  /** Resolves when nothing is being read any more. */
  stop(): Promise<void>;
}

const DAY_MS = 86_400_000;
const EXPIRES_SOON_MS = 7 * DAY_MS;

const listOf = ({ ca, cert, key }: TlsFiles): readonly TlsFile[] => [...(ca === undefined ? [] : [ca]), cert, key];

/** Of the file at the end of all links. The change time also moves when a copy keeps the old modification time. */
interface FileStat {
  readonly dev: number;
  readonly ino: number;
  readonly size: number;
  readonly mtimeMs: number;
  readonly ctimeMs: number;
}

const printOf = (stats: readonly FileStat[]): string =>
  stats.map(({ dev, ino, size, mtimeMs, ctimeMs }) => `${dev}:${ino}:${size}:${mtimeMs}:${ctimeMs}`).join(' ');

function materialOf(files: TlsFiles, texts: readonly string[]): TlsMaterial {
  const [caPem, certPem, keyPem] = files.ca === undefined ? ['', ...texts] : texts;
  return { caPem: caPem ?? '', certPem: certPem ?? '', keyPem: keyPem ?? '' };
}

function readNow<Result>(file: TlsFile, read: (path: string) => Result): Result {
  try {
    return read(file.file);
  } catch (cause) {
    throw unreadable(file, cause);
  }
}

function readSoon<Result>(files: TlsFiles, read: (path: string) => Promise<Result>): Promise<Result[]> {
  const readOne = (file: TlsFile): Promise<Result> =>
    read(file.file).catch((cause: unknown) => {
      throw unreadable(file, cause);
    });
  return Promise.all(listOf(files).map(readOne));
}

const readStat = (path: string): Promise<FileStat> => stat(path);
const readText = (path: string): Promise<string> => readFile(path, 'utf8');

class Watch implements TlsWatch {
  readonly #options: TlsWatchOptions;
  #events: TlsWatchEvents | undefined;
  #set: TlsSet;
  /** The files as they were before the set in use was read. */
  #print: string;
  #refused: string | undefined;
  #expiryToldAtMs: number | undefined;
  #stopTimer: (() => void) | undefined;
  #round: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(options: TlsWatchOptions) {
    this.#options = options;
    const { files, clock } = options;
    const list = listOf(files);
    this.#print = printOf(list.map((file) => readNow(file, (path) => statSync(path))));
    const texts = list.map((file) => readNow(file, (path) => readFileSync(path, 'utf8')));
    this.#set = checkTls(files, materialOf(files, texts), clock.wallMs());
  }

  current(): TlsSet {
    return this.#set;
  }

  start(events: TlsWatchEvents): void {
    this.#events = events;
    events.onExpiry(this.#set.expiresAtMs);
    this.#tellExpiry();
    this.#wait();
  }

  #wait(): void {
    this.#stopTimer = this.#options.clock.after(this.#options.reloadMs, () => {
      this.#round = this.#look();
    });
  }

  async #look(): Promise<void> {
    const { files, clock, commonName } = this.#options;
    try {
      const print = printOf(await readSoon(files, readStat));
      if (print !== this.#print) {
        const texts = await readSoon(files, readText);
        // A file that moved meanwhile may not belong to the others that were read; the next look sees all of them.
        const still = printOf(await readSoon(files, readStat)) === print;
        if (still && !this.#stopped) {
          const next = checkTls(files, materialOf(files, texts), clock.wallMs());
          if (commonName !== undefined) checkSuccessor(files, this.#set, next, commonName);
          this.#take(next);
          this.#print = print;
          this.#refused = undefined;
        }
      }
    } catch (thrown) {
      this.#refuse(toCodedError(thrown));
    }
    if (this.#stopped) return;
    this.#tellExpiry();
    this.#wait();
  }

  #take(next: TlsSet): void {
    const { caPem, certPem, keyPem } = this.#set;
    if (next.caPem === caPem && next.certPem === certPem && next.keyPem === keyPem) return;
    const { certificate, logger } = this.#options;
    this.#set = next;
    this.#expiryToldAtMs = undefined;
    logger.info({ certificate, expiresAt: new Date(next.expiresAtMs).toISOString() }, 'new certificates are in use');
    this.#events?.onChange(next);
    this.#events?.onExpiry(next.expiresAtMs);
    this.#events?.onReload('loaded');
  }

  #refuse(error: CodedError): void {
    if (error.message === this.#refused || this.#stopped) return;
    this.#refused = error.message;
    const { certificate, logger } = this.#options;
    logger.warn(
      { certificate, code: error.code, param: error.param, err: error },
      'changed certificates are not sound; those in use stay, and the files are tried again',
    );
    this.#events?.onReload('refused');
  }

  /** Once a day while the certificate in use is about to expire or has expired. */
  #tellExpiry(): void {
    const { certificate, clock, logger } = this.#options;
    const nowMs = clock.wallMs();
    const leftMs = this.#set.expiresAtMs - nowMs;
    if (leftMs >= EXPIRES_SOON_MS) return;
    if (this.#expiryToldAtMs !== undefined && nowMs - this.#expiryToldAtMs < DAY_MS) return;
    this.#expiryToldAtMs = nowMs;
    const fields = { certificate, expiresAt: new Date(this.#set.expiresAtMs).toISOString() };
    if (leftMs > 0) logger.warn(fields, 'the certificate in use expires in less than 7 days');
    else logger.error(fields, 'the certificate in use has expired');
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#stopTimer?.();
    await this.#round;
  }
}

/** Reads and checks the files at once; looks at them again from start() on. @throws CodedError invalid_config */
export function createTlsWatch(options: TlsWatchOptions): TlsWatch {
  return new Watch(options);
}
