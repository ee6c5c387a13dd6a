/** Every taint that keeps new replicas away is tolerated. */
import { tolerates } from '../requirements.ts';
import type { NodeFilter } from './filter.ts';

export const taint: NodeFilter = {
  by: 'taint',
  refuses(node, { tolerations = [] }) {
    const found = node.taints?.find((each) => each.effect !== 'PreferNoSchedule' && !tolerates(tolerations, each));
    return found === undefined ? undefined : { by: 'taint', taint: found };
  },
};
