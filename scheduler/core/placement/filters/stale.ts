/** The node's agent has spoken lately: of one that fell silent nobody knows what is free there. */
import type { NodeFilter } from './filter.ts';

export const stale: NodeFilter = {
  by: 'stale',
  refuses(node, _, { nowMs, staleAfterMs }) {
    const silentMs = nowMs - node.lastSeenMs;
    return silentMs > staleAfterMs ? { by: 'stale', silentMs, staleAfterMs } : undefined;
  },
};
