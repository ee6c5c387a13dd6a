/** Taints of the effect PreferNoSchedule that the deployment does not tolerate: one is as bad as many. */
import { tolerates } from '../requirements.ts';
import type { NodeScore } from './score.ts';

export const preferNoSchedule: NodeScore = {
  name: 'prefer_no_schedule',
  weight: 1,
  of: (node, { tolerations = [] }) =>
    node.taints?.some((taint) => taint.effect === 'PreferNoSchedule' && !tolerates(tolerations, taint)) === true
      ? -1
      : 0,
};
