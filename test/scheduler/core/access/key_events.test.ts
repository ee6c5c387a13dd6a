/** The log follows the key file: what has to be appended, by whose word, and never a secret. */
import t from 'tap';
import type { KeyId, TenantId } from '../../../../lib/ids.ts';
import { type AccessNote, accessName, keyChanges } from '../../../../scheduler/core/access/key_events.ts';
import type { Entry } from '../../../../scheduler/core/events/projection.ts';
import type { AppendItem } from '../../../../scheduler/core/events/store_port.ts';
import type { ApiKeyRecord } from '../../../../scheduler/ports.ts';

const key = (id: string, change: Partial<ApiKeyRecord> = {}): ApiKeyRecord => ({
  id: id as KeyId,
  name: 'bot',
  tenant: 'acme' as TenantId,
  roles: ['user'],
  weight: 2,
  secretSha256: 'f'.repeat(64),
  createdAtMs: 5,
  ...change,
});

/** What the log says after these items, on top of what it said. */
function after(items: readonly AppendItem[], before: readonly Entry[] = []): Entry[] {
  const table = new Map(before.map((entry) => [entry.name, entry]));
  for (const [index, { resource, kind, after: value, actor }] of items.entries()) {
    if (kind === 'access.revoked') table.delete(resource.name);
    else table.set(resource.name, { area: 'access', ...resource, version: 10 + index, value, atMs: 1, actor });
  }
  return [...table.values()];
}

const changes = (keys: readonly ApiKeyRecord[], entries: readonly Entry[], notes: readonly AccessNote[] = []) =>
  keyChanges({ folder: 'here', scheduler: 'sched', keys, entries, notes, correlationId: 'c' });

t.test('keys of the file are granted once, changed and revoked, as the file says', async (t) => {
  const first = changes([key('one'), key('two', { expiresAtMs: 9 })], []);
  t.match(first, [
    {
      kind: 'access.granted',
      resource: { kind: 'Key', name: 'here/one' },
      actor: 'file',
      reason: 'found in the key file',
      correlationId: 'c',
      after: { id: 'one', name: 'bot', tenant: 'acme', roles: ['user'], weight: 2, scheduler: 'sched' },
      expected: 'absent',
    },
    { resource: { name: accessName('here', 'two') }, after: { expiresAtMs: 9 } },
  ]);
  t.notMatch(JSON.stringify(first), /ffff|[sS]ecret/, 'neither a key nor its hash');
  const log = after(first);
  t.same(changes([key('one'), key('two', { expiresAtMs: 9 })], log), [], 'nothing twice');
  t.match(changes([key('one', { roles: ['admin'] }), key('two', { revokedAtMs: 7 })], log), [
    { kind: 'access.changed', actor: 'file', expected: 10, after: { roles: ['admin'] } },
    { kind: 'access.revoked', actor: 'file', expected: 11, after: null, reason: 'revoked in the key file' },
  ]);
  t.match(changes([key('one')], log), [{ kind: 'access.revoked', reason: 'no longer in the key file' }]);
});

t.test('entries of other folders and kinds are theirs', async (t) => {
  const others = after(changes([key('one')], [])).map((entry) => ({ ...entry, name: 'there/one' }));
  t.match(changes([], [...others, { ...(others[0] as Entry), kind: 'Role', name: 'here/x' }]), []);
});

t.test('a change that was made here has its author, also when the key is gone already', async (t) => {
  const notes: AccessNote[] = [
    { keyId: 'one', change: 'created', actor: 'key:ops', reason: 'new bot', correlationId: 'r1' },
    { keyId: 'one', change: 'revoked', actor: 'key:boss', reason: 'leaked', correlationId: 'r2' },
  ];
  const items = changes([key('one', { revokedAtMs: 6, name: 'a\ud800b' })], [], notes);
  t.match(items, [
    { kind: 'access.granted', actor: 'key:ops', reason: 'new bot', correlationId: 'r1', after: { name: 'a\ufffdb' } },
    { kind: 'access.revoked', actor: 'key:boss', reason: 'leaked', correlationId: 'r2', expected: 'present' },
  ]);
  t.same(changes([key('old', { revokedAtMs: 6 })], []), [], 'revoked before the log heard of it: no news');
});
