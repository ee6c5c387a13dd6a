/**
 * Fetches the files of one model: a few connections take part after part, a cut goes on where it was, and each file is
 * checked before it counts. Memory is bounded by the connections, whatever the size of the model.
 */
import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RandomSource } from '../../../lib/rng.ts';
import type { PartRange } from '../../core/model_files/parts.ts';
import { type Failure, type FailureKind, judgeFailure } from '../../core/model_files/retry.ts';
import type { Disk } from './disk.ts';
import { fetchFailure, toFetchFailure } from './fetch_failure.ts';
import { FilePull } from './file_pull.ts';
import { type Answer, type Authorize, get, type HttpClient, refused, shown } from './http_get.ts';
import type { MeasuredEntry } from './listers.ts';
import type { ModelPeersOf, PeerTurn } from './peer_book.ts';
import type { Permits } from './permits.ts';

export interface PullContext {
  readonly client: HttpClient;
  readonly authorize: Authorize;
  /** Connections, shared by all models. */
  readonly permits: Permits;
  /** Counts bytes against the limit of the host; a promise where they must wait. */
  readonly limit: (bytes: number) => Promise<void> | undefined;
  readonly random: RandomSource;
  readonly disk: Disk;
  readonly connections: number;
  readonly partBytes: number;
  /** `parts` and `tree` lie in it. */
  readonly workFolder: string;
  readonly signal: AbortSignal;
  /** Other nodes that have the model; absent: only the source is asked. */
  readonly peers?: ModelPeersOf;
  /** @param peer the node that gave them; undefined: the source */
  readonly onBytes: (bytes: number, peer?: string) => void;
  /** Bytes of the model that are on the disk now. */
  readonly onPresent: (bytes: number) => void;
  /** Something failed and is tried again. */
  readonly onTrouble: (failure: Failure, delayMs: number) => void;
}

/** Written at once: fewer calls, and little to lose by a cut. */
const FLUSH_BYTES = 512 * 1024;
/** In each stall time at least so many bytes must come. There is nobody to ask but the source; a slow peer is left. */
const LEAST_BYTES = 4096;
const LEAST_PEER_BYTES = 1024 * 1024;
/** What fails here and not at whoever gives the bytes. */
const OWN_FAILURES: ReadonlySet<FailureKind> = new Set(['disk', 'disk_full']);

export const treeOf = (workFolder: string): string => path.join(workFolder, 'tree');
export const partsOf = (workFolder: string): string => path.join(workFolder, 'parts');

/** Ends a body that brings next to nothing while somebody waits for it. */
function watchStall(
  body: { destroy(error: Error): void },
  { stallTimeoutMs, leastBytes }: { readonly stallTimeoutMs: number; readonly leastBytes: number },
  what: string,
) {
  let bytes = 0;
  let seen = 0;
  let waitedMs = 0;
  let isWaiting = true;
  const periodMs = Math.max(20, stallTimeoutMs / 10);
  const timer = setInterval(() => {
    if (bytes - seen >= leastBytes) {
      seen = bytes;
      waitedMs = 0;
    } else if (isWaiting) waitedMs += periodMs;
    if (waitedMs >= stallTimeoutMs) body.destroy(fetchFailure('stalled', `${what} sends next to nothing.`));
  }, periodMs);
  return {
    got(count: number): void {
      bytes += count;
      isWaiting = false;
    },
    waits(): void {
      isWaiting = true;
    },
    stop: (): void => clearInterval(timer),
  };
}

class ModelPull {
  readonly #files: readonly MeasuredEntry[];
  readonly #context: PullContext;
  readonly #abort = new AbortController();
  readonly #signal: AbortSignal;
  readonly #active = new Set<FilePull>();
  /** Files of which a peer gave wrong bytes: once more, and from the source alone. */
  readonly #again: MeasuredEntry[] = [];
  readonly #sourceOnly = new Set<string>();
  #next = 0;
  #finishedBytes = 0;

  constructor(files: readonly MeasuredEntry[], context: PullContext) {
    this.#files = files;
    this.#context = context;
    this.#signal = AbortSignal.any([context.signal, this.#abort.signal]);
  }

  async run(): Promise<void> {
    const { workFolder, connections } = this.#context;
    await mkdir(partsOf(workFolder), { recursive: true });
    await mkdir(treeOf(workFolder), { recursive: true });
    const workers = Array.from({ length: connections }, () =>
      this.#work().catch((thrown: unknown) => {
        this.#abort.abort();
        throw thrown;
      }),
    );
    const results = await Promise.allSettled(workers);
    for (const pull of this.#active) await pull.close();
    this.#context.signal.throwIfAborted();
    const failed = results.filter((result) => result.status === 'rejected').map(({ reason }) => reason as unknown);
    // The others ended because this one did.
    const first = failed.find((reason) => reason !== this.#abort.signal.reason) ?? failed[0];
    if (first !== undefined) throw first;
  }

  /** A part that nobody fetches: of a file that is on its way, else of the next one. */
  async #claim(): Promise<{ readonly pull: FilePull; readonly range: PartRange } | undefined> {
    for (const pull of this.#active) {
      const range = pull.claim();
      if (range !== undefined) return { pull, range };
    }
    const { workFolder, disk, partBytes } = this.#context;
    for (;;) {
      const entry = this.#again.shift() ?? this.#files[this.#next++];
      if (entry === undefined) return undefined;
      if (await FilePull.isFinished(entry, partsOf(workFolder), path.join(treeOf(workFolder), entry.path))) {
        this.#finishedBytes += entry.bytes;
        continue;
      }
      const pull = await FilePull.open(entry, { folder: partsOf(workFolder), partBytes, disk });
      this.#active.add(pull);
      const range = pull.claim();
      if (range !== undefined) return { pull, range };
      await this.#finish(pull);
    }
  }

  #presentBytes(): number {
    return [...this.#active].reduce((sum, pull) => sum + pull.presentBytes, this.#finishedBytes);
  }

  async #work(): Promise<void> {
    for (;;) {
      this.#signal.throwIfAborted();
      const claim = await this.#claim();
      if (claim === undefined) return;
      const { pull, range } = claim;
      try {
        await this.#fetchPart(pull, range);
      } finally {
        pull.release(range);
      }
      if (pull.isDone && this.#active.has(pull)) await this.#finish(pull);
    }
  }

  async #finish(pull: FilePull): Promise<void> {
    this.#active.delete(pull);
    const place = path.join(treeOf(this.#context.workFolder), pull.entry.path);
    try {
      await mkdir(path.dirname(place), { recursive: true });
      await pull.finish(place);
      this.#finishedBytes += pull.entry.bytes;
    } catch (thrown) {
      await pull.close();
      if (!this.#isPeersFault(pull, thrown)) throw thrown;
    }
  }

  /** Wrong bytes of which some came from peers: they are named and left alone, and the source gives the whole file. */
  #isPeersFault({ entry, peers: nodes }: FilePull, thrown: unknown): boolean {
    const { peers, onTrouble } = this.#context;
    const { failure } = toFetchFailure(thrown);
    if (peers === undefined || nodes.size === 0 || failure.kind !== 'wrong_bytes') return false;
    onTrouble(peers.wrong([...nodes], failure), 0);
    this.#sourceOnly.add(entry.path);
    this.#again.push(entry);
    return true;
  }

  /** Only what a checksum judges is taken from another node. */
  #peerFor({ entry }: FilePull): PeerTurn | undefined {
    if (entry.check === undefined || this.#sourceOnly.has(entry.path)) return undefined;
    return this.#context.peers?.take();
  }

  /** One part, however often its connection is cut. */
  async #fetchPart(pull: FilePull, claimed: PartRange): Promise<void> {
    const { permits, random, onTrouble } = this.#context;
    let tries = 0;
    for (let range = claimed; range.from < range.to; ) {
      let peer: PeerTurn | undefined;
      try {
        await permits.use(this.#signal, () => {
          // Asked for at its turn and not before: while it waits tickets end and nodes go.
          peer = this.#peerFor(pull);
          return this.#fetchRange(pull, range, peer);
        });
        peer?.came();
        return;
      } catch (thrown) {
        if (this.#signal.aborted) peer?.left();
        this.#signal.throwIfAborted();
        const failed = toFetchFailure(thrown);
        if (pull.single) pull.startOver();
        if (peer !== undefined && !OWN_FAILURES.has(failed.failure.kind)) {
          // It is left alone now, so that this ends at the source after as many turns as there are peers.
          range = pull.rest(range);
          onTrouble(peer.failed(failed.failure), 0);
          continue;
        }
        peer?.left();
        const rest = pull.rest(range);
        tries = rest.from > range.from ? 0 : tries;
        const verdict = judgeFailure(failed.failure, tries, random);
        if (verdict.kind === 'give_up' || verdict.from === 'listing') throw failed;
        tries += 1;
        range = rest;
        onTrouble(failed.failure, verdict.delayMs);
        await sleep(verdict.delayMs, undefined, { signal: this.#signal });
      }
    }
  }

  async #fetchRange(pull: FilePull, range: PartRange, peer: PeerTurn | undefined): Promise<void> {
    const { client, authorize } = peer ?? this.#context;
    const { entry } = pull;
    const url = peer === undefined ? new URL(entry.url) : peer.url(entry.path);
    const isAll = range.from === 0 && range.to === entry.bytes;
    const headers = { ...peer?.headers(entry), ...(isAll ? {} : { range: `bytes=${range.from}-${range.to - 1}` }) };
    const answer = await get(client, url, headers, authorize, this.#signal);
    const { status } = answer;
    if (status !== 200 && status !== 206) throw refused(url, answer);
    try {
      if (peer === undefined) pull.noteEtag(answer.headers.etag);
      this.#checkAnswer(entry, range, answer);
      if (peer !== undefined && status === 200 && !isAll)
        throw fetchFailure('bad_listing', `${entry.path}: a node gives no ranges.`);
    } catch (thrown) {
      answer.body.destroy();
      throw thrown;
    }
    if (status === 200 && !isAll) {
      answer.body.destroy();
      // The source ignores ranges; the next claim of the file is all of it.
      if (!pull.single) pull.startOver();
      return;
    }
    if (peer !== undefined) pull.peers.add(peer.node);
    await this.#readBody(pull, range, answer.body, { what: shown(url), peer });
  }

  /** Whether it is the range, or the file, that was listed. @throws FetchFailure */
  #checkAnswer(entry: MeasuredEntry, range: PartRange, { status, headers }: Answer): void {
    if (status === 206) this.#checkRange(entry, range, headers['content-range']);
    else if (headers['content-length'] !== undefined && Number(headers['content-length']) !== entry.bytes)
      throw fetchFailure('changed', `${entry.path} has another size than it was listed with.`, { file: entry.path });
  }

  #checkRange(entry: MeasuredEntry, { from, to }: PartRange, header: string | undefined): void {
    const match = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(header ?? '');
    const fits = match !== null && Number(match[1]) === from && Number(match[2]) === to - 1;
    if (!fits) throw fetchFailure('bad_listing', `${entry.path}: the source answers with another range.`);
    if (match[3] !== '*' && Number(match[3]) !== entry.bytes)
      throw fetchFailure('changed', `${entry.path} has another size than it was listed with.`, { file: entry.path });
  }

  async #readBody(
    pull: FilePull,
    range: PartRange,
    body: NodeJS.ReadableStream & { destroy(error?: Error): void },
    { what, peer }: { readonly what: string; readonly peer: PeerTurn | undefined },
  ) {
    const { limit, onBytes, onPresent } = this.#context;
    const { stallTimeoutMs } = (peer ?? this.#context).client.times;
    const leastBytes = peer === undefined ? LEAST_BYTES : LEAST_PEER_BYTES;
    const watch = watchStall(body, { stallTimeoutMs, leastBytes }, what);
    let at = range.from;
    let batch: Buffer[] = [];
    let bytes = 0;
    const flush = async (): Promise<void> => {
      const [buffers, from] = [batch, at];
      at += bytes;
      batch = [];
      bytes = 0;
      await pull.write(buffers, from);
      onPresent(this.#presentBytes());
    };
    try {
      for await (const chunk of body as AsyncIterable<Buffer>) {
        watch.got(chunk.length);
        onBytes(chunk.length, peer?.node);
        if (at + bytes + chunk.length > range.to) throw fetchFailure('changed', `${what} sends more than it said.`);
        batch.push(chunk);
        bytes += chunk.length;
        await limit(chunk.length);
        if (bytes >= FLUSH_BYTES) await flush();
        watch.waits();
      }
    } catch (thrown) {
      // What came before the cut is kept.
      if (toFetchFailure(thrown).failure.kind === 'cut') await flush();
      throw thrown;
    } finally {
      watch.stop();
    }
    await flush();
    if (at < range.to) throw fetchFailure('cut', `${what} ended too early.`);
  }
}

/**
 * Resolves when all files lie checked in `tree`; what was fetched before is not fetched again.
 * @throws FetchFailure that asks for a new listing or for the end; the reason of the signal when it fires
 */
export const pullModel = (files: readonly MeasuredEntry[], context: PullContext): Promise<void> =>
  new ModelPull(files, context).run();

/** Throws away what was fetched for a model. */
export const discardWork = (workFolder: string): Promise<void> => rm(workFolder, { recursive: true, force: true });
