/** The event-sourced core: canonical JSON, drafts, plans, the fold, anchors, the head and the store's states. */
import { createHmac } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import {
  anchorLine,
  makeAnchor,
  parseAnchor,
  readAnchors,
  type SignedAnchor,
} from '../../../../scheduler/core/events/anchors.ts';
import { archiveHash, checkpointHash, genesisHash } from '../../../../scheduler/core/events/chain.ts';
import {
  decodeEvent,
  draftProblem,
  type EventDraft,
  type FleetEvent,
  MAX_BODY_CHARACTERS,
} from '../../../../scheduler/core/events/event.ts';
import { headProblemText, judgeHead, type LogHead } from '../../../../scheduler/core/events/head.ts';
import { canonicalJson, canonicalText, MAX_JSON_DEPTH } from '../../../../scheduler/core/events/json.ts';
import { isEventKind } from '../../../../scheduler/core/events/kinds.ts';
import { type AppendFacts, planAppend, requestProblem } from '../../../../scheduler/core/events/plan_append.ts';
import {
  createProjection,
  desiredResource,
  entryBody,
  entryOf,
  eventsOf,
  FLEET_FREEZE,
  freezeOf,
  MAX_PROBLEMS,
  replay,
  restoreProjection,
} from '../../../../scheduler/core/events/projection.ts';
import { type AppendItem, MAX_APPEND } from '../../../../scheduler/core/events/store_port.ts';
import { newStoreHealth, observeStore, SLOW_MS } from '../../../../scheduler/core/events/store_state.ts';

const MAC = (text: string) => createHmac('sha256', 'k').update(text).digest('hex');

t.test('canonical JSON is one spelling, and what has none is named', async (t) => {
  t.equal(
    canonicalText({ b: 1, a: [true, null, -0, 'é\u2028'], '€': { y: 1e21, x: 0.1 } }),
    '{"a":[true,null,0,"é\u2028"],"b":1,"€":{"x":0.1,"y":1e+21}}',
  );
  for (const [value, path] of [
    [undefined, '$'],
    [{ a: [1, Number.NaN] }, '$.a[1]'],
    [{ a: '\0' }, '$.a'],
    [{ a: '\ud800' }, '$.a'],
    [{ '\0': 1 }, '$'],
    [{ a: () => 1 }, '$.a'],
    [10n, '$'],
  ] as const)
    t.match(canonicalJson(value), { ok: false, path });
  let deep: unknown = 1;
  for (let level = 0; level <= MAX_JSON_DEPTH; level++) deep = [deep];
  t.match(canonicalJson(deep), { ok: false, problem: /deeper/ });
  t.throws(() => canonicalText(Number.NaN as never), /not a finite number/);
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const result = canonicalJson(value);
      if (!result.ok) return;
      t.ok(canonicalJson(JSON.parse(result.text)).ok);
      if (canonicalText(JSON.parse(result.text)) !== result.text) throw new Error(result.text);
    }),
    { numRuns: 200 },
  );
});

const draft = (more: Partial<AppendItem> = {}): AppendItem => ({
  kind: 'desired.created',
  resource: { kind: 'Deployment', name: 'chat' },
  actor: 'key:a',
  reason: 'r',
  correlationId: 'c',
  after: { spec: { replicas: 1 }, labels: { team: 'a' } },
  ...more,
});

t.test('a draft that is not allowed is refused with a reason', async (t) => {
  t.equal(draftProblem(draft()), undefined);
  const long = 'x'.repeat(600);
  const refused: readonly (readonly [Partial<EventDraft>, RegExp])[] = [
    [{ kind: 'nope' as never }, /no kind/],
    [{ kind: 'constructor' as never }, /no kind/],
    [{ resource: { kind: 'deployment', name: 'a' } }, /resource.kind/],
    [{ resource: { kind: 'Deployment', name: 'a b' } }, /resource.name/],
    [{ resource: { kind: 'Deployment', name: '' } }, /resource.name/],
    [{ actor: '' }, /actor/],
    [{ reason: long }, /reason/],
    [{ correlationId: 7 as never }, /correlationId/],
    [{ after: null }, /must not be null/],
    [{ kind: 'desired.deleted' }, /must be null/],
    [{ after: [] }, /spec, labels/],
    [{ after: { spec: {}, labels: {}, more: 1 } }, /only/],
    [{ after: { spec: {}, labels: { a: 1 } } }, /label "a"/],
    [{ after: { spec: {}, labels: { '-': 'x' } } }, /label/],
    [{ after: { spec: {}, labels: { a: long } } }, /label/],
    [{ after: { spec: {}, labels: Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`l${i}`, ''])) } }, /64/],
    [{ after: { spec: { a: '\0' }, labels: {} } }, /zero byte/],
    [{ after: { spec: { a: 'x'.repeat(MAX_BODY_CHARACTERS) }, labels: {} } }, /larger/],
  ];
  for (const [more, pattern] of refused) t.match(draftProblem(draft(more)), pattern);
  t.equal(draftProblem(draft({ kind: 'action.taken', after: null })), undefined);
  t.ok(isEventKind('freeze.set'));
  t.notOk(isEventKind('toString'));
});

const HEAD: LogHead = { logId: 'l', seq: 10, hash: 'h', atMs: 500, archivedSeq: 0, archivedMac: '' };
const facts = (more: Partial<AppendFacts> = {}): AppendFacts => ({
  head: HEAD,
  nowMs: 400,
  entries: [],
  earlier: undefined,
  epoch: 0,
  ...more,
});
const request = (items: readonly AppendItem[], more = {}) => ({ idempotencyId: 'i', items, ...more });

t.test('an append is planned on what is there', async (t) => {
  t.match(requestProblem(request([])), { index: -1 });
  t.match(requestProblem(request([draft()], { idempotencyId: 'a b' })), { index: -1 });
  t.match(requestProblem(request(Array.from({ length: MAX_APPEND + 1 }, () => draft()))), { index: -1 });
  t.match(requestProblem(request([draft(), draft({ actor: '' })])), { index: 1 });
  t.equal(requestProblem(request([draft()])), undefined);

  const many = request([
    draft(),
    draft({ kind: 'desired.changed', after: { spec: { replicas: 2 }, labels: {} }, expected: 11 }),
    draft({ kind: 'action.taken', after: { did: 'x' } }),
    draft({ resource: { kind: 'Deployment', name: 'other' } }),
    draft({ kind: 'desired.deleted', after: null, resource: { kind: 'Deployment', name: 'other' } }),
  ]);
  const plan = planAppend(many, facts(), MAC);
  if (plan.kind !== 'write') throw new Error(JSON.stringify(plan));
  t.same(
    plan.rows.map(({ seq }) => seq),
    [11, 12, 13, 14, 15],
  );
  t.ok(
    plan.rows.every(({ atMs }) => atMs === 500),
    'the time never falls',
  );
  t.equal(plan.rows[0]?.prevHash, 'h');
  t.equal(plan.rows[1]?.prevHash, plan.rows[0]?.hash);
  t.same(
    plan.puts.map(({ name, version }) => [name, version]),
    [['chat', 12]],
  );
  t.same(plan.removes, [{ area: 'desired', kind: 'Deployment', name: 'other' }]);
  t.match(decodeEvent(plan.rows[1]?.body ?? ''), { base: 11, before: { spec: { replicas: 1 } } });

  t.match(planAppend(request([draft({ expected: 4 })]), facts(), MAC), { kind: 'conflict', expected: 4, actual: 0 });
  t.match(planAppend(request([draft({ kind: 'desired.changed' })]), facts(), MAC), {
    kind: 'conflict',
    expected: 'present',
  });
  t.match(planAppend(request([draft({ expected: 'absent' })]), facts(), MAC), { kind: 'write' });
  const digest = plan.digest;
  const earlier = { firstSeq: 3, lastSeq: 7, hash: 'x', digest };
  t.match(planAppend(many, facts({ earlier }), MAC), { kind: 'appended', firstSeq: 3, repeated: true });
  t.match(planAppend(request([draft()]), facts({ earlier }), MAC), { kind: 'id_reused' });
  const fenced = request([draft()], { fence: { lease: 'leader', epoch: 4 } });
  t.match(planAppend(fenced, facts({ epoch: 5 }), MAC), { kind: 'fenced', epoch: 5 });
  t.match(planAppend(fenced, facts({ epoch: 4 }), MAC), { kind: 'write' });
  const big = draft({ after: { spec: { a: 'x'.repeat(MAX_BODY_CHARACTERS / 2 - 200) }, labels: {} } });
  t.equal(draftProblem(big), undefined);
  const current = {
    area: 'desired',
    kind: 'Deployment',
    name: 'chat',
    version: 2,
    value: big.after,
    atMs: 1,
    actor: 'a',
  } as const;
  t.match(planAppend(request([{ ...big, kind: 'desired.changed' }]), facts({ entries: [current] }), MAC), {
    kind: 'write',
  });
  const lots = Array.from({ length: 80 }, (_, i) => ({ ...big, resource: { kind: 'Deployment', name: `d${i}` } }));
  t.match(planAppend(request(lots), facts(), MAC), { kind: 'invalid', problem: /together/ });
});

const event = (seq: number, more: Partial<FleetEvent> = {}): FleetEvent => ({
  seq,
  atMs: seq * 10,
  kind: 'desired.created',
  area: 'desired',
  effect: 'put',
  resource: { kind: 'Deployment', name: `d${seq}` },
  actor: 'a',
  reason: '',
  correlationId: '',
  base: 0,
  before: null,
  after: { spec: { n: seq }, labels: { l: 'x' } },
  ...more,
});

t.test('state is a fold that can be stopped, kept and taken up again', async (t) => {
  const events = [
    event(1),
    event(2),
    event(3, { effect: 'remove', resource: { kind: 'Deployment', name: 'd1' }, base: 1, after: null }),
    event(4, { area: 'freeze', resource: FLEET_FREEZE, after: { why: 'x' } }),
    event(5, { area: 'action', effect: 'record', base: 99 }),
    // Of a version that is newer than this program.
    event(6, { kind: 'quarantine.extended', area: 'quarantine' }),
  ];
  const { projection, problems, reachedEnd } = replay(events);
  t.same(problems, []);
  t.equal(reachedEnd, false);
  t.equal(projection.seq(), 6);
  t.equal(projection.atMs(), 60);
  t.same([...projection.entries()].length, 3);
  t.same(
    projection.list('desired').map(({ name }) => name),
    ['d2'],
  );
  t.same(projection.list('desired', 'Node'), []);
  t.match(freezeOf(projection), { value: { why: 'x' }, version: 4 });
  t.same(desiredResource(projection.get('desired', 'Deployment', 'd2') as never), {
    kind: 'Deployment',
    name: 'd2',
    version: 2,
    spec: { n: 2 },
    labels: { l: 'x' },
  });
  t.equal(desiredResource(freezeOf(projection) as never), undefined);
  t.match(replay(events, { seq: 2 }), { reachedEnd: true });
  t.equal(replay(events, { atMs: 25 }).projection.seq(), 2);
  for (let cut = 0; cut <= events.length; cut++) {
    const first = replay(events.slice(0, cut)).projection;
    const again = restoreProjection(first.snapshot(), first.seq(), first.atMs());
    t.equal(replay(events.slice(cut), {}, again).projection.snapshot(), projection.snapshot());
  }
  t.equal(restoreProjection('{', 0, 0), undefined);
  t.equal(restoreProjection('[{"area":"x"}]', 0, 0), undefined);
  t.same(replay([event(2), event(3, { base: 7 })]).problems, [
    { seq: 2, problem: 'out_of_order', expected: 1, actual: 2 },
    { seq: 3, problem: 'base_differs', expected: 0, actual: 7 },
  ]);
  const odd = Array.from({ length: 300 }, (_, i) => event(2 * i));
  t.equal(replay(odd).problems.length, MAX_PROBLEMS);
  const entry = projection.get('desired', 'Deployment', 'd2') as never;
  t.same(entryOf('desired', 'Deployment', 'd2', 2, entryBody(entry)), entry);
  for (const body of ['{', 'null', '{"actor":1}']) t.equal(entryOf('desired', 'A', 'b', 1, body), undefined);
  t.equal(entryOf('nowhere', 'A', 'b', 1, entryBody(entry)), undefined);
  t.same(
    [...eventsOf([{ body: canonicalText(event(1) as never) }, { body: '{' }, { body: '[]' }, { body: '{"seq":1}' }])],
    [event(1)],
  );
  t.equal(createProjection().size(), 0);
});

t.test('a head is held against what is known', async (t) => {
  const known = { seq: 10, hash: 'h' };
  t.equal(judgeHead(HEAD, known, 'l', undefined), undefined);
  t.equal(judgeHead({ ...HEAD, seq: 12 }, known, 'l', 'h'), undefined);
  t.equal(judgeHead({ ...HEAD, seq: 12 }, known, 'l', undefined), undefined, 'archived: nothing speaks against it');
  const behind = judgeHead({ ...HEAD, seq: 7 }, known, 'l', undefined);
  t.same(behind, { kind: 'behind', headSeq: 7, knownSeq: 10, missing: 3 });
  t.match(headProblemText(behind as never), '3 events are missing (8 to 10)');
  const diverged = judgeHead({ ...HEAD, seq: 12 }, known, 'l', 'other');
  t.match(diverged, { kind: 'diverged', seq: 10 });
  t.match(headProblemText(diverged as never), 'older copy');
  t.match(headProblemText(judgeHead(HEAD, known, 'm', undefined) as never), 'the log l, not m');
});

t.test('anchors are signed, numbered and name the one before', async (t) => {
  const sign = (text: string) => MAC(text);
  const check = (text: string, signature: string) => MAC(text) === signature;
  const anchors: SignedAnchor[] = [];
  for (let n = 1; n <= 4; n++) anchors.push(makeAnchor({ ...HEAD, seq: n * 10 }, anchors.at(-1), n, sign));
  const lines = anchors.map(anchorLine);
  t.same(readAnchors(lines, 'l', check), { anchors, problems: [] });
  t.same(parseAnchor(lines[0] as string), anchors[0]);
  const broken = [lines[0], '{', 'null', lines[2], '{"n":1}'] as string[];
  t.same(
    readAnchors(broken, 'l', check).problems.map(({ line, problem }) => `${line} ${problem}`),
    ['2 unreadable', '3 unreadable', '4 line_missing', '5 unreadable'],
  );
  t.match(readAnchors(lines, 'm', check).problems[0], { problem: 'other_log' });
  const back = makeAnchor({ ...HEAD, seq: 5 }, anchors.at(-1), 9, sign);
  t.match(readAnchors([...lines, anchorLine(back)], 'l', check).problems, [{ line: 5, problem: 'goes_back' }]);
  t.match(readAnchors(lines, 'l', () => false).problems[0], { problem: 'bad_signature' });
  const distinct = new Set([genesisHash(MAC, '1\n1'), checkpointHash(MAC, 1, '1', ''), archiveHash(MAC, 1, '1')]);
  t.equal(distinct.size, 3);
});

t.test('the state of the store follows how its calls end', async (t) => {
  let health = newStoreHealth(0);
  const see = (seen: Parameters<typeof observeStore>[1], nowMs: number) => {
    health = observeStore(health, seen, nowMs);
    return health.state;
  };
  const ok = (tookMs: number, wrote = false) => ({ kind: 'ok' as const, tookMs, wrote });
  t.equal(health.state, 'down');
  t.equal(see(ok(1), 1), 'up');
  t.equal(see(ok(SLOW_MS + 1), 2), 'slow');
  t.equal(see(ok(SLOW_MS * 0.7), 3), 'slow', 'not yet fast again');
  t.equal(see(ok(1), 4), 'up');
  t.equal(see({ kind: 'timeout', message: 'm' }, 5), 'slow');
  t.equal(see({ kind: 'full', message: 'full' }, 6), 'full');
  t.match(health, { reason: 'full', sinceMs: 6 });
  t.equal(see(ok(1), 7), 'full', 'reading proves nothing');
  t.equal(see(ok(1, true), 8), 'up');
  t.equal(see({ kind: 'read_only', message: 'ro' }, 9), 'read_only');
  t.equal(see({ kind: 'unreachable', message: 'gone' }, 10), 'down');
  see({ kind: 'unreachable', message: 'still' }, 11);
  t.match(health, { sinceMs: 10, reason: 'still' });
  const problem = { kind: 'behind', headSeq: 1, knownSeq: 2, missing: 1 } as const;
  t.equal(see({ kind: 'head', problem }, 12), 'behind');
  t.equal(see({ kind: 'unreachable', message: 'gone' }, 13), 'down');
  t.same(health.gap, problem);
  t.equal(see(ok(1, true), 14), 'behind', 'the gap is not forgotten');
  t.equal(see({ kind: 'head', problem: undefined }, 15), 'up');
  t.equal(see({ kind: 'head', problem: undefined }, 16), 'up');
  t.equal(health.gap, undefined);
});
