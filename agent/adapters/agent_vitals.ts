/**
 * How the agent itself is: its memory, how late its main loop turns, and the longest pause of its garbage collector.
 * Taken by Node's own histogram and observer, which run outside of JavaScript until they are read.
 */
import { monitorEventLoopDelay, PerformanceObserver } from 'node:perf_hooks';
import type { AgentReading } from '../../proto/gen/fleet/v1/AgentReading.ts';
import type { RelayStats } from '../ports.ts';

export interface AgentVitals {
  /** Since the reading before. */
  read(relay: Pick<RelayStats, 'loopLagP99Ms' | 'gcPauseMaxMs'>): AgentReading;
  start(): void;
  stop(): void;
}

/**
 * How often the histogram looks. Each look wakes the process: a hundred a second, as prom-client does it, were half of
 * what an idle agent cost (0.8 % of a core). Ten find every pause that a watchdog would notice.
 */
const RESOLUTION_MS = 100;
const NS_PER_MS = 1e6;

const rounded = (ms: number): number => Math.round(ms * 100) / 100;

export function createAgentVitals(): AgentVitals {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  let gcPauseMs = 0;
  const observer = new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) gcPauseMs = Math.max(gcPauseMs, duration);
  });
  return {
    read({ loopLagP99Ms, gcPauseMaxMs }) {
      // The histogram holds the time between two looks, so the wanted distance is taken off.
      const lagMs = delay.count > 0 ? Math.max(0, delay.percentile(99) / NS_PER_MS - RESOLUTION_MS) : undefined;
      delay.reset();
      const pauseMs = Math.max(gcPauseMs, gcPauseMaxMs ?? 0);
      gcPauseMs = 0;
      return {
        rssBytes: process.memoryUsage.rss(),
        gcPauseMaxMs: rounded(pauseMs),
        ...(lagMs === undefined ? {} : { loopLagP99Ms: rounded(lagMs) }),
        ...(loopLagP99Ms === undefined ? {} : { relayLoopLagP99Ms: rounded(loopLagP99Ms) }),
      };
    },
    start() {
      delay.enable();
      observer.observe({ entryTypes: ['gc'] });
    },
    stop() {
      delay.disable();
      observer.disconnect();
    },
  };
}
