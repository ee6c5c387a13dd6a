/**
 * Members of a gang that have no door of their own: they compute for the replica, and only its leader answers requests. What
 * an engine was ordered to be says so, which every scheduler knows by itself.
 */
import type { NodeState } from './state.ts';

/** vLLM's flag for a process that computes and serves nobody. */
export const HEADLESS = '--headless';

/** @param engine name of the engine on its node */
export function isGangMember({ desired }: Pick<NodeState, 'desired'>, engine: string): boolean {
  return desired?.engines?.find(({ name }) => name === engine)?.extraFlags?.includes(HEADLESS) === true;
}
