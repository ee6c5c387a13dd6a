/** Changes of API keys in the log: by whose word, through a store that is away, a restart, and a file that was edited. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t, { type Test } from 'tap';
import type { KeyId, TenantId } from '../../../lib/ids.ts';
import { systemClock, systemRandom } from '../../../lib/io/system.ts';
import { createAccessLog } from '../../../scheduler/adapters/auth/access_log.ts';
import { openAccessNotes } from '../../../scheduler/adapters/auth/access_notes.ts';
import { openKeyStore } from '../../../scheduler/adapters/auth/key_store.ts';
import { sha256 } from '../../../scheduler/adapters/auth/sha256.ts';
import { createKey } from '../../../scheduler/core/access/keys.ts';
import { decodeEvent } from '../../../scheduler/core/events/event.ts';
import { createMemoryStore, type MemoryStore } from '../../support/memory_store.ts';
import { until } from '../../support/waits.ts';
import { silentLog } from '../fakes.ts';
import { openControl } from '../resources/control_fixture.ts';

const BY = { actor: 'key:ops', reason: 'for the bot', correlationId: 'req_1' };

/** How long an answer waits for the log; kept as it is, for on a slow machine the log would be later than a shorter one. */
const PATIENCE_MS = 5000;

/** A clock whose pauses between tries are short. */
const quick = {
  ...systemClock,
  after: (ms: number, task: () => void) => systemClock.after(ms === PATIENCE_MS ? ms : Math.min(ms, 20), task),
};

function newFolder(t: Test): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'access-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

let ids = 0;

/** One life of a scheduler on a data folder. */
async function openLife(t: Test, store: MemoryStore, folder: string, scheduler = 'sched') {
  const { control, calls } = openControl(t, { store });
  const keys = await openKeyStore(path.join(folder, 'keys.json'));
  const damages: unknown[] = [];
  const notes = await openAccessNotes(
    path.join(folder, 'access-log.json'),
    () => `folder${'abcdefg'[ids++ % 7]}a`,
    (err) => damages.push(err),
  );
  const log = createAccessLog({
    ...{ control, keys, notes, scheduler, clock: quick, random: systemRandom, logger: silentLog },
    newId: () => `id-${++ids}`,
  });
  t.teardown(() => log.stop());
  const create = async (name: string, by = BY) => {
    const asked = { name, tenant: 'acme' as TenantId, roles: ['user'] as const };
    const made = createKey(systemRandom, sha256, asked, systemClock.wallMs());
    await log.keys.add(made.record, by);
    return made;
  };
  return { control, calls, notes, damages, log, create };
}

const eventsIn = (store: MemoryStore) =>
  store.rows.map(({ body }) => {
    const event = decodeEvent(body);
    return event === undefined ? undefined : `${event.kind} ${event.actor} ${event.reason}`;
  });

t.test('who makes and revokes a key is in the log before the answer, and no secret is', async (t) => {
  const store = createMemoryStore();
  const { log, create, notes } = await openLife(t, store, newFolder(t));
  log.start();
  const { key, record } = await create('bot');
  t.same(eventsIn(store), ['access.granted key:ops for the bot']);
  await log.keys.revoke(record.id, 99, { ...BY, reason: 'leaked' });
  await log.keys.revoke(record.id, 100, { ...BY, reason: 'again' });
  t.same(eventsIn(store), ['access.granted key:ops for the bot', 'access.revoked key:ops leaked']);
  t.same(notes.list(), []);
  const rows = JSON.stringify(store.rows);
  t.notMatch(rows, record.secretSha256);
  t.notMatch(rows, key.split('-').at(-1));
  await t.rejects(log.keys.revoke('nobody' as KeyId, 1), { code: 'not_found' });
});

t.test('before the store is needed nothing opens it; the first who does finds all keys there', async (t) => {
  const store = createMemoryStore();
  const { control, calls, create } = await openLife(t, store, newFolder(t));
  await create('bootstrap', { actor: 'bootstrap', reason: 'the first', correlationId: '' });
  t.equal(calls.opened, 0);
  await control.catchUp();
  await until(() => store.rows.length === 1, 'the first key in the log');
  t.same(eventsIn(store), ['access.granted bootstrap the first']);
});

t.test('with the store away keys change at once, and the next life still knows by whose word', async (t) => {
  const store = createMemoryStore();
  const folder = newFolder(t);
  const first = await openLife(t, store, folder);
  first.log.start();
  await first.create('one');
  store.failWith = 'store_unavailable';
  const { record } = await first.create('two', { ...BY, reason: 'while away' });
  await first.log.keys.revoke(record.id, 5, { ...BY, reason: 'leaked' });
  t.ok(first.log.keys.find(record.id)?.revokedAtMs);
  t.equal(store.rows.length, 1);
  await first.log.stop();
  store.failWith = undefined;
  const kept = readFileSync(path.join(folder, 'access-log.json'));
  const second = await openLife(t, store, folder);
  t.equal(second.notes.list().length, 2);
  await second.control.catchUp();
  await until(() => second.notes.list().length === 0, 'the notes to be done with');
  t.same(eventsIn(store).slice(1), ['access.granted key:ops while away', 'access.revoked key:ops leaked']);
  await second.log.stop();
  // Killed before the notes were forgotten: they are there again, and the log has their events already.
  writeFileSync(path.join(folder, 'access-log.json'), kept);
  const third = await openLife(t, store, folder);
  await third.control.catchUp();
  await until(() => third.notes.list().length === 0, 'the notes to be done with again');
  t.equal(store.rows.length, 3);
});

t.test('a store that comes back is told without being asked', async (t) => {
  const store = createMemoryStore();
  const { log, create } = await openLife(t, store, newFolder(t));
  log.start();
  store.failWith = 'store_unavailable';
  await create('one');
  store.failWith = undefined;
  await until(() => store.rows.length === 1, 'the key in the log');
});

t.test('a file that somebody has edited is the truth, and each folder has entries of its own', async (t) => {
  const store = createMemoryStore();
  const here = newFolder(t);
  const first = await openLife(t, store, here);
  const other = await openLife(t, store, newFolder(t), 'other');
  for (const { log } of [first, other]) log.start();
  const one = await first.create('one');
  const two = await first.create('two');
  await other.create('three');
  await first.log.stop();
  const file = path.join(here, 'keys.json');
  const { keys, version } = JSON.parse(readFileSync(file, 'utf8')) as { keys: { id: string }[]; version: number };
  const edited = keys.filter(({ id }) => id !== two.record.id).map((key) => ({ ...key, roles: ['user', 'operator'] }));
  writeFileSync(file, JSON.stringify({ version, keys: edited }));
  const second = await openLife(t, store, here);
  await second.control.catchUp();
  await until(() => store.rows.length === 5, 'two more events');
  t.same(eventsIn(store).slice(3), [
    'access.changed file changed in the key file',
    'access.revoked file no longer in the key file',
  ]);
  const names = second.control
    .projection()
    .list('access')
    .map(({ name, value }) => [name.split('/')[1], (value as { scheduler: string }).scheduler]);
  t.equal(names.length, 2);
  t.ok(names.some(([id, scheduler]) => id === one.record.id && scheduler === 'sched'));
  t.ok(names.some(([, scheduler]) => scheduler === 'other'));
});

t.test('many keys go in pieces, a race is decided anew, and notes that cannot be read are begun anew', async (t) => {
  const store = createMemoryStore();
  const folder = newFolder(t);
  writeFileSync(path.join(folder, 'access-log.json'), '{');
  const records = Array.from({ length: 1200 }, (_, index) => {
    const asked = { name: `k${index}`, tenant: 'acme' as TenantId, roles: ['user'] as const };
    return createKey(systemRandom, sha256, asked, 1).record;
  });
  writeFileSync(path.join(folder, 'keys.json'), JSON.stringify({ version: 1, keys: records }), { mode: 0o600 });
  const { control, notes, damages } = await openLife(t, store, folder);
  t.match(notes.folder, /^folder/);
  t.equal(damages.length, 1, 'told, for what was in it is lost');
  let raced = false;
  store.beforeAppend = (request) => {
    if (raced) return;
    raced = true;
    // Another process on this folder was faster with the same events.
    store.write({ ...request, idempotencyId: 'faster' });
  };
  await control.catchUp();
  await until(() => store.rows.length === 1200, 'all keys in the log');
});

t.test('a log that a person took as it is hears of the keys again', async (t) => {
  const store = createMemoryStore();
  const { control, log, create } = await openLife(t, store, newFolder(t));
  log.start();
  await create('one');
  store.rows = [];
  await control.acceptLog();
  await until(() => store.rows.length === 1, 'the key in the other log');
});
