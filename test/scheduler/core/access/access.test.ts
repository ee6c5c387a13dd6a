/**
 * Keys, doors, claims and the brake: the pure part of who may come in.
 */
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { CodedError } from '../../../../lib/errors.ts';
import type { KeyId, TenantId } from '../../../../lib/ids.ts';
import { seededRandom } from '../../../../lib/rng.ts';
import { brakeKey, createFailureBrake } from '../../../../scheduler/core/access/brake.ts';
import { DEFAULT_CLAIM_NAMES, identityFromClaims, standingOf } from '../../../../scheduler/core/access/claims.ts';
import {
  DOORS,
  doorById,
  findDoor,
  LISTENERS,
  methodsOf,
  requireDoor,
} from '../../../../scheduler/core/access/doors.ts';
import {
  createKey,
  equalInConstantTime,
  keyIsGood,
  parseKey,
  type Sha256,
} from '../../../../scheduler/core/access/keys.ts';
import type { Identity, Role } from '../../../../scheduler/ports.ts';

const sha256: Sha256 = (bytes) => createHash('sha256').update(bytes).digest();
const TENANT = 'acme' as TenantId;

function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (thrown) {
    if (thrown instanceof CodedError) return thrown.code;
    throw thrown;
  }
  return 'accepted';
}

function identity(...roles: Role[]): Identity {
  return { tenant: TENANT, subject: 's', roles: new Set(roles), weight: 1 };
}

t.test('a created key opens its own record and no other', async (t) => {
  const random = seededRandom(1);
  const one = createKey(random, sha256, { name: 'ci', tenant: TENANT, roles: ['user'] }, 1000);
  const two = createKey(
    random,
    sha256,
    { name: 'ci', tenant: TENANT, roles: ['user'], weight: 2, expiresAtMs: 5000 },
    1000,
  );
  t.match(one.key, /^sk-[a-z2-7]{12}-[a-z2-7]{32}$/);
  t.not(one.record.id, two.record.id);
  const secret = parseKey(one.key)?.secret ?? '';
  t.notMatch(JSON.stringify(one.record), secret);
  t.match(one.record, { weight: 1, createdAtMs: 1000, tenant: TENANT });
  t.equal(keyIsGood(one.record, secret, sha256, 2000), true);
  t.equal(keyIsGood(two.record, secret, sha256, 2000), false);
  t.equal(keyIsGood(undefined, secret, sha256, 2000), false);
  const secretTwo = parseKey(two.key)?.secret ?? '';
  t.equal(keyIsGood(two.record, secretTwo, sha256, 4999), true);
  t.equal(keyIsGood(two.record, secretTwo, sha256, 5000), false, 'expired');
  t.equal(keyIsGood({ ...one.record, revokedAtMs: 2000 }, secret, sha256, 2000), false, 'revoked');
  t.equal(
    keyIsGood({ ...one.record, revokedAtMs: 2001 }, secret, sha256, 2000),
    true,
    'revoked later: the grace of a rotation',
  );
});

t.test('an unknown id costs the same hash as a known one', async (t) => {
  let hashes = 0;
  const counting: Sha256 = (bytes) => {
    hashes += 1;
    return sha256(bytes);
  };
  keyIsGood(undefined, 'x', counting, 0);
  t.equal(hashes, 1);
});

t.test('only the exact shape is a key', async (t) => {
  const good = `sk-${'a'.repeat(12)}-${'b'.repeat(32)}`;
  t.same(parseKey(good), { id: 'a'.repeat(12) as KeyId, secret: 'b'.repeat(32) });
  for (const text of [
    '',
    'sk-',
    `${good} `,
    ` ${good}`,
    `${good}\n`,
    good.toUpperCase(),
    good.slice(0, -1),
    `${good}b`,
    good.replace('sk', 'pk'),
    `sk-${'1'.repeat(12)}-${'b'.repeat(32)}`,
  ]) {
    t.equal(parseKey(text), undefined, JSON.stringify(text));
  }
});

t.test('property: the constant-time comparison is equality', async () => {
  const bytes = fc.uint8Array({ maxLength: 40 });
  fc.assert(
    fc.property(
      bytes,
      bytes,
      (one, other) => equalInConstantTime(one, other) === Buffer.from(one).equals(Buffer.from(other)),
    ),
  );
  fc.assert(fc.property(bytes, (one) => equalInConstantTime(one, Uint8Array.from(one))));
});

t.test('a door opens for its roles only, and an unknown one for nobody', async (t) => {
  requireDoor(undefined, 'live');
  t.equal(
    codeOf(() => requireDoor(undefined, 'chat')),
    'unauthenticated',
  );
  t.equal(
    codeOf(() => requireDoor(identity(), 'chat')),
    'permission_denied',
  );
  t.equal(
    codeOf(() => requireDoor(identity('operator'), 'chat')),
    'permission_denied',
  );
  t.equal(
    codeOf(() => requireDoor(identity('user'), 'chat')),
    'accepted',
  );
  t.equal(
    codeOf(() => requireDoor(identity('user', 'gateway'), 'inference.v1.Inference/Generate')),
    'accepted',
  );
  t.equal(
    codeOf(() => requireDoor(identity('gateway'), 'admin.v1.Admin/CreateKey')),
    'permission_denied',
  );
  t.equal(
    codeOf(() => requireDoor(identity('operator'), 'admin.v1.Admin/CreateKey')),
    'permission_denied',
  );
  t.equal(
    codeOf(() => requireDoor(identity('admin'), 'nowhere')),
    'permission_denied',
  );
});

t.test('the table: ids are unique, admins get everywhere that asks for a role, paths are found exactly', async (t) => {
  t.equal(new Set(DOORS.map((door) => door.id)).size, DOORS.length);
  const listeners = new Set(LISTENERS.map((listener) => listener.id));
  for (const door of DOORS) {
    t.ok(listeners.has(door.listener));
    t.ok(door.why.length > 10);
    if (door.roles.length > 0) t.ok(door.roles.includes('admin'), door.id);
    if (door.path.startsWith('/v1') || door.path.startsWith('admin'))
      t.ok(door.roles.length > 0 || door.credential === 'ticket', `${door.id} asks for a role or a ticket`);
  }
  t.equal(findDoor('http', '/v1/models')?.id, 'models');
  t.equal(findDoor('http', '/v1/models/a/b')?.id, 'model');
  t.equal(findDoor('http', '/v1/models', 'POST'), undefined);
  t.equal(findDoor('http', '/v1/modelsX'), undefined);
  t.equal(findDoor('http', '/docs')?.id, 'docs');
  t.equal(findDoor('grpc', '/v1/models'), undefined);
  t.equal(findDoor('grpc', 'grpc.health.v1.Health/Check')?.roles.length, 0);
  t.same(methodsOf('http', '/v1/chat/completions'), ['POST']);
  t.same(methodsOf('http', '/nope'), []);
  t.equal(doorById('chat').path, '/v1/chat/completions');
  t.throws(() => doorById('nowhere'));
});

t.test('claims become an identity; what is not said is not allowed', async (t) => {
  const claims = { sub: 'u1', tenant: 'acme', roles: ['user', 'root', 7], weight: 3 };
  const found = identityFromClaims(claims, DEFAULT_CLAIM_NAMES);
  t.match(found, { tenant: 'acme', subject: 'u1', weight: 3 });
  t.same([...found.roles], ['user']);
  const byScope = identityFromClaims({ ...claims, roles: 'openid operator admin' }, DEFAULT_CLAIM_NAMES);
  t.same([...byScope.roles], ['operator', 'admin']);
  t.equal(identityFromClaims({ sub: 'u', tenant: 'a' }, DEFAULT_CLAIM_NAMES).roles.size, 0);
  t.equal(identityFromClaims({ sub: 'u', tenant: 'a', roles: 5 }, DEFAULT_CLAIM_NAMES).roles.size, 0);
  const named = identityFromClaims(
    { sub: 'u', org: 'x', groups: ['admin'] },
    { tenant: 'org', roles: 'groups', weight: 'w' },
  );
  t.match(named, { tenant: 'x', weight: 1 });
  for (const bad of [
    { ...claims, tenant: undefined },
    { ...claims, tenant: '../x' },
    { ...claims, tenant: ['acme'] },
    { ...claims, sub: '' },
    { ...claims, sub: 5 },
    { ...claims, sub: 'x'.repeat(300) },
    { ...claims, weight: 0 },
    { ...claims, weight: '3' },
    { ...claims, weight: 1e9 },
    { ...claims, weight: Number.NaN },
  ]) {
    t.equal(
      codeOf(() => identityFromClaims(bad, DEFAULT_CLAIM_NAMES)),
      'unauthenticated',
      JSON.stringify(bad),
    );
  }
  const inherited = { ...DEFAULT_CLAIM_NAMES, tenant: 'toString' };
  t.equal(
    codeOf(() => identityFromClaims(claims, inherited)),
    'unauthenticated',
    'an inherited member is no claim',
  );
});

t.test('tenant and priority count only from a gateway', async (t) => {
  const asked = { tenant: 'other', priority: -5 };
  t.same(standingOf(identity('user', 'admin'), asked), { tenant: TENANT, priority: 0 });
  t.same(standingOf(identity('gateway'), asked), { tenant: 'other', priority: -5 });
  t.same(standingOf(identity('gateway'), {}), { tenant: TENANT, priority: 0 });
  t.equal(
    codeOf(() => standingOf(identity('gateway'), { tenant: 'a b' })),
    'invalid_value',
  );
});

t.test('the brake: an address that fails too often waits, and is forgiven with time', async (t) => {
  const brake = createFailureBrake({ maxFailures: 3, forgiveEveryMs: 1000, maxAddresses: 10 });
  t.equal(brake.waitMs('1.2.3.4', 0), 0);
  brake.recordFailure('1.2.3.4', 0);
  brake.recordFailure('1.2.3.4', 0);
  t.equal(brake.waitMs('1.2.3.4', 0), 0);
  brake.recordFailure('1.2.3.4', 0);
  t.equal(brake.waitMs('1.2.3.4', 0), 1000);
  t.equal(brake.waitMs('::ffff:1.2.3.4', 500), 500, 'the same address in IPv6 clothing');
  t.equal(brake.waitMs('1.2.3.5', 0), 0);
  t.equal(brake.waitMs('1.2.3.4', 1000), 0);
  brake.recordFailure('1.2.3.4', 1000);
  t.equal(brake.waitMs('1.2.3.4', 1000), 1000);
  for (let i = 0; i < 100; i++) brake.recordFailure('1.2.3.4', 1000);
  t.equal(brake.waitMs('1.2.3.4', 1000), 1000, 'the wait is bounded');
});

t.test('the brake remembers a bounded number of addresses, the latest failures longest', async (t) => {
  const brake = createFailureBrake({ maxFailures: 1, forgiveEveryMs: 1e6, maxAddresses: 2 });
  brake.recordFailure('a', 0);
  brake.recordFailure('b', 0);
  brake.recordFailure('a', 0);
  brake.recordFailure('c', 0);
  t.equal(brake.addresses, 2);
  t.equal(brake.waitMs('b', 0), 0);
  t.ok(brake.waitMs('a', 0) > 0);
});

t.test('one /64 of IPv6 is one address', async (t) => {
  t.equal(brakeKey('2001:db8:1:2:3:4:5:6'), brakeKey('2001:db8:1:2:ffff::1'));
  t.not(brakeKey('2001:db8:1:2::1'), brakeKey('2001:db8:1:3::1'));
  t.equal(brakeKey('2001:db8::1'), brakeKey('2001:db8:0:0:5::'));
  t.equal(brakeKey('::1'), '0:0:0:0');
  t.equal(brakeKey('10.0.0.1'), '10.0.0.1');
  fc.assert(fc.property(fc.ipV6(), (address) => brakeKey(address).length > 0));
});
