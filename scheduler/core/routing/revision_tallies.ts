/**
 * What the requests of each revision came to, as rollouts judge it: ends, faults, refusals, and times to the first token.
 * It is fed by the leases of requests, is bounded in labels and in times, and costs an engine without a label nothing.
 */
import type { ErrorCode } from '../../../lib/errors.ts';
import type { RevisionTally } from '../rollout/contract.ts';
import { NO_TALLY } from '../rollout/tallies.ts';
import { verdictOfOutcome } from './breaker.ts';

/** Labels that are counted; beyond, the one that was begun first is forgotten. */
const MOST_LABELS = 4096;
/** Times that are kept of a label: the newest. */
export const MOST_TIMES = 256;
/**
 * A time counts only where no more than this part of the prompt was cached: a new engine's cache is cold, and what it has to
 * read more says nothing of how fast it reads.
 */
const MOST_CACHED = 0.5;

/** How one attempt went. */
export interface AttemptFigures {
  readonly outcome: 'ok' | ErrorCode;
  /** Milliseconds from the pick to the first token; undefined: none was seen. */
  readonly ttftMs: number | undefined;
  readonly promptTokens: number;
  readonly cachedTokens: number;
}

export class LabelTally implements RevisionTally {
  started = 0;
  spoken = 0;
  ended = 0;
  failures = 0;
  rejections = 0;
  ttftCount = 0;
  readonly #times: number[] = [];

  get ttftMs(): readonly number[] {
    return this.#times;
  }

  end({ outcome, ttftMs, promptTokens, cachedTokens }: AttemptFigures): void {
    const verdict = verdictOfOutcome(outcome);
    // What a client or this scheduler ended, and "not now", is no word on the revision.
    if (verdict !== 'neutral') {
      this.ended += 1;
      if (verdict === 'fault') this.failures += 1;
      else if (outcome !== 'ok') this.rejections += 1;
    }
    if (ttftMs === undefined || !(ttftMs >= 0) || cachedTokens > promptTokens * MOST_CACHED) return;
    this.#times[this.ttftCount % MOST_TIMES] = ttftMs;
    this.ttftCount += 1;
  }
}

export interface RevisionTallies {
  /** The tally of a label as it stands; it goes on being counted in. */
  of(label: string): RevisionTally;
  /** Where an attempt on an engine with this label is counted. */
  open(label: string): LabelTally;
  /** Drops the tallies of labels that are not among these. */
  keepOnly(labels: ReadonlySet<string>): void;
}

export function createRevisionTallies(): RevisionTallies {
  const tallies = new Map<string, LabelTally>();
  return {
    of: (label) => tallies.get(label) ?? NO_TALLY,
    open(label) {
      const known = tallies.get(label);
      if (known !== undefined) return known;
      for (const oldest of tallies.keys()) {
        if (tallies.size < MOST_LABELS) break;
        tallies.delete(oldest);
      }
      const made = new LabelTally();
      tallies.set(label, made);
      return made;
    },
    keepOnly(labels) {
      for (const label of tallies.keys()) if (!labels.has(label)) tallies.delete(label);
    },
  };
}
