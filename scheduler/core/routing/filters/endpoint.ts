/** The engine answers what is asked: chat, completions or embeddings. */
import { ENDPOINT_BIT } from '../engine_slot.ts';
import type { Filter } from './filter.ts';

export const endpoint: Filter = {
  by: 'no_endpoint',
  strength: 'always',
  admits: (_, ask) => (ask.answers & ENDPOINT_BIT[ask.endpoint]) !== 0,
  sparesAll: (pool, ask) => (pool.commonEndpoints & ENDPOINT_BIT[ask.endpoint]) !== 0,
  why(_, ask) {
    const answers = Object.entries(ENDPOINT_BIT).filter(([, bit]) => (ask.answers & bit) !== 0);
    const names = answers.map(([name]) => name).join(', ');
    return { by: 'no_endpoint', detail: `It serves ${names}, not ${ask.endpoint}.` };
  },
};
