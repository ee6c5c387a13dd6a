/** This life of the engine has not failed this very request already: one that was started anew has done nothing wrong. */
import type { Filter } from './filter.ts';

export const tried: Filter = {
  by: 'tried',
  strength: 'always',
  admits: (slot, ask) => ask.tried.size === 0 || ask.tried.get(slot.engine) !== slot.incarnation,
  sparesAll: (_, ask) => ask.tried.size === 0,
  why: () => ({ by: 'tried', detail: 'It has failed this request already.' }),
};
