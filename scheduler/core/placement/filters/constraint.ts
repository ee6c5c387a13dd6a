/** The node's labels and attributes meet every constraint. The first that they do not meet is named. */
import { meets, valueOf } from '../requirements.ts';
import type { NodeFilter } from './filter.ts';

export const constraint: NodeFilter = {
  by: 'constraint',
  refuses(node, { constraints = [] }) {
    const failed = constraints.find((requirement) => !meets(node, requirement));
    if (failed === undefined) return undefined;
    const { key, operator, values = [] } = failed;
    return { by: 'constraint', key, operator, values, found: valueOf(node, key) };
  },
};
