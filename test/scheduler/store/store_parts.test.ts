/** Parts of the store that need no database: frames, errors, migrations' files, keys, anchors. */
import { appendFileSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { CodedError } from '../../../lib/errors.ts';
import { systemClock, systemRandom } from '../../../lib/io/system.ts';
import { openAnchorsFile } from '../../../scheduler/adapters/store/anchors_file.ts';
import { createFrameReader, encodeFrame } from '../../../scheduler/adapters/store/embedded/frames.ts';
import {
  publicKeyFile,
  readAnchorVerifier,
  readMac,
  readOrMakeAnchorKeys,
  readOrMakeMac,
} from '../../../scheduler/adapters/store/keys.ts';
import { checkApplied, migrationsFolder, readMigrations } from '../../../scheduler/adapters/store/migrate.ts';
import { openDriver } from '../../../scheduler/adapters/store/open_store.ts';
import { toCheckpoint, toEntry, toHead } from '../../../scheduler/adapters/store/rows.ts';
import { toStoreError } from '../../../scheduler/adapters/store/sql_errors.ts';

t.test('frames come out whole however the bytes are cut', async (t) => {
  const messages = [{ a: 1 }, { text: 'é'.repeat(300) }, {}];
  const bytes = Buffer.concat(messages.map(encodeFrame));
  for (const size of [1, 3, 7, bytes.length]) {
    const seen: unknown[] = [];
    const read = createFrameReader((message) => seen.push(message));
    for (let at = 0; at < bytes.length; at += size) read(bytes.subarray(at, at + size));
    t.same(seen, messages);
  }
  const read = createFrameReader(() => undefined);
  t.throws(() => read(Buffer.from([255, 255, 255, 255])), RangeError);
});

t.test('foreign errors become coded ones, with the cause', async (t) => {
  const sql = (code: string) => toStoreError(Object.assign(new Error('m'), { code }));
  const table = {
    '08006': 'store_unavailable',
    '25006': 'store_read_only',
    '28P01': 'store_refused',
    '3D000': 'store_refused',
    '40001': 'store_busy',
    '42501': 'store_refused',
    '42601': 'internal',
    '53100': 'store_full',
    '53300': 'store_unavailable',
    '57014': 'store_timeout',
    '57P01': 'store_unavailable',
    XX001: 'store_corrupt',
  };
  for (const [state, code] of Object.entries(table)) t.equal(sql(state).code, code, state);
  t.equal(sql('ECONNREFUSED').code, 'store_unavailable');
  t.equal(toStoreError(new Error('Query read timeout')).code, 'store_timeout');
  t.equal(toStoreError('text').code, 'store_unavailable');
  const own = new CodedError('store_full', 'm');
  t.equal(toStoreError(own), own);
  t.match(sql('53100').cause, { message: 'm' });
});

t.test('rows that cannot be read are named', async (t) => {
  t.throws(() => toHead(undefined), { code: 'store_corrupt' });
  t.throws(() => toCheckpoint({ seq: 'x' }), { code: 'store_corrupt' });
  t.throws(() => toEntry({ area: 'desired', kind: 'A', name: 'b', version: '1', body: '{' }), {
    code: 'store_corrupt',
  });
});

t.test('the migrations are in line, and what was applied is held against them', async (t) => {
  const known = readMigrations(migrationsFolder());
  t.ok(known.length >= 2);
  t.same(
    known.map(({ version }) => version),
    known.map((_, index) => index + 1),
  );
  checkApplied(known, known);
  t.throws(() => checkApplied(known.slice(1), known), { code: 'store_schema', message: /lacks migration 1/ });
  const folder = t.testdir({ '001_a.sql': '-- compatible: 1\n', '003_b.sql': '-- compatible: 1\n', 'notes.txt': '' });
  t.throws(() => readMigrations(folder), /out of line/);
  t.throws(() => readMigrations(t.testdir({ '001_a.sql': 'select 1' })), /compatible/);
});

t.test('keys are made once, private, and what is no key is refused', async (t) => {
  const folder = t.testdir();
  const file = path.join(folder, 'log.key');
  await t.rejects(readMac(file), { code: 'invalid_config' });
  const [one, two] = await Promise.all([readOrMakeMac(file), readOrMakeMac(file)]);
  t.equal(one('x'), two('x'), 'two that start at once have one key');
  t.match(one('x'), /^[0-9a-f]{64}$/);
  t.equal((await readMac(file))('x'), one('x'));
  t.equal(statSync(file).mode & 0o777, 0o600);
  writeFileSync(file, 'short');
  await t.rejects(readMac(file), { code: 'invalid_config' });
  await t.rejects(readMac(folder), { code: 'invalid_config' });
  await t.rejects(readOrMakeMac(path.join(folder, 'no/such/folder')), { code: 'invalid_config' });
  const anchorFile = path.join(folder, 'anchors.key');
  const keys = await readOrMakeAnchorKeys(anchorFile);
  const again = await readOrMakeAnchorKeys(anchorFile);
  t.ok(again.verify('text', keys.sign('text')));
  const open = await readAnchorVerifier(publicKeyFile(anchorFile));
  t.ok(open('text', keys.sign('text')));
  t.notOk(open('other', keys.sign('text')));
  await t.rejects(readAnchorVerifier(path.join(folder, 'none')), { code: 'invalid_config' });
  await t.rejects(readAnchorVerifier(file), { code: 'invalid_config' });
});

t.test('anchors go into a file that is only added to', async (t) => {
  const folder = t.testdir();
  const keys = await readOrMakeAnchorKeys(path.join(folder, 'anchors.key'));
  const file = path.join(folder, 'anchors.jsonl');
  let seq = 0;
  const store = {
    head: async () => ({ logId: 'l', seq, hash: `h${seq}`, atMs: 1, archivedSeq: 0, archivedMac: '', nowMs: 5 }),
  };
  const anchors = await openAnchorsFile(file, keys);
  t.equal(await anchors.anchor(store), undefined, 'an empty log has no end to sign');
  seq = 3;
  t.match(await anchors.anchor(store), { n: 1, seq: 3, count: 3 });
  seq = 9;
  t.match(await anchors.anchor(store), { n: 2, seq: 9 });
  t.equal(readFileSync(file, 'utf8').split('\n').length, 3);
  t.match((await openAnchorsFile(file, keys)).newest(), { n: 2 });
  appendFileSync(file, '{"n":3');
  await t.rejects(openAnchorsFile(file, keys), { code: 'store_corrupt' });
  await t.rejects(openAnchorsFile(folder, keys), { code: 'invalid_config' });
});

t.test('a PostgreSQL that is not there is a coded error', async (t) => {
  const driver = openDriver({
    url: 'postgres://nobody@127.0.0.1:1/none',
    folder: t.testdir(),
    clock: systemClock,
    random: systemRandom,
    environment: {},
  });
  await t.rejects(driver.query('select 1', [], { repeatable: true }), { code: 'store_unavailable' });
  await driver.close();
  await driver.close();
});
