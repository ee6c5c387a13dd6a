/**
 * The files of models on this host: one job for each source that a wanted engine names, all of them within one bandwidth,
 * one number of connections and one disk budget. The folder belongs to one agent at a time.
 */
import { stat } from 'node:fs/promises';
import type { Logger } from '../../../lib/io/logger.ts';
import { withLock } from '../../../lib/io/file_lock.ts';
import { sourceName } from '../../../lib/model_source.ts';
import type { RandomSource } from '../../../lib/rng.ts';
import type { ModelReading } from '../../../proto/gen/fleet/v1/ModelReading.ts';
import { planRoom, type StoredModel } from '../../core/model_files/disk_budget.ts';
import { etaMsOf, progressText, ratioOf } from '../../core/model_files/progress.ts';
import type { Failure } from '../../core/model_files/retry.ts';
import { type ModelSource, parseSource, sourceKey } from '../../core/model_files/source.ts';
import type { ModelFiles, ModelFilesState } from '../../ports.ts';
import { createCredentials } from './credentials.ts';
import { type Disk, realDisk } from './disk.ts';
import { fetchFailure, toFetchFailure } from './fetch_failure.ts';
import type { FactsReader } from './facts_reader.ts';
import { FetchJob, type JobParts } from './fetch_job.ts';
import { createHttpClient, type HttpTimes } from './http_get.ts';
import { ModelsFolder, type StoredFiles } from './models_folder.ts';
import type { PeerBook } from './peer_book.ts';
import { jobReading, progressOf, storedReading } from './readings.ts';
import { createLimiter, createPermits } from './permits.ts';

export interface ModelFilesOptions {
  /** Where models go; absolute. */
  readonly folder: string;
  /** Absent: as many as fit on the disk. */
  readonly budgetBytes?: number;
  /** Bytes per second over all models; 0: no limit. */
  readonly bandwidth: number;
  readonly connections: number;
  readonly hubUrl: string;
  readonly credentialsFile?: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly random: RandomSource;
  readonly logger: Pick<Logger, 'info' | 'warn'>;
  readonly times?: HttpTimes;
  readonly partBytes?: number;
  readonly disk?: Disk;
  /** Looks at the files that are here; absent: nobody does. */
  readonly facts?: FactsReader;
  /** Other nodes that may have a model; absent: only sources are asked. */
  readonly peers?: PeerBook;
  /** The models that are whole are these now. */
  readonly onStored?: (stored: readonly StoredFiles[]) => void;
}

const TIMES: HttpTimes = { answerTimeoutMs: 30_000, stallTimeoutMs: 30_000 };
const PART_BYTES = 64 * 1024 * 1024;
/** Stays free for everything else that writes to the disk. */
const RESERVE_BYTES = 256 * 1024 * 1024;
/** Partial files that nothing wants are kept so long, in case it is wanted again. */
const LEFTOVER_MS = 24 * 3_600_000;

interface Promised {
  readonly totalBytes: number;
  readonly job: FetchJob;
}

class ModelFilesService implements ModelFiles {
  readonly #options: ModelFilesOptions;
  readonly #folder: ModelsFolder;
  readonly #client: ReturnType<typeof createHttpClient>;
  readonly #parts: JobParts;
  readonly #jobs = new Map<string, FetchJob>();
  /** Jobs that are ending, by their key: their files are theirs until then. */
  readonly #ending = new Map<string, Promise<void>>();
  /** Models whose files are being looked at. */
  readonly #looking = new Set<string>();
  readonly #promised = new Set<Promised>();
  readonly #stop = new AbortController();
  #wanted: ReadonlyMap<string, ModelSource> = new Map();
  #stored: readonly StoredFiles[] = [];
  #isOpen = false;
  #opening: Promise<void> | undefined;
  #holding: Promise<void> = Promise.resolve();
  /** Room is given to one job after the other. */
  #roomTurn: Promise<void> = Promise.resolve();
  #trouble = 'The folder of models is being opened.';

  constructor(options: ModelFilesOptions) {
    const { folder, environment, credentialsFile, logger, random, connections, hubUrl } = options;
    this.#options = options;
    this.#folder = new ModelsFolder(folder);
    this.#client = createHttpClient(options.times ?? TIMES, connections);
    this.#parts = {
      client: this.#client,
      credentials: createCredentials({
        environment,
        ...(credentialsFile === undefined ? {} : { file: credentialsFile }),
        onLoose: (file) => logger.warn({ file }, 'the file of credentials for models can be read by other users'),
      }),
      hubUrl,
      folder: this.#folder,
      permits: createPermits(connections),
      limit: createLimiter(options.bandwidth),
      random,
      disk: options.disk ?? realDisk,
      connections,
      partBytes: options.partBytes ?? PART_BYTES,
      ...(options.peers === undefined ? {} : { peers: options.peers }),
      makeRoom: (job) => this.#makeRoom(job),
      onPublished: (stored) => this.#keep([...this.#stored.filter(({ key }) => key !== stored.key), stored]),
      onChange: (job) => this.#onChange(job),
      onFailure: (source, failure, delayMs) => this.#onFailure(source, failure, delayMs),
    };
  }

  /** What an earlier agent brought is known from the start; a host that needs no models gets no folder for them. */
  async start(): Promise<void> {
    const isThere = await stat(this.#folder.root).then(
      () => true,
      () => false,
    );
    if (isThere) await this.#openOnce();
  }

  #openOnce(): Promise<void> {
    this.#opening ??= this.#openFolder();
    return this.#opening;
  }

  /** Resolves when the folder is open, or when it is known that another agent holds it. Never rejects. */
  async #openFolder(): Promise<void> {
    try {
      await this.#folder.make();
    } catch (error) {
      this.#trouble = `The folder of models cannot be made (${(error as NodeJS.ErrnoException).code ?? 'unknown reason'}).`;
      this.#options.logger.warn({ err: error }, 'the folder of models cannot be made');
      return;
    }
    this.#trouble = `Another agent holds the folder of models ${this.#folder.root}.`;
    const { signal } = this.#stop;
    await new Promise<void>((resolve) => {
      const patience = setTimeout(resolve, 500);
      const hold = async (): Promise<void> => {
        await this.#open();
        clearTimeout(patience);
        resolve();
        await new Promise<void>((end) => signal.addEventListener('abort', () => end(), { once: true }));
        await this.#closeJobs();
      };
      this.#holding = withLock(this.#folder.lockFile, signal, hold).catch((error: unknown) => {
        clearTimeout(patience);
        resolve();
        if (!signal.aborted) this.#options.logger.warn({ err: error }, 'the folder of models cannot be used');
      });
    });
  }

  /** What is on its way is kept for the next agent. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#holding;
    this.#client.close();
    this.#options.peers?.close();
  }

  async #open(): Promise<void> {
    await this.#folder.sweep((key) => this.#wanted.has(key), Date.now(), LEFTOVER_MS);
    this.#keep(await this.#folder.stored());
    this.#isOpen = true;
    this.#begin();
  }

  async #closeJobs(): Promise<void> {
    this.#isOpen = false;
    await Promise.all([...this.#jobs.values()].map((job) => job.stop()));
    await Promise.all(this.#ending.values());
    this.#jobs.clear();
  }

  setWanted(sources: readonly ModelSource[]): void {
    this.#wanted = new Map(sources.map((source) => [sourceKey(source), source]));
    for (const [key, job] of this.#jobs) {
      if (this.#wanted.has(key)) continue;
      this.#jobs.delete(key);
      const ended = job.stop().finally(() => this.#ending.delete(key));
      this.#ending.set(key, ended);
    }
    if (this.#wanted.size > 0) void this.#openOnce();
    this.#begin();
  }

  #begin(): void {
    if (!this.#isOpen) return;
    for (const [key, source] of this.#wanted) {
      const stored = this.#stored.find((one) => one.key === key);
      if (stored !== undefined) this.#touch(stored);
      else if (!this.#jobs.has(key)) this.#startJob(key, source);
    }
  }

  #startJob(key: string, source: ModelSource): void {
    const parsed = parseSource(source, []);
    // An order with such a source was refused long before.
    if (parsed.kind === 'bad') return;
    const job = new FetchJob(source, parsed.place, this.#parts);
    this.#jobs.set(key, job);
    job.start(this.#ending.get(key));
  }

  #touch(stored: StoredFiles): void {
    const nowMs = Date.now();
    this.#folder.touch(stored, nowMs).then(
      () => {
        this.#stored = this.#stored.map((one) => (one.key === stored.key ? { ...one, lastWantedAtMs: nowMs } : one));
      },
      (error: unknown) =>
        this.#options.logger.warn({ err: error, folder: stored.folder }, 'a model cannot be marked as wanted'),
    );
  }

  #onChange(job: FetchJob): void {
    const { state, source } = job;
    if (state.kind !== 'ready') return;
    const { path, bytes } = state.model;
    this.#options.logger.info(
      { source: sourceName(source), path, bytes, fetchedBytes: job.fetchedBytes },
      'a model is on disk',
    );
    // Files that are used where they are have no other record than their job.
    if (job.place.kind !== 'file') this.#jobs.delete(job.key);
  }

  #onFailure(source: string, { kind, message }: Failure, delayMs: number | undefined): void {
    const what = delayMs === undefined ? 'a model cannot be brought here' : 'a fetch of a model is tried again';
    this.#options.logger.warn({ source, kind, detail: message, ...(delayMs === undefined ? {} : { delayMs }) }, what);
  }

  #keep(stored: readonly StoredFiles[]): void {
    this.#stored = stored;
    this.#options.onStored?.(stored);
  }

  #makeRoom(job: FetchJob): Promise<() => void> {
    const turn = this.#roomTurn.then(() => this.#roomFor(job));
    this.#roomTurn = turn.then(
      () => undefined,
      () => undefined,
    );
    return turn;
  }

  async #roomFor(job: FetchJob): Promise<() => void> {
    const { budgetBytes } = this.#options;
    try {
      const leftovers = await this.#folder.leftovers();
      const partOf = (key: string): number => leftovers.find((one) => one.key === key)?.bytes ?? 0;
      const others = [...this.#promised];
      const total = job.totalBytes ?? 0;
      const idle = leftovers
        .filter(({ key }) => !this.#wanted.has(key))
        .map(({ folder, bytes, touchedAtMs }) => ({ folder, bytes, lastWantedAtMs: touchedAtMs, wanted: false }));
      const verdict = planRoom({
        totalBytes: total,
        missingBytes: Math.max(0, total - partOf(job.key)),
        promisedBytes: others.reduce((sum, { totalBytes }) => sum + totalBytes, 0),
        promisedMissingBytes: others.reduce((sum, one) => sum + Math.max(0, one.totalBytes - partOf(one.job.key)), 0),
        ...(budgetBytes === undefined ? {} : { budgetBytes }),
        diskFreeBytes: await this.#parts.disk.freeBytes(this.#folder.root),
        reserveBytes: RESERVE_BYTES,
        stored: [...this.#storedModels(), ...idle],
      });
      if (verdict.kind === 'too_large') throw fetchFailure('too_large', verdict.message);
      if (verdict.kind === 'no_room') throw fetchFailure('disk_full', verdict.message);
      await this.#evict(verdict.evict);
      const promised: Promised = { totalBytes: total, job };
      this.#promised.add(promised);
      return () => void this.#promised.delete(promised);
    } catch (thrown) {
      throw toFetchFailure(thrown);
    }
  }

  #storedModels(): StoredModel[] {
    return this.#stored.map(({ folder, bytes, lastWantedAtMs, key }) => ({
      folder,
      bytes,
      lastWantedAtMs,
      wanted: this.#wanted.has(key),
    }));
  }

  async #evict(folders: readonly string[]): Promise<void> {
    for (const folder of folders) {
      this.#options.logger.info({ folder }, 'a model that nothing wants makes room');
      this.#keep(this.#stored.filter((one) => one.folder !== folder));
      await this.#folder.remove(folder);
    }
  }

  again(source: ModelSource): void {
    const key = sourceKey(source);
    const stored = this.#stored.find((one) => one.key === key);
    if (stored !== undefined) void this.#look(stored);
    if (this.#jobs.get(key)?.state.kind !== 'failed') return;
    this.#jobs.delete(key);
    this.#begin();
  }

  /** Somebody may have removed or changed files of a model since: then it is fetched again. */
  async #look(stored: StoredFiles): Promise<void> {
    const { key, folder } = stored;
    if (this.#looking.has(key)) return;
    this.#looking.add(key);
    try {
      if (await this.#folder.isSound(stored)) return;
      this.#options.logger.warn({ folder }, 'files of a model have changed on disk: it is fetched again');
      this.#keep(this.#stored.filter((one) => one.key !== key));
      await this.#folder.remove(folder).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOENT') throw error;
      });
    } catch (error) {
      this.#options.logger.warn({ err: error, folder }, 'the files of a model cannot be looked at');
    } finally {
      this.#looking.delete(key);
      this.#begin();
    }
  }

  stateOf(source: ModelSource): ModelFilesState {
    const key = sourceKey(source);
    const stored = this.#stored.find((one) => one.key === key);
    if (this.#looking.has(key)) return { kind: 'busy', message: 'model is being looked at', ratio: 0 };
    if (stored !== undefined) return { kind: 'ready', path: stored.folder, files: stored.files };
    const job = this.#jobs.get(key);
    if (job === undefined)
      return { kind: 'busy', message: this.#isOpen ? 'The model is not asked for.' : this.#trouble, ratio: 0 };
    const { state } = job;
    switch (state.kind) {
      case 'ready':
        return { kind: 'ready', path: state.model.path, files: state.model.files };
      case 'failed':
        return { kind: 'failed', message: state.failure.message };
      case 'waiting':
        return { kind: 'busy', message: `model waits: ${state.message}`, ratio: ratioOf(progressOf(job)) };
      case 'checking':
        return { kind: 'busy', message: 'model is being checked', ratio: 0 };
      case 'fetching': {
        const progress = progressOf(job);
        const etaMs = etaMsOf(progress);
        const trouble = job.trouble === '' ? '' : ` (${job.trouble})`;
        const told = {
          kind: 'busy',
          message: `${progressText(progress)}${trouble}`,
          ratio: ratioOf(progress),
        } as const;
        return etaMs === undefined ? told : { ...told, etaMs };
      }
    }
  }

  readings(): ModelReading[] {
    const stored = this.#stored.map((one) => storedReading(one, this.#wanted.has(one.key), this.#factsOf(one.folder)));
    const known = new Set(stored.map(({ source }) => source));
    const jobs = [...this.#jobs.values()].map((job) => {
      const told = this.stateOf(job.source);
      const facts = job.state.kind === 'ready' ? this.#factsOf(job.state.model.path) : {};
      const message = told.kind === 'ready' ? '' : told.message;
      return { ...jobReading(job, { wanted: this.#wanted.has(job.key), message }), ...facts };
    });
    return [...stored, ...jobs.filter(({ source }) => !known.has(source))];
  }

  #factsOf(folder: string): Pick<ModelReading, 'facts'> {
    const facts = this.#options.facts?.of(folder);
    return facts === undefined ? {} : { facts };
  }
}

export type RunningModelFiles = ModelFiles & { start(): Promise<void>; stop(): Promise<void> };

export const createModelFiles = (options: ModelFilesOptions): RunningModelFiles => new ModelFilesService(options);
