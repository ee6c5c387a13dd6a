/** The part of the registry of errors that is about declared resources; error_table.ts takes it in. */
import type { ErrorSpec } from './error_table.ts';

const stands = (http: 409 | 503, grpc: 'ABORTED' | 'FAILED_PRECONDITION', when: string, next: string): ErrorSpec => ({
  http,
  grpc,
  type: http === 409 ? 'invalid_request_error' : 'server_error',
  retry: false,
  when,
  next,
});

export const RESOURCE_ERRORS = {
  invalid_resource: {
    http: 400,
    grpc: 'INVALID_ARGUMENT',
    type: 'invalid_request_error',
    retry: false,
    when: 'A resource has an unknown or missing member, a wrong value, or members that contradict each other.',
    next: 'Correct what the message names; docs/RESOURCES.md has every member.',
  },
  version_conflict: stands(
    409,
    'ABORTED',
    'A resource has another version than the one that the caller named: somebody changed it meanwhile.',
    'Get it again, make the change on what is there now, and apply that.',
  ),
  rollout_conflict: stands(
    409,
    'FAILED_PRECONDITION',
    'An order for a rollout cannot be carried out as the rollout stands, or another order waits.',
    'Look at `sophia rollout status NAME`, and order what can be done now.',
  ),
  plan_stale: stands(
    409,
    'FAILED_PRECONDITION',
    'A plan that was to be carried out is not what would be planned now: the fleet has changed since it was shown.',
    'Look at the plan as it is now, and order that one.',
  ),
  plan_running: stands(
    409,
    'FAILED_PRECONDITION',
    'A plan of this kind is being carried out already.',
    'See `sophia plan defragment` for how far it is; wait for its end, or end it with `sophia plan defragment --cancel`.',
  ),
  store_off: stands(
    503,
    'FAILED_PRECONDITION',
    'This scheduler keeps no desired state: its setting `store` is off.',
    'Set `store` to embedded or postgres and start it again.',
  ),
  store_behind: stands(
    503,
    'FAILED_PRECONDITION',
    'The log of the store is not the one that was known: events are missing, or others stand in their place.',
    'Restore the missing events; or, after a look, take the log as it is with `sophia unfreeze --accept-log`.',
  ),
  reconcile_unavailable: {
    http: 503,
    grpc: 'UNAVAILABLE',
    type: 'server_error',
    retry: true,
    when: 'What was asked for is known only to a scheduler that reconciles, and this one does not.',
    next: 'Ask a scheduler that reconciles; what was declared is kept meanwhile.',
  },
  planner_busy: {
    http: 429,
    grpc: 'RESOURCE_EXHAUSTED',
    type: 'rate_limit_error',
    retry: true,
    when: 'Too many questions about plans of a large fleet wait already, or the answer to one took too long.',
    next: 'Wait for the time in Retry-After and ask again; what the leader plans for itself is not held up.',
  },
} as const satisfies Record<string, ErrorSpec>;
