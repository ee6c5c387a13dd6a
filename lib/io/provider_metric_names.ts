/** The metrics of degraded modes and of providers; metric_names.ts has them in the one registry. */
import type { MetricSpec } from './metric_names.ts';

export const PROVIDER_METRICS = {
  sophia_degraded_total: {
    on: 'scheduler',
    type: 'counter',
    help: 'Answers that began in a degraded mode, by its name: panic, stale, secondary_pool, or provider:NAME.',
    labels: ['mode'],
  },
  sophia_provider_requests_total: {
    on: 'scheduler',
    type: 'counter',
    help: 'Requests that were sent to a provider and have ended there, by code: ok, superseded (an engine of the fleet was faster) or an error code.',
    labels: ['provider', 'code'],
  },
  sophia_provider_refusals_total: {
    on: 'scheduler',
    type: 'counter',
    help: 'Times that a provider was passed over, by reason: data_policy, token_ids, field, breaker, busy or told_to_wait.',
    labels: ['provider', 'reason'],
  },
  sophia_provider_tokens_total: {
    on: 'scheduler',
    type: 'counter',
    help: 'Tokens by provider and kind: prompt, cached or completion.',
    labels: ['provider', 'kind'],
  },
  sophia_provider_cost_total: {
    on: 'scheduler',
    type: 'counter',
    unit: 'the currency of the configured prices',
    help: 'What the answers of a provider cost by its configured prices; answers without usage cost nothing here.',
    labels: ['provider'],
  },
  sophia_provider_requests_active: {
    on: 'scheduler',
    type: 'gauge',
    help: 'Requests that a provider is answering.',
    labels: ['provider'],
  },
  sophia_provider_breaker: {
    on: 'scheduler',
    type: 'gauge',
    unit: '0 or 1',
    help: 'State of a provider’s breaker: 1 for closed, open or half_open.',
    labels: ['provider', 'state'],
  },
  sophia_provider_breaker_openings: {
    on: 'scheduler',
    type: 'gauge',
    unit: 'openings',
    help: 'Times that the breaker of a provider opened.',
    labels: ['provider'],
  },
} as const satisfies Record<string, MetricSpec>;
