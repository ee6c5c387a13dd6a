/**
 * One registry of every error that a caller can see. Each process raises these, and each door (HTTP, WebSocket,
 * gRPC, command line) maps them once, from the table in error_table.ts. docs/ERRORS.md is generated from it and a test keeps both equal.
 */

import { ERRORS, type ErrorSpec, type OpenAiErrorType } from './error_table.ts';

export { ERRORS, type ErrorSpec, type GrpcCodeName, type OpenAiErrorType } from './error_table.ts';

export type ErrorCode = keyof typeof ERRORS;

export interface ErrorDetails {
  /** The field, flag or key that is wrong. */
  readonly param?: string;
  /** Earliest sensible retry, in milliseconds. */
  readonly retryAfterMs?: number;
  /** The foreign error, unwrapped once in the adapter that met it. */
  readonly cause?: unknown;
}

/** An error with a code of the registry. `message` is for the caller: it holds no secret and no internal path. */
export class CodedError extends Error {
  readonly code: ErrorCode;
  readonly param: string | undefined;
  readonly retryAfterMs: number | undefined;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'CodedError';
    this.code = code;
    this.param = details.param;
    this.retryAfterMs = details.retryAfterMs;
  }

  get spec(): ErrorSpec {
    return ERRORS[this.code];
  }
}

/** How a request ended, in the few words that service levels are counted in (docs/SLO.md). */
export const OUTCOMES = ['ok', 'client_error', 'cancelled', 'rejected', 'error'] as const;
export type Outcome = (typeof OUTCOMES)[number];

/** The outcome that an end counts as: 429 is shed on purpose, other 4xx are the caller's fault, 5xx are ours. */
export function outcomeOf(end: 'ok' | ErrorCode): Outcome {
  if (end === 'ok' || end === 'cancelled') return end;
  const { http } = ERRORS[end];
  if (http === 429) return 'rejected';
  return http < 500 ? 'client_error' : 'error';
}

/** Turns anything thrown into a CodedError; what is not coded becomes `internal`, without leaking its message. */
export function toCodedError(thrown: unknown): CodedError {
  if (thrown instanceof CodedError) return thrown;
  return new CodedError('internal', 'An internal error occurred.', { cause: thrown });
}

export interface OpenAiErrorBody {
  readonly error: {
    readonly message: string;
    readonly type: OpenAiErrorType;
    readonly param: string | null;
    readonly code: ErrorCode;
  };
}

/** The error in OpenAI's shape, for a plain answer or a `data:` event inside a stream. */
export function toOpenAiBody(error: CodedError): OpenAiErrorBody {
  return {
    error: { message: error.message, type: error.spec.type, param: error.param ?? null, code: error.code },
  };
}
