/** The registry of filters, in the order in which they are asked. To add one: a file in filters/, and its place here. */
import { breaker } from './filters/breaker.ts';
import { capacity } from './filters/capacity.ts';
import { directListener } from './filters/direct_listener.ts';
import { endpoint } from './filters/endpoint.ts';
import type { Filter } from './filters/filter.ts';
import { revision } from './filters/revision.ts';
import { stale } from './filters/stale.ts';
import { state } from './filters/state.ts';
import { tried } from './filters/tried.ts';

const REGISTERED: readonly Filter[] = [state, revision, endpoint, tried, capacity, stale, breaker, directListener];

const RANK: Readonly<Record<Filter['strength'], number>> = { always: 0, unless_last: 1, ejected: 2 };

/** The first that refuses speaks for an engine, so what always holds is asked before what need or panic may pass over. */
export const FILTERS: readonly Filter[] = REGISTERED.toSorted(
  (left, right) => RANK[left.strength] - RANK[right.strength],
);
