/**
 * The agent's own metrics, and the optional loopback listener that shows them. Figures of the relay and of the engines
 * are taken at the moment of a scrape; nothing here costs anything per token.
 */
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Logger } from '../../lib/io/logger.ts';
import { createMetrics, type GaugeName, type LabelsOf, type Metrics } from '../../lib/io/metrics.ts';
import type { EngineLoad, EngineView, GpuReader, Relay } from '../ports.ts';

export interface MetricSources {
  readonly relay: Relay;
  readonly engines: () => readonly EngineView[];
  readonly loads: () => ReadonlyMap<string, EngineLoad>;
  readonly gpus: GpuReader;
}

export interface AgentMetrics {
  observe(sources: MetricSources): void;
  dropped(where: string, count: number): void;
  restarted(engine: string, reason: string): void;
  gpuReaderFailed(reason: string): void;
  render(): Promise<string>;
  start(): Promise<void>;
  stop(): Promise<void>;
}

/** Takes the figures of the relay, the engines and the GPUs into the registry. */
function createCollector(metrics: Metrics): (sources: MetricSources) => void {
  const messages = metrics.counter('lane_messages_total');
  const bytes = metrics.counter('lane_bytes_total');
  const stalled = metrics.counter('lane_stalled_total');
  const last = { messagesTotal: 0, bytesTotal: 0, stallsTotal: 0 };
  const grow = (key: keyof typeof last, now: number): number => {
    // A restarted thread counts from 0 again.
    const by = now >= last[key] ? now - last[key] : now;
    last[key] = now;
    return by;
  };
  return ({ relay, loads, gpus }) => {
    const stats = relay.stats();
    messages.inc({ direction: 'out' }, grow('messagesTotal', stats.messagesTotal));
    bytes.inc({ direction: 'out' }, grow('bytesTotal', stats.bytesTotal));
    stalled.inc({}, grow('stallsTotal', stats.stallsTotal));
    const open = Object.values(stats.openByEngine).reduce((sum, one) => sum + one, 0);
    metrics.gauge('lane_requests_active').set({ worker: 'all' }, open);
    for (const [engine, load] of loads()) {
      setKnown(metrics, 'engine_requests_running', { engine }, load.runningRequests);
      setKnown(metrics, 'engine_requests_waiting', { engine }, load.waitingRequests);
      setKnown(metrics, 'engine_kv_cache_usage_ratio', { engine }, load.kvCacheUsageRatio);
    }
    for (const gpu of gpus.latest().gpus) {
      const labels = { gpu: String(gpu.index) };
      setKnown(metrics, 'gpu_memory_used_bytes', labels, gpu.memoryUsedBytes);
      setKnown(metrics, 'gpu_memory_total_bytes', labels, gpu.memoryTotalBytes);
      setKnown(metrics, 'gpu_utilization_ratio', labels, gpu.utilizationRatio);
      setKnown(metrics, 'gpu_temperature_celsius', labels, gpu.temperatureCelsius);
      setKnown(metrics, 'gpu_power_watts', labels, gpu.powerWatts);
    }
  };
}

/** A figure that is unknown is not set: a scrape then shows none, never 0. */
function setKnown<Name extends GaugeName>(
  metrics: Metrics,
  name: Name,
  labels: LabelsOf<Name>,
  value: number | undefined,
): void {
  if (value !== undefined) metrics.gauge(name).set(labels, value);
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
    restarted: (engine, reason) => metrics.counter('engine_restarts_total').inc({ engine, reason }),
    gpuReaderFailed: (reason) => metrics.counter('gpu_reader_failures_total').inc({ reason }),
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
