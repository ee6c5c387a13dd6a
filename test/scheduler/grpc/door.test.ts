/** The door as a whole: who may call what, health, reflection, limits, drain, TLS, and that no key is ever logged. */
import {
  type Client,
  credentials,
  loadPackageDefinition,
  makeClientConstructor,
  Metadata,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { service as healthService } from 'grpc-health-check';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { connect } from 'node:net';
import path from 'node:path';
import t from 'tap';
import type { AdminHandlers } from '../../../proto/gen/admin/v1/Admin.ts';
import { adminService, inferenceService } from '../../../proto/load.ts';
import { fromServiceError } from '../../../proto/status.ts';
import { checkDoors } from '../../../scheduler/adapters/grpc/grpc_door_gate.ts';
import { bearer, body, CANARY_KEY, EntryReader, type Fixture, openDoor, readAll, settle } from './door_fixture.ts';

type Unary = (request: object, metadata: Metadata) => Promise<Record<string, unknown>>;

async function readStream(stream: AsyncIterable<object>): Promise<Record<string, unknown>> {
  for await (const message of stream) void message;
  return {};
}

/** The methods of any service, as promises. */
function unary(client: Client): Record<string, Unary> {
  return new Proxy<Record<string, Unary>>(
    {},
    {
      get: (_target, name: string) => (request: object, metadata: Metadata) =>
        new Promise((resolve, reject) => {
          const method = (client as unknown as Record<string, (...args: unknown[]) => void>)[name] as (
            ...args: unknown[]
          ) => void;
          if (STREAMS.has(name)) {
            const stream = method.call(client, request, metadata) as unknown as AsyncIterable<object>;
            void readStream(stream).then(resolve, reject);
            return;
          }
          method.call(client, request, metadata, (error: ServiceError | null, value: Record<string, unknown>) =>
            error === null ? resolve(value) : reject(error),
          );
        }),
    },
  );
}

/** Methods of operators that answer with a stream. */
const STREAMS: ReadonlySet<string> = new Set(
  Object.entries(adminService).flatMap(([name, { responseStream }]) => (responseStream ? [name] : [])),
);

function clientOf(t: Tap, fixture: Fixture, service: never, name: string): Client {
  const client = new (makeClientConstructor(service, name))(fixture.address(), credentials.createInsecure());
  t.teardown(() => client.close());
  return client;
}
type Tap = Parameters<typeof openDoor>[0];

const ADMIN = new Proxy({} as AdminHandlers, {
  get: (_target, name) => (call: { end(): void }, callback?: (error: null, value: object) => void) =>
    callback === undefined
      ? call.end()
      : callback(null, name === 'GetStatus' || name === 'getStatus' ? { schedulerId: 's1' } : {}),
  has: () => true,
});

async function codeOf(answer: Promise<unknown>): Promise<string> {
  try {
    await answer;
    return 'ok';
  } catch (error) {
    return `${status[(error as ServiceError).code]} ${fromServiceError(error as ServiceError).error.code}`;
  }
}

t.test('every method asks for a key and for a role that its door lists', async (t) => {
  const fixture = await openDoor(t, {}, () => ADMIN);
  const admin = unary(clientOf(t, fixture, adminService as never, 'Admin'));
  const inference = unary(clientOf(t, fixture, inferenceService as never, 'Inference'));
  for (const [name, method] of Object.entries(adminService)) {
    t.equal(await codeOf((admin[name] as Unary)({}, new Metadata())), 'UNAUTHENTICATED unauthenticated', method.path);
    t.equal(
      await codeOf((admin[name] as Unary)({}, bearer(CANARY_KEY))),
      'PERMISSION_DENIED permission_denied',
      method.path,
    );
    t.equal(
      await codeOf((admin[name] as Unary)({}, bearer('key-gateway'))),
      'PERMISSION_DENIED permission_denied',
      method.path,
    );
    const forOperator = /Key/.test(name) ? 'PERMISSION_DENIED permission_denied' : 'ok';
    t.equal(await codeOf((admin[name] as Unary)({}, bearer('key-operator'))), forOperator, method.path);
    t.equal(await codeOf((admin[name] as Unary)({}, bearer('key-admin'))), 'ok', method.path);
  }
  for (const name of ['listModels', 'cancel']) {
    t.equal(await codeOf((inference[name] as Unary)({}, new Metadata())), 'UNAUTHENTICATED unauthenticated', name);
    t.equal(
      await codeOf((inference[name] as Unary)({}, bearer('sk-wrong0000-wrongwrongwrong'))),
      'UNAUTHENTICATED unauthenticated',
      name,
    );
  }
  t.equal(
    await codeOf((inference['cancel'] as Unary)({}, bearer('key-operator'))),
    'PERMISSION_DENIED permission_denied',
  );
  const strange = await readAll(fixture.inference.generate({ body: body() }));
  t.equal(strange.failure?.error.code, 'unauthenticated');
  const operator = await readAll(fixture.inference.generate({ body: body() }, bearer('key-operator')));
  t.equal(operator.failure?.error.code, 'permission_denied');
  const many = new EntryReader(fixture.inference.generateMany());
  await many.until(() => many.ended !== 'open');
  t.match(many.ended, { error: { code: 'unauthenticated' } });
  t.equal(fixture.generator.started.length, 0);
  t.notMatch(fixture.logLines.join(''), 'c4n4ry', 'no log line holds a key');
  t.notMatch(fixture.logLines.join(''), 'wrongwrongwrong');
});

t.test('a method without a door is a mistake of the program', async (t) => {
  t.throws(() => checkDoors(['/inference.v1.Inference/Generate', '/admin.v1.Admin/Forgotten']), /Forgotten/);
});

t.test('ListModels tells what the fleet knows', async (t) => {
  const fixture = await openDoor(t);
  const inference = unary(clientOf(t, fixture, inferenceService as never, 'Inference'));
  const { models } = await (inference['listModels'] as Unary)({}, bearer(CANARY_KEY));
  t.match(models, [
    { id: 'tiny', contextTokens: 4096, capabilities: ['chat', 'completions'], simulated: true, readyEngines: 2 },
  ]);
});

t.test('Cancel reaches only the own tenant, and a gateway those that it names', async (t) => {
  const fixture = await openDoor(t);
  const inference = unary(clientOf(t, fixture, inferenceService as never, 'Inference'));
  const cancel = inference['cancel'] as Unary;
  const ask = (id: string) =>
    readAll(fixture.inference.generate({ envelope: { id }, body: body() }, bearer(CANARY_KEY)));
  const first = ask('one');
  await fixture.generator.run(0);
  t.same(await cancel({ requestId: 'one' }, bearer('key-other')), { cancelled: false });
  t.equal(
    await codeOf(cancel({ requestId: 'one', tenant: 'acme' }, bearer('key-other'))),
    'PERMISSION_DENIED permission_denied',
  );
  t.same(await cancel({ requestId: 'one' }, bearer('key-gateway')), { cancelled: false });
  t.same(await cancel({ requestId: 'one', tenant: 'acme' }, bearer('key-gateway')), { cancelled: true });
  t.equal((await first).failure?.error.code, 'cancelled');
  const second = ask('two');
  await fixture.generator.run(1);
  t.same(await cancel({ requestId: 'two' }, bearer(CANARY_KEY)), { cancelled: true });
  await second;
});

t.test('health needs no key, follows the fleet, and keeps nothing that a stranger names', async (t) => {
  const fixture = await openDoor(t);
  const client = clientOf(t, fixture, healthService as never, 'Health');
  const health = unary(client);
  const check = async (service: string) => (await (health['check'] as Unary)({ service }, new Metadata()))['status'];
  t.equal(await check(''), 'SERVING');
  t.equal(await check('inference.v1.Inference'), 'SERVING');
  t.equal(await codeOf(check('nobody.v1.Knows')), 'NOT_FOUND not_found');
  const watch = (service: string): string[] => {
    const seen: string[] = [];
    const call = (client as unknown as Record<string, (request: object) => NodeJS.EventEmitter>)['watch']?.({
      service,
    });
    call?.on('data', (message: { status: string }) => seen.push(message.status)).on('error', () => undefined);
    return seen;
  };
  const known = watch('');
  const unknown = watch('nobody.v1.Knows');
  for (let i = 0; i < 100 && known.length + unknown.length < 2; i++) await settle();
  fixture.fleet.ok = false;
  t.equal(await check(''), 'NOT_SERVING');
  fixture.fleet.ok = true;
  for (let i = 0; i < 100 && known.length < 3; i++) await settle();
  t.same(known, ['SERVING', 'NOT_SERVING', 'SERVING'], 'a watcher is told without asking');
  t.same(unknown, ['SERVICE_UNKNOWN']);
  fixture.door.drain();
  for (let i = 0; i < 100 && known.length < 4; i++) await settle();
  t.equal(known.at(-1), 'NOT_SERVING', 'draining is not ready');
});

t.test('reflection gives the interface to whoever has a key', async (t) => {
  const fixture = await openDoor(t);
  const folder = path.dirname(createRequire(import.meta.url).resolve('@grpc/reflection/package.json'));
  const loaded = loadPackageDefinition(
    loadSync(path.join(folder, 'build/proto/grpc/reflection/v1/reflection.proto')),
  ) as never;
  const { service } = loaded['grpc']['reflection']['v1']['ServerReflection'] as { service: never };
  const client = clientOf(t, fixture, service, 'ServerReflection') as unknown as {
    serverReflectionInfo(metadata: Metadata): NodeJS.EventEmitter & { write(message: object): void; end(): void };
  };
  const askFor = async <Reply>(metadata: Metadata, question: object): Promise<Reply> => {
    const call = client.serverReflectionInfo(metadata);
    const answer = once(call, 'data');
    call.write(question);
    const [message] = (await answer) as [Reply];
    call.end();
    return message;
  };
  const ask = async (metadata: Metadata) => {
    type Reply = { listServicesResponse: { service: { name: string }[] } };
    const message = await askFor<Reply>(metadata, { listServices: '' });
    return message.listServicesResponse.service.map(({ name }) => name);
  };
  t.same((await ask(bearer(CANARY_KEY))).sort(), ['admin.v1.Admin', 'inference.v1.Inference']);
  t.equal(await codeOf(ask(new Metadata())), 'UNAUTHENTICATED unauthenticated');
  // What grpcurl builds an interface from: the file of the service and, named as its import, that of foreign types.
  type Files = { fileDescriptorResponse: { fileDescriptorProto: Buffer[] } };
  const files = await askFor<Files>(bearer(CANARY_KEY), { fileContainingSymbol: 'admin.v1.Admin' });
  const [own, imported] = files.fileDescriptorResponse.fileDescriptorProto.map((file) => file.toString('latin1'));
  t.ok(imported?.startsWith('\n\x0efleet_v1.proto'));
  t.ok(own?.includes('\x1a\x0efleet_v1.proto'), 'the file says what it imports');
});

t.test('a message over the limit is RESOURCE_EXHAUSTED, and the server goes on', async (t) => {
  const fixture = await openDoor(t, { maxMessageBytes: 100_000 });
  const large = await readAll(fixture.inference.generate({ body: Buffer.alloc(100_001) }, bearer(CANARY_KEY)));
  t.equal(large.code, status.RESOURCE_EXHAUSTED);
  t.equal(large.failure?.error.code, 'body_too_large', 'a client is told that a retry is of no use');
  t.match(large.failure?.requestId, /^req_/);
  const reading = readAll(fixture.inference.generate({ body: body() }, bearer(CANARY_KEY)));
  (await fixture.generator.run(0)).done();
  t.equal((await reading).failure, undefined);
});

t.test('bytes that are not HTTP/2 close their connection and nothing else', async (t) => {
  const fixture = await openDoor(t);
  const socket = connect(fixture.port, '127.0.0.1');
  socket.on('error', () => undefined).resume();
  socket.write(`GET / HTTP/1.1\r\nauthorization: Bearer ${CANARY_KEY}\r\n\r\n`);
  await once(socket, 'close');
  const reading = readAll(fixture.inference.generate({ body: body() }, bearer(CANARY_KEY)));
  (await fixture.generator.run(0)).done();
  t.equal((await reading).failure, undefined);
  t.notMatch(fixture.logLines.join(''), 'c4n4ry');
});

t.test('draining leaves a stream alone that outlives the pings of its connection', async (t) => {
  const fixture = await openDoor(t, { drainTimeoutMs: 5000, keepaliveTimeMs: 100, keepaliveTimeoutMs: 2000 });
  const reading = readAll(fixture.inference.generate({ body: body() }, bearer(CANARY_KEY)));
  const run = await fixture.generator.run(0);
  fixture.door.drain();
  await new Promise((resolve) => setTimeout(resolve, 1000));
  run.done();
  t.equal((await reading).failure, undefined);
});

t.test('draining finishes what runs and takes no new connection', async (t) => {
  const fixture = await openDoor(t, { drainTimeoutMs: 5000 });
  const reading = readAll(fixture.inference.generate({ body: body() }, bearer(CANARY_KEY)));
  const run = await fixture.generator.run(0);
  run.tokens(['before']);
  await settle();
  const closing = fixture.door.close();
  const late = await readAll(
    fixture.newClient().generate({ body: body() }, bearer(CANARY_KEY), { deadline: Date.now() + 1000 }),
  );
  t.equal(late.code, status.UNAVAILABLE);
  run.tokens(['after']);
  run.done();
  const { messages, failure } = await reading;
  t.equal(failure, undefined);
  t.equal(messages.length, 2, 'nothing was lost');
  await closing;
});

t.test('close cuts what does not finish in time, and the engine is told', async (t) => {
  const fixture = await openDoor(t, { drainTimeoutMs: 50 });
  const reading = readAll(fixture.inference.generate({ body: body() }, bearer(CANARY_KEY)));
  const run = await fixture.generator.run(0);
  await fixture.door.close();
  t.ok((await reading).code);
  await settle();
  t.ok(run.cancelledBecause);
});

t.test('a taken port is a coded error', async (t) => {
  const fixture = await openDoor(t);
  await t.rejects(openDoor(t, { port: fixture.port }), { code: 'address_in_use' });
});
