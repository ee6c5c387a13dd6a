/** How a call ends badly: the coded error becomes its status once, and what is our own fault is logged once. */
import type { ServerWritableStream, StatusObject } from '@grpc/grpc-js';
import type { Clock } from '../../../lib/clock.ts';
import { type CodedError, toCodedError } from '../../../lib/errors.ts';
import type { Logger } from '../../../lib/io/logger.ts';
import { toStatusObject } from '../../../proto/status.ts';

/** The part of a streaming call that ends it; the messages of a call do not matter to that. */
type EndableStream = Pick<ServerWritableStream<never, never>, 'cancelled' | 'destroyed'> & {
  emit(event: 'error', error: Error): boolean;
};

/** The status for anything thrown; an internal error is logged with its cause, which the caller is not told. */
export function statusFor(logger: Logger, thrown: unknown, requestId?: string): StatusObject {
  const error = toCodedError(thrown);
  if (error.code === 'internal') logger.error({ err: error.cause ?? error, requestId }, 'a gRPC call failed');
  return toStatusObject(error, requestId);
}

/** Ends a streaming call with an error; messages that were written before are sent first. */
export function failStream(logger: Logger, call: EndableStream, error: CodedError, requestId?: string): void {
  const status = statusFor(logger, error, requestId);
  if (call.cancelled || call.destroyed) return;
  call.emit('error', Object.assign(new Error(status.details), status));
}

/** A gRPC deadline (wall clock, or Infinity) in monotonic milliseconds. */
export function callDeadlineAtMs(clock: Clock, deadline: Date | number): number {
  const wallMs = typeof deadline === 'number' ? deadline : deadline.getTime();
  return wallMs === Infinity ? Infinity : clock.monotonicMs() + (wallMs - clock.wallMs());
}
