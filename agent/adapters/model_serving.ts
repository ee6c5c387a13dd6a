/**
 * Stands between the thread that gives files of models and the sessions: starts it, tells it whose tickets are good and
 * what may be given, and tells each scheduler where this node can be asked and which of its keys are known here. Addresses
 * and tickets are in no log line.
 */
import { Worker } from 'node:worker_threads';
import type { TlsMaterial } from '../../lib/io/tls_files.ts';
import type { TicketIssuer__Output } from '../../proto/gen/fleet/v1/TicketIssuer.ts';
import { judgeThreadRestart } from '../core/restart_brake.ts';
import type { SchedulerLinks } from '../ports.ts';
import type {
  ModelDoorReport,
  ModelDoorSettings,
  ModelIssuer,
  ServedModel,
  ToModelDoor,
} from '../workers/model_door_messages.ts';

export interface ModelServingDeps {
  readonly settings: ModelDoorSettings;
  readonly links: Pick<SchedulerLinks, 'sendModelListener'>;
  /** How other nodes reach the door on this port, without a path. */
  readonly urlOf: (port: number) => string;
  readonly figures: { modelBytesServed(bytes: number): void; modelRefused(code: string, count: number): void };
  readonly log: {
    info(fields: object, message: string): void;
    warn(fields: object, message: string): void;
    error(fields: object, message: string): void;
  };
}

export interface ModelServing {
  /** A session is open. */
  connected(scheduler: string): void;
  onTicketIssuer(scheduler: string, issuer: TicketIssuer__Output): void;
  setModels(models: readonly ServedModel[]): void;
  setTls(tls: TlsMaterial): void;
  start(): void;
  stop(): Promise<void>;
}

/** Keys of one scheduler that are looked at. */
const MAX_KEYS = 16;
const RESTART_DELAY_MS = 500;
const HEAP_MB = 256;
const STOP_PATIENCE_MS = 1000;

class Serving implements ModelServing {
  readonly #deps: ModelServingDeps;
  // One for each scheduler of the agent's list, so that they are as short as that.
  readonly #issuers = new Map<string, ModelIssuer>();
  readonly #known = new Map<string, readonly string[]>();
  readonly #connected = new Set<string>();
  #models: readonly ServedModel[] = [];
  #tls: TlsMaterial;
  #url = '';
  #worker: Worker | undefined;
  #crashes = 0;
  #restart: NodeJS.Timeout | undefined;
  #stopping = false;

  constructor(deps: ModelServingDeps) {
    this.#deps = deps;
    this.#tls = deps.settings.tls;
  }

  start(): void {
    const startedAtMs = performance.now();
    const worker = new Worker(new URL('../workers/model_door_worker.js', import.meta.url), {
      workerData: { ...this.#deps.settings, tls: this.#tls },
      // The thread shares no environment: what it needs it is told.
      env: {},
      resourceLimits: { maxOldGenerationSizeMb: HEAP_MB },
    });
    this.#worker = worker;
    worker.on('message', (report: ModelDoorReport) => this.#onReport(report));
    worker.on('error', (error) => this.#deps.log.error({ err: error }, 'the thread that gives models has failed'));
    worker.on('exit', () => this.#onExit(worker, performance.now() - startedAtMs));
    this.#tell({ kind: 'models', models: this.#models });
    this.#tell({ kind: 'issuers', issuers: [...this.#issuers.values()] });
  }

  #onExit(worker: Worker, livedMs: number): void {
    if (worker !== this.#worker) return;
    this.#worker = undefined;
    if (this.#stopping) return;
    this.#closed();
    const { crashes, delayMs } = judgeThreadRestart(this.#crashes, livedMs, RESTART_DELAY_MS);
    this.#crashes = crashes;
    this.#restart = setTimeout(() => this.start(), delayMs);
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#restart);
    const worker = this.#worker;
    if (worker === undefined) return;
    const gone = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
    this.#tell({ kind: 'stop' });
    const patience = setTimeout(() => void worker.terminate(), STOP_PATIENCE_MS);
    await gone;
    clearTimeout(patience);
  }

  #tell(message: ToModelDoor): void {
    this.#worker?.postMessage(message);
  }

  #say(scheduler: string): void {
    const keyIds = [...(this.#known.get(scheduler) ?? [])];
    this.#deps.links.sendModelListener?.(scheduler, { url: this.#url, keyIds });
  }

  #sayAll(): void {
    for (const scheduler of this.#connected) this.#say(scheduler);
  }

  #closed(): void {
    this.#url = '';
    this.#known.clear();
    this.#sayAll();
  }

  #onReport(report: ModelDoorReport): void {
    const { log, urlOf, figures } = this.#deps;
    switch (report.what) {
      case 'open':
        this.#url = urlOf(report.port);
        log.info({ port: report.port }, 'models are given to other nodes');
        this.#sayAll();
        return;
      case 'closed':
        log.warn({ code: report.code, reason: report.reason }, 'models cannot be given to other nodes');
        this.#closed();
        return;
      case 'keys':
        for (const { scheduler, keyIds } of report.known) {
          this.#known.set(scheduler, keyIds);
          if (this.#connected.has(scheduler)) this.#say(scheduler);
        }
        return;
      case 'served':
        figures.modelBytesServed(report.bytes);
        for (const [code, count] of Object.entries(report.refused)) figures.modelRefused(code, count);
    }
  }

  connected(scheduler: string): void {
    this.#connected.add(scheduler);
    if (this.#url !== '') this.#say(scheduler);
  }

  onTicketIssuer(scheduler: string, { issuer, keys }: TicketIssuer__Output): void {
    const known = keys
      .slice(0, MAX_KEYS)
      // Copies: a key that is a view would take its whole message along to the thread.
      .map(({ keyId, publicKey }) => ({ keyId, publicKey: Uint8Array.from(publicKey) }));
    this.#issuers.set(scheduler, { scheduler, issuer, keys: known });
    this.#tell({ kind: 'issuers', issuers: [...this.#issuers.values()] });
  }

  setModels(models: readonly ServedModel[]): void {
    this.#models = models;
    this.#tell({ kind: 'models', models });
  }

  setTls(tls: TlsMaterial): void {
    this.#tls = tls;
    this.#tell({ kind: 'tls', tls });
  }
}

export const createModelServing = (deps: ModelServingDeps): ModelServing => new Serving(deps);
