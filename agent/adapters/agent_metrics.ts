/**
 * The agent's own metrics, and the optional loopback listener that shows them. Figures of the relay and of the engines
 * are taken at the moment of a scrape; nothing here costs anything per token.
 */
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { type CertificateFigures, certificateFigures } from '../../lib/io/certificate_metrics.ts';
import type { Logger } from '../../lib/io/logger.ts';
import { createMetrics, type Metrics } from '../../lib/io/metrics.ts';
import { type ShownHost, showHosts } from '../../lib/io/telemetry_metrics.ts';
import type { Relay, RelayCounters } from '../ports.ts';

export interface MetricSources {
  readonly relay: Pick<Relay, 'stats'>;
  /** The host as telemetry would tell it now. */
  readonly host: () => ShownHost;
  /** Schedulers with a session. */
  readonly sessions: () => number;
  /** Whether the journal cannot be written; absent where nothing keeps one. */
  readonly journalDegraded?: () => boolean;
}

export interface AgentMetrics {
  observe(sources: MetricSources): void;
  dropped(where: string, count: number): void;
  restarted(engine: string, reason: string): void;
  gpuReaderFailed(reason: string): void;
  telemetrySent(kind: 'snapshot' | 'delta' | 'empty'): void;
  directEnded(code: string): void;
  directRefused(code: string, count: number): void;
  modelBytesServed(bytes: number): void;
  modelRefused(code: string, count: number): void;
  certificate(name: string): CertificateFigures;
  render(): Promise<string>;
  start(): Promise<void>;
  stop(): Promise<void>;
}

type EventTotal = Exclude<keyof RelayCounters, 'detached' | 'threadCrashesTotal'>;

/** The word of each total of the relay in lane_request_events_total. */
const REQUEST_EVENTS = Object.entries({
  detachedTotal: 'detached',
  reattachedTotal: 'reattached',
  expiredTotal: 'expired',
  unattachableTotal: 'unattachable',
  resentTotal: 'resent',
  batchedTotal: 'batched',
  lostWithThreadTotal: 'lost',
} satisfies Record<EventTotal, string>) as [EventTotal, string][];

/** How much a total has grown since it was last asked for. */
function createGrowth(): (key: string, now: number) => number {
  const last = new Map<string, number>();
  return (key, now) => {
    const before = last.get(key) ?? 0;
    last.set(key, now);
    // A total that fell was begun anew.
    return now >= before ? now - before : now;
  };
}

/** Takes the figures of the relay, the engines and the GPUs into the registry. */
function createCollector(metrics: Metrics): (sources: MetricSources) => void {
  const messages = metrics.counter('lane_messages_total');
  const bytes = metrics.counter('lane_bytes_total');
  const stalled = metrics.counter('lane_stalled_total');
  const requestEvents = metrics.counter('lane_request_events_total');
  const crashes = metrics.counter('lane_thread_crashes_total');
  const grow = createGrowth();
  return ({ relay, host, sessions, journalDegraded }) => {
    const stats = relay.stats();
    messages.inc({ direction: 'out' }, grow('messagesTotal', stats.messagesTotal));
    bytes.inc({ direction: 'out' }, grow('bytesTotal', stats.bytesTotal));
    stalled.inc({}, grow('stallsTotal', stats.stallsTotal));
    const open = Object.values(stats.openByEngine).reduce((sum, one) => sum + one, 0);
    metrics.gauge('lane_requests_active').set({ worker: 'all' }, open);
    const held = Object.values(stats.progress).reduce((sum, one) => sum + one.stalled, 0);
    metrics.gauge('lane_requests_stalled').set({}, held);
    if (stats.counters !== undefined) {
      metrics.gauge('lane_requests_detached').set({}, stats.counters.detached);
      for (const [key, event] of REQUEST_EVENTS) requestEvents.inc({ event }, grow(key, stats.counters[key]));
      crashes.inc({}, grow('threadCrashesTotal', stats.counters.threadCrashesTotal));
    }
    metrics.gauge('sophia_agent_sessions').set({}, sessions());
    if (journalDegraded !== undefined)
      metrics.gauge('sophia_agent_journal_degraded').set({}, Number(journalDegraded()));
    showHosts(metrics, [host()]);
  };
}

/** The loopback listener: /metrics and /health/live, nothing else. */
function createListener(render: () => Promise<string>, contentType: string, logger: Logger): http.Server {
  return http.createServer((request, response) => {
    if (request.url === '/health/live') response.writeHead(200, { 'content-type': 'text/plain' }).end('ok\n');
    else if (request.url === '/metrics') {
      render().then(
        (text) => response.writeHead(200, { 'content-type': contentType }).end(text),
        (error: unknown) => {
          logger.warn({ err: error }, 'metrics could not be rendered');
          response.writeHead(500).end();
        },
      );
    } else response.writeHead(404).end();
  });
}

/** @param port loopback port of the listener; 0: none */
export function createAgentMetrics(port: number, logger: Logger): AgentMetrics {
  const metrics = createMetrics({ processMetrics: 'calm' });
  const collect = createCollector(metrics);
  let sources: MetricSources | undefined;
  let server: http.Server | undefined;
  const render = (): Promise<string> => {
    if (sources !== undefined) collect(sources);
    return metrics.render();
  };
  return {
    observe(next) {
      sources = next;
    },
    dropped(where, count) {
      if (count > 0) metrics.counter('dropped_total').inc({ where }, count);
    },
    restarted: (engine, reason) => metrics.counter('sophia_engine_restarts_total').inc({ engine, reason }),
    gpuReaderFailed: (reason) => metrics.counter('sophia_gpu_reader_failures_total').inc({ reason }),
    telemetrySent: (kind) => metrics.counter('sophia_agent_telemetry_messages_total').inc({ kind }),
    directEnded: (code) => metrics.counter('sophia_direct_requests_total').inc({ code }),
    directRefused: (code, count) => metrics.counter('sophia_direct_refusals_total').inc({ code }, count),
    modelBytesServed: (bytes) => metrics.counter('sophia_model_served_bytes_total').inc({}, bytes),
    modelRefused: (code, count) => metrics.counter('sophia_model_refusals_total').inc({ code }, count),
    certificate: (name) => certificateFigures(metrics, name),
    render,
    async start() {
      if (port === 0) return;
      const listening = createListener(render, metrics.contentType, logger);
      await new Promise<void>((resolve, reject) => {
        listening.once('error', reject);
        listening.listen(port, '127.0.0.1', resolve);
      });
      server = listening;
      logger.info({ port: (listening.address() as AddressInfo).port }, 'metrics listener open');
    },
    async stop() {
      server?.closeAllConnections();
      await new Promise<void>((resolve) => (server === undefined ? resolve() : server.close(() => resolve())));
    },
  };
}
