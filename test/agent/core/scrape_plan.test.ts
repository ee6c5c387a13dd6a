/** Which engines are asked for their metrics now. */
import t from 'tap';
import { dueScrapes, type ScrapeState } from '../../../agent/core/scrape_plan.ts';

const RULES = { busyPeriodMs: 1000, idlePeriodMs: 10_000, maxWaiting: 4 };
const state = (engine: string, change: Partial<ScrapeState> = {}): ScrapeState => ({
  engine,
  busy: false,
  askedAtMs: 0,
  waiting: false,
  moved: false,
  failed: false,
  ...change,
});

t.test('a busy engine and one that moved are asked each second, an idle one seldom, a new one at once', async (t) => {
  const states = [
    state('idle'),
    state('busy', { busy: true }),
    state('moved', { moved: true }),
    state('new', { askedAtMs: undefined }),
  ];
  t.same(dueScrapes(states, 999, RULES), ['new']);
  t.same(dueScrapes(states, 1000, RULES), ['new', 'busy', 'moved']);
  t.same(dueScrapes(states, 10_000, RULES), ['new', 'idle', 'busy', 'moved']);
});

t.test('no more are asked than there are places, those that have waited longest first', async (t) => {
  const states = ['a', 'b', 'c', 'd', 'e'].map((name, index) => state(name, { busy: true, askedAtMs: 100 - index }));
  t.same(dueScrapes(states, 5000, RULES), ['e', 'd', 'c', 'b']);
  t.same(dueScrapes([...states, state('w', { waiting: true })], 5000, RULES), ['e', 'd', 'c']);
});

t.test('engines that do not answer are asked seldom and never take all the places', async (t) => {
  const hanging = ['h1', 'h2', 'h3', 'h4'].map((name) => state(name, { busy: true, failed: true }));
  t.same(dueScrapes(hanging, 5000, RULES), []);
  t.same(dueScrapes(hanging, 10_000, RULES), ['h1', 'h2']);
  const waiting = hanging.map((one, index) => ({ ...one, waiting: index < 2 }));
  t.same(dueScrapes([...waiting, state('good')], 10_000, RULES), ['good']);
});
