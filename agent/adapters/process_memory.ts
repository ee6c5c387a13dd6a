/**
 * Host memory of the engines' process trees, cheap enough to be read every few seconds: the members of a tree are found
 * by their session (each engine is started in one of its own, which orphans keep), by a walk over /proc that is seldom
 * and in small slices; in between only /proc/PID/statm of the known members is read.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { type Clock, untilNextBeatMs } from '../../lib/clock.ts';

export interface ProcessMemoryOptions {
  readonly clock: Clock;
  /** First process of each engine, which leads its session. */
  readonly leaders: () => ReadonlyMap<string, number>;
}

const READ_PERIOD_MS = 5000;
const WALK_PERIOD_MS = 30_000;
/** Processes that are looked at before other work gets its turn. */
const SLICE = 64;
const MAX_MEMBERS = 4096;

function readProc(pid: number | string, file: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'latin1');
  } catch {
    // The process has ended, or is not ours to look at: it has no memory that counts here.
    return undefined;
  }
}

/** The session of a process; see proc(5), field 6 of stat, counted after the command's closing bracket. */
export function sessionOf(stat: string): number {
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ', 4)[3]);
}

/**
 * Memory of a tree: what each process has for itself, and the largest shared part once, because the members of a tree
 * mostly share the same pages. `statm` holds size, resident and shared in pages, proc(5).
 */
export function treeBytes(statms: readonly string[], bytesPerPage: number): number {
  let own = 0;
  let shared = 0;
  for (const statm of statms) {
    const [, resident = 0, sharedPages = 0] = statm.split(' ', 3).map(Number);
    own += resident - sharedPages;
    shared = Math.max(shared, sharedPages);
  }
  return (own + shared) * bytesPerPage;
}

const PAGE_SIZES = [4096, 16_384, 65_536] as const;

/**
 * Size of a page of this kernel, which Node does not tell: 4 KiB on x64, up to 64 KiB on arm64. This process's memory is
 * known in bytes and in pages, and no two sizes are so near that a change between the two looks could mix them up.
 */
export function pageBytes(): number {
  const pages = Number(readProc('self', 'statm')?.split(' ', 2)[1] ?? 0);
  const estimate = process.memoryUsage.rss() / pages;
  return PAGE_SIZES.find((size) => estimate < 2 * size) ?? 4096;
}

export class ProcessMemory {
  readonly #options: ProcessMemoryOptions;
  readonly #pageBytes = pageBytes();
  #members = new Map<number, number[]>();
  #bytes: ReadonlyMap<string, number> = new Map();
  #cancelRead: () => void = () => undefined;
  #walkedAtMs = Number.NEGATIVE_INFINITY;
  #walkedFor = '';
  #stopped = true;

  constructor(options: ProcessMemoryOptions) {
    this.#options = options;
  }

  /** Bytes by engine; an engine whose tree cannot be read is absent. */
  newest = (): ReadonlyMap<string, number> => this.#bytes;

  start(): void {
    this.#stopped = false;
    this.#later();
  }

  stop(): void {
    this.#stopped = true;
    this.#cancelRead();
  }

  #later(): void {
    if (this.#stopped) return;
    const { clock } = this.#options;
    const delayMs = untilNextBeatMs(clock.monotonicMs(), READ_PERIOD_MS);
    this.#cancelRead = clock.after(delayMs, () => void this.#read().finally(() => this.#later()));
  }

  async #read(): Promise<void> {
    const { clock, leaders } = this.#options;
    const byEngine = leaders();
    const wanted = [...byEngine.values()].join();
    const nowMs = clock.monotonicMs();
    if (byEngine.size > 0 && (wanted !== this.#walkedFor || nowMs - this.#walkedAtMs >= WALK_PERIOD_MS)) {
      this.#walkedAtMs = nowMs;
      this.#walkedFor = wanted;
      this.#members = await this.#walk(new Set(byEngine.values()));
    }
    const bytes = new Map<string, number>();
    for (const [engine, leader] of byEngine) {
      const statms = (this.#members.get(leader) ?? []).flatMap((pid) => readProc(pid, 'statm') ?? []);
      if (statms.length > 0) bytes.set(engine, treeBytes(statms, this.#pageBytes));
    }
    this.#bytes = bytes;
  }

  async #walk(sessions: ReadonlySet<number>): Promise<Map<number, number[]>> {
    const members = new Map<number, number[]>([...sessions].map((session) => [session, []]));
    let looked = 0;
    let found = 0;
    for (const name of readdirSync('/proc')) {
      const pid = Number(name);
      if (!Number.isInteger(pid)) continue;
      if (++looked % SLICE === 0) await new Promise((resolve) => setImmediate(resolve));
      const stat = readProc(pid, 'stat');
      const list = stat === undefined ? undefined : members.get(sessionOf(stat));
      if (list === undefined || found >= MAX_MEMBERS) continue;
      list.push(pid);
      found += 1;
    }
    return members;
  }
}
