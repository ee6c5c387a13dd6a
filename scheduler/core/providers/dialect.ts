/**
 * What a provider's errors mean in the fleet's words, whether they come as a status, as a number in the body, or as an
 * error inside a 200. Codes and texts are the provider's and never reach a client as they are where they speak of our
 * account with it.
 * Sources: OpenAI API reference (errors); OpenRouter's API reference (errors and debugging: numeric `code`, 402, 408,
 * 502, 503, and errors in the middle of a stream).
 */
import { CodedError, type ErrorCode } from '../../../lib/errors.ts';
import { type BreakerVerdict, verdictOfStatus } from '../routing/breaker.ts';

export interface ProviderFailure {
  readonly error: CodedError;
  readonly verdict: BreakerVerdict;
  /** The provider asked to be left alone for so long. */
  readonly waitMs: number;
}

interface StatusRule {
  readonly code: ErrorCode;
  /** Absent: as for an engine. */
  readonly verdict?: BreakerVerdict;
  /** The text is about our account or the provider's inside, so a client gets one of ours. */
  readonly isOurs: boolean;
}

/** A key or an account that is refused stays so until an operator acts: the breaker keeps requests from trying it. */
const ACCOUNT: StatusRule = { code: 'provider_failed', verdict: 'fault', isOurs: true };
const REQUEST: StatusRule = { code: 'provider_rejected', isOurs: false };
const BUSY: StatusRule = { code: 'provider_overloaded', isOurs: true };
const FAULT: StatusRule = { code: 'provider_failed', verdict: 'fault', isOurs: true };

const OF_STATUS: Readonly<Record<number, StatusRule>> = {
  401: ACCOUNT,
  402: ACCOUNT,
  // The provider's own time-out.
  408: FAULT,
  429: BUSY,
  503: BUSY,
};

function ruleOf(status: number): StatusRule {
  return OF_STATUS[status] ?? (status >= 400 && status < 500 ? REQUEST : FAULT);
}

const MAX_MESSAGE_CHARACTERS = 2000;
const LONGEST_KNOWN_WAIT_S = 86_400;

interface ErrorFields {
  readonly message?: unknown;
  readonly code?: unknown;
  readonly metadata?: unknown;
}

const fieldsOf = (value: unknown): ErrorFields | undefined =>
  typeof value === 'object' && value !== null ? value : undefined;

/** The error of an answer or of an event; undefined when it has none. A text in its place is its message. */
export function errorIn(body: unknown): ErrorFields | undefined {
  const error = fieldsOf(body) === undefined ? undefined : (body as Record<string, unknown>)['error'];
  if (typeof error === 'string') return { message: error };
  return fieldsOf(error);
}

/** The number that tells what kind of error it is: a numeric code, in digits too, else the status. */
function numberOf(error: ErrorFields | undefined, status: number): number {
  const code = Number(error?.code);
  return Number.isInteger(code) && code >= 400 && code < 600 ? code : status;
}

/** OpenRouter's 402 for "too much of your credit is in flight" passes by itself. */
function isInFlight(error: ErrorFields | undefined): boolean {
  const metadata = fieldsOf(error?.metadata) as Record<string, unknown> | undefined;
  return metadata?.['limit_source'] === 'openrouter_in_flight_budget';
}

function secondsOf(retryAfter: string | undefined): number {
  if (retryAfter === undefined || !/^\d{1,6}$/.test(retryAfter)) return 0;
  return Math.min(Number(retryAfter), LONGEST_KNOWN_WAIT_S);
}

/**
 * An answer that failed.
 * @param status of the answer; 200 for an error inside one, which then counts by its own number or as a 502
 * @param body parsed, or undefined when it was no JSON
 * @param retryAfter the header's value
 */
export function failureOf(status: number, body: unknown, retryAfter?: string): ProviderFailure {
  const error = errorIn(body);
  const number = numberOf(error, status >= 400 ? status : 502);
  const waitMs = secondsOf(retryAfter) * 1000;
  const rule = number === 402 && isInFlight(error) && waitMs > 0 ? BUSY : ruleOf(number);
  const told = typeof error?.message === 'string' && error.message !== '' ? error.message : undefined;
  const message = rule.isOurs || told === undefined ? `The provider answered with ${number}.` : told;
  return {
    error: new CodedError(
      rule.code,
      message.slice(0, MAX_MESSAGE_CHARACTERS),
      rule.code === 'provider_overloaded' && waitMs > 0 ? { retryAfterMs: waitMs } : {},
    ),
    verdict: rule === BUSY ? 'neutral' : (rule.verdict ?? verdictOfStatus(number)),
    waitMs: rule === BUSY ? waitMs : 0,
  };
}

/** A fault of the transport or of the protocol. */
export function faultOf(
  code: 'provider_unreachable' | 'provider_failed',
  message: string,
  cause?: unknown,
): ProviderFailure {
  return { error: new CodedError(code, message, cause === undefined ? {} : { cause }), verdict: 'fault', waitMs: 0 };
}
