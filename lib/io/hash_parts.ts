/** The system's hash of several parts, for pure code that takes it as a port. */
import { createHash } from 'node:crypto';

/** SHA-256 in hexadecimal; a zero byte after each part keeps the parts apart. */
export function hashParts(...parts: readonly (string | Uint8Array)[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part).update('\0');
  return hash.digest('hex');
}
