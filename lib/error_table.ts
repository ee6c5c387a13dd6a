/**
 * The registry itself: every error that a caller can see, as data. errors.ts maps it and is what others import.
 * OpenAI's `type` words come from its API reference; gRPC names are those of google.rpc.Code.
 */

import { RESOURCE_ERRORS } from './resource_errors.ts';
import { STORE_ERRORS } from './store_errors.ts';
import { TICKET_ERRORS } from './ticket_errors.ts';

/** Name of a google.rpc.Code, as @grpc/grpc-js spells it in `status`. */
export type GrpcCodeName =
  | 'CANCELLED'
  | 'INVALID_ARGUMENT'
  | 'DEADLINE_EXCEEDED'
  | 'NOT_FOUND'
  | 'ALREADY_EXISTS'
  | 'PERMISSION_DENIED'
  | 'RESOURCE_EXHAUSTED'
  | 'FAILED_PRECONDITION'
  | 'ABORTED'
  | 'UNIMPLEMENTED'
  | 'INTERNAL'
  | 'UNAVAILABLE'
  | 'UNAUTHENTICATED';

/** OpenAI's `error.type` words. */
export type OpenAiErrorType =
  | 'invalid_request_error'
  | 'authentication_error'
  | 'permission_error'
  | 'not_found_error'
  | 'rate_limit_error'
  | 'server_error'
  | 'timeout_error';

export interface ErrorSpec {
  /** HTTP status of the mapped answer. */
  readonly http: number;
  readonly grpc: GrpcCodeName;
  readonly type: OpenAiErrorType;
  /** Whether the same request may be sent again unchanged: SDKs are told by `x-should-retry`. */
  readonly retry: boolean;
  /** When it is raised, one sentence for docs/ERRORS.md. */
  readonly when: string;
  /** What the reader should do next, one sentence for docs/ERRORS.md and for a person's screen. */
  readonly next: string;
}

const invalid = (when: string, next: string): ErrorSpec => ({
  http: 400,
  grpc: 'INVALID_ARGUMENT',
  type: 'invalid_request_error',
  retry: false,
  when,
  next,
});

const engineFault = (when: string, next: string): ErrorSpec => ({
  http: 502,
  grpc: 'UNAVAILABLE',
  type: 'server_error',
  retry: true,
  when,
  next,
});

export const ERRORS = {
  // The body and its fields.
  malformed_json: invalid('The body is not valid JSON.', 'Send one JSON object; the message names the byte.'),
  duplicate_key: invalid('An object in the body has the same key twice.', 'Send each key once.'),
  too_deep: invalid('The body nests deeper than the limit.', 'Flatten the body.'),
  invalid_utf8: invalid('The body is not valid UTF-8.', 'Encode the body as UTF-8.'),
  invalid_value: invalid('A field has a wrong type or value.', 'Correct the field that `param` names.'),
  missing_field: invalid('A required field is absent.', 'Add the field that `param` names.'),
  unknown_field: invalid(
    'A field is neither public API nor on the allow-list for engine-internal fields.',
    'Remove the field, or have the operator add it to `allowedEngineFields`.',
  ),
  context_length_exceeded: invalid(
    'Prompt and requested tokens exceed the context of the model.',
    'Shorten the prompt.',
  ),
  malformed_request: invalid('The HTTP request itself is malformed.', 'Correct the client; the connection was closed.'),
  header_too_large: {
    http: 431,
    grpc: 'INVALID_ARGUMENT',
    type: 'invalid_request_error',
    retry: false,
    when: 'The request headers exceed the limit.',
    next: 'Send fewer or smaller headers.',
  },
  body_too_large: {
    http: 413,
    grpc: 'RESOURCE_EXHAUSTED',
    type: 'invalid_request_error',
    retry: false,
    when: 'The body or message exceeds the size limit.',
    next: 'Send a smaller body, or have the operator raise `maxBodyBytes`.',
  },
  unsupported_media_type: {
    http: 415,
    grpc: 'INVALID_ARGUMENT',
    type: 'invalid_request_error',
    retry: false,
    when: 'The content type is not one that the route takes.',
    next: 'Send `content-type: application/json`.',
  },
  route_not_found: {
    http: 404,
    grpc: 'UNIMPLEMENTED',
    type: 'not_found_error',
    retry: false,
    when: 'No route has this path.',
    next: 'See /docs for the routes.',
  },
  method_not_allowed: {
    http: 405,
    grpc: 'UNIMPLEMENTED',
    type: 'invalid_request_error',
    retry: false,
    when: 'The path exists but not for this method.',
    next: 'See the `allow` header.',
  },
  model_not_found: {
    http: 404,
    grpc: 'NOT_FOUND',
    type: 'not_found_error',
    retry: false,
    when: 'No engine serves this model, or the caller may not use it.',
    next: 'List the models that you may use by GET /v1/models.',
  },
  not_found: {
    http: 404,
    grpc: 'NOT_FOUND',
    type: 'not_found_error',
    retry: false,
    when: 'The named thing does not exist.',
    next: 'List what exists with the `list` verb of the same noun.',
  },
  already_exists: {
    http: 409,
    grpc: 'ALREADY_EXISTS',
    type: 'invalid_request_error',
    retry: false,
    when: 'A thing or a running request with this id exists.',
    next: 'Choose another id.',
  },
  managed_elsewhere: {
    http: 409,
    grpc: 'FAILED_PRECONDITION',
    type: 'invalid_request_error',
    retry: false,
    when: 'What was to be deleted is not declared here: the configuration or an agent says so.',
    next: 'The message names the command or the setting that ends it.',
  },
  fleet_frozen: {
    http: 409,
    grpc: 'FAILED_PRECONDITION',
    type: 'invalid_request_error',
    retry: false,
    when: 'All reconcile is stopped, so that what was asked for would end something and begin nothing.',
    next: 'See `sophia freeze --show` for who stopped it and why; `sophia unfreeze` lets it go on.',
  },
  idempotency_conflict: {
    http: 409,
    grpc: 'ALREADY_EXISTS',
    type: 'invalid_request_error',
    retry: false,
    when: 'The idempotency key was used before by another identity or with another body, or its answer cannot be gone on with.',
    next: 'Use a new key for a new request.',
  },
  // Who may come in.
  unauthenticated: {
    http: 401,
    grpc: 'UNAUTHENTICATED',
    type: 'authentication_error',
    retry: false,
    when: 'No credential was sent, or it is wrong, expired or revoked.',
    next: 'Send `authorization: Bearer <key>`; make a key with `sophia key create`.',
  },
  permission_denied: {
    http: 403,
    grpc: 'PERMISSION_DENIED',
    type: 'permission_error',
    retry: false,
    when: 'The identity lacks the role that the door asks for.',
    next: 'Use a key with the role that the message names.',
  },
  too_many_failures: {
    http: 429,
    grpc: 'RESOURCE_EXHAUSTED',
    type: 'rate_limit_error',
    retry: true,
    when: 'Too many failed authentications from one address.',
    next: 'Wait for the time in Retry-After.',
  },
  ...STORE_ERRORS,
  ...RESOURCE_ERRORS,
  ...TICKET_ERRORS,
  // Load and life.
  overloaded: {
    http: 429,
    grpc: 'RESOURCE_EXHAUSTED',
    type: 'rate_limit_error',
    retry: true,
    when: 'A bound on concurrent requests or queued work is reached, or the queue is too long for the deadline of the request.',
    next: 'Wait for the time in Retry-After.',
  },
  no_engine: {
    http: 503,
    grpc: 'UNAVAILABLE',
    type: 'server_error',
    retry: true,
    when: 'The model is known, but no healthy engine serves it at this moment.',
    next: 'Retry; see `sophia engine list` for the reason.',
  },
  draining: {
    http: 503,
    grpc: 'UNAVAILABLE',
    type: 'server_error',
    retry: true,
    when: 'The process is stopping and takes no new work.',
    next: 'Retry; another scheduler, or this one restarted, will answer.',
  },
  deadline_exceeded: {
    http: 504,
    grpc: 'DEADLINE_EXCEEDED',
    type: 'timeout_error',
    retry: true,
    when: 'The deadline of the request passed.',
    next: 'Allow more time, or ask for fewer tokens.',
  },
  cancelled: {
    http: 499,
    grpc: 'CANCELLED',
    type: 'invalid_request_error',
    retry: false,
    when: 'The client cancelled the request or went away.',
    next: 'Nothing: the engine has stopped working on it.',
  },
  not_supported: {
    http: 400,
    grpc: 'UNIMPLEMENTED',
    type: 'invalid_request_error',
    retry: false,
    when: 'The engine that serves this model cannot do what was asked.',
    next: 'Remove the field that `param` names, or use another model.',
  },
  // Engines and agents.
  engine_rejected: invalid(
    'The engine refused the request as invalid.',
    'Correct what the message of the engine names.',
  ),
  engine_overloaded: {
    http: 503,
    grpc: 'UNAVAILABLE',
    type: 'server_error',
    retry: true,
    when: 'The engine answered that it cannot take more work.',
    next: 'Retry after a moment.',
  },
  engine_unreachable: engineFault(
    'The connection to the engine was refused or timed out.',
    'Retry; the engine is being restarted.',
  ),
  engine_failed: engineFault(
    'The engine answered 5xx or an error inside its stream.',
    'Retry; see `sophia engine show NAME`.',
  ),
  engine_garbage: engineFault(
    'The engine sent bytes that are not the protocol.',
    'Retry; see `sophia engine show NAME`.',
  ),
  engine_died: engineFault('The engine or its agent went away in the middle of the request.', 'Retry the request.'),
  engine_aborted: engineFault('The engine ended the request without being asked to.', 'Retry the request.'),
  stream_lost: engineFault('The lane to the agent was cut in the middle of the request.', 'Retry the request.'),
  // Providers, which answer where the fleet cannot.
  provider_rejected: invalid(
    'The fleet could not answer, and the provider that was asked instead refused the request as invalid.',
    'Correct what the message names, or retry when an engine of the fleet is ready.',
  ),
  provider_overloaded: {
    http: 503,
    grpc: 'UNAVAILABLE',
    type: 'server_error',
    retry: true,
    when: 'The fleet could not answer, and the provider that was asked instead takes no more work now.',
    next: 'Retry after a moment.',
  },
  provider_unreachable: engineFault(
    'The fleet could not answer, and the provider that was asked instead cannot be reached, or fell silent.',
    'Retry; see docs/PROVIDERS.md.',
  ),
  provider_failed: engineFault(
    'The fleet could not answer, and the provider that was asked instead failed, or cut its answer.',
    'Retry; see docs/PROVIDERS.md.',
  ),
  protocol_mismatch: {
    http: 400,
    grpc: 'FAILED_PRECONDITION',
    type: 'invalid_request_error',
    retry: false,
    when: 'An agent or a client speaks another version of the protocol.',
    next: 'Install the same release on both sides.',
  },
  stale_term: {
    http: 409,
    grpc: 'ABORTED',
    type: 'server_error',
    retry: false,
    when: 'A scheduler with an older fencing term gave an order.',
    next: 'Nothing: the newer scheduler is in charge.',
  },
  node_unreachable: {
    http: 503,
    grpc: 'UNAVAILABLE',
    type: 'server_error',
    retry: true,
    when: 'The agent of the node has no session with this scheduler, or lost it before an order had its result.',
    next: 'See `sophia node list`; on the host itself use `sophia --agent-socket PATH`.',
  },
  invalid_spec: invalid('An engine specification is not acceptable.', 'Correct the field that `param` names.'),
  storage_failed: {
    http: 500,
    grpc: 'FAILED_PRECONDITION',
    type: 'server_error',
    retry: true,
    when: 'An agent cannot write its data folder: the disk is full, read-only or broken.',
    next: 'Make room on the disk of `dataDir` or make the folder writable; running engines are not touched.',
  },
  // This process.
  invalid_config: {
    http: 500,
    grpc: 'FAILED_PRECONDITION',
    type: 'server_error',
    retry: false,
    when: 'A configuration key is unknown or its value is not allowed.',
    next: 'Correct the key at the source that the message names; see docs/CONFIG.md.',
  },
  cannot_start: {
    http: 500,
    grpc: 'FAILED_PRECONDITION',
    type: 'server_error',
    retry: false,
    when: 'What was asked for cannot be started on this machine as it is.',
    next: 'Do what the message says and start again; `sophia doctor` looks at this machine.',
  },
  address_in_use: {
    http: 500,
    grpc: 'FAILED_PRECONDITION',
    type: 'server_error',
    retry: false,
    when: 'A listener cannot bind because the address is taken.',
    next: 'Stop the other program or choose another port.',
  },
  missing_model: {
    http: 500,
    grpc: 'FAILED_PRECONDITION',
    type: 'server_error',
    retry: false,
    when: 'A model file or folder does not exist or cannot be read.',
    next: 'Give `--model` a folder, a GGUF file or a hub id that exists.',
  },
  unreachable: {
    http: 503,
    grpc: 'UNAVAILABLE',
    type: 'server_error',
    retry: true,
    when: 'The command line cannot reach the scheduler.',
    next: 'Start it with `sophia up`, or choose another endpoint context.',
  },
  gpu_unreadable: {
    http: 503,
    grpc: 'UNAVAILABLE',
    type: 'server_error',
    retry: true,
    when: 'The GPUs cannot be read: the library is missing, the driver is not loaded, or a GPU is lost.',
    next: 'Look at the driver of the host; the message has its own words.',
  },
  native_unusable: {
    http: 500,
    grpc: 'FAILED_PRECONDITION',
    type: 'server_error',
    retry: false,
    when: 'The native addon is there but cannot be loaded, or refuses what it was given.',
    next: 'Build it again with `npm run build:native`; without it the agent reads GPUs by nvidia-smi.',
  },
  internal: {
    http: 500,
    grpc: 'INTERNAL',
    type: 'server_error',
    retry: true,
    when: 'Something that should not happen happened; the log has the request id.',
    next: 'Report it with the request id.',
  },
} as const satisfies Record<string, ErrorSpec>;
