/** Usage over gRPC and HTTP: who may see it, what comes back, and how a wrong question is refused. */
import { credentials, type ServiceError } from '@grpc/grpc-js';
import t, { type Test } from 'tap';
import { CodedError } from '../../../lib/errors.ts';
import { systemClock, systemRandom } from '../../../lib/io/system.ts';
import { fromServiceError } from '../../../proto/status.ts';
import { sha256 } from '../../../scheduler/adapters/auth/sha256.ts';
import { createAdminHandlers } from '../../../scheduler/adapters/grpc/admin.ts';
import type { UsageOperations, UsageRequest } from '../../../scheduler/core/usage/contract.ts';
import type { KeyStore } from '../../../scheduler/ports.ts';
import { call as httpCall, KEYS, startDoor } from '../../support/http_door.ts';
import { silentLog, testLoop } from '../fakes.ts';
import { AdminConstructor, bearer, openDoor } from '../grpc/door_fixture.ts';
import { usageRow } from './usage_fixture.ts';

function someUsage() {
  const asked: UsageRequest[] = [];
  const usage: UsageOperations = {
    async list(request) {
      asked.push(request);
      if (request.by === 'colour') throw new CodedError('invalid_value', 'No such word.', { param: 'by' });
      return {
        by: 'tenant',
        rows: [usageRow({ requests: -1, promptTokens: 2 ** 41 })],
        truncated: false,
        source: 'store',
        sinceMs: 0,
        untilMs: 3_600_000,
        unsettledRecords: 2,
        spooledBytes: 77,
      };
    },
  };
  return { asked, usage };
}

async function openGrpc(t: Test, usage?: UsageOperations) {
  const { loop } = testLoop();
  const deps = {
    ...{ clock: systemClock, random: systemRandom, sha256, logger: silentLog, commander: loop.commander },
    fleet: { inspector: loop.inspector, schedulerId: 's', version: '1', term: 1, startedAtMs: 1 },
    keys: {} as KeyStore,
    ...(usage === undefined ? {} : { usage }),
  };
  const fixture = await openDoor(t, {}, (identityOf) => createAdminHandlers(deps, identityOf));
  const client = new AdminConstructor(fixture.address(), credentials.createInsecure());
  t.teardown(() => client.close());
  return (message: object, key = 'key-operator'): Promise<object> =>
    new Promise((resolve, reject) => {
      const run = client['ListUsage'] as unknown as (...args: unknown[]) => void;
      run.call(client, message, bearer(key), (error: ServiceError | null, answer: object) => {
        if (error === null) resolve(answer);
        else reject(fromServiceError(error).error);
      });
    });
}

t.test('gRPC: operators see sums, others see none', async (t) => {
  const { usage, asked } = someUsage();
  const list = await openGrpc(t, usage);
  t.match(await list({ by: 'tenant', sinceMs: 5 }), {
    source: 'store',
    rows: [{ tenant: 'a', requests: -1, promptTokens: 2 ** 41, servedBy: 'fleet' }],
    unsettledRecords: 2,
  });
  t.same(asked, [{ by: 'tenant', sinceMs: 5 }]);
  await t.rejects(list({ by: 'colour', untilMs: 7 }), { code: 'invalid_value', param: 'by' });
  for (const key of ['key-gateway', 'key-user']) await t.rejects(list({}, key), /required here|credential/i, key);
  await t.rejects((await openGrpc(t))({}), { code: 'store_off' });
});

t.test('HTTP: the same, also for a scheduler without a store', async (t) => {
  const { usage, asked } = someUsage();
  const door = await startDoor({}, undefined, { usage });
  t.teardown(() => door.close());
  const get = (query: string, key: string = KEYS.operator) =>
    httpCall(door.port, { path: `/admin/v1/usage${query}`, key });
  const found = await get('?by=tenant&since=5&until=6');
  t.equal(found.status, 200);
  t.match(JSON.parse(found.text), { source: 'store', rows: [{ tenant: 'a', requests: -1 }], spooledBytes: 77 });
  t.same(asked, [{ by: 'tenant', sinceMs: 5, untilMs: 6 }]);
  t.equal((await get('?since=yesterday')).status, 400);
  t.match(JSON.parse((await get('?by=colour')).text), { error: { code: 'invalid_value' } });
  t.equal((await get('', KEYS.user)).status, 403);
  t.equal((await get('', KEYS.gateway)).status, 403);
  t.match((await httpCall(door.port, { path: '/docs/json', key: null })).text, /admin\/v1\/usage/);
  const none = await startDoor();
  t.teardown(() => none.close());
  const off = await httpCall(none.port, { path: '/admin/v1/usage', key: KEYS.operator });
  t.match(JSON.parse(off.text), { error: { code: 'store_off' } });
});
