/** The engine has not failed this very request already. */
import type { Filter } from './filter.ts';

export const tried: Filter = {
  by: 'tried',
  strength: 'always',
  admits: (slot, ask) => ask.tried.size === 0 || !ask.tried.has(slot.engine),
  sparesAll: (_, ask) => ask.tried.size === 0,
  why: () => ({ by: 'tried', detail: 'It has failed this request already.' }),
};
