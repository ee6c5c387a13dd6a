/**
 * Brings one model to this host: lists, makes room, fetches, checks, puts it in its place, and tries again as the table of
 * failures says. What it does and what hinders it is told as it goes.
 */
import { createHash } from 'node:crypto';
import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { sourceName } from '../../../lib/model_source.ts';
import { noRate, type Rate, stepRate } from '../../core/model_files/progress.ts';
import { type Failure, judgeFailure } from '../../core/model_files/retry.ts';
import { type ModelSource, type Place, plainName, sourceKey } from '../../core/model_files/source.ts';
import { fetchFailure, toFetchFailure } from './fetch_failure.ts';
import { sumOf } from './file_pull.ts';
import { type CheckedListing, createLister, listModel, type ListerParts } from './listers.ts';
import { type PullContext, pullModel } from './model_pull.ts';
import type { ModelsFolder, StoredFiles } from './models_folder.ts';
import type { ModelPeersOf, PeerBook } from './peer_book.ts';

/** A model that an engine may be given. */
export interface ReadyModel {
  /** A folder, or the one file of a file source. */
  readonly path: string;
  readonly files: readonly string[];
  readonly resolved: string;
  readonly bytes: number;
}

export type JobState =
  | { readonly kind: 'waiting'; readonly message: string }
  | { readonly kind: 'fetching' | 'checking' }
  | { readonly kind: 'ready'; readonly model: ReadyModel }
  /** Given up until somebody asks again. */
  | { readonly kind: 'failed'; readonly failure: Failure };

/** What a pull shares with all others of this host. */
type SharedParts = Pick<PullContext, 'permits' | 'limit' | 'random' | 'disk' | 'connections' | 'partBytes'>;

export interface JobParts extends ListerParts, SharedParts {
  /** Absent: other nodes are not asked. */
  readonly peers?: PeerBook;
  readonly folder: ModelsFolder;
  /** Makes room, or throws why there is none. Resolves to what gives the promised room back. */
  readonly makeRoom: (job: FetchJob) => Promise<() => void>;
  /** The files have their place; told before the promised room is given back, so that they are counted all the time. */
  readonly onPublished: (stored: StoredFiles) => void;
  readonly onChange: (job: FetchJob) => void;
  readonly onFailure: (source: string, failure: Failure, delayMs: number | undefined) => void;
}

const RATE_PERIOD_MS = 250;
const FILE_QUESTION_MS = 10_000;

/** A disk behind a network may hang for ever. */
async function inTime<Value>(question: Promise<Value>, what: string): Promise<Value> {
  const late = sleep(FILE_QUESTION_MS, undefined, { ref: false }).then(() => {
    throw fetchFailure('stalled', `${what} does not answer.`);
  });
  return Promise.race([question, late]);
}

export class FetchJob {
  readonly source: ModelSource;
  readonly place: Place;
  readonly key: string;
  readonly #parts: JobParts;
  readonly #abort = new AbortController();
  #state: JobState = { kind: 'waiting', message: 'The fetch is about to begin.' };
  #rate: Rate = noRate(performance.now());
  #fetchedBytes = 0;
  readonly #peerBytes = new Map<string, number>();
  #presentBytes = 0;
  #totalBytes: number | undefined;
  #trouble = '';
  #done: Promise<void> = Promise.resolve();

  constructor(source: ModelSource, place: Place, parts: JobParts) {
    this.source = source;
    this.place = place;
    this.key = sourceKey(source);
    this.#parts = parts;
  }

  get state(): JobState {
    return this.#state;
  }

  /** Bytes that came over the network, those that were thrown away included. */
  get fetchedBytes(): number {
    return this.#fetchedBytes;
  }

  /** Of those, what came from each other node. */
  get peerBytes(): ReadonlyMap<string, number> {
    return this.#peerBytes;
  }

  get presentBytes(): number {
    return this.#presentBytes;
  }

  get totalBytes(): number | undefined {
    return this.#totalBytes;
  }

  /** What failed last, while it is being tried again. */
  get trouble(): string {
    return this.#trouble;
  }

  bytesPerSecond(): number {
    const nowMs = performance.now();
    if (nowMs - this.#rate.atMs >= RATE_PERIOD_MS) this.#rate = stepRate(this.#rate, this.#fetchedBytes, nowMs);
    return this.#rate.bytesPerSecond;
  }

  /** @param after an earlier job on the same files, which must have let go of them */
  start(after: Promise<void> = Promise.resolve()): void {
    this.#done = after
      .then(() => this.#run())
      .catch((thrown: unknown) => {
        if (this.#abort.signal.aborted) return;
        // A fault of the program: the engine is told, and the agent lives on.
        const message = thrown instanceof Error ? thrown.message : 'unknown';
        this.#fail({ kind: 'unusable', message: `The fetch failed inside the agent: ${message}` });
      });
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#done;
  }

  #set(state: JobState): void {
    this.#state = state;
    this.#parts.onChange(this);
  }

  #fail(failure: Failure): void {
    this.#parts.onFailure(sourceName(this.source), failure, undefined);
    this.#set({ kind: 'failed', failure });
  }

  async #run(): Promise<void> {
    const { random } = this.#parts;
    const { signal } = this.#abort;
    signal.throwIfAborted();
    const tries = new Map<string, number>();
    for (;;) {
      const before = this.#presentBytes;
      try {
        this.#set({ kind: 'ready', model: await this.#bring() });
        return;
      } catch (thrown) {
        signal.throwIfAborted();
        const { failure } = toFetchFailure(thrown);
        // Progress proves the source; wrong bytes count for good, or a source that lies would be asked for ever.
        if (this.#presentBytes > before)
          for (const kind of tries.keys()) if (!kind.startsWith('wrong_bytes')) tries.delete(kind);
        const counted = failure.kind === 'wrong_bytes' ? `wrong_bytes ${failure.file ?? ''}` : failure.kind;
        const failed = tries.get(counted) ?? 0;
        tries.set(counted, failed + 1);
        const verdict = judgeFailure(failure, failed, random);
        if (verdict.kind === 'give_up') {
          this.#fail(failure);
          return;
        }
        this.#parts.onFailure(sourceName(this.source), failure, verdict.delayMs);
        this.#set({ kind: 'waiting', message: failure.message });
        await sleep(verdict.delayMs, undefined, { signal });
      }
    }
  }

  #bring(): Promise<ReadyModel> {
    return this.place.kind === 'file' ? this.#lookAtFiles(this.place.path) : this.#fetch(this.place);
  }

  async #fetch(place: Exclude<Place, { kind: 'file' }>): Promise<ReadyModel> {
    const { folder, client, permits, limit, random, disk, connections, partBytes, peers } = this.#parts;
    const { signal } = this.#abort;
    const lister = createLister(place, this.source, this.#parts);
    const listing = await listModel(lister, this.source, place, client, signal);
    this.#totalBytes = listing.files.reduce((sum, { bytes }) => sum + bytes, 0);
    const workFolder = folder.workFolder(this.key);
    const promised = await this.#parts.makeRoom(this);
    try {
      this.#set({ kind: 'fetching' });
      await pullModel(listing.files, {
        client,
        authorize: lister.authorize,
        permits,
        limit,
        random,
        disk,
        connections,
        partBytes,
        workFolder,
        signal,
        ...(peers === undefined ? {} : { peers: this.#peersOf(peers, listing.resolved) }),
        onBytes: (bytes, peer) => {
          this.#fetchedBytes += bytes;
          if (peer !== undefined) this.#peerBytes.set(peer, (this.#peerBytes.get(peer) ?? 0) + bytes);
          this.#trouble = '';
        },
        onPresent: (bytes) => {
          this.#presentBytes = bytes;
        },
        onTrouble: (failure, delayMs) => {
          this.#trouble = failure.message;
          this.#parts.onFailure(sourceName(this.source), failure, delayMs);
        },
      });
      const name = `${plainName(place)}@${tagOf(place, listing)}`;
      const about = {
        key: this.key,
        source: sourceName(this.source),
        resolved: listing.resolved,
        name,
        peers: Object.fromEntries(this.#peerBytes),
      };
      const stored = await folder.publish(about, listing.files);
      this.#parts.onPublished(stored);
      return { path: stored.folder, files: stored.files, resolved: stored.resolved, bytes: stored.bytes };
    } finally {
      promised();
    }
  }

  /** What a node gave that turned out wrong is not told as its part. */
  #peersOf(book: PeerBook, resolved: string): ModelPeersOf {
    const { take, wrong } = book.of(sourceName(this.source), resolved);
    return {
      take,
      wrong: (nodes, failure) => {
        for (const node of nodes) this.#peerBytes.delete(node);
        return wrong(nodes, failure);
      },
    };
  }

  /** Files that are on this host or on a share are used where they are. */
  async #lookAtFiles(place: string): Promise<ReadyModel> {
    const found = await inTime(stat(place), place).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') throw fetchFailure('missing', `${place} does not exist on this host.`);
      throw error;
    });
    const isFolder = found.isDirectory();
    this.#presentBytes = 0;
    const base = isFolder ? place : path.dirname(place);
    const names = isFolder ? await inTime(readdir(place), place) : [path.basename(place)];
    this.#set({ kind: 'checking' });
    this.#totalBytes = isFolder ? undefined : found.size;
    for (const [name, hex] of Object.entries(this.source.sha256)) {
      const file = path.join(base, name);
      const { size } = await inTime(stat(file), file).catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') throw fetchFailure('missing', `${file} does not exist on this host.`);
        throw error;
      });
      const sum = await sumOf(file, { kind: 'sha256', hex }, size, this.#abort.signal);
      if (sum !== hex.toLowerCase())
        throw fetchFailure('wrong_bytes', `${file} has wrong bytes: its SHA-256 is ${sum}, it should be ${hex}.`, {
          file: name,
        });
      this.#presentBytes += size;
    }
    return { path: place, files: names, resolved: '', bytes: isFolder ? this.#presentBytes : found.size };
  }
}

/** A commit names what it is; everything else is named by what was listed. */
function tagOf(place: Place, { resolved, files }: CheckedListing): string {
  if (place.kind === 'hub' && place.within === '') return resolved;
  const listed = files.map(({ path: name, bytes, check, etag }) => `${name} ${bytes} ${check?.hex ?? etag ?? ''}`);
  const text = JSON.stringify([resolved, listed.toSorted((a, b) => (a < b ? -1 : 1))]);
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}
