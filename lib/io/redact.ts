/**
 * Keeps credentials out of the log. Two nets, because either alone has holes: fields with a telling name lose their
 * value wherever they stand in a logged object, and whatever looks like a key or a token is cut out of the finished
 * line, so that messages, error texts and stacks are covered too.
 */

const REDACTED = '[redacted]';
const DEEPEST = 4;
const MOST_ENTRIES = 100;
const MOST_ENTRIES_IN_ALL = 500;
const LONGEST_TEXT = 8_192;
const LONGEST_CAUSES = 4;

/** Live objects of an HTTP server, of which the logger's serializers take a few fields. */
const SERIALIZED = new Set(['req', 'res']);

/** Compared without letter case, hyphens and underscores. */
const SECRET_NAMES = new Set([
  'authorization',
  'proxyauthorization',
  'cookie',
  'setcookie',
  'apikey',
  'xapikey',
  'token',
  'accesstoken',
  'refreshtoken',
  'idtoken',
  'bearer',
  'password',
  'passphrase',
  'secret',
  'clientsecret',
  'privatekey',
  'credential',
  'credentials',
  'secwebsocketprotocol',
  'hftoken',
]);

/** Names are few and repeat on every line, so the answer for each is remembered, up to a bound. */
const known = new Map<string, boolean>();
const MOST_KNOWN = 2_000;

function isSecretName(name: string): boolean {
  const before = known.get(name);
  if (before !== undefined) return before;
  const answer = SECRET_NAMES.has(name.toLowerCase().replaceAll(/[-_]/g, ''));
  if (known.size < MOST_KNOWN) known.set(name, answer);
  return answer;
}

function describeError(error: Error, causes: number): Record<string, unknown> {
  const code = (error as { code?: unknown }).code;
  return {
    type: error.name,
    message: error.message.slice(0, LONGEST_TEXT),
    ...(typeof code === 'string' || typeof code === 'number' ? { code } : {}),
    stack: error.stack?.slice(0, LONGEST_TEXT),
    ...(error.cause instanceof Error && causes < LONGEST_CAUSES
      ? { cause: describeError(error.cause, causes + 1) }
      : {}),
  };
}

/** How much of one logged object may still be copied: a line must stay a line, whatever is passed. */
interface Budget {
  entries: number;
}

function redactValue(value: unknown, depth: number, budget: Budget): unknown {
  if (typeof value === 'string') return value.length > LONGEST_TEXT ? `${value.slice(0, LONGEST_TEXT)}...` : value;
  if (typeof value !== 'object' || value === null) return value;
  if (value instanceof Error) return describeError(value, 1);
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
  if (depth > DEEPEST) return Array.isArray(value) ? '[array]' : '[object]';
  if (Array.isArray(value)) {
    const items = value.slice(0, Math.min(MOST_ENTRIES, Math.max(0, budget.entries)));
    budget.entries -= items.length;
    return items.map((item) => redactValue(item, depth + 1, budget));
  }
  if ('toJSON' in value && typeof value.toJSON === 'function') return value;
  return copyFields(value as Record<string, unknown>, depth, budget);
}

function copyFields(fields: Record<string, unknown>, depth: number, budget: Budget): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(fields).slice(0, MOST_ENTRIES)) {
    if (budget.entries-- <= 0) break;
    if (depth === 1 && SERIALIZED.has(name)) out[name] = value;
    else out[name] = isSecretName(name) && value !== undefined ? REDACTED : redactValue(value, depth + 1, budget);
  }
  return out;
}

/**
 * A copy of the fields with secrets replaced and errors turned into fields: at most 4 levels deep, 100 entries wide and
 * 500 in all, texts cut at 8,192 characters. `req` and `res` are left to the logger's serializers.
 */
export function redactFields(fields: Record<string, unknown>): Record<string, unknown> {
  return copyFields(fields, 1, { entries: MOST_ENTRIES_IN_ALL });
}

/** Our keys and OpenAI's (`sk-`), hub tokens (`hf_`), JWTs, and what follows the word Bearer. */
const SECRET_SHAPES =
  /\bsk-[A-Za-z0-9_-]{8,}|\bhf_[A-Za-z0-9]{16,}|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?|(?<=\bbearer\s{1,4})[A-Za-z0-9._~+/=-]{8,}/gi;

/** The text with everything that looks like a credential replaced. */
export function scrub(line: string): string {
  return line.replace(SECRET_SHAPES, REDACTED);
}
