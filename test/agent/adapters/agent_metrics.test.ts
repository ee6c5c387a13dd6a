/** What an agent shows of its relay: totals that only grow, also over a thread that began anew, and gauges of now. */
import t from 'tap';
import { createAgentMetrics } from '../../../agent/adapters/agent_metrics.ts';
import type { RelayCounters, RelayStats } from '../../../agent/ports.ts';
import { silentLog } from '../../scheduler/fakes.ts';

const COUNTERS: RelayCounters = {
  detached: 2,
  detachedTotal: 5,
  reattachedTotal: 3,
  expiredTotal: 1,
  unattachableTotal: 0,
  resentTotal: 7,
  batchedTotal: 9,
  threadCrashesTotal: 1,
  lostWithThreadTotal: 4,
};
const progress = { incarnation: 1, open: 2, waitingFirst: 0, waitingBytes: 0, faults: 0 };
const STATS: RelayStats = {
  openByEngine: { a: 2, b: 3 },
  progress: { a: { ...progress, stalled: 1 }, b: { ...progress, stalled: 2 } },
  lanes: 1,
  tokensTotal: 100,
  messagesTotal: 10,
  bytesTotal: 1000,
  stallsTotal: 6,
  counters: COUNTERS,
};

t.test('the relay is shown by bounded labels', async (t) => {
  const metrics = createAgentMetrics(0, silentLog);
  let stats = STATS;
  const host = { node: 'n', gpus: [], engines: [], states: [] };
  metrics.observe({ relay: { stats: () => stats }, host: () => host, sessions: () => 1 });
  const shown = async (): Promise<string[]> =>
    (await metrics.render()).split('\n').filter((line) => line.startsWith('lane_'));
  t.same(await shown(), [
    'lane_messages_total{direction="out"} 10',
    'lane_bytes_total{direction="out"} 1000',
    'lane_stalled_total 6',
    'lane_request_events_total{event="detached"} 5',
    'lane_request_events_total{event="reattached"} 3',
    'lane_request_events_total{event="expired"} 1',
    'lane_request_events_total{event="unattachable"} 0',
    'lane_request_events_total{event="resent"} 7',
    'lane_request_events_total{event="batched"} 9',
    'lane_request_events_total{event="lost"} 4',
    'lane_thread_crashes_total 1',
    'lane_requests_active{worker="all"} 5',
    'lane_requests_stalled 3',
    'lane_requests_detached 2',
  ]);
  stats = { ...STATS, bytesTotal: 300, counters: { ...COUNTERS, detached: 0, resentTotal: 8 } };
  const later = await shown();
  t.ok(later.includes('lane_bytes_total{direction="out"} 1300'), 'a total that fell was begun anew');
  t.ok(later.includes('lane_request_events_total{event="resent"} 8'));
  t.ok(later.includes('lane_requests_detached 0'));
  const { counters: _none, ...older } = STATS;
  stats = older;
  t.ok((await shown()).includes('lane_request_events_total{event="resent"} 8'), 'what is not told stays as it was');
});
