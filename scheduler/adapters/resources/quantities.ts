/**
 * Values as people write them in YAML: sizes such as 24GiB, durations such as 30s, shares such as 2%. Numbers pass as
 * they are. The suffixes of sizes are those of Kubernetes' quantities and the same with a B behind.
 */
import { z } from 'zod';

const SIZE = /^(\d{1,15}(?:\.\d{1,6})?)\s?(k|K|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?B?$/;
const SIZE_UNITS: Readonly<Record<string, number>> = {
  k: 1e3,
  K: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  Ki: 1024,
  Mi: 1024 ** 2,
  Gi: 1024 ** 3,
  Ti: 1024 ** 4,
  Pi: 1024 ** 5,
};
const DURATION = /^(\d{1,12}(?:\.\d{1,6})?)\s?(ms|s|m|h|d)$/;
const DURATION_UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1e3, m: 6e4, h: 3.6e6, d: 8.64e7 };
const SHARE = /^(\d{1,6}(?:\.\d{1,6})?)(%|m)$/;
const SHARE_UNITS: Readonly<Record<string, number>> = { '%': 0.01, m: 0.001 };

/** Reads a text by a pattern with a number and a unit; NaN when it is none. */
function scaled(text: string, pattern: RegExp, units: Readonly<Record<string, number>>): number {
  const match = pattern.exec(text.trim());
  return match === null ? Number.NaN : Number(match[1]) * (match[2] === undefined ? 1 : (units[match[2]] as number));
}

function quantity(read: (text: string) => number, isSound: (value: number) => boolean, allowed: string) {
  const error = `must be ${allowed}`;
  return z
    .union([z.number(), z.string().max(64).transform(read)], { error })
    .refine((value) => isSound(value), { error });
}

/** Bytes: 1 to 2^50, whole. */
export const bytes = (doc: string) =>
  quantity(
    (text) => Math.round(scaled(text, SIZE, SIZE_UNITS)),
    (value) => Number.isInteger(value) && value >= 1 && value <= 1024 ** 5,
    'a size of 1 byte to 1 PiB, such as 512MiB or 24GiB',
  ).describe(`${doc} Bytes, or a size such as 24GiB.`);

/** Milliseconds: 0 to 30 days, whole. */
export const milliseconds = (doc: string) =>
  quantity(
    (text) => Math.round(scaled(text, DURATION, DURATION_UNITS)),
    (value) => Number.isInteger(value) && value >= 0 && value <= 30 * 8.64e7,
    'milliseconds or a duration up to 30 days, such as 500ms, 30s or 5m',
  ).describe(`${doc} Milliseconds, or a duration such as 30s.`);

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)$/;
const MAX_UNTIL_MS = 366 * 8.64e7;

/** A moment stays one and is spelt in UTC, a duration becomes milliseconds; NaN when it is neither. */
function untilOf(text: string): string | number {
  const atMs = TIME.test(text.trim()) ? Date.parse(text.trim()) : Number.NaN;
  if (!Number.isNaN(atMs)) return new Date(atMs).toISOString();
  return Math.round(scaled(text, DURATION, DURATION_UNITS));
}

const UNTIL =
  'must be a time with its zone such as 2027-01-31T18:00:00Z, or a duration up to 366 days such as 30m or 2d';

/** A moment in ISO 8601, or whole milliseconds from 1 to 366 days. */
export const until = (doc: string) =>
  z
    .union([z.number(), z.string().max(64).transform(untilOf)], { error: UNTIL })
    .refine(
      (value) => typeof value === 'string' || (Number.isInteger(value) && value >= 1 && value <= MAX_UNTIL_MS),
      UNTIL,
    )
    .describe(`${doc} A time such as 2027-01-31T18:00:00Z, or a duration such as 2d.`);

/** 0 to 1. */
export const share = (doc: string) =>
  quantity(
    (text) => scaled(text, SHARE, SHARE_UNITS),
    (value) => value >= 0 && value <= 1,
    'a share from 0 to 1, such as 0.02, 2% or 20m',
  ).describe(`${doc} From 0 to 1, or a share such as 2% or 20m.`);
