/** Puts together what tells schedulers what this host's engines hold in their prefix caches. */
import { systemClock } from '../../lib/io/system.ts';
import type { AgentMetrics } from '../adapters/agent_metrics.ts';
import { KvReporter } from '../adapters/kv_events/kv_reporter.ts';
import { kvSocketsOf } from '../core/launch_plan.ts';
import type { SchedulerLinks } from '../ports.ts';
import type { RunLoop } from '../run_loop/run_loop.ts';
import { shortSocketFolder } from './control.ts';
import type { Parts } from './parts.ts';

export interface KvSources {
  readonly loop: RunLoop;
  readonly links: SchedulerLinks;
  readonly metrics: AgentMetrics;
}

export function createKvReporterOf({ config, dataFolder }: Parts, { loop, links, metrics }: KvSources): KvReporter {
  const host = { dataFolder, shortSocketFolder: shortSocketFolder(dataFolder), kvEvents: config.kvEvents };
  return new KvReporter({
    clock: systemClock,
    engines: () => loop.engines(),
    socketsOf: ({ life, address }) => (address === undefined ? undefined : kvSocketsOf(life.spec, address, host)),
    send: (scheduler, events) => links.sendKvEvents(scheduler, events),
    onFault: (fault, count) => metrics.dropped(`kv_${fault}`, count),
  });
}
