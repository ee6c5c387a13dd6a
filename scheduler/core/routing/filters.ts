/**
 * The registry of filters, in the order in which they are asked. To add one: a file in filters/, and its place here. The first
 * that refuses speaks for the engine, so those that hold always stand before those that panic or need may pass over.
 */
import { breaker } from './filters/breaker.ts';
import { capacity } from './filters/capacity.ts';
import { directListener } from './filters/direct_listener.ts';
import { endpoint } from './filters/endpoint.ts';
import type { Filter } from './filters/filter.ts';
import { revision } from './filters/revision.ts';
import { stale } from './filters/stale.ts';
import { state } from './filters/state.ts';
import { tried } from './filters/tried.ts';

export const FILTERS: readonly Filter[] = [state, revision, endpoint, tried, capacity, directListener, stale, breaker];
