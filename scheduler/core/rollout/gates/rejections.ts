/**
 * The new revision refuses no more requests as wrong than the old one: a shorter context, a missing chat template or a flag
 * that turns tools off is no fault of an engine, and clients see it all the same. What clients do wrong themselves both
 * revisions refuse alike. Fisher's exact test, as in error_rate.ts.
 */
import { compareRates } from './error_rate.ts';
import { type Gate, WATCHED } from './gate.ts';

export const rejections: Gate = {
  name: 'rejections',
  phases: WATCHED,
  ask: (ask) => compareRates(ask, 'rejections'),
};
