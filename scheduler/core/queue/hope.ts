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
 * @param refused why engines of the model could not be picked, and how many; nothing at all: its engines are configured,
 *   and their agents have not come yet
 */
export function isWorthWaiting(refused: ReadonlyMap<string, number> | undefined): boolean {
  if (refused === undefined || refused.size === 0) return true;
  for (const by of refused.keys()) if (!HOPELESS.has(by)) return true;
  return false;
}
