/** The run loop's options out of the settings. */
import type { SchedulerConfig } from '../config.ts';
import type { QueueOptions } from '../core/queue/contract.ts';
import type { FailoverOptions } from '../core/relay/failover.ts';
import type { RunLoopOptions } from '../run_loop.ts';

const LEAST_STALE_MS = 10_000;
const STALE_PERIODS = 10;
const DEATH_GRACE_MS = 1000;

function queueOptions(config: SchedulerConfig): QueueOptions {
  return {
    maxRequests: config.queueMaxRequests,
    maxBytes: config.queueMaxBytes,
    maxTotalRequests: config.queueMaxTotalRequests,
    maxTotalBytes: config.queueMaxTotalBytes,
    tenantShare: config.queueTenantSharePercent / 100,
    maxWaitMs: config.queueMaxWaitMs,
    silentMs: config.queueSilentMs,
    noticeMs: config.queueNoticePeriodMs,
  };
}

function failoverOptions(config: SchedulerConfig): FailoverOptions {
  return {
    migrate: config.failoverMigrate,
    maxAttempts: config.failoverMaxAttempts,
    maxWaitMs: config.failoverWaitMs,
    maxJournalTokens: config.failoverJournalTokens,
    burst: config.failoverBurst,
    perSecond: config.failoverPerSecond,
    reattachWaitMs: config.failoverReattachMs,
    hedgeAfterMs: config.hedgeAfterMs,
  };
}

export function loopOptions(config: SchedulerConfig): RunLoopOptions {
  return {
    policy: config.routingPolicy,
    maxPendingPrefillMs: config.maxPendingPrefillMs,
    maxRunningRequests: config.maxRunningRequests,
    requestTimeoutMs: config.requestTimeoutMs,
    staleAfterMs: Math.max(LEAST_STALE_MS, STALE_PERIODS * config.telemetryPeriodMs),
    deathGraceMs: DEATH_GRACE_MS,
    maxLoggedRequests: 2048,
    maxLoggedVerdicts: 20_000,
    queue: queueOptions(config),
    failover: failoverOptions(config),
    repeats: {
      graceMs: config.repeatGraceMs,
      keepMs: config.repeatKeepMs,
      maxAnswers: config.repeatMaxAnswers,
      maxAnswerBytes: config.repeatMaxAnswerBytes,
      maxBytes: config.repeatMaxBytes,
      settleMs: config.repeatSettleMs,
    },
  };
}
