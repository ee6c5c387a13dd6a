/** The system's hash behind idempotency keys, for the pure code that takes it as a port. */
import { createHash } from 'node:crypto';
import type { HashOf } from '../core/request/repeat_key.ts';

/** SHA-256 in hexadecimal; a zero byte after each part keeps the parts apart. */
export const repeatHash: HashOf = (...parts) => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part).update('\0');
  return hash.digest('hex');
};
