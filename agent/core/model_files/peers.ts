/**
 * Which other node of the fleet gives the next range of a model's file, and how long one that failed is left alone. A peer
 * is a convenience: whatever it does wrong, the source is asked instead, so the rules are short and never wait.
 */
import { backoffCeilingMs } from '../../../lib/backoff.ts';
import type { FailureKind } from './retry.ts';

/** What a scheduler says of one node that has the model. */
export interface PeerOffer {
  readonly node: string;
  readonly url: string;
  /** What the source was resolved to there. */
  readonly resolved: string;
  readonly ticket: string;
  /** Monotonic milliseconds at which the ticket ends. */
  readonly untilMs: number;
}

/** How a peer has done so far. */
export interface PeerStanding {
  /** Ranges that are on their way from it. */
  readonly active: number;
  /** Failures in a row. */
  readonly failures: number;
  /** Monotonic milliseconds; before then it is not asked. */
  readonly benchedUntilMs: number;
}

export const NEW_PEER: PeerStanding = { active: 0, failures: 0, benchedUntilMs: 0 };

interface Bench {
  readonly baseMs: number;
  readonly capMs: number;
}

/** A node that is busy or away comes back soon; one that has not what it should have, or gives wrong bytes, does not. */
const SOON: Bench = { baseMs: 2000, capMs: 60_000 };
const LATER: Bench = { baseMs: 10_000, capMs: 300_000 };
const LONG: Bench = { baseMs: 60_000, capMs: 1_800_000 };
const DAY: Bench = { baseMs: 86_400_000, capMs: 86_400_000 };

const BENCHES: Partial<Record<FailureKind, Bench>> = {
  busy: SOON,
  cut: LATER,
  stalled: LATER,
  server: LATER,
  wrong_bytes: DAY,
};

/**
 * The peer with the fewest ranges on their way, of those that have this very state of the source, hold a ticket that is
 * still good, and are not left alone; the earlier one of equals. Undefined: the source is asked.
 */
export function choosePeer(
  offers: readonly PeerOffer[],
  standingOf: (node: string) => PeerStanding,
  resolved: string,
  nowMs: number,
): PeerOffer | undefined {
  let best: { readonly offer: PeerOffer; readonly active: number } | undefined;
  for (const offer of offers) {
    const { active, benchedUntilMs } = standingOf(offer.node);
    if (offer.resolved !== resolved || offer.untilMs <= nowMs || benchedUntilMs > nowMs) continue;
    if (best === undefined || active < best.active) best = { offer, active };
  }
  return best?.offer;
}

/** How a peer stands after a failure. @param askedMs the pause that it asked for itself */
export function afterFailure(standing: PeerStanding, kind: FailureKind, nowMs: number, askedMs = 0): PeerStanding {
  const bench = BENCHES[kind] ?? LONG;
  const pauseMs = Math.max(Math.min(askedMs, bench.capMs), backoffCeilingMs(standing.failures, bench));
  return { ...standing, failures: standing.failures + 1, benchedUntilMs: nowMs + pauseMs };
}

/** How a peer stands after a range came whole. Wrong bytes that were found meanwhile are not forgiven. */
export const afterSuccess = (standing: PeerStanding): PeerStanding => ({ ...standing, failures: 0 });
