/**
 * The one mapping between coded errors and gRPC statuses, both ways. A status carries google.rpc.ErrorInfo (reason: the
 * code of docs/ERRORS.md, domain `sophia.fleet`) and, where the error says when to try again, google.rpc.RetryInfo, in
 * the metadata entry that every gRPC library knows for it.
 */
import { Metadata, status as grpcStatus, type ServiceError, type StatusObject } from '@grpc/grpc-js';
import { CodedError, type ErrorCode, ERRORS } from '../lib/errors.ts';
import { googleRpc } from './load.ts';

export const ERROR_DOMAIN = 'sophia.fleet';
/** Metadata entry of a serialised google.rpc.Status, by gRPC's convention. */
export const STATUS_DETAILS_KEY = 'grpc-status-details-bin';

const TYPE_PREFIX = 'type.googleapis.com/';
const ERROR_INFO = `${TYPE_PREFIX}google.rpc.ErrorInfo`;
const RETRY_INFO = `${TYPE_PREFIX}google.rpc.RetryInfo`;
/** Trailers are headers: a client refuses a long block, so a message is cut here. */
const MAX_MESSAGE_CHARS = 1024;

/** What a status says, once read. */
export interface DecodedStatus {
  readonly error: CodedError;
  readonly requestId?: string;
}

function messageOf(error: CodedError): string {
  return error.message.length <= MAX_MESSAGE_CHARS ? error.message : `${error.message.slice(0, MAX_MESSAGE_CHARS)}...`;
}

/** A serialised google.rpc.Status: what an ERROR entry of GenerateMany and the trailers of every other call carry. */
export function encodeStatus(error: CodedError, requestId?: string): Buffer {
  const metadata: Record<string, string> = {};
  if (error.param !== undefined) metadata['param'] = error.param;
  if (requestId !== undefined) metadata['request_id'] = requestId;
  const info = googleRpc.ErrorInfo.serialize({ reason: error.code, domain: ERROR_DOMAIN, metadata });
  const details = [{ type_url: ERROR_INFO, value: info }];
  if (error.retryAfterMs !== undefined) {
    const delayMs = Math.max(0, Math.round(error.retryAfterMs));
    const retryDelay = { seconds: Math.floor(delayMs / 1000), nanos: (delayMs % 1000) * 1_000_000 };
    details.push({ type_url: RETRY_INFO, value: googleRpc.RetryInfo.serialize({ retryDelay }) });
  }
  return googleRpc.Status.serialize({ code: grpcStatus[error.spec.grpc], message: messageOf(error), details });
}

/** The status with which a gRPC handler ends a call. */
export function toStatusObject(error: CodedError, requestId?: string): StatusObject {
  const metadata = new Metadata();
  metadata.set(STATUS_DETAILS_KEY, encodeStatus(error, requestId));
  if (requestId !== undefined) metadata.set('x-request-id', requestId);
  return { code: grpcStatus[error.spec.grpc], details: messageOf(error), metadata };
}

const CODE_OF_STATUS: Readonly<Record<number, ErrorCode>> = {
  [grpcStatus.CANCELLED]: 'cancelled',
  [grpcStatus.INVALID_ARGUMENT]: 'invalid_value',
  [grpcStatus.DEADLINE_EXCEEDED]: 'deadline_exceeded',
  [grpcStatus.NOT_FOUND]: 'not_found',
  [grpcStatus.ALREADY_EXISTS]: 'already_exists',
  [grpcStatus.PERMISSION_DENIED]: 'permission_denied',
  [grpcStatus.RESOURCE_EXHAUSTED]: 'overloaded',
  [grpcStatus.FAILED_PRECONDITION]: 'protocol_mismatch',
  [grpcStatus.UNIMPLEMENTED]: 'protocol_mismatch',
  [grpcStatus.UNAVAILABLE]: 'unreachable',
  [grpcStatus.UNAUTHENTICATED]: 'unauthenticated',
};

/** The code for a status that does not carry ours. */
const codeOf = (status: number): ErrorCode => CODE_OF_STATUS[status] ?? 'internal';

const isErrorCode = (reason: string): reason is ErrorCode => Object.hasOwn(ERRORS, reason);

/**
 * Reads a serialised google.rpc.Status. A status without our ErrorInfo (made by a proxy or by the gRPC library) gets the
 * code that fits its number.
 * @throws RangeError when the bytes are not a google.rpc.Status
 */
export function decodeStatus(bytes: Uint8Array): DecodedStatus {
  let code: ErrorCode | undefined;
  let metadata: Record<string, string> = {};
  let retryAfterMs: number | undefined;
  let status;
  try {
    status = googleRpc.Status.deserialize(Buffer.from(bytes));
    for (const detail of status.details as { type_url: string; value: Buffer }[]) {
      if (detail.type_url === ERROR_INFO) {
        const info = googleRpc.ErrorInfo.deserialize(detail.value);
        if (info.domain !== ERROR_DOMAIN || !isErrorCode(info.reason)) continue;
        code = info.reason;
        metadata = info.metadata;
      } else if (detail.type_url === RETRY_INFO) {
        const delay = googleRpc.RetryInfo.deserialize(detail.value).retryDelay;
        if (delay !== null) retryAfterMs = delay.seconds * 1000 + delay.nanos / 1_000_000;
      }
    }
  } catch (cause) {
    throw new RangeError('The bytes are not a google.rpc.Status.', { cause });
  }
  const param = metadata['param'];
  const requestId = metadata['request_id'];
  const error = new CodedError(code ?? codeOf(status.code), status.message, {
    ...(param === undefined ? {} : { param }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
  return { error, ...(requestId === undefined ? {} : { requestId }) };
}

/** What a client of ours makes of a failed call; never throws. `cause` is the foreign error. */
export function fromServiceError(failure: ServiceError): DecodedStatus {
  const [bytes] = failure.metadata?.get(STATUS_DETAILS_KEY) ?? [];
  if (bytes instanceof Uint8Array) {
    try {
      return decodeStatus(bytes);
    } catch (cause) {
      return { error: new CodedError('internal', failure.details, { cause }) };
    }
  }
  return { error: new CodedError(codeOf(failure.code), failure.details, { cause: failure }) };
}
