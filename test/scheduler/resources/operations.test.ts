/** The operations of the doors over a store in memory. */
import t from 'tap';
import { CodedError } from '../../../lib/errors.ts';
import { createTurns } from '../../../scheduler/adapters/resources/turns.ts';
import { CALLER, deployment, openControl, VIEW } from './control_fixture.ts';

const apply = (...resources: unknown[]) => ({ resources, dryRun: false, reason: 'why' });
const remove = (kind: string, ...names: string[]) => ({
  resources: names.map((name) => ({ kind, name })),
  dryRun: false,
  reason: 'gone',
});

t.test('apply creates, configures, leaves alone; each change is an event with who, why and from where', async (t) => {
  const { operations, control } = openControl(t);
  t.match(await operations.apply(apply(deployment('chat'), deployment('b')), CALLER), {
    outcomes: [
      { kind: 'Deployment', name: 'chat', outcome: 'created', version: 1, changes: [] },
      { name: 'b', outcome: 'created', version: 2 },
    ],
    seq: 2,
    correlationId: 'req_1',
  });
  t.match(await operations.apply(apply(deployment('chat'), deployment('b', { replicas: 4 })), CALLER), {
    outcomes: [
      { outcome: 'unchanged', version: 1 },
      { outcome: 'changed', version: 3, changes: [{ path: 'spec.replicas', before: 1, after: 4 }] },
    ],
    seq: 3,
  });
  t.match(await operations.apply(apply(deployment('chat')), CALLER), { seq: 0 }, 'nothing to write');
  t.match(control.recentEvents().at(-1), { actor: 'key:ops', reason: 'why', correlationId: 'req_1', base: 2 });
});

t.test('a dry run decides, tells every member, and writes nothing', async (t) => {
  const { operations, control, store } = openControl(t);
  const answer = await operations.apply({ ...apply(deployment('chat')), dryRun: true }, CALLER);
  t.match(answer, { outcomes: [{ outcome: 'created', version: 0 }], seq: 0 });
  t.ok(answer.outcomes[0]?.changes.some(({ path }) => path === 'spec.model'));
  t.equal(store.appends.length, 0);
  t.equal(control.projection().seq(), 0);
});

t.test('a stale version is a conflict with both versions, and nothing of the request is done', async (t) => {
  const { operations, store } = openControl(t);
  await operations.apply(apply(deployment('chat')), CALLER);
  await operations.apply(apply(deployment('chat', { replicas: 2 })), CALLER);
  const stale = deployment('chat', { replicas: 9 }, { version: 1 });
  await t.rejects(operations.apply(apply(deployment('other'), stale), CALLER), {
    code: 'version_conflict',
    param: 'deployment/chat',
    message: 'deployment/chat has version 2, the request names version 1. Nothing was changed.',
  });
  const fresh = deployment('new', {}, { version: 0 });
  t.match(await operations.apply(apply(fresh), CALLER), { outcomes: [{ outcome: 'created' }] });
  await t.rejects(operations.apply(apply(fresh), CALLER), { message: /wants it not to be there/ });
  await t.rejects(
    operations.delete({ ...remove('deployment'), resources: [{ kind: 'Deployment', name: 'zz', version: 3 }] }, CALLER),
    { message: /is not there, the request names version 3/ },
  );
  t.equal(store.rows.length, 3);
});

t.test('who loses a race decides anew on what is there then', async (t) => {
  const { operations, store } = openControl(t);
  await operations.apply(apply(deployment('chat')), CALLER);
  let races = 0;
  store.beforeAppend = () => {
    if (races++ > 0) return;
    const after = { spec: { engine: 'sim', model: 'theirs' }, labels: {} };
    const resource = { kind: 'Deployment', name: 'chat' };
    const origin = { actor: 'key:b', reason: '', correlationId: '' };
    store.write({ idempotencyId: 'race', items: [{ kind: 'desired.changed', resource, ...origin, after }] });
  };
  const answer = await operations.apply(apply(deployment('chat', { replicas: 7 })), CALLER);
  t.match(answer.outcomes[0]?.changes, [
    { path: 'spec.environment' },
    {},
    {},
    { path: 'spec.model', before: 'theirs' },
    {},
    {},
  ]);
  t.equal(races, 2);
  let replicas = 10;
  store.beforeAppend = () => {
    const after = { spec: { engine: 'sim', model: 'theirs', replicas: replicas++ }, labels: {} };
    const resource = { kind: 'Deployment', name: 'chat' };
    const origin = { actor: 'key:b', reason: '', correlationId: '' };
    store.write({
      idempotencyId: `race-${replicas}`,
      items: [{ kind: 'desired.changed', resource, ...origin, after }],
    });
  };
  await t.rejects(operations.apply(apply(deployment('chat')), CALLER), { code: 'store_busy' });
});

t.test('changes of one scheduler take turns, and too many are told so', async (t) => {
  const { operations, store } = openControl(t);
  const all = Array.from({ length: 20 }, (_, index) =>
    operations.apply(apply(deployment('same', { replicas: index })), CALLER),
  );
  t.equal((await Promise.all(all)).length, 20);
  t.equal(store.appends.length, 20, 'none was tried in vain');
  const turns = createTurns(2);
  const seen: string[] = [];
  const first = turns(async () => Promise.reject(new Error('first')));
  first.catch(() => undefined);
  const second = turns(async () => void seen.push('second'));
  await t.rejects(first, /first/);
  await second;
  t.same(seen, ['second'], 'a failure holds nobody up');
  const blocked = turns(() => new Promise((resolve) => setTimeout(resolve, 20)));
  await new Promise((resolve) => setImmediate(resolve));
  const waits = [turns(async () => undefined), turns(async () => undefined)];
  await t.rejects(
    turns(async () => undefined),
    { code: 'store_busy' },
  );
  await Promise.all([blocked, ...waits]);
});

t.test('10,000 deployments at once, in pieces that are each all or none; a failure says how far it came', async (t) => {
  const { operations, store } = openControl(t);
  const all = Array.from({ length: 10_000 }, (_, index) => deployment(`d-${index}`));
  const answer = await operations.apply(apply(...all), CALLER);
  t.equal(answer.seq, 10_000);
  t.equal(answer.outcomes.length, 10_000);
  t.equal(answer.outcomes[9_999]?.version, 10_000);
  t.equal(store.appends.length, 50);
  const names = Array.from({ length: 1400 }, (_, index) => `d-${index}`);
  store.beforeAppend = ({ items }) => {
    if (items[0]?.resource.name === 'd-400') throw new CodedError('store_full', 'The disk is full.');
  };
  await t.rejects(operations.delete(remove('deployment', ...names), CALLER), {
    code: 'store_full',
    message: 'The disk is full. The first 400 of 1400 resources were changed before that.',
  });
  t.equal((await operations.list('deployment')).length, 9600);
  await t.rejects(operations.apply(apply(...Array.from({ length: 20_001 }, () => ({}))), CALLER), {
    code: 'invalid_value',
  });
});

t.test('a failure in the middle keeps its code and says what was done before', async (t) => {
  const { operations, store } = openControl(t);
  await operations.list('');
  store.beforeAppend = () => {
    if (store.rows.length >= 1000) {
      const resource = { kind: 'Deployment', name: 'd-1500' };
      const origin = { actor: 'key:b', reason: '', correlationId: '' };
      const after = { spec: {}, labels: {} };
      store.write({ idempotencyId: 'race', items: [{ kind: 'desired.created', resource, ...origin, after }] });
    }
  };
  const all = Array.from({ length: 1600 }, (_, index) => deployment(`d-${index}`, {}, { version: 0 }));
  await t.rejects(operations.apply(apply(...all), CALLER), {
    code: 'version_conflict',
    message: /d-1500 has version 1001.* The first 1400 of 1600 resources were changed before that/,
  });
});

t.test('all that is wrong with a request is told at once, and nothing is done', async (t) => {
  const { operations, store } = openControl(t);
  await t.rejects(operations.apply(apply(), CALLER), { code: 'missing_field' });
  const bad = [deployment('ok'), deployment('<b>'), deployment('ok'), deployment('c', { replcas: 1 }), 7];
  const refusal: Error = await operations.apply(apply(...bad), CALLER).then(
    () => new Error('it was taken'),
    (thrown: Error) => thrown,
  );
  t.match(refusal.message.split('\n'), [
    /^resources\[1\]\.metadata\.name: "<b>" is not/,
    /^resources\[2\]\.metadata\.name: deployment\/ok stands also at resources\[0\]/,
    /^resources\[3\]\.spec\.replcas: /,
    /^resources\[4\]: must be an object/,
  ]);
  t.equal(store.rows.length, 0);
});

t.test('delete says what was there and who still refers to it', async (t) => {
  const { operations } = openControl(t);
  const kind = (name: string, of: string, spec: object) => ({
    apiVersion: 'sophia/v1',
    kind: of,
    metadata: { name },
    spec,
  });
  await operations.apply(
    apply(
      kind('p', 'Pool', { nodes: [] }),
      deployment('chat', { pool: 'p' }),
      kind('front', 'Alias', {
        targets: [
          { deployment: 'chat', weight: 1 },
          { deployment: 'later', weight: 1 },
        ],
      }),
    ),
    CALLER,
  );
  t.match(await operations.describe({ kind: 'alias', name: 'front' }), {
    notes: [/no deployment later/],
    statusNote: '',
  });
  t.match(await operations.delete({ ...remove('pool', 'p'), dryRun: true }, CALLER), {
    outcomes: [{ outcome: 'deleted', version: 1, notes: [/deployment\/chat uses it/] }],
  });
  t.match(await operations.delete(remove('pools', 'p', 'q'), CALLER), {
    outcomes: [{ outcome: 'deleted' }, { outcome: 'not_found', notes: [] }],
  });
  t.match(await operations.delete(remove('Deployment', 'chat'), CALLER), {
    outcomes: [{ notes: [/alias\/front sends a share/] }],
  });
  t.match(await operations.delete(remove('alias', 'front'), CALLER), { outcomes: [{ notes: [] }] });
  await t.rejects(operations.delete(remove('pod', 'x'), CALLER), { code: 'invalid_value', param: 'resources[0].kind' });
});

t.test('get and describe: by any spelling of the kind, with a status where somebody reconciles', async (t) => {
  const { operations, use } = openControl(t);
  await operations.apply(apply(deployment('chat'), deployment('b')), CALLER);
  t.match(await operations.get({ kind: 'DEPLOY', name: 'chat' }), {
    resource: { metadata: { name: 'chat', version: 1 }, spec: { replicas: 1 } },
    updatedBy: 'key:ops',
    status: undefined,
  });
  await t.rejects(operations.get({ kind: 'pool', name: 'chat' }), { code: 'not_found', param: 'pool/chat' });
  await t.rejects(operations.get({ kind: 'pod', name: 'chat' }), { code: 'invalid_value' });
  await t.rejects(operations.list('pods'), { code: 'invalid_value' });
  t.match(await operations.describe({ kind: 'deployment', name: 'chat' }), { statusNote: /does not reconcile/ });
  t.match(await operations.explain('chat'), { servedModelName: 'chat', lines: [/does not reconcile/] });
  t.equal(await operations.explain('zz'), undefined);
  const request = { resources: [deployment('c')], deleted: [{ kind: 'deploy', name: 'b' }] };
  await t.rejects(operations.plan(request), { code: 'reconcile_unavailable' });
  await t.rejects(operations.defragment(), { code: 'reconcile_unavailable' });
  use(VIEW);
  t.match(await operations.get({ kind: 'deployment', name: 'chat' }), { status: { ready: 1 } });
  t.match(await operations.describe({ kind: 'deployment', name: 'b' }), { statusNote: /not looked at it yet/ });
  t.match(await operations.explain('chat'), { lines: ['chat: node-a does'] });
  t.match(await operations.plan(request), {
    lines: ['1 applied, 1 deleted'],
    assignments: 1,
    outcomes: [{ name: 'c', outcome: 'created' }],
  });
  t.match(await operations.plan({ resources: [], deleted: [] }), { outcomes: [] });
});

t.test('the freeze has who and why, and is lifted once', async (t) => {
  const { operations, control } = openControl(t);
  t.match(operations.freeze(), { frozen: false });
  t.match(await operations.setFreeze('maintenance', CALLER), { frozen: true, by: 'key:ops', reason: 'maintenance' });
  t.match(await operations.setFreeze('longer', CALLER), { reason: 'longer' });
  t.match(await operations.liftFreeze('done', false, CALLER), { frozen: false });
  const { length } = control.recentEvents();
  t.match(await operations.liftFreeze('done', true, CALLER), { frozen: false });
  t.equal(control.recentEvents().length, length, 'what is not frozen writes nothing');
  await t.rejects(operations.setFreeze('x'.repeat(600), CALLER), { code: 'invalid_value', param: 'reason' });
});

t.test('events: the newest, those after one, those of a resource, and those that come', async (t) => {
  const { operations, control } = openControl(t);
  for (let index = 0; index < 5; index++) await operations.apply(apply(deployment(`d-${index}`)), CALLER);
  await operations.setFreeze('x', CALLER);
  const seqs = async (request: object) => (await operations.events({ limit: 100, ...request })).map(({ seq }) => seq);
  t.same(await seqs({ limit: 2 }), [5, 6]);
  t.same(await seqs({ after: 3 }), [4, 5, 6]);
  t.same(await seqs({ after: 1, limit: 2 }), [2, 3]);
  t.same(await seqs({ kind: 'deploy', name: 'd-1' }), [2]);
  t.same(await seqs({ after: 0, kind: 'deploy', name: 'd-1' }), [2]);
  t.same(await seqs({ after: 99 }), []);
  await t.rejects(operations.events({ limit: 0 }), { code: 'invalid_value', param: 'limit' });
  await t.rejects(operations.events({ limit: 1001 }), { code: 'invalid_value' });
  await t.rejects(seqs({ kind: 'pod' }), { code: 'invalid_value' });
  const stop = new AbortController();
  const seen: number[] = [];
  const reading = (async () => {
    for await (const events of operations.follow({ limit: 1 }, stop.signal)) {
      seen.push(...events.map(({ seq }) => seq));
      if (seen.length === 3) stop.abort();
    }
  })();
  await operations.apply(apply(deployment('e-1')), CALLER);
  await operations.apply(apply(deployment('e-2')), CALLER);
  await reading;
  t.equal(seen.length, 3);
  t.same(seen.at(-1), 8, 'they come in order, none is left out');
  const long = operations.follow({ limit: 1, after: 8 }, new AbortController().signal)[Symbol.asyncIterator]();
  const next = long.next();
  const idle = new AbortController();
  setTimeout(() => idle.abort(), 20);
  for await (const events of operations.follow({ limit: 1, after: 8 }, idle.signal)) t.fail(JSON.stringify(events));
  control.drain();
  await t.rejects(next, { code: 'draining' }, 'a scheduler that stops waits for no reader');
});

t.test('a replay gives the state of the past', async (t) => {
  const { operations } = openControl(t);
  await operations.apply(apply(deployment('a'), deployment('b')), CALLER);
  await operations.delete(remove('deployment', 'a'), CALLER);
  await operations.setFreeze('x', CALLER);
  t.match(await operations.replay({ seq: 2 }, ''), {
    seq: 2,
    entries: [{ name: 'a' }, { name: 'b' }],
    truncated: false,
  });
  const now = await operations.replay({ seq: 9 }, '');
  t.same(
    now.entries.map(({ area, name }) => `${area} ${name}`),
    ['desired b', 'freeze fleet'],
  );
  t.equal((await operations.replay({ seq: 9 }, 'freeze')).entries.length, 1);
  t.equal((await operations.replay({ atMs: 0 }, '')).entries.length, 0);
  await t.rejects(operations.replay({ seq: 1 }, 'nothing'), { code: 'invalid_value', param: 'area' });
});
