/** A failure of a fetch as a throw, and how errors of sockets and disks become one. Messages never hold a secret. */
import type { Failure, FailureKind } from '../../core/model_files/retry.ts';

export class FetchFailure extends Error {
  readonly failure: Failure;

  constructor(failure: Failure, cause?: unknown) {
    super(failure.message, cause === undefined ? undefined : { cause });
    this.name = 'FetchFailure';
    this.failure = failure;
  }
}

export const fetchFailure = (kind: FailureKind, message: string, more: Partial<Failure> = {}): FetchFailure =>
  new FetchFailure({ kind, message, ...more });

const DISK: Readonly<Record<string, FailureKind>> = {
  ENOSPC: 'disk_full',
  EDQUOT: 'disk_full',
  EIO: 'disk',
  EROFS: 'disk',
  EACCES: 'disk',
  EPERM: 'disk',
  EMFILE: 'disk',
  ENFILE: 'disk',
  ENOENT: 'disk',
  ENOTDIR: 'disk',
  EISDIR: 'disk',
  ENOTEMPTY: 'disk',
  EEXIST: 'disk',
};

const CUT_WORDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'The source refuses connections.',
  ENOTFOUND: 'The name of the source cannot be resolved.',
  EAI_AGAIN: 'The name of the source cannot be resolved now.',
};

/** What anything thrown means for the fetch. A fault of the program itself is thrown on. */
export function toFetchFailure(thrown: unknown): FetchFailure {
  if (thrown instanceof FetchFailure) return thrown;
  const { code, syscall } = (thrown ?? {}) as NodeJS.ErrnoException;
  if (code === undefined) throw thrown;
  const kind = DISK[code];
  // Sockets name calls such as connect and read too, but none of them with these codes.
  if (kind !== undefined && syscall !== 'connect') {
    const words = kind === 'disk_full' ? 'The disk of the models is full.' : `The disk of the models fails (${code}).`;
    return new FetchFailure({ kind, message: words }, thrown);
  }
  return new FetchFailure({ kind: 'cut', message: CUT_WORDS[code] ?? `The connection was lost (${code}).` }, thrown);
}
