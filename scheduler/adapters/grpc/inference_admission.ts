/**
 * What both ways of generating over gRPC do before a request may start: read the typed envelope around the OpenAI body,
 * decide on whose behalf it runs, and give it an id and a deadline.
 */
import { CodedError } from '../../../lib/errors.ts';
import { newRequestId, REQUEST_ID_PATTERN, type RequestId, type TenantId } from '../../../lib/ids.ts';
import { repeatOf } from '../../core/request/repeat_key.ts';
import { hashParts } from '../../../lib/io/hash_parts.ts';
import type { Envelope__Output } from '../../../proto/gen/inference/v1/Envelope.ts';
import { TENANT_PATTERN } from '../../core/access/claims.ts';
import { prepareRequest } from '../../../lib/request/prepare.ts';
import type { AdmittedRequest, Door, Endpoint, Identity } from '../../ports.ts';
import type { InferenceDeps } from './inference_deps.ts';

/** A W3C traceparent of version 00; any other is ignored, as its specification asks. */
const TRACEPARENT = /^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/;

const ENDPOINTS: Readonly<Record<string, Endpoint>> = {
  ENDPOINT_UNSPECIFIED: 'chat',
  ENDPOINT_CHAT_COMPLETIONS: 'chat',
  ENDPOINT_COMPLETIONS: 'completions',
  ENDPOINT_EMBEDDINGS: 'embeddings',
};

/** What is known of a call before its request is read. */
export interface CallFacts {
  readonly identity: Identity;
  readonly door: Door;
  /** Monotonic milliseconds at which the gRPC deadline passes; Infinity when the client set none. */
  readonly deadlineAtMs: number;
}

/**
 * The id under which a request runs: the caller's, or a new one.
 * @throws CodedError invalid_value
 */
export function requestIdOf(deps: InferenceDeps, envelope: Envelope__Output | null): RequestId {
  const wanted = envelope?.id ?? '';
  if (wanted === '') return newRequestId(deps.random);
  if (REQUEST_ID_PATTERN.test(wanted)) return wanted as RequestId;
  throw new CodedError('invalid_value', 'The id must be 1-128 characters of [A-Za-z0-9._:-].', {
    param: 'envelope.id',
  });
}

/**
 * On whose behalf a caller acts. Only role `gateway` may name a tenant other than its own.
 * @throws CodedError permission_denied, invalid_value
 */
export function tenantOf(identity: Identity, named: string | undefined, param: string): TenantId {
  if (named === undefined || named === identity.tenant) return identity.tenant;
  if (!identity.roles.has('gateway')) {
    throw new CodedError('permission_denied', 'Only role gateway may name another tenant.', { param });
  }
  if (TENANT_PATTERN.test(named)) return named as TenantId;
  throw new CodedError('invalid_value', `The tenant must match ${TENANT_PATTERN.source}.`, { param });
}

function endpointOf(envelope: Envelope__Output | null): Endpoint {
  const endpoint = ENDPOINTS[envelope?.endpoint ?? 'ENDPOINT_UNSPECIFIED'];
  if (endpoint !== undefined) return endpoint;
  throw new CodedError('invalid_value', 'The endpoint is unknown to this scheduler.', { param: 'envelope.endpoint' });
}

/** Who asks, for what and until when; what a body adds is not in it. */
function standing(deps: InferenceDeps, facts: CallFacts, id: RequestId, envelope: Envelope__Output | null) {
  const { identity } = facts;
  const nowMs = deps.clock.monotonicMs();
  const deadlineAtMs = Math.min(facts.deadlineAtMs, nowMs + (envelope?.deadlineMs ?? Infinity));
  if (deadlineAtMs <= nowMs) throw new CodedError('deadline_exceeded', 'The deadline passed before the request began.');
  const traceparent = envelope?.traceparent;
  return {
    id,
    identity,
    tenant: tenantOf(identity, envelope?.tenant, 'envelope.tenant'),
    door: facts.door,
    endpoint: endpointOf(envelope),
    priority: identity.roles.has('gateway') ? (envelope?.priority ?? 0) : 0,
    ...(deadlineAtMs === Infinity ? {} : { deadlineAtMs }),
    ...(traceparent !== undefined && TRACEPARENT.test(traceparent) ? { traceparent } : {}),
  };
}

/**
 * Turns what came over the wire into a request that a Generator takes.
 * @throws CodedError what prepareRequest throws, and permission_denied, invalid_value, deadline_exceeded
 */
export function admit(
  deps: InferenceDeps,
  facts: CallFacts,
  id: RequestId,
  message: { readonly envelope: Envelope__Output | null; readonly body: Uint8Array },
): AdmittedRequest {
  const { envelope, body } = message;
  const who = standing(deps, facts, id, envelope);
  const model = envelope?.model ?? '';
  const prepared = prepareRequest({
    bytes: body,
    endpoint: who.endpoint,
    limits: deps.options.limits,
    envelope: { ...(model === '' ? {} : { model }), wantTokenIds: envelope?.returnTokenIds ?? false },
  });
  return { ...prepared, ...who };
}

/**
 * A request whose own id is its idempotency key, because its caller said how much of the answer it has had.
 * @param message as it was admitted
 * @param after a count of events; undefined: the request is an ordinary one
 * @throws CodedError invalid_value
 */
export function withRepeat(
  admitted: AdmittedRequest,
  message: { readonly envelope: Envelope__Output | null; readonly body: Uint8Array },
  after: string | undefined,
): AdmittedRequest {
  const key = message.envelope?.id ?? '';
  if (after === undefined || key === '') return admitted;
  const { tenant, identity, endpoint } = admitted;
  const asked = { key, after, tenant, identity, endpoint, body: message.body };
  return { ...admitted, repeat: repeatOf(asked, hashParts).repeat };
}

/**
 * As admit(), for a request whose body is not shown here: what it holds is for whoever gets it to judge.
 * @throws CodedError missing_field, permission_denied, invalid_value, deadline_exceeded
 */
export function admitUnseen(
  deps: InferenceDeps,
  facts: CallFacts,
  id: RequestId,
  envelope: Envelope__Output | null,
): AdmittedRequest {
  const who = standing(deps, facts, id, envelope);
  const model = envelope?.model ?? '';
  if (model === '')
    throw new CodedError('missing_field', 'model is required without a body.', { param: 'envelope.model' });
  return { model, stream: true, wantUsage: false, wantTokenIds: false, body: new Uint8Array(0), ...who };
}
