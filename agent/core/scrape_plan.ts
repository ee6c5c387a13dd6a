/**
 * Which engines are asked for their metrics now. An idle engine is asked seldom, because each question costs both sides
 * a connection; a busy one, or one whose figures just moved, each second. An engine that did not answer may hang: it is
 * asked seldom too, and those that hang can never hold all the places, so they delay no other.
 */

/** How the questions to one life of an engine went. */
export interface ScrapeState {
  readonly engine: string;
  /** Requests are on it, as the relay or its own last answer says. */
  readonly busy: boolean;
  /** When it was asked last, monotonic milliseconds; undefined: never. */
  readonly askedAtMs: number | undefined;
  readonly waiting: boolean;
  /** The last answer differed from the one before. */
  readonly moved: boolean;
  /** The last question got no answer. */
  readonly failed: boolean;
}

export interface ScrapeRules {
  readonly busyPeriodMs: number;
  readonly idlePeriodMs: number;
  /** Questions at a time; at least 2, as half of them are kept for engines that answer. */
  readonly maxWaiting: number;
}

function isDue(state: ScrapeState, nowMs: number, rules: ScrapeRules): boolean {
  if (state.waiting) return false;
  if (state.askedAtMs === undefined) return true;
  const often = !state.failed && (state.busy || state.moved);
  return nowMs - state.askedAtMs >= (often ? rules.busyPeriodMs : rules.idlePeriodMs);
}

/** The engines to ask now, those first that have waited longest. */
export function dueScrapes(states: readonly ScrapeState[], nowMs: number, rules: ScrapeRules): string[] {
  const waiting = states.filter((state) => state.waiting);
  let free = rules.maxWaiting - waiting.length;
  let freeForSuspects = Math.floor(rules.maxWaiting / 2) - waiting.filter((state) => state.failed).length;
  const due: string[] = [];
  const asked = (state: ScrapeState): number => state.askedAtMs ?? -1;
  const candidates = states
    .filter((state) => isDue(state, nowMs, rules))
    .toSorted((left, right) => Number(left.failed) - Number(right.failed) || asked(left) - asked(right));
  for (const state of candidates) {
    if (free <= 0 || (state.failed && freeForSuspects <= 0)) break;
    if (state.failed) freeForSuspects -= 1;
    free -= 1;
    due.push(state.engine);
  }
  return due;
}
