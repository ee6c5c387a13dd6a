/** `GenerateMany` through a real socket: multiplexing, batching, credit, cancel, half-close, broken streams, bounds. */
import { status } from '@grpc/grpc-js';
import t from 'tap';
import { CodedError } from '../../../lib/errors.ts';
import type { GenerateManyRequest } from '../../../proto/gen/inference/v1/GenerateManyRequest.ts';
import { inferenceMessages } from '../../../proto/load.ts';
import { ENTRY } from '../../../proto/many_codec.ts';
import { bearer, body, CANARY_KEY, EntryReader, type Fixture, openDoor, settle } from './door_fixture.ts';
import { chunkOf } from './fake_generator.ts';

function openStream(fixture: Fixture, key = CANARY_KEY) {
  const call = fixture.inference.generateMany(bearer(key));
  const reader = new EntryReader(call);
  return { call, reader, write: (message: GenerateManyRequest) => void call.write(message) };
}

const start = (stream: number, fields: object = {}, envelope: object = { id: `r${stream}` }) => ({
  start: [{ stream, envelope, body: body(), ...fields }],
});

t.test('requests of one message run side by side, and the tokens of one turn leave in one message', async (t) => {
  const fixture = await openDoor(t);
  const { call, reader, write } = openStream(fixture);
  write({ start: [1, 2, 4_000_000_000].map((stream) => ({ stream, envelope: { id: `r${stream}` }, body: body() })) });
  const runs = [await fixture.generator.run(0), await fixture.generator.run(1), await fixture.generator.run(2)];
  t.match(runs[0]?.request, { door: 'grpc_many', id: 'r1', tenant: 'acme' });
  for (const step of ['a', 'b']) {
    const before = reader.messages;
    for (const run of runs) run.tokens([step]);
    await reader.until(() => reader.of().length === (step === 'a' ? 3 : 6));
    t.equal(reader.messages - before, 1, 'one message per engine step');
  }
  for (const run of runs) run.done({ completionTokens: 2 });
  await reader.until(() => reader.kinds().filter((kind) => kind === 'END').length === 3);
  for (const stream of [1, 2, 4_000_000_000]) {
    t.same(reader.texts(stream), ['a', 'b']);
    t.same(reader.kinds(stream), ['CHUNK', 'CHUNK', 'USAGE', 'END']);
    const usage = inferenceMessages.Usage.deserialize(reader.of(stream)[2]?.bytes as Buffer);
    t.equal(usage.completionTokens, 2);
    t.equal(usage.promptTokens, undefined, 'an unknown count is absent');
  }
  call.end();
  await reader.until(() => reader.ended === 'ok');
});

t.test('a frame of several chunks gives several entries, after one entry with all its ids', async (t) => {
  const fixture = await openDoor(t);
  const { call, reader, write } = openStream(fixture);
  write(start(7, {}, { returnTokenIds: true }));
  const run = await fixture.generator.run(0);
  run.tokens(['x', 'y'], [11, 4_294_967_295]);
  run.done();
  await reader.until(() => reader.kinds().includes('END'));
  t.same(reader.kinds(7), ['REQUEST_ID', 'TOKEN_IDS', 'CHUNK', 'CHUNK', 'END']);
  t.equal(reader.of(7)[0]?.bytes.toString(), run.id, 'the chosen id is told');
  t.equal(reader.of(7)[1]?.bytes.toString('hex'), '0b000000ffffffff');
  t.equal(reader.of(7)[2]?.bytes.toString(), chunkOf('x'));
  call.end();
});

t.test('a request that waits for an engine is told its place, when it asked for that', async (t) => {
  const fixture = await openDoor(t);
  const { call, reader, write } = openStream(fixture);
  write(start(1, {}, { id: 'r1', tellQueue: true }));
  write(start(2));
  for (const run of [await fixture.generator.run(0), await fixture.generator.run(1)]) {
    t.notOk(run.sink.onQueued?.({ position: 7, etaMs: 900 }));
    run.tokens(['a']);
    run.done();
    run.sink.onQueued?.({ position: 1 });
  }
  await reader.until(() => reader.kinds(2).includes('END'));
  t.same(reader.kinds(1), ['QUEUED', 'CHUNK', 'END']);
  t.same(reader.kinds(2), ['CHUNK', 'END']);
  const told = inferenceMessages.Queued.deserialize(reader.of(1)[0]?.bytes as Buffer);
  t.match(told, { position: 7, etaMs: 900 });
  call.end();
});

t.test('a plain answer is one entry', async (t) => {
  const fixture = await openDoor(t);
  const { call, reader, write } = openStream(fixture);
  write(start(1, { body: body({ stream: false }), creditBytes: 0 }));
  const run = await fixture.generator.run(0);
  run.body('{"whole":', false);
  run.body('true}', true);
  run.done({});
  await settle();
  t.same(reader.kinds(1), [], 'without credit it waits');
  write({ credit: [{ stream: 1, bytes: 1 }] });
  await reader.until(() => reader.kinds(1).includes('END'));
  t.same(reader.kinds(1), ['CHUNK', 'USAGE', 'END']);
  t.equal(reader.of(1)[0]?.bytes.toString(), '{"whole":true}');
  call.end();
});

t.test('credit is obeyed to the entry, and one request without it delays no other', async (t) => {
  const fixture = await openDoor(t);
  const { call, reader, write } = openStream(fixture);
  write({ start: [start(1, { creditBytes: 1 }).start[0], start(2).start[0]] as never });
  const slow = await fixture.generator.run(0);
  const quick = await fixture.generator.run(1);
  slow.tokens(['a', 'b', 'c']);
  slow.tokens(['d']);
  slow.fail(new CodedError('engine_died', 'The engine went away.'));
  quick.tokens(['q']);
  await reader.until(() => reader.texts(2).length === 1);
  t.same(reader.texts(1), ['a'], 'one entry may overdraw, the next waits');
  const size = chunkOf('a').length;
  write({ credit: [{ stream: 1, bytes: size }] });
  await reader.until(() => reader.texts(1).length === 2);
  await settle();
  t.same(reader.kinds(1), ['CHUNK', 'CHUNK'], 'the overdraft of the first was paid back before');
  write({ credit: [{ stream: 1, bytes: 10 * size }] });
  await reader.until(() => reader.error(1) !== undefined);
  t.same(reader.texts(1), ['a', 'b', 'c', 'd'], 'what came before the error is sent before it');
  t.match(reader.error(1), { requestId: 'r1', error: { code: 'engine_died' } });
  quick.done();
  call.end();
});

t.test('the agent is granted what the client has taken, never more than its window', async (t) => {
  const fixture = await openDoor(t);
  const { call, reader, write } = openStream(fixture);
  write({
    start: [
      start(1, { creditBytes: 8192 }).start[0],
      start(2).start[0],
      start(3, { creditBytes: 5 }).start[0],
    ] as never,
  });
  const run = await fixture.generator.run(0);
  t.equal(run.initialCreditBytes, 8192);
  t.equal((await fixture.generator.run(1)).initialCreditBytes, 16 * 1024);
  t.equal((await fixture.generator.run(2)).initialCreditBytes, 4096, 'a window is worth a frame at least');
  const text = 'x'.repeat(900);
  for (let i = 0; i < 50 && run.creditBytes > 0; i++) run.tokens([text]);
  t.ok(run.creditBytes <= 0, 'the client took its credit, then the engine had to wait');
  t.ok(run.sentBytes < 3 * 8192);
  const grantsBefore = run.grants.length;
  write({ credit: [{ stream: 1, bytes: 100_000 }] });
  await reader.until(() => reader.texts(1).length === run.sentBytes / (chunkOf(text).length + 8));
  t.ok(run.grants.length > grantsBefore);
  t.equal(run.grants.reduce((sum, n) => sum + n, 0) <= run.sentBytes, true, 'only what was sent is granted');
  call.cancel();
});

t.test('cancel ends one request with an error entry and frees its number', async (t) => {
  const fixture = await openDoor(t);
  const { call, reader, write } = openStream(fixture);
  write({ start: [start(1).start[0], start(2, { creditBytes: 0 }).start[0]] as never });
  const first = await fixture.generator.run(0);
  const second = await fixture.generator.run(1);
  second.tokens(['waits for credit']);
  write({ cancel: [2, 99] });
  await reader.until(() => reader.error(2) !== undefined);
  t.equal(reader.error(2)?.error.code, 'cancelled');
  t.same(reader.texts(2), [], 'what waited is dropped');
  t.ok(second.cancelledBecause);
  t.equal(first.cancelledBecause, undefined);
  write({
    credit: [
      { stream: 2, bytes: 5 },
      { stream: 1, bytes: 5 },
    ],
    ...start(2, {}, { id: 'again' }),
  });
  const again = await fixture.generator.run(2);
  again.tokens(['new']);
  await reader.until(() => reader.texts(2).length === 1);
  const metrics = await fixture.metrics.render();
  t.match(metrics, /dropped_total\{where="grpc_many_cancel"\} 1/);
  t.match(metrics, /dropped_total\{where="grpc_many_credit"\} 2/, 'neither number has a limit');
  call.cancel();
});

t.test('a request that says what it has had is one that its client may come back for', async (t) => {
  const fixture = await openDoor(t);
  const { call, reader, write } = openStream(fixture);
  write({ start: [start(1, { resumeAfter: 3 }).start[0], start(2).start[0]] as never });
  const keyed = await fixture.generator.run(0);
  t.match(keyed.request, { id: 'r1', repeat: { after: 3, identity: String, body: String } });
  t.equal((await fixture.generator.run(1)).request.repeat, undefined);
  write({ cancel: [1] });
  await reader.until(() => reader.error(1) !== undefined);
  t.equal(reader.error(1)?.error.code, 'cancelled');
  t.equal(keyed.cancelledBecause, 'cancelled by id', 'it does not run on for its grace');
  write({ start: [{ stream: 3, envelope: null, body: body(), resumeAfter: 0 }] });
  t.equal((await fixture.generator.run(2)).request.repeat, undefined, 'without an id there is no key');
  call.cancel();
});

t.test('refusals are entries and leave the stream open', async (t) => {
  const fixture = await openDoor(t, { maxRunningPerStream: 2 });
  const { call, reader, write } = openStream(fixture);
  write(start(1, { body: Buffer.from('{') }));
  write(start(2, { body: body({ model: 'absent' }) }));
  write(start(3, {}, { id: 'not ok' }));
  write(start(4, {}, { tenant: 'other' }));
  write(start(5));
  write(start(6, {}, { id: 'r5' }));
  write(start(7));
  write(start(8));
  await reader.until(() => reader.error(8) !== undefined);
  const codes = [1, 2, 3, 4, 6, 8].map((stream) => reader.error(stream)?.error.code);
  t.same(codes, [
    'malformed_json',
    'model_not_found',
    'invalid_value',
    'permission_denied',
    'already_exists',
    'overloaded',
  ]);
  t.type(reader.error(8)?.error.retryAfterMs, 'number');
  t.equal(reader.error(2)?.requestId, 'r2');
  t.equal(fixture.generator.running.size, 2);
  t.equal(reader.ended, 'open');
  call.cancel();
});

t.test('a number that is started while it runs ends, once', async (t) => {
  const fixture = await openDoor(t);
  const { call, reader, write } = openStream(fixture);
  write(start(1));
  const run = await fixture.generator.run(0);
  write(start(1, {}, { id: 'twin' }));
  await reader.until(() => reader.error(1) !== undefined);
  t.equal(reader.error(1)?.error.code, 'already_exists');
  t.ok(run.cancelledBecause);
  t.equal(fixture.generator.started.length, 1);
  write(start(1, {}, { id: 'fresh' }));
  (await fixture.generator.run(1)).done();
  await reader.until(() => reader.kinds(1).includes('END'));
  t.same(reader.kinds(1), ['ERROR', 'END']);
  call.end();
});

t.test('after half-close what runs is finished', async (t) => {
  const fixture = await openDoor(t);
  const { call, reader, write } = openStream(fixture);
  write(start(1));
  const run = await fixture.generator.run(0);
  call.end();
  await settle();
  t.equal(reader.ended, 'open');
  run.tokens(['late']);
  run.done();
  await reader.until(() => reader.ended !== 'open');
  t.equal(reader.ended, 'ok');
  t.same(reader.kinds(1), ['CHUNK', 'END']);
});

t.test('a broken stream cancels all that it carries', async (t) => {
  const fixture = await openDoor(t);
  const client = fixture.newClient();
  const call = client.generateMany(bearer(CANARY_KEY));
  const reader = new EntryReader(call);
  call.write({ start: [start(1).start[0], start(2).start[0]] as never });
  const runs = [await fixture.generator.run(0), await fixture.generator.run(1)];
  const all = Promise.all(runs.map((run) => new Promise<void>((resolve) => (run.onCancel = resolve))));
  runs[0]?.tokens(['a']);
  await reader.until(() => reader.texts(1).length === 1);
  call.cancel();
  await all;
  t.equal(fixture.generator.running.size, 0);
});

t.test('deadlines: of one request, and of the whole stream', async (t) => {
  const fixture = await openDoor(t);
  const { reader, write, call } = openStream(fixture);
  write({ start: [start(1, { creditBytes: 0 }, { deadlineMs: 80 }).start[0], start(2).start[0]] as never });
  const run = await fixture.generator.run(0);
  run.tokens(['x']);
  await reader.until(() => reader.error(1) !== undefined);
  t.equal(reader.error(1)?.error.code, 'deadline_exceeded');
  t.ok(run.cancelledBecause, 'even where the client gave no credit');
  t.equal((await fixture.generator.run(1)).cancelledBecause, undefined);
  call.cancel();
  const short = fixture.inference.generateMany(bearer(CANARY_KEY), { deadline: Date.now() + 200 });
  const shortReader = new EntryReader(short);
  short.write(start(1, {}, { id: 'short', deadlineMs: 60_000 }));
  const last = await fixture.generator.run(2);
  t.ok((last.request.deadlineAtMs ?? Infinity) - performance.now() <= 200, 'the engine knows the shorter one');
  await shortReader.until(() => shortReader.ended !== 'open');
  t.match(shortReader.ended, { error: { code: 'deadline_exceeded' } });
  await settle();
  t.ok(last.cancelledBecause);
});

t.test('a client that does not read bounds what is held for it, and loses nothing', async (t) => {
  const fixture = await openDoor(t);
  const call = fixture.inference.generateMany(bearer(CANARY_KEY));
  const reader = new EntryReader(call);
  call.write({ start: [1, 2, 3].map((stream) => start(stream).start[0]) as never });
  const runs = [await fixture.generator.run(0), await fixture.generator.run(1), await fixture.generator.run(2)];
  const text = 'x'.repeat(2000);
  for (const run of runs) run.tokens([text]);
  await reader.until(() => reader.of().length === 3);
  call.pause();
  const pump = async (): Promise<boolean> => {
    for (let quiet = 0, round = 0; round < 4000; round++) {
      const able = runs.filter((run) => run.creditBytes > 0);
      for (const run of able) run.tokens([text]);
      quiet = able.length > 0 ? 0 : quiet + 1;
      if (quiet > 20) return true;
      await settle(quiet > 0 ? 3 : 0);
    }
    return false;
  };
  t.equal(await pump(), true, 'the engines were made to wait');
  const sent = runs.reduce((sum, run) => sum + run.sentBytes, 0);
  t.ok(sent < 4 * 1024 * 1024, `${sent} bytes were taken from the engines`);
  call.resume();
  for (const run of runs) run.done();
  await reader.until(() => reader.kinds().filter((kind) => kind === 'END').length === 3);
  const chunks = reader.of().filter(({ kind }) => kind === ENTRY.CHUNK).length;
  t.equal(chunks, sent / (chunkOf(text).length + 8));
  call.end();
  await reader.until(() => reader.ended === 'ok');
});

t.test('a client that sends orders and never reads answers is not read either', async (t) => {
  const fixture = await openDoor(t);
  const call = fixture.inference.generateMany(bearer(CANARY_KEY));
  const reader = new EntryReader(call);
  const bad = (stream: number) => ({ stream, envelope: { id: 'not ok' }, body: Buffer.alloc(0) });
  call.write({ start: [bad(0)] });
  await reader.until(() => reader.of().length === 1);
  call.pause();
  let sent = 1;
  let taken = true;
  // 200 refusals are some 40 kB of answers for 4 kB of orders, so it is the answers that fill the sockets first.
  for (let i = 0; i < 3000 && taken; i++) {
    taken = await new Promise<boolean>((resolve) => {
      const late = setTimeout(() => resolve(false), 1000);
      call.write({ start: Array.from({ length: 200 }, () => bad(sent++)) }, () => {
        clearTimeout(late);
        resolve(true);
      });
    });
  }
  t.equal(taken, false, 'in the end no order is taken');
  call.resume();
  await reader.until(() => reader.of().length === sent);
  t.pass('and nothing was lost');
  call.cancel();
});

t.test('draining: new requests are refused, running ones finish, then the stream says so', async (t) => {
  const fixture = await openDoor(t);
  const { reader, write } = openStream(fixture);
  const idle = openStream(fixture);
  write(start(1));
  idle.write({ cancel: [1] });
  const run = await fixture.generator.run(0);
  await settle();
  fixture.door.drain();
  await idle.reader.until(() => idle.reader.ended !== 'open');
  t.match(idle.reader.ended, { error: { code: 'draining', retryAfterMs: 0 } });
  write(start(2));
  await reader.until(() => reader.error(2) !== undefined);
  t.equal(reader.error(2)?.error.code, 'draining');
  run.tokens(['still here']);
  run.done();
  await reader.until(() => reader.ended !== 'open');
  t.same(reader.kinds(1), ['CHUNK', 'END']);
  t.match(reader.ended, { error: { code: 'draining' } });
  t.equal(status.UNAVAILABLE, 14);
});
