/**
 * `Route`: the scheduler picks an engine, reserves a place on it and steps aside. Who may do so, on whose behalf, and what
 * a body may hold is judged as for Generate; the answer is an address and a ticket.
 */
import { createHash } from 'node:crypto';
import type { ServerUnaryCall } from '@grpc/grpc-js';
import { CodedError } from '../../../lib/errors.ts';
import type { RouteRequest__Output } from '../../../proto/gen/inference/v1/RouteRequest.ts';
import type { RouteResponse } from '../../../proto/gen/inference/v1/RouteResponse.ts';
import type { AdmittedRequest, DirectPlacement, Identity, TicketSigner } from '../../ports.ts';
import { callDeadlineAtMs } from './grpc_errors.ts';
import { admit, admitUnseen, requestIdOf } from './inference_admission.ts';
import type { InferenceDeps } from './inference_deps.ts';

export type RouteCall = ServerUnaryCall<RouteRequest__Output, RouteResponse>;

const SHA256_BYTES = 32;

function admitRoute(deps: InferenceDeps, call: RouteCall, identity: Identity): AdmittedRequest {
  const { request } = call;
  const id = requestIdOf(deps, request.envelope);
  // The deadline of the call is that of the answer to Route, not of the request.
  const facts = { identity, door: 'direct', deadlineAtMs: Infinity } as const;
  const admitted =
    request.body.length > 0 ? admit(deps, facts, id, request) : admitUnseen(deps, facts, id, request.envelope);
  if (admitted.endpoint !== 'embeddings') return admitted;
  const message = 'Only chat and completions can be called directly.';
  throw new CodedError('not_supported', message, { param: 'envelope.endpoint' });
}

/** The hash that binds the ticket, base64url; undefined: it is for any body. */
function boundHash({ body, bodySha256 }: RouteRequest__Output): string | undefined {
  const ofBody = body.length > 0 ? createHash('sha256').update(body).digest() : undefined;
  if (bodySha256.length === 0) return ofBody?.toString('base64url');
  if (bodySha256.length !== SHA256_BYTES || (ofBody !== undefined && !ofBody.equals(bodySha256)))
    throw new CodedError('invalid_value', 'The hash must be the SHA-256 of the body.', { param: 'body_sha256' });
  return bodySha256.toString('base64url');
}

async function sign(signer: TicketSigner, placement: DirectPlacement): Promise<string> {
  try {
    return await signer.sign(placement.keyId, placement.claims);
  } catch (cause) {
    placement.release();
    throw new CodedError('internal', 'The ticket could not be signed.', { cause });
  }
}

/** Serves one call. @throws CodedError */
export async function serveRoute(deps: InferenceDeps, call: RouteCall, identity: Identity): Promise<RouteResponse> {
  if (callDeadlineAtMs(deps.clock, call.getDeadline()) <= deps.clock.monotonicMs())
    throw new CodedError('deadline_exceeded', 'The deadline passed before the request began.');
  const bodySha256 = boundHash(call.request);
  const request = admitRoute(deps, call, identity);
  if (deps.direct === undefined) throw new CodedError('direct_unavailable', 'This scheduler gives out no tickets.');
  const placement = deps.direct.router.open(request, bodySha256);
  const ticket = await sign(deps.direct.signer, placement);
  const { url, engine, claims } = placement;
  deps.logger.debug({ requestId: request.id, engine, lease: claims.jti }, 'stepped aside');
  return { url, ticket, expiresAtMs: claims.exp * 1000, requestId: request.id, engine };
}
