/** Each filter admits, refuses with its reason, and says so beforehand where it can tell for all. */
import t from 'tap';
import type { EngineId } from '../../../../../lib/ids.ts';
import { newSlot, type EngineSlot } from '../../../../../scheduler/core/routing/engine_slot.ts';
import { breaker } from '../../../../../scheduler/core/routing/filters/breaker.ts';
import { capacity } from '../../../../../scheduler/core/routing/filters/capacity.ts';
import { endpoint } from '../../../../../scheduler/core/routing/filters/endpoint.ts';
import type { Filter, FilterAsk, FilterPool } from '../../../../../scheduler/core/routing/filters/filter.ts';
import { stale } from '../../../../../scheduler/core/routing/filters/stale.ts';
import { state } from '../../../../../scheduler/core/routing/filters/state.ts';
import { tried } from '../../../../../scheduler/core/routing/filters/tried.ts';
import { FILTERS } from '../../../../../scheduler/core/routing/filters.ts';

const ENGINE = 'n/e' as EngineId;
const slotWith = (change: Partial<EngineSlot>): EngineSlot => Object.assign(newSlot(ENGINE, 1), change);
const ASK: FilterAsk = { endpoint: 'chat', answers: 7, tried: new Map(), nowMs: 20_000, staleAfterMs: 10_000 };
const POOL: FilterPool = { commonEndpoints: 7, seenSinceMs: 20_000 };

const openBreaker = { state: 'open', faults: 0, pauseMs: 500, dueAtMs: 20_300, opened: 1 } as const;
const halfOpen = { ...openBreaker, state: 'half_open', probeAtMs: 19_999 } as const;
const unset = { probeAtMs: undefined, speaksSinceMs: undefined };

interface Case {
  readonly filter: Filter;
  readonly good: EngineSlot;
  readonly bad: EngineSlot;
  readonly ask?: Partial<FilterAsk>;
  readonly pool?: Partial<FilterPool>;
  readonly why: object;
}

const seen = slotWith({ lastSeenAtMs: 10_000 });
const CASES: Readonly<Record<string, Case>> = {
  state: {
    filter: state,
    good: seen,
    bad: slotWith({ refusal: { by: 'draining', detail: 'It stops.' } }),
    why: { by: 'draining', detail: 'It stops.' },
  },
  capacity: {
    filter: capacity,
    good: slotWith({ reservedRequests: 1, maxRequests: 2 }),
    bad: slotWith({ reservedRequests: 2, maxRequests: 2 }),
    why: { by: 'at_capacity', detail: 'It has 2 of at most 2 requests.' },
  },
  'an open breaker': {
    filter: breaker,
    good: slotWith({ breaker: { ...openBreaker, ...unset, dueAtMs: 20_000 } }),
    bad: slotWith({ breaker: { ...openBreaker, ...unset } }),
    why: { by: 'breaker', detail: /300 ms are left/ },
  },
  'a half-open breaker': {
    filter: breaker,
    good: slotWith({ breaker: { ...halfOpen, ...unset } }),
    bad: slotWith({ breaker: { ...halfOpen, speaksSinceMs: undefined } }),
    why: { by: 'breaker', detail: /waits for one generation/ },
  },
};

for (const [name, { filter, good, bad, why }] of Object.entries(CASES)) {
  t.test(`${name}: looks at the engine alone`, async (t) => {
    t.ok(filter.admits(good, ASK));
    t.notOk(filter.admits(bad, ASK));
    t.notOk(filter.clear?.(bad), 'an engine that it refuses is never clear');
    t.match(filter.why(bad, ASK), why);
    t.equal(filter.sparesAll, undefined);
  });
}

t.test('an engine with nothing against it is clear to every filter that looks at it alone', async (t) => {
  for (const filter of FILTERS) t.ok(filter.clear?.(seen) ?? true, filter.by);
});

t.test('endpoint: the engine answers what is asked', async (t) => {
  const ask = { ...ASK, answers: 3, endpoint: 'embeddings' as const };
  t.ok(endpoint.admits(seen, ASK));
  t.notOk(endpoint.admits(seen, ask));
  t.same(endpoint.why(seen, ask), { by: 'no_endpoint', detail: 'It serves chat, completions, not embeddings.' });
  t.ok(endpoint.sparesAll?.(POOL, ASK));
  t.notOk(endpoint.sparesAll?.({ ...POOL, commonEndpoints: 3 }, ask));
});

t.test('tried: a life of an engine that failed this request is not asked again, and its next one is', async (t) => {
  const ask = { ...ASK, tried: new Map([[ENGINE, seen.incarnation]]) };
  t.ok(tried.admits(seen, { ...ASK, tried: new Map([[ENGINE, seen.incarnation - 1]]) }), 'it was started anew');
  t.ok(tried.admits(seen, ASK));
  t.ok(tried.admits(seen, { ...ASK, tried: new Map([['n/other' as EngineId, seen.incarnation]]) }));
  t.notOk(tried.admits(seen, ask));
  t.match(tried.why(seen, ask), { by: 'tried' });
  t.ok(tried.sparesAll?.(POOL, ASK));
  t.notOk(tried.sparesAll?.(POOL, ask));
});

t.test('stale: an engine whose agent fell silent, by the clock of this scheduler', async (t) => {
  t.ok(stale.admits(seen, ASK), 'exactly at the limit');
  t.notOk(stale.admits(seen, { ...ASK, nowMs: 20_001 }));
  t.ok(stale.admits(seen, { ...ASK, nowMs: -5 }), 'a clock that went back makes nothing old');
  t.match(stale.why(seen, { ...ASK, nowMs: 25_000 }), {
    by: 'stale_telemetry',
    detail: 'n has said nothing for 15000 ms.',
  });
  t.ok(stale.sparesAll?.(POOL, ASK));
  t.notOk(stale.sparesAll?.({ ...POOL, seenSinceMs: 9999 }, ASK));
});

t.test('the state filter has a word even where nobody gave one', async (t) => {
  t.same(state.why(seen, ASK), { by: 'state', detail: '' });
});
