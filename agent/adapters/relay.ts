/**
 * Owns the relay threads by piscina: starts them, tells each what runs and where the schedulers are, adds up their
 * figures, and starts one again that has crashed. The requests of a crashed thread are lost with its lane.
 */
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { fileURLToPath } from 'node:url';
import { Piscina } from 'piscina';
import type { Logger } from '../../lib/io/logger.ts';
import type { Relay, RelayStats, RelayTarget } from '../ports.ts';
import type { FromRelay, RelaySettings, ToRelay, WorkerStats } from '../workers/relay_messages.ts';

export interface RelayOptions {
  readonly workers: number;
  readonly settings: RelaySettings;
  readonly logger: Logger;
  /** How long to wait before a crashed thread is started again, in milliseconds. */
  readonly restartDelayMs: number;
}

const IDLE: WorkerStats = {
  openByEngine: {},
  lanes: 0,
  tokensTotal: 0,
  messagesTotal: 0,
  bytesTotal: 0,
  stallsTotal: 0,
};

interface Slot {
  port: MessagePort | undefined;
  stats: WorkerStats;
  ended: Promise<void>;
}

/** Adds up the figures of all threads. */
export function sumStats(all: readonly WorkerStats[]): RelayStats {
  const openByEngine: Record<string, number> = {};
  const sum = { lanes: 0, tokensTotal: 0, messagesTotal: 0, bytesTotal: 0, stallsTotal: 0 };
  for (const stats of all) {
    for (const [engine, open] of Object.entries(stats.openByEngine))
      openByEngine[engine] = (openByEngine[engine] ?? 0) + open;
    for (const key of ['lanes', 'tokensTotal', 'messagesTotal', 'bytesTotal', 'stallsTotal'] as const)
      sum[key] += stats[key];
  }
  return { openByEngine, progress: {}, ...sum };
}

function createPool(workers: number): Piscina {
  return new Piscina({
    filename: fileURLToPath(new URL('../workers/relay_worker.js', import.meta.url)),
    minThreads: workers,
    maxThreads: workers,
    concurrentTasksPerWorker: 1,
    // The threads share no environment: what they need they are told.
    env: {},
  });
}

/** Resolves when `work` has ended, or after `timeoutMs`. */
async function atMost(work: Promise<unknown>, timeoutMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, timeoutMs);
  });
  await Promise.race([work, late]);
  clearTimeout(timer);
}

export function createRelay(options: RelayOptions): Relay {
  const { workers, settings, logger } = options;
  let pool: Piscina | undefined;
  let stopping = false;
  let targets: readonly RelayTarget[] = [];
  let schedulers: readonly string[] = [];
  const slots: Slot[] = [];

  const tell = (message: ToRelay): void => {
    for (const slot of slots) slot.port?.postMessage(message);
  };

  const onMessage = (worker: number, slot: Slot, message: FromRelay): void => {
    if (message.kind === 'stats') slot.stats = message.stats;
    else logger.info({ worker, scheduler: message.scheduler, reason: message.reason }, `lane ${message.state}`);
  };

  const startThread = (running: Piscina, worker: number, slot: Slot): void => {
    const { port1, port2 } = new MessageChannel();
    slot.port = port1;
    port1.on('message', (message: FromRelay) => onMessage(worker, slot, message));
    port1.postMessage({ kind: 'targets', targets } satisfies ToRelay);
    port1.postMessage({ kind: 'schedulers', addresses: schedulers } satisfies ToRelay);
    slot.ended = running
      .run({ worker, port: port2, settings }, { name: 'runRelay', transferList: [port2] })
      .then(
        () => undefined,
        (error: unknown) => {
          if (stopping) return;
          logger.error({ worker, err: error }, 'a relay thread crashed; its requests are lost');
          setTimeout(() => {
            if (!stopping) startThread(running, worker, slot);
          }, options.restartDelayMs);
        },
      )
      .finally(() => {
        port1.close();
        if (slot.port === port1) slot.port = undefined;
        slot.stats = { ...IDLE, tokensTotal: slot.stats.tokensTotal };
      });
  };

  return {
    async start() {
      pool = createPool(workers);
      for (let worker = 0; worker < workers; worker++) {
        const slot: Slot = { port: undefined, stats: IDLE, ended: Promise.resolve() };
        slots.push(slot);
        startThread(pool, worker, slot);
      }
    },
    setTargets(next) {
      targets = next;
      tell({ kind: 'targets', targets });
    },
    setSchedulers(next) {
      schedulers = next;
      tell({ kind: 'schedulers', addresses: schedulers });
    },
    stats: () => sumStats(slots.map((slot) => slot.stats)),
    async stop(graceMs) {
      stopping = true;
      tell({ kind: 'stop', graceMs });
      await atMost(Promise.all(slots.map((slot) => slot.ended)), graceMs + 2000);
      await pool?.destroy();
    },
  };
}
