/**
 * The key file: durable, private, whole, and never guessed at when it is broken.
 */
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { CodedError } from '../../../lib/errors.ts';
import type { KeyId, TenantId } from '../../../lib/ids.ts';
import { systemRandom } from '../../../lib/io/system.ts';
import { openKeyStore } from '../../../scheduler/adapters/auth/key_store.ts';
import { sha256 } from '../../../scheduler/adapters/auth/sha256.ts';
import { createKey, type CreatedKey } from '../../../scheduler/core/access/keys.ts';

function newKey(): CreatedKey {
  return createKey(systemRandom, sha256, { name: 'n', tenant: 'acme' as TenantId, roles: ['user'] }, 1000);
}

async function withFile(t: { teardown(fn: () => unknown): void }): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'keys-'));
  t.teardown(() => rm(folder, { recursive: true }));
  return join(folder, 'keys.json');
}

t.test('keys survive a restart; the file is private and holds no secret', async (t) => {
  const file = await withFile(t);
  const store = await openKeyStore(file);
  t.same(store.list(), []);
  const { key, record } = newKey();
  await store.add(record);
  t.equal((await stat(file)).mode & 0o777, 0o600);
  t.notMatch(await readFile(file, 'utf8'), key.slice(16));
  const again = await openKeyStore(file);
  t.same(again.find(record.id), record);
  const revoked = await again.revoke(record.id, 5000);
  t.equal(revoked.revokedAtMs, 5000);
  t.equal((await again.revoke(record.id, 9000)).revokedAtMs, 5000, 'the first revocation stands');
  t.equal((await openKeyStore(file)).find(record.id)?.revokedAtMs, 5000);
  t.same(await readdir(join(file, '..')), ['keys.json'], 'no draft is left');
});

t.test('the same id twice, an unknown id', async (t) => {
  const store = await openKeyStore(await withFile(t));
  const { record } = newKey();
  await store.add(record);
  await t.rejects(store.add(record), { code: 'already_exists' });
  await t.rejects(store.revoke('x' as KeyId, 1), { code: 'not_found' });
  await store.add(newKey().record);
  t.equal(store.list().length, 2, 'a refused change does not stop the next');
});

t.test('changes made at once are all kept', async (t) => {
  const file = await withFile(t);
  const store = await openKeyStore(file);
  const keys = Array.from({ length: 20 }, newKey);
  await Promise.all(keys.map(({ record }) => store.add(record)));
  const again = await openKeyStore(file);
  for (const { record } of keys) t.ok(again.find(record.id));
});

t.test('a change that cannot be written is not in force', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'keys-'));
  const store = await openKeyStore(join(folder, 'keys.json'));
  await rm(folder, { recursive: true });
  const { record } = newKey();
  await t.rejects(store.add(record));
  t.equal(store.find(record.id), undefined);
});

t.test('a file that cannot be understood stops the start with one sentence', async (t) => {
  const file = await withFile(t);
  const { record } = newKey();
  const twice = { version: 1, keys: [record, record] };
  const bad = [
    '',
    '{"version":1,"keys":[',
    '[]',
    '{"version":2,"keys":[]}',
    JSON.stringify({ version: 1, keys: [{ ...record, roles: ['root'] }] }),
    JSON.stringify({ version: 1, keys: [{ ...record, secretSha256: 'short' }] }),
    JSON.stringify({ version: 1, keys: [{ ...record, more: 1 }] }),
    JSON.stringify(twice),
  ];
  for (const text of bad) {
    await writeFile(file, text, { mode: 0o600 });
    const thrown: unknown = await openKeyStore(file).catch((error: unknown) => error);
    t.ok(thrown instanceof CodedError, text);
    t.equal((thrown as CodedError).code, 'invalid_config');
    t.match((thrown as CodedError).message, /keys\.json cannot be used/);
    t.equal(await readFile(file, 'utf8'), text, 'the file is left as it is');
  }
});

t.test('a file that others may read is refused', async (t) => {
  const file = await withFile(t);
  await writeFile(file, '{"version":1,"keys":[]}');
  await chmod(file, 0o644);
  await t.rejects(openKeyStore(file), { code: 'invalid_config', message: /chmod 600/ });
  await t.rejects(openKeyStore(join(file, 'below')), { code: 'invalid_config' });
});
