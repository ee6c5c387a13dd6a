/**
 * The public keys of one token issuer, from a file or an HTTPS address. A token that names an unknown key makes us look
 * again, but not more often than the cool-down allows: else anybody could make us flood the issuer. When the issuer
 * cannot be reached the keys that are known stay in force until they are too old; with none, nobody comes in.
 */
import { readFile } from 'node:fs/promises';
import { createLocalJWKSet, createRemoteJWKSet, errors, type JSONWebKeySet, type JWTVerifyGetKey } from 'jose';
import type { Clock } from '../../../lib/clock.ts';
import { CodedError } from '../../../lib/errors.ts';

export interface JwksOptions {
  /** A path, or an https: (or loopback http:) address. */
  readonly source: string;
  readonly clock: Clock;
  /** Shortest time between two looks. */
  readonly cooldownMs?: number;
  /** Keys older than this are looked up again before they are used. */
  readonly maxAgeMs?: number;
  readonly timeoutMs?: number;
}

const DEFAULT_COOLDOWN_MS = 30_000;
const DEFAULT_MAX_AGE_MS = 600_000;
const DEFAULT_TIMEOUT_MS = 5_000;
const MAX_FILE_BYTES = 1024 * 1024;
const LOOPBACK = new Set(['127.0.0.1', '[::1]', 'localhost']);

function readRemote(url: URL, options: JwksOptions): JWTVerifyGetKey {
  return createRemoteJWKSet(url, {
    cooldownDuration: options.cooldownMs ?? DEFAULT_COOLDOWN_MS,
    cacheMaxAge: options.maxAgeMs ?? DEFAULT_MAX_AGE_MS,
    timeoutDuration: options.timeoutMs ?? DEFAULT_TIMEOUT_MS,
  });
}

async function readKeyFile(file: string): Promise<JWTVerifyGetKey> {
  const text = await readFile(file);
  if (text.length > MAX_FILE_BYTES) throw new Error('the file is too large');
  return createLocalJWKSet(JSON.parse(text.toString('utf8')) as JSONWebKeySet);
}

/** A file is read again, at most once per cool-down, when a token names a key that it did not hold. */
async function watchFile(file: string, options: JwksOptions): Promise<JWTVerifyGetKey> {
  let keys = await readKeyFile(file);
  const cooldownMs = options.cooldownMs ?? DEFAULT_COOLDOWN_MS;
  let readAtMs = options.clock.monotonicMs();
  return async (header, token) => {
    try {
      return await keys(header, token);
    } catch (thrown) {
      const now = options.clock.monotonicMs();
      if (!(thrown instanceof errors.JWKSNoMatchingKey) || now - readAtMs < cooldownMs) throw thrown;
      readAtMs = now;
      keys = await readKeyFile(file);
      return await keys(header, token);
    }
  };
}

/**
 * Opens a source of keys. A file must be there and sound; an address is asked when the first token comes.
 * @throws CodedError invalid_config
 */
export async function openJwks(options: JwksOptions): Promise<JWTVerifyGetKey> {
  const { source } = options;
  if (/^[a-z]+:\/\//i.test(source)) {
    if (!URL.canParse(source))
      throw new CodedError('invalid_config', 'The JWKS address is not a URL.', { param: 'jwks' });
    const url = new URL(source);
    const isSafe = url.protocol === 'https:' || (url.protocol === 'http:' && LOOPBACK.has(url.hostname));
    if (!isSafe) throw new CodedError('invalid_config', 'The JWKS address must be https.', { param: 'jwks' });
    return readRemote(url, options);
  }
  try {
    return await watchFile(source, options);
  } catch (cause) {
    throw new CodedError('invalid_config', 'The JWKS file cannot be read or holds no key set.', {
      param: 'jwks',
      cause,
    });
  }
}
