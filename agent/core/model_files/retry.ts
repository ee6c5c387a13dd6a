/**
 * What each kind of failure of a fetch asks for: how long to wait, from where to go on, and when to give up. A cut
 * connection goes on where it was; a changed source is listed anew; wrong bytes are thrown away and fetched again a few
 * times. What only time or a person can heal (no access, no room) is tried again slowly, because nobody would tell us.
 */
import { backoffDelayMs, type BackoffPolicy } from '../../../lib/backoff.ts';
import type { RandomSource } from '../../../lib/rng.ts';

export type FailureKind = keyof typeof ROWS;

/** Where the next try begins: at the first missing byte, or with a new listing. */
export type RetryFrom = 'resume' | 'listing';

interface Row {
  readonly from: RetryFrom;
  readonly backoff: BackoffPolicy;
  /** Tries without progress after the first; absent: no end. */
  readonly most?: number;
}

const QUICK: BackoffPolicy = { baseMs: 500, capMs: 30_000, minMs: 100 };
const STEADY: BackoffPolicy = { baseMs: 2000, capMs: 60_000, minMs: 500 };
const SLOW: BackoffPolicy = { baseMs: 10_000, capMs: 300_000, minMs: 2000 };

const ROWS = {
  /** The connection was refused, reset, or ended too early. */
  cut: { from: 'resume', backoff: QUICK },
  /** No byte came for too long. */
  stalled: { from: 'resume', backoff: QUICK },
  /** 429 or 503: the source says when, or does not. */
  busy: { from: 'resume', backoff: STEADY },
  /** Another 5xx. */
  server: { from: 'resume', backoff: STEADY },
  /** 416: the file is shorter than it was listed. */
  range: { from: 'listing', backoff: STEADY, most: 5 },
  /** Another ETag or another size than before. */
  changed: { from: 'listing', backoff: STEADY, most: 20 },
  /** 401 or 403: a token is missing, wrong, or has no right. */
  denied: { from: 'listing', backoff: SLOW },
  /** 404: the file or the revision is not there. */
  missing: { from: 'listing', backoff: SLOW },
  /** The checksum differs. */
  wrong_bytes: { from: 'listing', backoff: QUICK, most: 2 },
  /** ENOSPC, or too little room for what is to come. */
  disk_full: { from: 'listing', backoff: { baseMs: 5000, capMs: 60_000, minMs: 1000 } },
  /** The disk fails in another way. */
  disk: { from: 'listing', backoff: SLOW },
  /** The model is larger than the whole budget. */
  too_large: { from: 'listing', backoff: SLOW, most: 0 },
  /** An answer that is not the protocol: a page of a proxy, a listing with odd names. */
  bad_listing: { from: 'listing', backoff: STEADY, most: 3 },
  /** There is nothing by which the files could be judged, or no such place on this host. */
  unusable: { from: 'listing', backoff: SLOW, most: 0 },
} as const satisfies Record<string, Row>;

export interface Failure {
  readonly kind: FailureKind;
  /** For people; it holds no secret and no query of an address. */
  readonly message: string;
  /** As the source asked. */
  readonly retryAfterMs?: number;
  /** The file that it was about. */
  readonly file?: string;
}

export type RetryVerdict =
  | { readonly kind: 'again'; readonly from: RetryFrom; readonly delayMs: number }
  | { readonly kind: 'give_up' };

/** A source may ask for patience, but not for a day. */
const MOST_RETRY_AFTER_MS = 10 * 60_000;

/** @param tries failed ones of this kind since the last progress, before this one */
export function judgeFailure(failure: Failure, tries: number, random: RandomSource): RetryVerdict {
  const row: Row = ROWS[failure.kind];
  if (row.most !== undefined && tries >= row.most) return { kind: 'give_up' };
  const asked = Math.min(MOST_RETRY_AFTER_MS, failure.retryAfterMs ?? 0);
  return { kind: 'again', from: row.from, delayMs: Math.max(asked, backoffDelayMs(tries, row.backoff, random)) };
}

const BY_STATUS: Readonly<Record<number, FailureKind>> = {
  401: 'denied',
  403: 'denied',
  404: 'missing',
  410: 'missing',
  408: 'cut',
  412: 'changed',
  416: 'range',
  425: 'busy',
  429: 'busy',
  503: 'busy',
};

/** The kind of a status that is not the wished one. */
export const failureOfStatus = (status: number): FailureKind =>
  BY_STATUS[status] ?? (status >= 500 ? 'server' : status >= 400 ? 'missing' : 'bad_listing');

/**
 * Milliseconds of a Retry-After header (RFC 9110, 10.2.3): seconds or a date; undefined when it is neither.
 * @param wallMs now, milliseconds since the epoch
 */
export function retryAfterMs(header: string | undefined, wallMs: number): number | undefined {
  if (header === undefined) return undefined;
  if (/^\d{1,9}$/.test(header.trim())) return Number(header) * 1000;
  const dateMs = Date.parse(header);
  return Number.isNaN(dateMs) ? undefined : Math.max(0, dateMs - wallMs);
}
