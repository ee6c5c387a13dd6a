/**
 * Whether a request that was lost with its connection may be sent once more on a fresh one. Engines close idle
 * connections (vLLM after 5 s, uvicorn's keep-alive), and a connection may be closed at the very moment at which it is
 * used again: the request is then lost, and nobody's fault. But a request that the engine has begun must not be begun
 * twice: a prefill costs seconds, and a dying engine is not to be asked again by its agent. It is the scheduler's to move.
 *
 * What tells the two apart:
 * - bytes of the request are still here: the engine cannot have begun, it lacks the body.
 * - the connection was reset: a kernel answers so when a socket is closed over unread bytes or gets bytes after its
 *   close. What was read as a whole is never answered with a reset.
 * - a clean close: the end of an idle connection was on its way as the request left, so it comes at once; a process that
 *   dies over a request that it has read closes cleanly too, but later. A close that comes late is taken for a death.
 */

export interface LostExchange {
  /** The connection had carried an answer before. */
  readonly reused: boolean;
  /** This request was sent again before. */
  readonly retried: boolean;
  /** A byte of the answer has come. */
  readonly answered: boolean;
  /** The kernel has taken the whole request. */
  readonly sent: boolean;
  /** Code of the socket's error; undefined: a clean close. */
  readonly errorCode: string | undefined;
  readonly sinceSentMs: number;
}

/** A clean close within this time of the request has crossed it: a few round trips on loopback, on a busy host. */
export const CROSSED_CLOSE_MS = 50;

const RESETS: ReadonlySet<string> = new Set(['ECONNRESET', 'EPIPE']);

export type ResendVerdict =
  | { readonly resend: true; readonly because: 'not_sent' | 'reset' | 'crossed_close' }
  | { readonly resend: false; readonly because: 'fresh' | 'retried' | 'answered' | 'may_have_begun' };

/** See the head of this file for the rule. */
export function mayResend(lost: LostExchange): ResendVerdict {
  if (lost.answered) return { resend: false, because: 'answered' };
  if (lost.retried) return { resend: false, because: 'retried' };
  // Nothing idle was closed here: an engine that drops a fresh connection is in trouble.
  if (!lost.reused) return { resend: false, because: 'fresh' };
  if (!lost.sent) return { resend: true, because: 'not_sent' };
  if (lost.errorCode !== undefined)
    return RESETS.has(lost.errorCode)
      ? { resend: true, because: 'reset' }
      : { resend: false, because: 'may_have_begun' };
  if (lost.sinceSentMs <= CROSSED_CLOSE_MS) return { resend: true, because: 'crossed_close' };
  return { resend: false, because: 'may_have_begun' };
}
