/**
 * Every metric that this product exposes is declared here, with its labels and what they may hold, so that a dashboard
 * can rely on names, docs/METRICS.md can be generated, and no label can grow without bound. Names follow Prometheus:
 * base units, `_total` for counters. What happens to requests keeps the names that inference servers use (`chat_`,
 * `http_`, `lane_`); what hosts, GPUs, engines and agents are begins with `sophia_`.
 */
import { CONTROL_METRICS } from './control_metric_names.ts';
import { FLEET_METRICS } from './fleet_metric_names.ts';
import { PROVIDER_METRICS } from './provider_metric_names.ts';
import { QUEUE_METRICS } from './queue_metric_names.ts';
import { RECONCILE_METRICS } from './reconcile_metric_names.ts';
import { USAGE_METRICS } from './usage_metric_names.ts';

export interface MetricSpec {
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  readonly labels: readonly string[];
  /** Which process shows it. */
  readonly on: 'agent' | 'scheduler' | 'both';
  /** For docs/METRICS.md, where the end of the name does not say it. */
  readonly unit?: string;
  /** Upper bounds of a histogram's buckets, in the unit of the metric. */
  readonly buckets?: readonly number[];
}

/** Seconds: fine where added latency is judged, coarse where generation is. */
const REQUEST_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600];
const FIRST_TOKEN_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const TOKEN_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 0.5, 1, 2.5];

export const METRICS = {
  ...CONTROL_METRICS,
  ...FLEET_METRICS,
  ...QUEUE_METRICS,
  ...PROVIDER_METRICS,
  ...RECONCILE_METRICS,
  ...USAGE_METRICS,
  chat_requests_total: {
    on: 'scheduler',
    type: 'counter',
    help: 'Requests for generation or embeddings that have ended, by model, outcome, code (ok or an error code) and door.',
    labels: ['model', 'outcome', 'code', 'door'],
  },
  chat_request_duration_seconds: {
    on: 'scheduler',
    type: 'histogram',
    help: 'Time from the arrival of a request to its last byte.',
    labels: ['model', 'door'],
    buckets: REQUEST_SECONDS,
  },
  chat_time_to_first_token_seconds: {
    on: 'scheduler',
    type: 'histogram',
    help: 'Time from the arrival of a streamed request to the first token leaving.',
    labels: ['model', 'door'],
    buckets: FIRST_TOKEN_SECONDS,
  },
  chat_inter_token_seconds: {
    on: 'scheduler',
    type: 'histogram',
    help: 'Mean time between the tokens of one stream after the first.',
    labels: ['model'],
    buckets: TOKEN_SECONDS,
  },
  chat_tokens_total: {
    on: 'scheduler',
    type: 'counter',
    help: 'Tokens by model and kind: prompt, cached or completion.',
    labels: ['model', 'kind'],
  },
  chat_requests_active: { on: 'scheduler', type: 'gauge', help: 'Requests that are being served.', labels: ['door'] },
  routing_decisions_total: {
    on: 'scheduler',
    type: 'counter',
    help: 'Decisions about an engine for a request, by policy and mode: normal, panic (too many breakers were open to heed them), stale (only silent nodes were left) or none (no engine could be picked).',
    labels: ['policy', 'mode'],
  },
  sophia_failover_total: {
    on: 'scheduler',
    type: 'counter',
    help: 'Failed attempts of requests by how they were met (restarted, resumed, reattached, gave_up) and why: an error code, or a word of docs/FAILOVER.md.',
    labels: ['how', 'why'],
  },
  sophia_hedges_total: {
    on: 'scheduler',
    type: 'counter',
    help: 'Second attempts beside slow first ones, by event: sent, then first_won, second_won or both_failed; not_sent where no engine or no slot was free.',
    labels: ['event'],
  },
  http_requests_total: {
    on: 'scheduler',
    type: 'counter',
    help: 'HTTP requests by route pattern, method and status.',
    labels: ['route', 'method', 'status'],
  },
  http_request_duration_seconds: {
    on: 'scheduler',
    type: 'histogram',
    help: 'Duration of HTTP requests by route pattern.',
    labels: ['route', 'method'],
    buckets: REQUEST_SECONDS,
  },
  auth_failures_total: {
    on: 'scheduler',
    type: 'counter',
    help: 'Refused credentials by door and reason.',
    labels: ['door', 'reason'],
  },
  sophia_engine_ready_seconds: {
    on: 'agent',
    type: 'histogram',
    help: 'Time from the start of an engine to its first healthy answer.',
    labels: ['kind'],
    buckets: [0.5, 1, 2, 5, 10, 20, 40, 60, 120, 300, 600, 1200],
  },
  lane_messages_total: {
    on: 'both',
    type: 'counter',
    help: 'Messages on lanes by direction: in or out.',
    labels: ['direction'],
  },
  lane_bytes_total: {
    on: 'both',
    type: 'counter',
    help: 'Bytes on lanes by direction: in or out.',
    labels: ['direction'],
  },
  lane_requests_active: {
    on: 'agent',
    type: 'gauge',
    help: 'Requests that a lane worker is relaying.',
    labels: ['worker'],
  },
  lane_requests_stalled: {
    on: 'agent',
    type: 'gauge',
    help: 'Of the active requests, those that are held back because their reader takes nothing.',
    labels: [],
  },
  lane_requests_detached: {
    on: 'agent',
    type: 'gauge',
    help: 'Requests that run on without a lane, for a scheduler to come back for.',
    labels: [],
  },
  lane_request_events_total: {
    on: 'agent',
    type: 'counter',
    help: 'What happened to requests beside their ordinary way, by event: detached, reattached, expired, unattachable, resent, batched, or lost with a relay thread that crashed.',
    labels: ['event'],
  },
  prompt_shapes_total: {
    on: 'scheduler',
    type: 'counter',
    help: 'Requests by how their prompt was named for routing: by its tokens, or by its bytes and why.',
    labels: ['how'],
  },
  prefix_blocks_told_total: {
    on: 'scheduler',
    type: 'counter',
    help: 'Blocks of prompts that agents have told of: stored in, or removed from, the prefix cache of an engine.',
    labels: ['kind'],
  },
  prefix_tokens_total: {
    on: 'scheduler',
    type: 'counter',
    help: 'Prompt tokens of answered requests that were foretold to be cached on their engine, and that were.',
    labels: ['kind'],
  },
  prefix_index_bytes: {
    on: 'scheduler',
    type: 'gauge',
    help: 'Memory of the index of prompt prefixes; it is taken at the start and never grows.',
    labels: [],
  },
  lane_thread_crashes_total: {
    on: 'agent',
    type: 'counter',
    help: 'Relay threads that crashed and were started again.',
    labels: [],
  },
  lane_stalled_total: {
    on: 'agent',
    type: 'counter',
    help: 'Times that the relay of a request stopped because its reader gave no credit.',
    labels: [],
  },
  sophia_certificate_expiry_timestamp_seconds: {
    on: 'both',
    type: 'gauge',
    unit: 'Unix time in seconds',
    help: 'When the certificate in use expires: of the agent, of the door for agents (fleet) or of the gRPC door (grpc).',
    labels: ['certificate'],
  },
  sophia_certificate_reloads_total: {
    on: 'both',
    type: 'counter',
    help: 'Changed certificate files by outcome: loaded, or refused (those in use stay).',
    labels: ['certificate', 'outcome'],
  },
  sophia_direct_tickets_total: {
    on: 'scheduler',
    type: 'counter',
    help: 'Tickets for direct calls by event: issued, begun, ended, unused (never taken), lost (nothing more was heard), unknown (an agent spoke of one that is not held).',
    labels: ['event'],
  },
  sophia_direct_leases: {
    on: 'scheduler',
    type: 'gauge',
    unit: 'requests',
    help: 'Places that are held for tickets and direct requests.',
    labels: [],
  },
  sophia_direct_requests_total: {
    on: 'agent',
    type: 'counter',
    help: 'Direct requests that were let in and have ended, by code: ok or an error code.',
    labels: ['code'],
  },
  sophia_direct_refusals_total: {
    on: 'agent',
    type: 'counter',
    help: 'Calls that the direct listener did not let in, by error code.',
    labels: ['code'],
  },
  sophia_model_served_bytes_total: {
    on: 'agent',
    type: 'counter',
    unit: 'bytes',
    help: 'Bytes of models that were given to other nodes.',
    labels: [],
  },
  sophia_model_refusals_total: {
    on: 'agent',
    type: 'counter',
    help: 'Questions of other nodes for files of models that were refused, by error code.',
    labels: ['code'],
  },
  dropped_total: {
    on: 'both',
    type: 'counter',
    help: 'Things dropped or refused at a bound, by the place of the bound.',
    labels: ['where'],
  },
} as const satisfies Record<string, MetricSpec>;

export type MetricName = keyof typeof METRICS;
