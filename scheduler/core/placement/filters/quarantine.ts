/** No operator has put the node into quarantine. A GPU in quarantine is the affair of gpu_health. */
import type { NodeFilter } from './filter.ts';

export const quarantine: NodeFilter = {
  by: 'quarantine',
  refuses: ({ quarantine: held }) => (held === undefined ? undefined : { by: 'quarantine', ...held }),
};
