/**
 * What systemd hears of an agent: that it serves, how many of its engines are ready, and that its loop turns. The
 * watchdog is fed while the telemetry round turns, for a round goes through all that the agent must do: it asks the
 * loop, probes every engine and reads the host.
 */
import type { Logger } from '../../lib/io/logger.ts';
import { createNotifySender, createServiceManager } from '../../lib/io/service_manager.ts';
import { systemClock } from '../../lib/io/system.ts';
import { Vitals } from '../../lib/vitals.ts';
import { nativeNotify } from '../../native/notify.ts';
import { processEnvironment, serviceManager } from '../config.ts';
import type { EngineView, SessionEvents } from '../ports.ts';

/** A round that needs longer than three of its periods, and this much more, does not turn. */
const ROUNDS = 3;
const LEAST_LIMIT_MS = 30_000;
const ROUND_PART = 'the telemetry round';

export interface AgentWatchOptions {
  readonly logger: Logger;
  readonly engines: () => readonly EngineView[];
  /** How many schedulers are dialled. */
  readonly schedulers: number;
  readonly telemetryPeriodMs: number;
  readonly probeTimeoutMs: number;
}

export interface AgentWatch {
  /** To be called once a round. */
  onRound(): void;
  /** The same events, of which the watch takes note. */
  noted(events: SessionEvents): SessionEvents;
  start(): Promise<void>;
  stop(): Promise<void>;
}

/** Nothing of it does anything in a process that systemd did not start. */
export function createAgentWatch(options: AgentWatchOptions): AgentWatch {
  const facts = serviceManager();
  const native =
    facts.socketPath === undefined
      ? undefined
      : nativeNotify((err) => options.logger.warn({ err }, 'the native addon cannot speak to systemd'));
  const vitals = new Vitals();
  const connected = new Set<string>();
  let periodMs = options.telemetryPeriodMs;
  const manager = createServiceManager({
    facts,
    clock: systemClock,
    vitals,
    send: createNotifySender(facts, native, processEnvironment()['PATH']),
    log: options.logger,
    status: () => {
      const engines = options.engines();
      const ready = engines.filter(({ life }) => life.status === 'ready').length;
      return `${ready} of ${engines.length} engines ready, ${connected.size} of ${options.schedulers} schedulers connected.`;
    },
  });
  return {
    onRound: () => vitals.beat(ROUND_PART, systemClock.monotonicMs()),
    noted: (events) => ({
      ...events,
      onConnected(scheduler, term, askedPeriodMs) {
        connected.add(scheduler);
        if (askedPeriodMs > 0) periodMs = askedPeriodMs;
        events.onConnected(scheduler, term, askedPeriodMs);
      },
      onDisconnected(scheduler, reason) {
        connected.delete(scheduler);
        events.onDisconnected(scheduler, reason);
      },
    }),
    start() {
      const limitMs = (): number => LEAST_LIMIT_MS + ROUNDS * (periodMs + options.probeTimeoutMs);
      vitals.expect(ROUND_PART, limitMs, systemClock.monotonicMs());
      return manager.start();
    },
    stop: () => manager.stop(),
  };
}
