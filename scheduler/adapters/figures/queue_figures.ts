/** The queues in Prometheus' terms: what happens is counted as it happens, what waits is looked up at each scrape. */
import type { Metrics } from '../../../lib/io/metrics.ts';
import type { QueueFigures, QueueView } from '../../core/queue/contract.ts';

export function createQueueFigures(metrics: Metrics): QueueFigures {
  const wait = metrics.histogram('sophia_queue_wait_seconds');
  const shed = metrics.counter('sophia_queue_shed_total');
  return {
    waited: (model, outcome, waitMs) => wait.observe({ model, outcome }, waitMs / 1000),
    shed: (model, reason) => shed.inc({ model, reason }),
  };
}

/** Shows what waits at each scrape from now on. */
export function showQueues(metrics: Metrics, queues: () => readonly QueueView[]): void {
  const gauges = [
    [metrics.gauge('sophia_queue_requests'), 'requests'],
    [metrics.gauge('sophia_queue_bytes'), 'bytes'],
    [metrics.gauge('sophia_queue_tokens'), 'tokens'],
  ] as const;
  metrics.onRender(() => {
    const views = queues();
    for (const [gauge, figure] of gauges) gauge.replace(views.map((view) => [{ model: view.model }, view[figure]]));
  });
}
