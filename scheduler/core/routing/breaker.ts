/**
 * A circuit breaker as a table, for engines and for providers alike. Faults that follow one another open it; after a
 * bounded pause it lets one real generation through, and that one decides. Only requests that were picked while it was
 * not closed decide then: what comes late from before says nothing about now. Time is an argument; nothing here waits.
 */
import { ERRORS, type ErrorCode } from '../../../lib/errors.ts';

export type BreakerState = 'closed' | 'open' | 'half_open';

/** What the end of a request says about the one that served it. */
export type BreakerVerdict = 'fault' | 'success' | 'neutral';

export interface Breaker {
  readonly state: BreakerState;
  /** Faults in a row while closed. */
  readonly faults: number;
  /** The pause of this opening, and when it is over, monotonic milliseconds. */
  readonly pauseMs: number;
  readonly dueAtMs: number;
  /** When the generation that decides was let through, and when its first token came; undefined: not yet. */
  readonly probeAtMs: number | undefined;
  readonly speaksSinceMs: number | undefined;
  /** Times that it opened. */
  readonly opened: number;
}

export interface BreakerOptions {
  readonly faultsToOpen: number;
  readonly firstPauseMs: number;
  readonly mostPauseMs: number;
  /** A deciding generation that says nothing for so long is given up, and another is let through. */
  readonly probeTimeoutMs: number;
  /** A deciding generation that has brought tokens for so long lets others follow it: it may be a long one. */
  readonly proofMs: number;
}

/** A breaker may outlast the fault by no more than its longest pause, so that pause is short. */
export const BREAKER_OPTIONS: BreakerOptions = {
  faultsToOpen: 3,
  firstPauseMs: 500,
  mostPauseMs: 4000,
  probeTimeoutMs: 15_000,
  proofMs: 1000,
};

export function newBreaker(): Breaker {
  return CLOSED;
}

const CLOSED: Breaker = Object.freeze({
  state: 'closed',
  faults: 0,
  pauseMs: 0,
  dueAtMs: 0,
  probeAtMs: undefined,
  speaksSinceMs: undefined,
  opened: 0,
});

type Step = (breaker: Breaker, nowMs: number, options: BreakerOptions) => Breaker;

const stay: Step = (breaker) => breaker;
const close: Step = ({ opened }) => ({ ...CLOSED, opened });
const forgive: Step = (breaker) => (breaker.faults === 0 ? breaker : { ...breaker, faults: 0 });
const open = (breaker: Breaker, nowMs: number, pauseMs: number): Breaker => ({
  state: 'open',
  faults: 0,
  pauseMs,
  dueAtMs: nowMs + pauseMs,
  probeAtMs: undefined,
  speaksSinceMs: undefined,
  opened: breaker.opened + 1,
});
const count: Step = (breaker, nowMs, options) => {
  const faults = breaker.faults + 1;
  return faults >= options.faultsToOpen ? open(breaker, nowMs, options.firstPauseMs) : { ...breaker, faults };
};
const openLonger: Step = (breaker, nowMs, options) =>
  open(breaker, nowMs, Math.min(options.mostPauseMs, breaker.pauseMs * 2));
const askAgain: Step = (breaker) => ({ ...breaker, probeAtMs: undefined, speaksSinceMs: undefined });

/** What each verdict does in each state; `late`: of a request that was picked before the breaker opened. */
const NEXT: Readonly<Record<BreakerState, Readonly<Record<BreakerVerdict | `late_${BreakerVerdict}`, Step>>>> = {
  closed: {
    fault: count,
    success: forgive,
    neutral: stay,
    late_fault: count,
    late_success: forgive,
    late_neutral: stay,
  },
  // A request is picked past an open breaker only where no engine is left: it decides as a probe does.
  open: {
    fault: openLonger,
    success: close,
    neutral: stay,
    late_fault: stay,
    late_success: stay,
    late_neutral: stay,
  },
  half_open: {
    fault: openLonger,
    success: close,
    neutral: askAgain,
    late_fault: stay,
    late_success: stay,
    late_neutral: stay,
  },
};

/**
 * The breaker after the end of a request.
 * @param late the request was picked while the breaker was closed
 */
export function breakerAfter(
  breaker: Breaker,
  verdict: BreakerVerdict,
  late: boolean,
  nowMs: number,
  options: BreakerOptions = BREAKER_OPTIONS,
): Breaker {
  const news: keyof (typeof NEXT)['closed'] = late ? `late_${verdict}` : verdict;
  return NEXT[breaker.state][news](breaker, nowMs, options);
}

/** Whether a request may pass now: always while closed, one at a time once the pause is over. */
export function breakerAdmits(breaker: Breaker, nowMs: number, options: BreakerOptions = BREAKER_OPTIONS): boolean {
  const { probeAtMs, speaksSinceMs } = breaker;
  switch (breaker.state) {
    case 'closed':
      return true;
    case 'open':
      return isOver(breaker.dueAtMs - breaker.pauseMs, breaker.pauseMs, nowMs);
    case 'half_open':
      if (probeAtMs === undefined) return true;
      return speaksSinceMs === undefined
        ? isOver(probeAtMs, options.probeTimeoutMs, nowMs)
        : isOver(speaksSinceMs, options.proofMs, nowMs);
  }
}

/** A clock that stepped back must not hold a breaker open: a beginning that is yet to come is long over. */
function isOver(fromMs: number, forMs: number, nowMs: number): boolean {
  return nowMs - fromMs >= forMs || nowMs < fromMs;
}

/** The breaker once a request was let through. */
export function breakerPicked(breaker: Breaker, nowMs: number): Breaker {
  if (breaker.state === 'closed') return breaker;
  return { ...breaker, state: 'half_open', probeAtMs: nowMs, speaksSinceMs: undefined };
}

/** The breaker once the first token of a request that was picked past it has come. */
export function breakerSpoke(breaker: Breaker, nowMs: number): Breaker {
  if (breaker.state !== 'half_open') return breaker;
  return { ...breaker, speaksSinceMs: breaker.speaksSinceMs ?? nowMs };
}

const STATUS_NEUTRAL: ReadonlySet<number> = new Set([429, 503]);

/** What an HTTP status says: 5xx is a fault, but "too many" and "not now" are neutral, and a 4xx is a working server. */
export function verdictOfStatus(status: number): BreakerVerdict {
  if (STATUS_NEUTRAL.has(status)) return 'neutral';
  return status >= 500 ? 'fault' : 'success';
}

/** Ends that are the client's or this scheduler's own doing, and say nothing about the engine. */
const CODE_NEUTRAL: ReadonlySet<ErrorCode> = new Set(['cancelled', 'deadline_exceeded', 'internal']);

/** What the end of an attempt says about its engine. */
export function verdictOfOutcome(outcome: 'ok' | ErrorCode): BreakerVerdict {
  if (outcome === 'ok') return 'success';
  return CODE_NEUTRAL.has(outcome) ? 'neutral' : verdictOfStatus(ERRORS[outcome].http);
}
