/** What a node that gives files of models understands of a request: the path in front, and one range of bytes. */

/** In front of a file's own path; the ticket says of which model. */
export const MODEL_FILES_PATH = '/model-files/v1/';

/** From the first byte to before the last. */
export interface ByteRange {
  readonly from: number;
  readonly to: number;
  /** Whether a range was asked for. */
  readonly part: boolean;
}

/**
 * The one range of a Range header (RFC 9110, 14.2) of a file of this size; `bad`: several, none of this file, or another unit.
 * Ranges from the end are not asked for among agents.
 */
export function parseRange(header: string | undefined, bytes: number): ByteRange | 'bad' {
  if (header === undefined) return { from: 0, to: bytes, part: false };
  const match = /^bytes=(\d{1,15})-(\d{1,15})?$/.exec(header);
  if (match === null) return 'bad';
  const from = Number(match[1]);
  const to = match[2] === undefined ? bytes : Math.min(bytes, Number(match[2]) + 1);
  return from < to ? { from, to, part: true } : 'bad';
}
