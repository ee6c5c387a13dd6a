/**
 * Whether it is worth waiting for a model: a full engine gets free and a starting one gets ready, but what has failed,
 * leaves, or cannot do what is asked does not. The words are those of refusals in routing and of engine states.
 */

/** A word that is not here is a state that passes by itself: starting, warming, backoff, at capacity, a lost agent. */
const HOPELESS: ReadonlySet<string> = new Set([
  'draining',
  'failed',
  'no_endpoint',
  'node_draining',
  'quarantined',
  'stopped',
  'stopping',
  'tried',
  'unspecified',
]);

/**
 * @param refusals why each engine of the model could not be picked; none at all: its engines are configured, and their
 *   agents have not come yet
 */
export function isWorthWaiting(refusals: readonly string[]): boolean {
  return refusals.length === 0 || refusals.some((by) => !HOPELESS.has(by));
}
