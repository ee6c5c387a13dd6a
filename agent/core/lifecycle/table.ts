/**
 * The statuses of an engine and which may follow which. Everything that can happen to an engine is an edge of this
 * table; the step function is tested against it with random histories, so an edge that is missing here is found.
 */

/** A status that keeps itself is not listed: staying is always allowed. */
export const NEXT = {
  /** Waits for its turn to be started. */
  pending: ['preflight', 'stopped', 'quarantined'],
  /** The host is looked at before anything is started. */
  preflight: ['starting', 'pending', 'backoff', 'failed', 'stopped', 'quarantined'],
  /** The process is being launched or loads its model. */
  starting: ['warming', 'stopping', 'backoff', 'failed'],
  /** It answers; one real token is asked for before it may take traffic. */
  warming: ['ready', 'stopping'],
  ready: ['draining', 'stopping'],
  /** Running requests may end, new ones are refused. */
  draining: ['ready', 'stopping'],
  /** The process is made to end, or has ended and what is left of its tree is swept. */
  stopping: ['stopped', 'pending', 'backoff', 'failed', 'quarantined'],
  /** No process; kept because a person drained it, or about to be forgotten. */
  stopped: ['pending', 'quarantined'],
  /** Waits after a failure. */
  backoff: ['pending', 'stopped', 'quarantined'],
  /** Not tried again without a person or a new wish. */
  failed: ['pending', 'stopped', 'quarantined'],
  /** Its GPU may not be used. */
  quarantined: ['pending', 'stopped'],
  /** Started by an earlier agent; being verified. */
  adopted: ['ready', 'starting', 'draining', 'stopping'],
} as const satisfies Record<string, readonly string[]>;

export type EngineStatus = keyof typeof NEXT;

/** Statuses that may own a process. In every other one there is none, and none is being launched. */
export const WITH_PROCESS: ReadonlySet<EngineStatus> = new Set([
  'starting',
  'warming',
  'ready',
  'draining',
  'stopping',
  'adopted',
] as const);

/** Statuses that must not last for ever: each has a timer. */
export const TIMED: ReadonlySet<EngineStatus> = new Set([
  'pending',
  'preflight',
  'starting',
  'warming',
  'draining',
  'stopping',
  'backoff',
  'adopted',
] as const);
