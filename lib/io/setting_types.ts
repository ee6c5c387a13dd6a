/**
 * The kinds of values that a setting can have. Flags and environment variables bring strings, files bring typed values;
 * each kind takes both, strictly: "false" is false, "80a" is not a number, and nothing is guessed. Every kind describes
 * itself in words, and those words are what a refusal and docs/CONFIG.md say is allowed.
 */
import { z } from 'zod';

/** Strings of 1 to `maxLength` characters (1,024 when absent), or what `pattern` admits; `allowed` says it in words. */
export function text(
  options: { readonly pattern?: RegExp; readonly maxLength?: number; readonly allowed?: string } = {},
) {
  const { pattern, maxLength = 1024 } = options;
  const bounded = z.string().min(1).max(maxLength);
  const schema = pattern === undefined ? bounded : bounded.regex(pattern);
  return schema.describe(options.allowed ?? `text of 1 to ${maxLength} characters`);
}

/** `true` or `false`; as a flag also `--name` and `--no-name`. */
export function flag() {
  return z
    .union([z.boolean(), z.enum(['true', 'false']).transform((word) => word === 'true')])
    .describe('true or false');
}

/** A number, or its decimal spelling; refuses NaN, infinities, hexadecimal and anything after the digits. */
function decimal(pattern: RegExp) {
  return z.union([z.number(), z.string().regex(pattern).transform(Number)]);
}

function within(min: number, max: number): string {
  return max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `from ${min} to ${max}`;
}

/** A whole number within the bounds (0 and 2^53-1 when absent). */
export function integer(bounds: { readonly min?: number; readonly max?: number } = {}) {
  const { min = 0, max = Number.MAX_SAFE_INTEGER } = bounds;
  return decimal(/^-?\d{1,16}$/)
    .pipe(z.int().min(min).max(max))
    .describe(`a whole number ${within(min, max)}`);
}

/** A TCP port; 0 asks the system for a free one. */
export function port() {
  return integer({ min: 0, max: 65_535 });
}

/** One of a few words. */
export function oneOf<const Words extends readonly [string, ...string[]]>(words: Words) {
  return z.enum(words).describe(`one of ${words.join(', ')}`);
}

function scaled(units: Readonly<Record<string, number>>, fallbackUnit: string) {
  const pattern = new RegExp(`^(\\d{1,15}(?:\\.\\d{1,6})?)(${Object.keys(units).join('|')})?$`);
  return z.union([
    z.number(),
    z
      .string()
      .regex(pattern)
      .transform((word) => {
        const match = pattern.exec(word);
        return Number(match?.[1]) * (units[match?.[2] ?? fallbackUnit] as number);
      }),
  ]);
}

const DURATION_UNITS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** A span of time in milliseconds: a number, or a string such as `250ms`, `5s`, `2m`, `1h`, `7d`. */
export function durationMs(bounds: { readonly min?: number; readonly max?: number } = {}) {
  const { min = 0, max = 365 * DURATION_UNITS.d } = bounds;
  return scaled(DURATION_UNITS, 'ms')
    .pipe(z.int().min(min).max(max))
    .describe(`a duration from ${formatDuration(min)} to ${formatDuration(max)}, such as 250ms, 5s, 2m, 1h or 7d`);
}

/** The shortest exact spelling of a duration: 5000 is `5s`. */
export function formatDuration(ms: number): string {
  for (const unit of ['d', 'h', 'm', 's'] as const) {
    if (ms > 0 && ms % DURATION_UNITS[unit] === 0) return `${ms / DURATION_UNITS[unit]}${unit}`;
  }
  return `${ms}ms`;
}

const SIZE_UNITS = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3, TiB: 1024 ** 4 } as const;

/** A size in bytes: a number, or a string such as `512KiB`, `8MiB`, `1.5GiB`. */
export function byteSize(bounds: { readonly min?: number; readonly max?: number } = {}) {
  const { min = 0, max = Number.MAX_SAFE_INTEGER } = bounds;
  return scaled(SIZE_UNITS, 'B')
    .pipe(z.int().min(min).max(max))
    .describe(`a size ${within(min, max)} bytes, such as 512KiB, 8MiB or 1GiB`);
}

/**
 * A list: in files a sequence, in flags and variables separated by commas (an empty string is the empty list). White
 * space around an item is dropped, and an empty item is refused.
 */
export function list<Item extends z.ZodType>(
  item: Item,
  bounds: { readonly min?: number; readonly max?: number } = {},
) {
  const { min = 0, max = 256 } = bounds;
  const separated = z
    .string()
    .transform((line) => (line.trim() === '' ? [] : line.split(',').map((part) => part.trim())));
  return z
    .union([z.array(z.unknown()), separated])
    .pipe(z.array(item).min(min).max(max))
    .describe(`a list of ${min} to ${max} items, each ${item.description ?? 'acceptable'}; separated by commas`);
}

/** An absolute URL with one of the given schemes (`http` and `https` when absent), without a password in it. */
export function url(schemes: readonly string[] = ['http', 'https']) {
  return z
    .string()
    .max(2048)
    .refine((word) => {
      if (!URL.canParse(word)) return false;
      const parsed = new URL(word);
      return schemes.includes(parsed.protocol.slice(0, -1)) && parsed.password === '';
    })
    .describe(`a URL that starts with ${schemes.map((scheme) => `${scheme}://`).join(' or ')}`);
}

/** `host:port` of a TCP address; IPv6 in brackets, such as `[::1]:50051`. */
export function hostPort() {
  return z
    .string()
    .max(300)
    .refine(isHostPort)
    .describe('an address such as 127.0.0.1:50051, host:50051 or [::1]:50051');
}

function isHostPort(word: string): boolean {
  const match = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]{1,253}):(\d{1,5})$/.exec(word);
  return match !== null && Number(match[2]) <= 65_535;
}
