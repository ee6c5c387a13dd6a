/** The simulated queue and pace of recovery are those of a scheduler that nobody has configured. */
import t from 'tap';
import { MAX_PENDING_PREFILL_MS, QUEUE, RECOVERY } from '../../../bench/sim/queue_options.ts';
import { settings } from '../../../scheduler/config.ts';

const defaultOf = (key: string): unknown => settings.rows.find((row) => row.key === key)?.default;

const PAIRS: readonly (readonly [string, number])[] = [
  ['queueMaxRequests', QUEUE.maxRequests],
  ['queueMaxBytes', QUEUE.maxBytes],
  ['queueMaxTotalRequests', QUEUE.maxTotalRequests],
  ['queueMaxTotalBytes', QUEUE.maxTotalBytes],
  ['queueTenantSharePercent', QUEUE.tenantShare * 100],
  ['queueMaxWaitMs', QUEUE.maxWaitMs],
  ['maxPendingPrefillMs', MAX_PENDING_PREFILL_MS],
  ['failoverBurst', RECOVERY.burst],
  ['failoverPerSecond', RECOVERY.perSecond],
  ['failoverWaitMs', RECOVERY.maxWaitMs],
];

t.test('every figure equals the default of its setting', async (t) => {
  for (const [key, simulated] of PAIRS) t.equal(simulated, defaultOf(key), key);
});
