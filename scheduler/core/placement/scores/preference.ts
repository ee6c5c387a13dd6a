/** Preferences that the node meets, by their weights, as a share of all that were stated. */
import { meets } from '../requirements.ts';
import type { NodeScore } from './score.ts';

export const preference: NodeScore = {
  name: 'preference',
  weight: 1,
  of(node, { preferences = [] }) {
    let met = 0;
    let most = 0;
    for (const { requirement, weight } of preferences) {
      most += Math.abs(weight);
      if (meets(node, requirement)) met += weight;
    }
    return most === 0 ? 0 : met / most;
  },
};
