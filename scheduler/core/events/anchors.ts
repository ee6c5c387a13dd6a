/**
 * Anchors: now and then the place and hash of the log's end is signed and kept outside of the store. Whoever holds the
 * log's key can write a whole new chain, and whoever holds the database can cut its tail; neither can change an anchor.
 * Each names the one before it, so that a line taken out of the anchors is noticed too.
 */
import { canonicalText } from './json.ts';
import type { LogHead } from './head.ts';

export interface Anchor {
  /** Counts the anchors of a log from 1. */
  readonly n: number;
  readonly logId: string;
  readonly seq: number;
  readonly hash: string;
  /** Events since the log began: numbers are given without gaps, so it equals seq. */
  readonly count: number;
  /** Wall clock of the store, milliseconds. */
  readonly atMs: number;
  /** Signature of the anchor before; empty for the first. */
  readonly prev: string;
}

export interface SignedAnchor extends Anchor {
  /** Ed25519 over anchorText, base64url. */
  readonly signature: string;
}

/** Signs the UTF-8 bytes of a text with Ed25519; the answer is base64url. */
export type Sign = (text: string) => string;
/** Whether the signature is one of the text. */
export type VerifySignature = (text: string, signature: string) => boolean;

export interface AnchorProblem {
  /** Line of the anchors, from 1. */
  readonly line: number;
  readonly problem: 'unreadable' | 'bad_signature' | 'line_missing' | 'other_log' | 'goes_back';
}

/** What is signed. */
export function anchorText(anchor: Anchor): string {
  const { n, logId, seq, hash, count, atMs, prev } = anchor;
  return `sophia.anchor.v1\n${canonicalText({ n, logId, seq, hash, count, atMs, prev })}`;
}

/** The anchor of the log's end after `last`, the newest one there is; `nowMs` is the store's clock. */
export function makeAnchor(head: LogHead, last: SignedAnchor | undefined, nowMs: number, sign: Sign): SignedAnchor {
  const anchor: Anchor = {
    n: (last?.n ?? 0) + 1,
    logId: head.logId,
    seq: head.seq,
    hash: head.hash,
    count: head.seq,
    atMs: nowMs,
    prev: last?.signature ?? '',
  };
  return { ...anchor, signature: sign(anchorText(anchor)) };
}

export const anchorLine = (anchor: SignedAnchor): string => canonicalText({ ...anchor });

const NUMBERS = ['n', 'seq', 'count', 'atMs'] as const;
const TEXTS = ['logId', 'hash', 'prev', 'signature'] as const;

/** Reads a line; undefined when it is no anchor. */
export function parseAnchor(line: string): SignedAnchor | undefined {
  let value: Readonly<Record<string, unknown>> | null;
  try {
    value = JSON.parse(line) as typeof value;
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const found = value;
  const isSound =
    NUMBERS.every((key) => Number.isSafeInteger(found[key])) && TEXTS.every((key) => typeof found[key] === 'string');
  return isSound ? (found as unknown as SignedAnchor) : undefined;
}

/** What is wrong with an anchor as the successor of `last`; `last` is undefined for the first line. */
function problemOf(
  anchor: SignedAnchor,
  last: SignedAnchor | undefined,
  logId: string | undefined,
  verify: VerifySignature,
): AnchorProblem['problem'] | undefined {
  if (!verify(anchorText(anchor), anchor.signature)) return 'bad_signature';
  if (logId !== undefined && anchor.logId !== logId) return 'other_log';
  if (anchor.n !== (last?.n ?? 0) + 1 || anchor.prev !== (last?.signature ?? '')) return 'line_missing';
  if (anchor.count !== anchor.seq || anchor.seq < (last?.seq ?? 0)) return 'goes_back';
  return undefined;
}

/**
 * Reads the lines of an anchors file, oldest first.
 * @returns the anchors whose signature holds, and what is wrong with the others and between them
 */
export function readAnchors(
  lines: Iterable<string>,
  logId: string | undefined,
  verify: VerifySignature,
): { readonly anchors: readonly SignedAnchor[]; readonly problems: readonly AnchorProblem[] } {
  const anchors: SignedAnchor[] = [];
  const problems: AnchorProblem[] = [];
  let line = 0;
  for (const text of lines) {
    line++;
    const anchor = parseAnchor(text);
    const problem = anchor === undefined ? 'unreadable' : problemOf(anchor, anchors.at(-1), logId, verify);
    if (problem !== undefined) problems.push({ line, problem });
    // An anchor with a gap before it is still a true one.
    if (anchor !== undefined && (problem === undefined || problem === 'line_missing')) anchors.push(anchor);
  }
  return { anchors, problems };
}
