/** The same operations over gRPC and HTTP: who may, what comes back, how it is refused. */
import { type ClientReadableStream, credentials, type ServiceError } from '@grpc/grpc-js';
import { EventEmitter } from 'node:events';
import t, { type Test } from 'tap';
import { systemClock, systemRandom } from '../../../lib/io/system.ts';
import type { ListEventsResponse__Output } from '../../../proto/gen/admin/v1/ListEventsResponse.ts';
import { fromServiceError } from '../../../proto/status.ts';
import { sha256 } from '../../../scheduler/adapters/auth/sha256.ts';
import { createAdminHandlers } from '../../../scheduler/adapters/grpc/admin.ts';
import { createResourceHandlers } from '../../../scheduler/adapters/grpc/resource_handlers.ts';
import { jsonSchemaOf } from '../../../scheduler/adapters/resources/parse_resource.ts';
import { RESOURCE_KINDS } from '../../../scheduler/core/resources/contract.ts';
import type { ResourceOperations } from '../../../scheduler/core/resources/operations.ts';
import type { Identity, KeyStore } from '../../../scheduler/ports.ts';
import { call as httpCall, KEYS, startDoor } from '../../support/http_door.ts';
import { until } from '../../support/waits.ts';
import { silentLog, testLoop } from '../fakes.ts';
import { AdminConstructor, bearer, openDoor } from '../grpc/door_fixture.ts';
import { CALLER, deployment, openControl, VIEW } from './control_fixture.ts';

type Answer = Record<string, unknown>;

async function openGrpc(t: Test, resources?: ResourceOperations) {
  const { loop } = testLoop({ deps: { configuredModels: ['planned'] } });
  const fleet = { inspector: loop.inspector, schedulerId: 's', version: '1', term: 1, startedAtMs: 1 };
  const deps = {
    fleet,
    keys: {} as KeyStore,
    clock: systemClock,
    random: systemRandom,
    sha256,
    logger: silentLog,
    commander: loop.commander,
    ...(resources === undefined ? {} : { resources }),
  };
  const fixture = await openDoor(t, {}, (identityOf) => createAdminHandlers(deps, identityOf));
  const client = new AdminConstructor(fixture.address(), credentials.createInsecure());
  t.teardown(() => client.close());
  const call = (method: string, message: object = {}, key = 'key-operator'): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const run = client[method] as unknown as (...args: unknown[]) => void;
      run.call(client, message, bearer(key), (error: ServiceError | null, answer: Answer) => {
        if (error === null) resolve(answer);
        else reject(fromServiceError(error).error);
      });
    });
  const stream = (message: object): ClientReadableStream<ListEventsResponse__Output> => {
    const run = client['ListEvents'] as unknown as (
      ...args: unknown[]
    ) => ClientReadableStream<ListEventsResponse__Output>;
    return run.call(client, message, bearer('key-operator'));
  };
  return { call, stream };
}

const texts = (...resources: object[]): string[] => resources.map((each) => JSON.stringify(each));

const UNARY = [
  'ApplyResources',
  'DeleteResources',
  'GetResource',
  'ListResources',
  'DescribeResource',
  'PlanResources',
  'PlanDefragmentation',
];
const MORE = ['OrderDefragmentation', 'GetRollout', 'OrderRollout', 'SetFreeze', 'LiftFreeze', 'GetFreeze', 'Replay'];

t.test('gRPC: operators and admins only, and without a store each method says so', async (t) => {
  const { call, stream } = await openGrpc(t);
  for (const method of [...UNARY, ...MORE]) {
    await t.rejects(call(method, {}, 'key-gateway'), { code: 'permission_denied' }, method);
    await t.rejects(call(method), { code: 'store_off' }, method);
  }
  await t.rejects(
    (async () => {
      for await (const message of stream({})) t.fail(JSON.stringify(message));
    })(),
    /keeps no desired state/,
  );
});

t.test('gRPC: what is declared can be applied, read, explained and deleted', async (t) => {
  const { operations } = openControl(t);
  const { call } = await openGrpc(t, operations);
  const resources = texts(deployment('chat', { rollout: { kind: 'rolling' } }, { labels: { team: 'a' } }));
  t.match(await call('ApplyResources', { resources, reason: 'first' }), {
    outcomes: [{ kind: 'Deployment', name: 'chat', outcome: 'created', version: 1 }],
    seq: 1,
    correlationId: /^req_/,
  });
  t.match(await call('ApplyResources', { resources: texts(deployment('chat')), dryRun: true }), {
    outcomes: [{ outcome: 'changed', changes: [{ path: 'labels.team', before: '"a"' }, { path: 'spec.rollout' }] }],
  });
  const got = (await call('GetResource', { kind: 'deploy', name: 'chat' }, 'key-admin'))['resource'] as Answer;
  t.match(got, { kind: 'Deployment', version: 1, labels: { team: 'a' }, updatedBy: 'subject:test', status: null });
  t.match(JSON.parse(String(got['specJson'])), { model: 'm', replicas: 1 });
  t.match(await call('ListResources'), { resources: [{ name: 'chat' }] });
  t.match(await call('DescribeResource', { kind: 'deploy', name: 'chat' }), {
    statusNote: /does not reconcile/,
    events: [{ seq: 1, kind: 'desired.created', reason: 'first', beforeJson: 'null' }],
  });
  t.match(await call('ExplainDeployment', { model: 'chat' }), {
    model: 'chat',
    lines: [/does not reconcile/],
    engines: [],
  });
  t.match(await call('ExplainDeployment', { model: 'planned' }), { model: 'planned', lines: [] });
  await t.rejects(call('ExplainDeployment', { model: 'zz' }), { code: 'model_not_found' });
  await t.rejects(call('PlanResources', { resources }), { code: 'reconcile_unavailable' });
  t.match(await call('SetFreeze', { reason: 'night' }), { freeze: { frozen: true, reason: 'night' } });
  t.match(await call('GetFreeze'), { freeze: { frozen: true } });
  t.match(await call('LiftFreeze', {}), { freeze: { frozen: false } });
  t.match(await call('Replay', { seq: 1 }), { seq: 1, entries: [{ area: 'desired', name: 'chat' }] });
  t.match(await call('Replay', { atMs: 1 }), { seq: 0, entries: [] });
  t.match(await call('DeleteResources', { resources: [{ kind: 'deployment', name: 'chat', version: 1 }] }), {
    outcomes: [{ outcome: 'deleted', version: 4 }],
  });
});

t.test('gRPC: refusals have their codes', async (t) => {
  const { operations } = openControl(t);
  const { call } = await openGrpc(t, operations);
  await t.rejects(call('ApplyResources', { resources: ['{'] }), { code: 'malformed_json', param: 'resources[0]' });
  await t.rejects(call('ApplyResources', {}), { code: 'missing_field' });
  await t.rejects(call('Replay', {}), { code: 'missing_field', param: 'until' });
  await t.rejects(call('GetResource', { kind: 'pod', name: 'x' }), { code: 'invalid_value', param: 'kind' });
  await t.rejects(call('GetResource', { kind: 'pool', name: 'x' }), { code: 'not_found' });
  await t.rejects(call('ApplyResources', { resources: texts(deployment('x', {}, { version: 3 })) }), {
    code: 'version_conflict',
  });
  await t.rejects(call('DeleteResources', { resources: [{ kind: 'pool', name: 'x', version: 3 }] }), {
    code: 'version_conflict',
  });
});

t.test('gRPC: events come in pieces, and with follow as they happen', async (t) => {
  const { operations } = openControl(t);
  const { call, stream } = await openGrpc(t, operations);
  const many = texts(...Array.from({ length: 250 }, (_, index) => deployment(`d-${index}`)));
  await call('ApplyResources', { resources: many });
  const seen: number[] = [];
  for await (const { events } of stream({ after: 0, limit: 1000 }) as AsyncIterable<ListEventsResponse__Output>)
    seen.push(...events.map(({ seq }) => seq));
  t.equal(seen.length, 250);
  const following = stream({ follow: true, limit: 1, kind: 'deployment' });
  const names: string[] = [];
  following.on('error', () => undefined);
  for await (const { events } of following as AsyncIterable<ListEventsResponse__Output>) {
    names.push(...events.map(({ resourceName }) => resourceName));
    if (names.length === 1) await call('ApplyResources', { resources: texts(deployment('late')) });
    if (names.length === 2) break;
  }
  t.same(names, ['d-249', 'late']);
  const refused = stream({ limit: 5000 });
  await t.rejects(
    (async () => {
      for await (const message of refused as AsyncIterable<object>) t.fail(JSON.stringify(message));
    })(),
    /limit must be/,
  );
});

t.test('gRPC: no more events are sent than the reader takes', async (t) => {
  const { operations } = openControl(t);
  const many = Array.from({ length: 300 }, (_, index) => deployment(`d-${index}`));
  await operations.apply({ resources: many, dryRun: false, reason: '' }, CALLER);
  const deps = { logger: silentLog, random: systemRandom, resources: operations };
  const { ListEvents } = createResourceHandlers(deps, () => ({}) as Identity);
  const sent: number[] = [];
  let ended = false;
  const stream = Object.assign(new EventEmitter(), {
    request: { after: 0, follow: false, limit: 1000, kind: '', name: '' },
    write: ({ events }: { events: object[] }) => sent.push(events.length) < 0,
    end: () => {
      ended = true;
    },
  });
  ListEvents(stream as unknown as Parameters<typeof ListEvents>[0]);
  for (const taken of [1, 2, 3]) {
    await until(() => sent.length === taken, `message ${taken}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
    t.equal(sent.length, taken);
    stream.emit('drain');
  }
  await until(() => ended, 'the end');
  t.same(sent, [100, 100, 100]);
});

t.test('gRPC: large events go out in several messages', async (t) => {
  const { operations } = openControl(t);
  const { call, stream } = await openGrpc(t, operations);
  const environment = Object.fromEntries(Array.from({ length: 7 }, (_, index) => [`V${index}`, 'x'.repeat(8000)]));
  for (let index = 0; index < 12; index++)
    await call('ApplyResources', { resources: texts(deployment(`d-${index}`, { environment })) });
  const sizes: number[] = [];
  for await (const { events } of stream({ after: 0 }) as AsyncIterable<ListEventsResponse__Output>)
    sizes.push(events.length);
  t.same(sizes, [10, 2]);
});

t.test('both doors show what reconcile says', async (t) => {
  const { operations } = openControl(t, { reconcile: VIEW });
  const { call } = await openGrpc(t, operations);
  const resources = texts(deployment('chat'));
  await call('ApplyResources', { resources });
  t.match(await call('GetResource', { kind: 'deployment', name: 'chat' }), {
    resource: {
      status: {
        ready: 1,
        rollout: 'half way',
        memory: '5.0 GiB',
        replicas: [{ engines: ['node-a/chat-0'], gpus: [{ node: 'node-a', gpus: [0] }], state: 'ready' }],
      },
    },
  });
  t.match(await call('PlanResources', { resources, deleted: [{ kind: 'deployment', name: 'chat' }] }), {
    lines: ['1 applied, 1 deleted'],
    assignments: 1,
    outcomes: [{ outcome: 'unchanged' }],
  });
  t.match(await call('ExplainDeployment', { model: 'chat' }), { lines: ['chat: node-a does'] });
  t.match(await call('PlanDefragmentation', { maxMoves: 3 }), {
    lines: ['at most 3'],
    plan: 'plan-of-3',
    moves: [{ deployment: 'chat', from: [{ node: 'node-a', gpus: [0] }], gpuMemoryBytes: 5, modelOnDisk: true }],
    before: { pending: 1 },
    after: { emptyNodes: 1 },
    cost: { starts: 1 },
  });
  t.match(await call('PlanDefragmentation'), { lines: ['at most 16'] });
  await t.rejects(call('PlanDefragmentation', { maxMoves: 257 }), { code: 'invalid_value' });
  await t.rejects(call('OrderDefragmentation', { verb: 'dance' }), { code: 'invalid_value' });
  await t.rejects(call('OrderDefragmentation', { verb: 'apply', plan: 'x' }), { code: 'plan_stale' });
  const ordered = { verb: 'apply', plan: 'plan-of-3', maxMoves: 3, reason: 'whole GPUs' };
  const { moves, correlationId } = (await call('OrderDefragmentation', ordered)) as Answer;
  t.match({ moves, correlationId }, { moves: 1, correlationId: /^.{8,}$/ });
  await t.rejects(call('OrderDefragmentation', ordered), { code: 'plan_running' });
  const { port, close } = await startDoor({}, undefined, { resources: operations });
  t.teardown(close);
  const get = async (path: string) => JSON.parse((await httpCall(port, { path, key: KEYS.admin })).text) as Answer;
  t.match(await get('/admin/v1/resources/deployment/chat'), { status: { ready: 1 } });
  const body = JSON.stringify({ resources: [deployment('b')] });
  t.match((await httpCall(port, { path: '/admin/v1/plan', key: KEYS.admin, body })).text, /1 applied, 0 deleted/);
  t.match(await get('/admin/v1/plan/defragment?maxMoves=2'), {
    lines: ['at most 2'],
    cost: { gpuMemoryTwiceBytes: 5 },
  });
  const order = async (given: object) => {
    const sent = { path: '/admin/v1/plan/defragment', key: KEYS.admin, body: JSON.stringify(given) };
    return JSON.parse((await httpCall(port, sent)).text) as Answer;
  };
  t.match(await order({ verb: 'cancel', reason: 'enough' }), { moves: 1, correlationId });
  t.match(await order({ verb: 'cancel' }), { error: { code: 'not_found' } });
  t.match(await order({ verb: 'apply', plan: 'plan-of-16' }), { moves: 1 });
  t.match(await order({ verb: 'apply', plan: 1 }), { error: { code: 'invalid_value', param: 'plan' } });
  t.match(await order({ verb: 'apply', maxMoves: '1' }), { error: { code: 'invalid_value', param: 'maxMoves' } });
  t.match(await order({ verb: 'apply', maxMove: 1 }), { error: { code: 'unknown_field' } });
  t.match(await order({}), { error: { code: 'invalid_value', param: 'verb' } });
  t.match(await get('/admin/v1/plan/defragment?maxMoves=0'), { error: { code: 'invalid_value', param: 'maxMoves' } });
});

t.test('both doors show engines and quarantines that nobody has declared', async (t) => {
  const place = { deployment: 'chat', replica: 0, place: 'chat/0/1', phase: 'placed', phaseReason: 'it is wanted' };
  const engine = { source: 'deployment', node: 'n1', engine: 'chat-0-r', gpus: [1], ...place } as const;
  const told = { kind: 'vllm', model: 'm', servedModelName: 'chat', sinceMs: 5, state: 'ready', reason: 'ready' };
  const held = {
    name: 'n1/0',
    source: 'agent',
    node: 'n1',
    gpu: 0,
    replicas: ['chat/0'],
    note: 'x',
    reason: 'hot',
    sinceMs: 5,
  };
  const reconcile = {
    ...VIEW,
    engines: () => [{ ...engine, ...told }],
    quarantines: () => [{ ...held, source: 'agent' as const }],
  };
  const { operations } = openControl(t, { reconcile });
  const { call } = await openGrpc(t, operations);
  t.match(await call('ListResources', { kind: 'engine' }), {
    resources: [
      { name: 'n1/chat-0-r', version: 0, engine: { ...engine, state: 'ready' }, quarantine: null, status: null },
    ],
  });
  t.match(await call('GetResource', { kind: 'quarantine', name: 'n1/0' }), {
    resource: {
      name: 'n1/0',
      updatedBy: 'agent:n1',
      updatedAtMs: 5,
      quarantine: { source: 'agent', gpu: 0, replicas: ['chat/0'] },
    },
  });
  t.same((await call('ListResources'))['resources'], []);
  const resources = [{ kind: 'quarantine', name: 'n1/0' }];
  await t.rejects(call('DeleteResources', { resources }), { code: 'managed_elsewhere', param: 'quarantine/n1/0' });
  await t.rejects(call('DeleteResources', { resources }, 'key-gateway'), { code: 'permission_denied' });
  const { port, close } = await startDoor({}, undefined, { resources: operations });
  t.teardown(close);
  const get = await httpCall(port, { path: '/admin/v1/resources?kind=engine', key: KEYS.user });
  t.equal(get.status, 403);
});

t.test('a quarantine whose time is over is taken with a note; without reconcile its status is not known', async (t) => {
  const { operations } = openControl(t);
  const spec = { node: 'n1', reason: 'x', until: '2001-01-01T00:00Z' };
  const past = { apiVersion: 'sophia/v1', kind: 'Quarantine', metadata: { name: 'q' }, spec };
  await operations.apply({ resources: [deployment('chat')], dryRun: false, reason: '' }, CALLER);
  t.match(await operations.apply({ resources: [past], dryRun: false, reason: '' }, CALLER), {
    outcomes: [{ outcome: 'created', notes: ['its time is over already: the leader lifts it at once'] }],
  });
  t.match(await operations.describe({ kind: 'Quarantine', name: 'q' }), { statusNote: /does not reconcile/ });
  t.match(await operations.list('quarantine'), [{ resource: { metadata: { name: 'q' } }, quarantine: undefined }]);
});

t.test('HTTP: the same under /admin/v1', async (t) => {
  const { operations } = openControl(t);
  const resourceSchemas = async () => Object.fromEntries(RESOURCE_KINDS.map((kind) => [kind, jsonSchemaOf(kind)]));
  const { port, close } = await startDoor({}, undefined, { resources: operations, resourceSchemas });
  t.teardown(close);
  const ask = async (path: string, body?: unknown, key = KEYS.operator) => {
    const sent = body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) };
    const { status, text } = await httpCall(port, { path: `/admin/v1/${path}`, key, ...sent });
    return { status, ...(JSON.parse(text) as Answer) } as Answer & { error?: { code: string; param: string } };
  };
  const applied = await ask('apply', { resources: [deployment('chat')], reason: 'web' });
  t.match(applied, {
    status: 200,
    outcomes: [{ resource: 'deployment/chat', outcome: 'created' }],
    correlationId: /^req_/,
  });
  t.match(await ask('apply', { resources: [deployment('chat', { replicas: 2 })], dryRun: true }), {
    outcomes: [{ outcome: 'changed', changes: [{ path: 'spec.replicas', before: 1, after: 2 }] }],
  });
  t.match(await ask('resources?kind=deploy'), {
    resources: [{ kind: 'Deployment', metadata: { name: 'chat', version: 1 } }],
  });
  t.match(await ask('resources/deployment/chat'), { apiVersion: 'sophia/v1', spec: { replicas: 1 } });
  t.match(await ask('describe/deployment/chat'), { statusNote: /does not/, events: [{ kind: 'desired.created' }] });
  t.match(await ask('explain/deployment/chat'), { lines: [/does not reconcile/] });
  t.match(await ask('explain/deployment/zz'), { status: 404 });
  t.match(await ask('plan', { resources: [], deleted: [] }), { status: 503, error: { code: 'reconcile_unavailable' } });
  t.match(await ask('rollouts/chat'), { status: 503, error: { code: 'reconcile_unavailable' } });
  t.match(await ask('rollouts/chat', { verb: 'dance' }), { status: 400, error: { code: 'invalid_value' } });
  t.match(await ask('freeze', { reason: 'x' }), { frozen: true });
  t.match(await ask('freeze'), { frozen: true, reason: 'x', by: 'subject:operator' });
  t.match(await ask('unfreeze', {}), { frozen: false });
  t.match(await ask('events?after=1&limit=1'), { events: [{ seq: 2, kind: 'freeze.set' }] });
  t.match(await ask('replay?seq=2&area=freeze'), { seq: 2, entries: [{ area: 'freeze' }] });
  t.match(await ask('replay?atMs=0'), { seq: 0 });
  t.match(await ask('delete', { resources: [{ kind: 'deploy', name: 'chat' }] }), {
    outcomes: [{ outcome: 'deleted' }],
  });

  const refused: [string, unknown, number, string][] = [
    ['apply', { resources: [deployment("x'; DROP TABLE x;--")] }, 400, 'invalid_resource'],
    ['apply', { resources: [deployment('x', {}, { version: 9 })] }, 409, 'version_conflict'],
    ['apply', { resources: [deployment('x')], dry_run: true }, 400, 'unknown_field'],
    ['apply', { resources: 'x' }, 400, 'invalid_value'],
    ['apply', { resources: [deployment('x')], dryRun: 'yes' }, 400, 'invalid_value'],
    ['apply', '{"resources":[],"resources":[]}', 400, 'duplicate_key'],
    ['apply', '[1]', 400, 'malformed_json'],
    ['apply', { resources: [] }, 400, 'missing_field'],
    ['delete', { resources: [{ kind: 'deploy' }] }, 400, 'invalid_value'],
    ['resources?kind=pod', undefined, 400, 'invalid_value'],
    ['resources/deployment/..%2f..%2fetc', undefined, 404, 'not_found'],
    ['events?after=x', undefined, 400, 'invalid_value'],
    ['events?limit=9999', undefined, 400, 'invalid_value'],
    ['replay', undefined, 400, 'missing_field'],
    ['replay?seq=1&atMs=1', undefined, 400, 'missing_field'],
  ];
  for (const [path, body, status, code] of refused)
    t.match(await ask(path, body), { status, error: { code } }, `${path} ${JSON.stringify(body)}`);
  t.match(await ask('resources', undefined, KEYS.user), { status: 403 });
  t.match(await ask('apply', { resources: [deployment('x')] }, KEYS.gateway), { status: 403 });
  t.match(await ask('resources', undefined, KEYS.stranger), { status: 401 });
  const { text } = await httpCall(port, { path: '/docs/json', key: null });
  const paths = (JSON.parse(text) as { paths: Record<string, object> }).paths;
  t.match(JSON.stringify(paths['/admin/v1/apply']), /gpusPerHost/);
});

t.test('HTTP: without a store each route says so', async (t) => {
  const { port, close } = await startDoor();
  t.teardown(close);
  const { status, text } = await httpCall(port, { path: '/admin/v1/resources', key: KEYS.admin });
  t.equal(status, 503);
  t.match(text, /store_off/);
});
