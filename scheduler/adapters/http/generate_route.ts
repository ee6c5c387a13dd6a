/**
 * The three routes that make an engine work: chat, completions and embeddings. What is common to them is here; the
 * answer's way to the client is in event_stream.ts and plain_answer.ts.
 */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { CodedError, toCodedError } from '../../../lib/errors.ts';
import type { RequestId } from '../../../lib/ids.ts';
import { standingOf } from '../../core/access/claims.ts';
import { prepareRequest, type PreparedRequest, type RequestLimits } from '../../../lib/request/prepare.ts';
import { AFTER_HEADER, KEY_HEADER, repeatOf } from '../../core/request/repeat_key.ts';
import type { AdmittedRequest, Door, Endpoint, Generator, Identity } from '../../ports.ts';
import { hashParts } from '../../../lib/io/hash_parts.ts';
import type { ActiveAnswers } from './active.ts';
import { EventStream } from './event_stream.ts';
import { PlainAnswer } from './plain_answer.ts';

export interface GenerateContext {
  readonly generator: Generator;
  readonly active: ActiveAnswers;
  readonly limits: RequestLimits;
  readonly windowBytes: number;
  nowMs(): number;
  isDraining(): boolean;
}

/** W3C trace context, version 00. */
const TRACEPARENT = /^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/;

/** The trace context of a caller when it is sound, to be passed on. */
export function soundTraceparent(header: unknown): string | undefined {
  return typeof header === 'string' && TRACEPARENT.test(header) ? header : undefined;
}

export interface Admission {
  readonly id: RequestId;
  readonly identity: Identity;
  readonly door: Door;
  readonly endpoint: Endpoint;
  readonly traceparent: string | undefined;
}

/** Joins who asks with what is asked. */
export function admit(admission: Admission, prepared: PreparedRequest): AdmittedRequest {
  const { id, identity, door, endpoint, traceparent } = admission;
  const { model, stream, body, wantUsage, wantTokenIds, hasStops } = prepared;
  const { tenant, priority } = standingOf(identity, {});
  // Named one by one: spreading three objects into one costs more than all else here.
  return {
    id,
    identity,
    tenant,
    door,
    endpoint,
    model,
    stream,
    body,
    wantUsage,
    wantTokenIds,
    priority,
    ...(traceparent === undefined ? {} : { traceparent }),
    ...(hasStops === undefined ? {} : { hasStops }),
  };
}

/** The request of a client that sent an idempotency key. @throws CodedError invalid_value */
function withRepeat(admitted: AdmittedRequest, { headers, body }: FastifyRequest): AdmittedRequest {
  const { [KEY_HEADER]: key, [AFTER_HEADER]: after } = headers;
  if (typeof key !== 'string') return admitted;
  const { tenant, identity, endpoint } = admitted;
  const asked = { key, after: typeof after === 'string' ? after : undefined };
  return { ...admitted, ...repeatOf({ ...asked, tenant, identity, endpoint, body: body as Buffer }, hashParts) };
}

function start(context: GenerateContext, admitted: AdmittedRequest, reply: FastifyReply): void {
  const response = reply.raw;
  const headers = reply.getHeaders();
  const answer = admitted.stream
    ? new EventStream(context.active, response, headers)
    : new PlainAnswer(context.active, response, headers);
  context.active.add(answer, response, admitted.model, context.nowMs());
  try {
    answer.attach(context.generator.start(admitted, answer, context.windowBytes));
  } catch (thrown) {
    answer.onError(toCodedError(thrown));
  }
}

/** The handler of one endpoint; the body is a Buffer by then and the identity is known. */
export function generateHandler(context: GenerateContext, endpoint: Endpoint) {
  return (request: FastifyRequest, reply: FastifyReply): FastifyReply => {
    const { identity } = request;
    if (identity === undefined) throw new CodedError('unauthenticated', 'A credential is required here.');
    if (context.isDraining()) {
      reply.header('connection', 'close');
      throw new CodedError('draining', 'This scheduler is stopping and takes no new requests.', { retryAfterMs: 1000 });
    }
    if (!Buffer.isBuffer(request.body))
      throw new CodedError('malformed_json', 'The body is empty; send one JSON object.');
    const prepared = prepareRequest({ bytes: request.body, endpoint, limits: context.limits });
    const admission: Admission = {
      id: request.id as RequestId,
      identity,
      door: 'http',
      endpoint,
      traceparent: soundTraceparent(request.headers['traceparent']),
    };
    const admitted = withRepeat(admit(admission, prepared), request);
    reply.header('x-request-id', admitted.id);
    reply.hijack();
    // The client went away while its body was read: there is nobody to work for.
    if (reply.raw.destroyed || request.raw.socket.destroyed) return reply;
    start(context, admitted, reply);
    return reply;
  };
}
