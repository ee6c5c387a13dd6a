/** What a client is told when its request is not held, or not any longer. */
import { CodedError, type ErrorCode } from '../../../lib/errors.ts';
import type { ShedReason } from './contract.ts';

const TOLD: Readonly<Record<ShedReason, readonly [code: ErrorCode, message: string]>> = {
  queue_full: ['overloaded', 'The queue of this model is full.'],
  tenant_share: ['overloaded', 'Your tenant has its share of the queue of this model.'],
  deadline_unreachable: ['overloaded', 'The queue of this model is too long for the deadline of the request.'],
  pushed_out: ['overloaded', 'The queue of this model is full, and others who hold less of it came.'],
  wait_timeout: ['overloaded', 'No engine of this model became free in time.'],
  deadline_passed: ['deadline_exceeded', 'The deadline of the request passed while it waited for an engine.'],
  draining: ['draining', 'This scheduler is stopping.'],
  no_engine: ['no_engine', 'No engine of this model can be expected.'],
};

/** @param retryAfterMs when it makes sense to ask again, from the rate at which the queue drains */
export function shedError(reason: ShedReason, retryAfterMs: number): CodedError {
  const [code, message] = TOLD[reason];
  return new CodedError(code, message, { retryAfterMs });
}
