/** Requests of a model are divided among revisions by weight, and what a revision cannot take goes to the others. */
import t from 'tap';
import type { EngineId } from '../../../../lib/ids.ts';
import type { EngineMark } from '../../../../scheduler/core/routing/traffic_rules.ts';
import { facts, fleet, picksOf } from './support.ts';

type Marks = Readonly<Record<string, EngineMark>>;

const share = (
  label: string,
  weight: number,
  more: { standby?: boolean; split?: string; closed?: boolean } = {},
): EngineMark => {
  const { standby = false, split = 'd', closed = false } = more;
  return { label, closed, share: { split, weight, standby } };
};

const rules = (marks: Marks) => ({ markOf: (engine: EngineId) => marks[engine.slice(2)] });

/** Three engines of the old revision and one of the new, with the given marks. */
function world(marks: Marks, names = ['a', 'b', 'c', 'n']) {
  const made = fleet({ policy: 'least_requests' });
  for (const name of names) made.put(name);
  made.router.divide(rules(marks));
  return made;
}

const toNew = (picks: Record<string, number>): number => picks['n/n'] ?? 0;

t.test('a revision gets its part of the requests, however many engines it has', async (t) => {
  const made = world({ a: share('old', 95), b: share('old', 95), c: share('old', 95), n: share('new', 5) });
  const picks = picksOf(made, 4000);
  t.ok(Math.abs(toNew(picks) - 200) < 4 * Math.sqrt(190), `${toNew(picks)} of 4000 went to 5 %`);
  t.ok((picks['n/a'] ?? 0) > 1000 && (picks['n/b'] ?? 0) > 1000, 'the policy divides the rest among its engines');
  const { trace } = made.pick();
  t.equal(trace.refused.get('other_revision'), trace.verdicts[0]?.engine === 'n/n' ? 3 : 1);
});

t.test('a revision without an engine that may be picked gives its part to the others', async (t) => {
  const made = world({ a: share('old', 0.0001), n: share('new', 99) }, ['a', 'n']);
  made.put('n', { refusal: { by: 'draining', detail: 'it stops' } });
  t.same(picksOf(made, 50), { 'n/a': 50 });
  made.put('a', { refusal: { by: 'failed', detail: '' } });
  t.equal(made.pick().picked, undefined);
});

t.test('what stands by gets what nobody else can take, and nothing before', async (t) => {
  const made = world({ a: share('old', 0, { standby: true }), n: share('new', 100) }, ['a', 'n']);
  t.same(picksOf(made, 50), { 'n/n': 50 });
  made.put('n', { refusal: { by: 'failed', detail: '' } });
  t.same(picksOf(made, 10), { 'n/a': 10 });
});

t.test('a revision with no weight that does not stand by gets nothing at all', async (t) => {
  const made = world({ a: share('old', 0), n: share('new', 100) }, ['a', 'n']);
  made.put('n', { refusal: { by: 'failed', detail: '' } });
  const { picked, trace } = made.pick();
  t.equal(picked, undefined);
  t.equal(trace.refused.get('other_revision'), 1);
});

t.test('a closed revision is refused by name, and is not the last resort of a request either', async (t) => {
  const made = world({ n: share('new', 100, { closed: true }) }, ['n']);
  const { picked, trace } = made.pick();
  t.equal(picked, undefined);
  t.match(trace.verdicts, [{ kind: 'refused', by: 'revision_closed', detail: /new, which has not passed/ }]);
  t.equal(made.router.serves('m'), false);
  made.router.divide(rules({ n: { label: 'new', closed: false } }));
  t.equal(made.pick().picked?.lease.engine, 'n/n');
  t.same([made.router.serves('m'), made.router.serves('x')], [true, false]);
});

t.test(
  'a request that failed goes to another revision, standing by or not, before it comes back to the first',
  async (t) => {
    const marks = { a: share('old', 0, { standby: true }), n: share('new', 100), o: share('new', 100) };
    const made = world(marks, ['a', 'n', 'o']);
    t.same(picksOf(made, 20, { tried: ['n/n'] }), { 'n/a': 20 });
    t.same(picksOf(made, 20, { tried: ['n/n', 'n/a', 'n/gone'] }), { 'n/o': 20 });
    const weighted = world({ a: share('old', 1), n: share('new', 99), o: share('new', 99) }, ['a', 'n', 'o']);
    t.same(picksOf(weighted, 20, { tried: ['n/n'] }), { 'n/a': 20 });
  },
);

t.test('engines of other deployments of the model stay in, and each split is drawn by itself', async (t) => {
  const marks = {
    a: share('x1', 1, { split: 'x' }),
    b: share('x2', 0, { split: 'x', standby: true }),
    c: share('y1', 0, { split: 'y', standby: true }),
    d: share('y2', 1, { split: 'y' }),
  };
  const made = world(marks, ['a', 'b', 'c', 'd', 'free']);
  const picks = picksOf(made, 300);
  t.same(Object.keys(picks).sort(), ['n/a', 'n/d', 'n/free']);
});

t.test(
  'weights that are no numbers are none, and more revisions than are told apart share the last place',
  async (t) => {
    const odd = world({ a: share('a', Number.NaN), b: share('b', Infinity), n: share('n', 1) }, ['a', 'b', 'n']);
    t.same(picksOf(odd, 10), { 'n/n': 10 });
    const names = Array.from({ length: 11 }, (_, at) => `e${at}`);
    const many = world(Object.fromEntries(names.map((name) => [name, share(name, 1)])), names);
    const picks = picksOf(many, 4000);
    t.equal(Object.keys(picks).length, 11);
    const last = names.slice(7).reduce((sum, name) => sum + (picks[`n/${name}`] ?? 0), 0);
    t.ok(Math.abs(last - 500) < 100, `${last} of 4000 for one place of eight`);
  },
);

t.test('the groups follow engines that come, go, begin anew and change what they serve', async (t) => {
  const marks: Marks = { a: share('old', 100), n: share('new', 0) };
  const made = world(marks, ['a']);
  made.put('n');
  t.same(picksOf(made, 20), { 'n/a': 20 }, 'an engine that comes later has its mark from the beginning');
  made.put('n', { incarnation: 2 });
  t.same(picksOf(made, 20), { 'n/a': 20 }, 'its next life too');
  made.put('n', {
    incarnation: 2,
    serves: [
      { model: 'm', endpoints: [] },
      { model: 'lora', endpoints: [] },
    ],
  });
  t.equal(made.router.engines.pool('lora')?.divided, 1);
  t.equal(made.router.engines.pool('m')?.divided, 2);
  made.router.engines.remove('n/n' as EngineId);
  t.equal(made.router.engines.pool('lora'), undefined);
  t.equal(made.router.engines.pool('m')?.divided, 1);
  made.router.divide(rules({}));
  t.equal(made.router.engines.pool('m')?.divided, 0);
  for (let at = 0; at < 200; at++) made.put(`more${at}`);
  made.router.divide(rules({ more199: share('new', 1), a: share('old', 0) }));
  const picks = picksOf(made, 500);
  t.ok((picks['n/more199'] ?? 0) > 0 && picks['n/a'] === undefined);
  for (let at = 200; at < 600; at++) made.put(`more${at}`);
  t.equal(picksOf(made, 500)['n/a'], undefined, 'groups outlive the growth of the rows');
});

t.test('an engine that comes back while old requests of it run is counted once', async (t) => {
  const made = world({ a: share('old', 1) }, ['a']);
  const lease = made.pick().picked?.lease;
  made.router.engines.remove('n/a' as EngineId);
  made.router.divide(rules({}));
  made.put('a');
  t.equal(made.router.engines.pool('m')?.divided, 0);
  made.router.engines.remove('n/a' as EngineId);
  made.router.divide(rules({ a: share('old', 1) }));
  made.put('a');
  t.equal(made.router.engines.pool('m')?.divided, 1);
  lease?.release();
  let isDivided = true;
  made.router.divide({ markOf: () => (isDivided ? share('old', 1) : undefined) });
  isDivided = false;
  const both = ['m', 'lora'].map((model) => ({ model, endpoints: [] }));
  made.put('a', { serves: both });
  t.same(
    ['m', 'lora'].map((model) => made.router.engines.pool(model)?.divided),
    [0, 0],
    'rules that change their mind do no harm',
  );
});

t.test('there is room where a revision with a weight has some; what stands by counts only without one', async (t) => {
  const marks = { a: share('old', 0, { standby: true }), n: share('new', 100), free: { label: 'free', closed: false } };
  const made = world(marks, ['a', 'n']);
  made.put('n', { maxSequences: 1 });
  made.pick();
  t.equal(made.router.room('m', 'chat', 0).kind, 'full', 'the old engine is free and only stands by');
  made.put('n', { maxSequences: 1, refusal: { by: 'failed', detail: '' } });
  t.equal(made.router.room('m', 'chat', 0).kind, 'room');
  made.put('free');
  made.put('a', { refusal: { by: 'failed', detail: '' } });
  t.equal(made.router.room('m', 'chat', 0).kind, 'room', 'an engine of no split counts as ever');
  const closed = world({ a: share('old', 0) }, ['a']);
  t.equal(closed.router.room('m', 'chat', 0).kind, 'none');
});

t.test('what requests of a revision came to is counted under its label', async (t) => {
  const made = world({ n: share('new', 100) }, ['n']);
  const run = (
    outcome: 'ok' | 'engine_died' | 'engine_rejected' | 'cancelled',
    firstAtMs?: number,
    cachedTokens = 0,
  ): void => {
    const lease = made.pick({ nowMs: 1000 }).picked?.lease;
    if (firstAtMs !== undefined) lease?.firstToken(firstAtMs);
    lease?.end({ nowMs: 2000, outcome, outputTokens: 3, cachedTokens });
  };
  run('ok', 1100);
  run('ok', 1150, 90);
  run('engine_died');
  run('engine_rejected');
  run('cancelled', 1120);
  made.pick({ nowMs: 1000 }).picked?.lease.release();
  const tally = made.router.tallies.of('new');
  const { started, spoken, ended, failures, rejections, ttftCount, ttftMs } = tally;
  t.same(
    { started, spoken, ended, failures, rejections, ttftCount, ttftMs: [...ttftMs] },
    { started: 6, spoken: 3, ended: 4, failures: 1, rejections: 1, ttftCount: 2, ttftMs: [100, 120] },
    'cached prompts give no time, and what a client ended is no end',
  );
  for (let at = 0; at < 400; at++) run('ok', 1000 + at);
  t.equal(tally.ttftMs.length, 256);
  t.equal(Math.min(...tally.ttftMs), 144, 'the newest times are kept');
  made.router.divide(rules({}));
  t.equal(made.router.tallies.of('new').started, 0, 'a label that no engine has is forgotten');
});

t.test('an engine without a mark is counted nowhere, and labels are bounded', async (t) => {
  const made = fleet({ policy: 'cost' });
  made.router.engines.put(facts('a'));
  made.pick().picked?.lease.end({ nowMs: 1, outcome: 'ok', outputTokens: 1 });
  t.equal(made.router.tallies.of('').started, 0);
  for (let at = 0; at <= 4096; at++) made.router.tallies.open(`label${at}`).started = 1;
  t.equal(made.router.tallies.of('label0').started, 0, 'the first is forgotten');
  t.equal(made.router.tallies.of('label1').started, 1);
});
