/** What operators see of the fleet over gRPC, who may ask, and the keys that admins make. */
import { credentials, type ServiceError } from '@grpc/grpc-js';
import t from 'tap';
import { CodedError } from '../../lib/errors.ts';
import type { KeyId, RequestId } from '../../lib/ids.ts';
import { systemClock, systemRandom } from '../../lib/io/system.ts';
import { fromServiceError } from '../../proto/status.ts';
import { sha256 } from '../../scheduler/adapters/auth/sha256.ts';
import { createAdminHandlers } from '../../scheduler/adapters/grpc/admin.ts';
import type { ApiKeyRecord, KeyStore } from '../../scheduler/ports.ts';
import { engineEvent, fakeSession, hello, recordingDoor, request, silentLog, telemetry, testLoop } from './fakes.ts';
import { AdminConstructor, bearer, openDoor } from './grpc/door_fixture.ts';

function memoryKeys(): KeyStore {
  const records = new Map<KeyId, ApiKeyRecord>();
  return {
    find: (id) => records.get(id),
    list: () => [...records.values()],
    async add(record) {
      records.set(record.id, record);
    },
    async revoke(id, atMs) {
      const record = records.get(id);
      if (record === undefined) throw new CodedError('not_found', 'There is no key with this id.');
      const revoked = { ...record, revokedAtMs: atMs };
      records.set(id, revoked);
      return revoked;
    },
  };
}

type Answer = Record<string, never> & { [field: string]: unknown };

async function openAdmin(test: Parameters<typeof openDoor>[0]) {
  const parts = testLoop({
    deps: { configuredModels: ['planned'], desiredFor: () => ({ generation: 4, engines: [] }) },
    hello: {
      engines: [
        engineEvent(),
        engineEvent({ engine: 'e1', state: 'ENGINE_STATE_STARTING', message: 'loading', models: [] }),
      ],
    },
  });
  const keys = memoryKeys();
  const fleet = { inspector: parts.loop.inspector, schedulerId: 'sched', version: '1.2', term: 5, startedAtMs: 99 };
  const { commander } = parts.loop;
  const deps = { fleet, keys, clock: systemClock, random: systemRandom, sha256, logger: silentLog, commander };
  const fixture = await openDoor(test, {}, (identityOf) => createAdminHandlers(deps, identityOf));
  const client = new AdminConstructor(fixture.address(), credentials.createInsecure());
  test.teardown(() => client.close());
  const call = (method: string, message: object = {}, key = 'key-admin'): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const run = client[method] as unknown as (...args: unknown[]) => void;
      run.call(client, message, bearer(key), (error: ServiceError | null, answer: Answer) => {
        if (error === null) resolve(answer);
        else reject(fromServiceError(error).error);
      });
    });
  return { ...parts, keys, call };
}

t.test('every method asks for its role: operators look, admins hold keys, users see nothing', async (t) => {
  const { call } = await openAdmin(t);
  const looks = ['GetStatus', 'ListNodes', 'ListEngines', 'ListModels'];
  const keys = ['CreateKey', 'ListKeys', 'RevokeKey'];
  for (const method of [...looks, ...keys, 'GetNode', 'GetEngine', 'ExplainRequest', 'ExplainDeployment']) {
    await t.rejects(
      call(method, {}, 'sk-canary0000-c4n4ryc4n4ryc4n4ryc4n4ryc4n4ry'),
      { code: 'permission_denied' },
      `${method} as a user`,
    );
    await t.rejects(call(method, {}, 'key-gateway'), { code: 'permission_denied' }, `${method} as a gateway`);
    await t.rejects(call(method, {}, 'wrong'), { code: 'unauthenticated' }, `${method} as a stranger`);
  }
  for (const method of looks) await t.resolves(call(method, {}, 'key-operator'), `${method} as an operator`);
  for (const method of keys)
    await t.rejects(call(method, {}, 'key-operator'), { code: 'permission_denied' }, `${method} as an operator`);
});

t.test('status, nodes, engines and models are shown as they are', async (t) => {
  const { call, loop, lane, session } = await openAdmin(t);
  loop.fleetSink.onTelemetry(session, telemetry([{ waitingRequests: 0 }]));
  loop.generator.start(request(), recordingDoor(), 1);
  t.ok(lane.sent.length);
  t.match(await call('GetStatus'), {
    schedulerId: 'sched',
    version: '1.2',
    term: 5,
    startedAtMs: 99,
    draining: false,
    nodes: 1,
    readyEngines: 1,
    runningRequests: 1,
  });
  t.match(await call('ListNodes'), {
    nodes: [
      {
        name: 'node-a',
        connected: true,
        lanes: 1,
        desiredGeneration: 4,
        rejections: [],
        telemetry: { engines: [{ waitingRequests: 0 }] },
      },
    ],
  });
  t.match(await call('GetNode', { name: 'node-a' }), { node: { name: 'node-a' }, engines: [{ node: 'node-a' }, {}] });
  const { engines } = (await call('ListEngines')) as unknown as { engines: { reading: object | null }[] };
  t.match(engines, [
    {
      event: { engine: 'e0', models: [{ id: 'm' }] },
      routable: true,
      notRoutableReason: '',
      runningRequests: 1,
      reading: { waitingRequests: 0 },
    },
    { event: { engine: 'e1' }, routable: false, notRoutableReason: 'starting', reading: null },
  ]);
  t.notOk('runningRequests' in (engines[0]?.reading ?? {}), 'a figure that nobody read stays absent');
  t.match(await call('ListModels'), {
    models: [
      { id: 'planned', engines: 0 },
      { id: 'm', readyEngines: 1, engines: 1, contextTokens: 4096, simulated: true },
    ],
  });
  await t.rejects(call('GetNode', { name: 'x' }), { code: 'not_found' });
});

t.test('an engine is found by its full name, or by its own where it is unique', async (t) => {
  const { call, loop } = await openAdmin(t);
  t.match(await call('GetEngine', { name: 'node-a/e0' }), {
    engine: { node: 'node-a', history: [{ state: 'ENGINE_STATE_READY' }] },
  });
  t.match(await call('GetEngine', { name: 'e1' }), { engine: { event: { engine: 'e1' } } });
  loop.fleetSink.onHello(fakeSession('s9', 'node-b' as never), hello({ nodeName: 'node-b', sessionId: 's9' }));
  await t.rejects(call('GetEngine', { name: 'e0' }), { code: 'invalid_value', message: /node-a\/e0, node-b\/e0/ });
  t.match(await call('GetEngine', { name: 'node-b/e0' }), {
    engine: { routable: false, notRoutableReason: 'no_lane' },
  });
  await t.rejects(call('GetEngine', { name: 'nowhere' }), { code: 'not_found' });
});

t.test('a request and a model are explained with a reason for every engine', async (t) => {
  const { call, loop, lane } = await openAdmin(t);
  loop.generator.start(request({ id: 'r1' as RequestId }), recordingDoor(), 1);
  t.match(await call('ExplainRequest', { requestId: 'r1' }), {
    outcome: 'running',
    policy: 'least_requests',
    tenant: 'acme',
    candidates: [{ engine: 'node-a/e0', picked: true, refusedBy: '', cost: 0 }],
  });
  lane.sent[0]?.sink.onTokens(Buffer.from('x'), Buffer.alloc(4), 0);
  lane.sent[0]?.sink.onDone({ completionTokens: 1 });
  const done = await call('ExplainRequest', { requestId: 'r1' });
  t.match(done, { outcome: 'finished', errorCode: '', outputTokens: 1, model: 'm' });
  t.ok(Number(done['endedAtMs']) >= Number(done['firstTokenAtMs']));
  loop.fleetSink.onEngineEvent(fakeSession(), engineEvent());
  await t.rejects(call('ExplainRequest', { requestId: 'unknown' }), { code: 'not_found' });
  t.match(await call('ExplainDeployment', { model: 'm' }), {
    engines: [
      { engine: 'node-a/e0', verdict: 'serves it, 0 running' },
      { engine: 'node-a/e1', state: 'ENGINE_STATE_STARTING', verdict: 'serves nothing yet' },
    ],
  });
  await t.rejects(call('ExplainDeployment', { model: 'x' }), { code: 'model_not_found' });
});

t.test('an engine that cannot serve a model says why, and a failed request keeps its reasons', async (t) => {
  const { call, loop, session } = await openAdmin(t);
  loop.fleetSink.onEngineEvent(session, engineEvent({ state: 'ENGINE_STATE_DRAINING', message: 'It finishes.' }));
  t.match(await call('ExplainDeployment', { model: 'm' }), {
    engines: [{ verdict: 'cannot serve it: draining. It finishes.' }, {}],
  });
  t.throws(() => loop.generator.start(request({ id: 'r2' as RequestId }), recordingDoor(), 1));
  t.match(await call('ExplainRequest', { requestId: 'r2' }), {
    outcome: 'failed',
    errorCode: 'no_engine',
    candidates: [{ picked: false, refusedBy: 'draining', detail: 'It finishes.' }],
  });
});

t.test('a key is shown whole once, is listed without its secret, and can be revoked', async (t) => {
  const { call, keys } = await openAdmin(t);
  const made = (await call('CreateKey', {
    name: 'ci',
    tenant: 'acme',
    roles: ['operator', 'operator'],
    expiresInS: 60,
    weight: 2,
  })) as unknown as {
    secret: string;
    key: { id: string; createdAtMs: number; expiresAtMs: number };
  };
  t.match(made.secret, /^sk-[a-z2-7]{12}-[a-z2-7]{32}$/);
  t.match(made.key, { name: 'ci', tenant: 'acme', roles: ['operator'], weight: 2 });
  t.equal(made.key.expiresAtMs - made.key.createdAtMs, 60_000);
  const listed = await call('ListKeys');
  t.notMatch(JSON.stringify(listed), made.secret.slice(16));
  t.notMatch(JSON.stringify(listed), keys.list()[0]?.secretSha256 ?? 'no key');
  t.match(await call('RevokeKey', { id: made.key.id }), { key: { id: made.key.id, revokedAtMs: Number } });
  t.match(await call('CreateKey', { name: 'plain', tenant: 'acme' }), { key: { roles: ['user'], weight: 1 } });
  await t.rejects(call('RevokeKey', { id: 'nobody' }), { code: 'not_found' });
  await t.rejects(call('CreateKey', { name: '', tenant: 'acme' }), { code: 'invalid_value', param: 'name' });
  await t.rejects(call('CreateKey', { name: 'a\u001b[2Jb', tenant: 'acme' }), { code: 'invalid_value', param: 'name' });
  await t.rejects(call('CreateKey', { name: 'x', tenant: '../x' }), { code: 'invalid_value', param: 'tenant' });
  await t.rejects(call('CreateKey', { name: 'x', tenant: 'acme', roles: ['root'] }), {
    code: 'invalid_value',
    param: 'roles.0',
  });
  t.equal(keys.list().length, 2);
});
