/** Byte helpers for the reader's tests. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { packageRoot } from '../../../lib/io/package_root.ts';

/** One recorded answer of a real vLLM, as it came over the socket. */
export const fixture = (name: string): Buffer =>
  readFileSync(path.join(packageRoot(), 'test', 'fixtures', 'vllm-0.32', name));

/** The pieces of `bytes` when it is cut at these places. */
export function cutAt(bytes: Buffer, ...places: readonly number[]): Buffer[] {
  const pieces: Buffer[] = [];
  let from = 0;
  for (const place of [...places, bytes.length]) {
    // Copies, because the reader may overwrite what it is given.
    pieces.push(Buffer.from(bytes.subarray(from, place)));
    from = place;
  }
  return pieces;
}
