/**
 * The gate as a whole: API keys and tokens, everything that an attacker tries with them, and the brake.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { exportJWK, exportSPKI, generateKeyPair, SignJWT, UnsecuredJWT, type CryptoKey, type JWTPayload } from 'jose';
import t from 'tap';
import type { Clock } from '../../../lib/clock.ts';
import { CodedError } from '../../../lib/errors.ts';
import type { KeyId, TenantId } from '../../../lib/ids.ts';
import { systemRandom } from '../../../lib/io/system.ts';
import { createAuthenticator } from '../../../scheduler/adapters/auth/authenticator.ts';
import { openJwtVerifier, type JwtIssuerOptions } from '../../../scheduler/adapters/auth/jwt.ts';
import { sha256 } from '../../../scheduler/adapters/auth/sha256.ts';
import { createKey } from '../../../scheduler/core/access/keys.ts';
import type { ApiKeyRecord, KeyStore } from '../../../scheduler/ports.ts';

const NOW_MS = 1_800_000_000_000;
const NOW_S = NOW_MS / 1000;

interface TestClock extends Clock {
  advance(ms: number): void;
}

function testClock(): TestClock {
  let ms = 0;
  return {
    wallMs: () => NOW_MS + ms,
    monotonicMs: () => ms,
    after: () => () => {},
    advance(by) {
      ms += by;
    },
  };
}

function storeOf(records: readonly ApiKeyRecord[]): KeyStore {
  return {
    find: (id: KeyId) => records.find((record) => record.id === id),
    list: () => records,
    add: () => Promise.reject(new Error('unused')),
    revoke: () => Promise.reject(new Error('unused')),
  };
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (thrown) {
    return thrown instanceof CodedError ? thrown.code : `foreign: ${String(thrown)}`;
  }
  return 'accepted';
}

const created = createKey(
  systemRandom,
  sha256,
  { name: 'n', tenant: 'acme' as TenantId, roles: ['user', 'gateway'], weight: 2 },
  NOW_MS,
);

t.test('a good key gives its identity', async (t) => {
  const gate = createAuthenticator({ keys: storeOf([created.record]), clock: testClock() });
  for (const authorization of [`Bearer ${created.key}`, `bearer ${created.key}`, `BEARER  ${created.key} `]) {
    const found = await gate.authenticate(authorization, '::1');
    t.match(found, { tenant: 'acme', subject: `key:${created.record.id}`, weight: 2, keyId: created.record.id });
    t.same([...found.roles], ['user', 'gateway']);
  }
});

t.test('everything else is refused with one sentence that says nothing', async (t) => {
  const gate = createAuthenticator({
    keys: storeOf([created.record]),
    clock: testClock(),
    brake: { maxFailures: 1000 },
  });
  const wrong = `${created.key.slice(0, -1)}${created.key.endsWith('a') ? 'b' : 'a'}`;
  const messages = new Set<string>();
  for (const authorization of [
    `Bearer ${wrong}`,
    `Bearer sk-${'a'.repeat(12)}-${'b'.repeat(32)}`,
    created.key,
    `Basic ${created.key}`,
    'Bearer',
    'Bearer ',
    `Bearer ${created.key} x`,
    "Bearer ' OR 1=1",
    `Bearer ${'x'.repeat(20_000)}`,
    'Bearer null',
  ]) {
    const thrown: unknown = await gate.authenticate(authorization, '::1').catch((error: unknown) => error);
    t.equal((thrown as CodedError).code, 'unauthenticated', authorization.slice(0, 40));
    messages.add((thrown as CodedError).message);
  }
  t.equal(messages.size, 1);
  t.equal(await codeOf(gate.authenticate(undefined, '::1')), 'unauthenticated');
});

t.test('expired and revoked keys are refused from that moment on', async (t) => {
  const clock = testClock();
  const keys = storeOf([{ ...created.record, expiresAtMs: NOW_MS + 1000 }]);
  const gate = createAuthenticator({ keys, clock });
  t.equal(await codeOf(gate.authenticate(`Bearer ${created.key}`, '::1')), 'accepted');
  clock.advance(1000);
  t.equal(await codeOf(gate.authenticate(`Bearer ${created.key}`, '::1')), 'unauthenticated');
});

t.test('a store that fails lets nobody in', async (t) => {
  const keys = storeOf([created.record]);
  const broken: KeyStore = {
    ...keys,
    find() {
      throw new Error('disk on fire');
    },
  };
  const gate = createAuthenticator({ keys: broken, clock: testClock() });
  const thrown: unknown = await gate.authenticate(`Bearer ${created.key}`, '::1').catch((error: unknown) => error);
  t.equal((thrown as CodedError).code, 'unauthenticated');
  t.notMatch((thrown as CodedError).message, 'fire');
});

t.test('an address that guesses has to wait; right keys behind the same proxy still pass', async (t) => {
  const clock = testClock();
  const gate = createAuthenticator({
    keys: storeOf([created.record]),
    clock,
    brake: { maxFailures: 3, forgiveEveryMs: 1000 },
  });
  for (let i = 0; i < 3; i++) t.equal(await codeOf(gate.authenticate('Bearer sk-wrong', '9.9.9.9')), 'unauthenticated');
  const thrown = (await gate.authenticate('Bearer sk-wrong', '9.9.9.9').catch((error: unknown) => error)) as CodedError;
  t.equal(thrown.code, 'too_many_failures');
  t.equal(thrown.retryAfterMs, 1000);
  t.equal(await codeOf(gate.authenticate(`Bearer ${created.key}`, '9.9.9.9')), 'accepted');
  t.equal(await codeOf(gate.authenticate('Bearer sk-wrong', '8.8.8.8')), 'unauthenticated');
  clock.advance(1000);
  t.equal(await codeOf(gate.authenticate('Bearer sk-wrong', '9.9.9.9')), 'unauthenticated');
  for (let i = 0; i < 10; i++)
    t.equal(await codeOf(gate.authenticate(undefined, '7.7.7.7')), 'unauthenticated', 'no credential is no guess');
});

// ---- Tokens --------------------------------------------------------------------------------------------------------

const ISSUER = 'https://id.example.org';
const CLAIMS = { sub: 'u1', tenant: 'acme', roles: ['user'] };

interface Provider {
  readonly privateKey: CryptoKey;
  readonly publicKey: CryptoKey;
  readonly jwks: { keys: object[] };
}

async function makeProvider(kid: string): Promise<Provider> {
  const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true });
  return {
    privateKey,
    publicKey,
    jwks: { keys: [{ ...(await exportJWK(publicKey)), kid, alg: 'ES256', use: 'sig' }] },
  };
}

function sign(key: CryptoKey, claims: JWTPayload, header: { kid?: string; alg?: string } = {}): Promise<string> {
  const times = { iss: ISSUER, aud: 'sophia', exp: NOW_S + 600, nbf: NOW_S - 10, ...claims };
  return new SignJWT(times).setProtectedHeader({ alg: 'ES256', kid: 'k1', ...header }).sign(key);
}

async function tokenGate(t: { teardown(fn: () => unknown): void }, options: Partial<JwtIssuerOptions> = {}) {
  const provider = await makeProvider('k1');
  const folder = await mkdtemp(join(tmpdir(), 'jwks-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const file = join(folder, 'jwks.json');
  await writeFile(file, JSON.stringify(provider.jwks));
  const clock = testClock();
  const jwt = await openJwtVerifier([{ issuer: ISSUER, audiences: ['sophia'], jwks: file, ...options }], clock);
  const gate = createAuthenticator({ keys: storeOf([created.record]), jwt, clock, brake: { maxFailures: 1000 } });
  return { provider, file, clock, ask: (token: string) => gate.authenticate(`Bearer ${token}`, '::1') };
}

t.test('a token of a believed issuer gives its identity, roles bounded by what the issuer may grant', async (t) => {
  const { provider, ask } = await tokenGate(t);
  const found = await ask(await sign(provider.privateKey, CLAIMS));
  t.match(found, { tenant: 'acme', subject: 'u1' });
  const greedy = await ask(await sign(provider.privateKey, { ...CLAIMS, roles: ['user', 'admin', 'gateway'] }));
  t.same([...greedy.roles], ['user']);
  const trusted = await tokenGate(t, { grantableRoles: ['admin'] });
  const admin = await trusted.ask(await sign(trusted.provider.privateKey, { ...CLAIMS, roles: ['admin', 'user'] }));
  t.same([...admin.roles], ['admin']);
});

t.test('forged, foreign, stale and incomplete tokens are refused', async (t) => {
  const { provider, ask } = await tokenGate(t);
  const { privateKey } = provider;
  const other = await makeProvider('k1');
  const secret = new TextEncoder().encode(await exportSPKI(provider.publicKey));
  const good = await sign(privateKey, CLAIMS);
  const [head = '', , signature = ''] = good.split('.');
  const swapped = Buffer.from(
    JSON.stringify({ iss: ISSUER, aud: 'sophia', exp: NOW_S + 600, ...CLAIMS, roles: ['admin'] }),
  ).toString('base64url');
  const cases: Record<string, string> = {
    'none algorithm': new UnsecuredJWT({ ...CLAIMS, iss: ISSUER, aud: 'sophia', exp: NOW_S + 600 }).encode(),
    'HS256 with the public key as secret': await new SignJWT({
      ...CLAIMS,
      iss: ISSUER,
      aud: 'sophia',
      exp: NOW_S + 600,
    })
      .setProtectedHeader({ alg: 'HS256', kid: 'k1' })
      .sign(secret),
    'another key under the same kid': await sign(other.privateKey, CLAIMS),
    'an unknown kid': await sign(privateKey, CLAIMS, { kid: 'k9' }),
    'another payload under a good signature': `${head}.${swapped}.${signature}`,
    'another issuer': await sign(privateKey, { ...CLAIMS, iss: 'https://evil.example' }),
    'another audience': await sign(privateKey, { ...CLAIMS, aud: 'billing' }),
    'no audience': await new SignJWT({ ...CLAIMS, iss: ISSUER, exp: NOW_S + 600 })
      .setProtectedHeader({ alg: 'ES256', kid: 'k1' })
      .sign(privateKey),
    expired: await sign(privateKey, { ...CLAIMS, exp: NOW_S - 31 }),
    'not valid yet': await sign(privateKey, { ...CLAIMS, nbf: NOW_S + 31 }),
    'no expiry': await new SignJWT({ ...CLAIMS, iss: ISSUER, aud: 'sophia' })
      .setProtectedHeader({ alg: 'ES256', kid: 'k1' })
      .sign(privateKey),
    'no tenant': await sign(privateKey, { sub: 'u1' }),
    'no dots': 'abc',
    'empty parts': '..',
    'half of a good one': good.slice(0, good.length / 2),
    'a good one and more': `${good}x`,
  };
  for (const [what, token] of Object.entries(cases)) t.equal(await codeOf(ask(token)), 'unauthenticated', what);
  t.equal(await codeOf(ask(good)), 'accepted');
});

t.test('a difference of clocks is borne up to its bound', async (t) => {
  const { provider, ask, clock } = await tokenGate(t, { clockToleranceS: 60 });
  const token = await sign(provider.privateKey, { ...CLAIMS, exp: NOW_S });
  clock.advance(59_000);
  t.equal(await codeOf(ask(token)), 'accepted');
  clock.advance(2_000);
  t.equal(await codeOf(ask(token)), 'unauthenticated');
});

t.test('a rotated key file is read again, but not more often than the cool-down', async (t) => {
  const { provider, file, clock, ask } = await tokenGate(t, { jwksCooldownMs: 30_000 });
  const next = await makeProvider('k2');
  await writeFile(file, JSON.stringify({ keys: [...provider.jwks.keys, ...next.jwks.keys] }));
  const token = await sign(next.privateKey, CLAIMS, { kid: 'k2' });
  t.equal(await codeOf(ask(token)), 'unauthenticated', 'within the cool-down');
  clock.advance(30_000);
  t.equal(await codeOf(ask(token)), 'accepted');
  t.equal(await codeOf(ask(await sign(provider.privateKey, CLAIMS))), 'accepted', 'the old key stays');
  await writeFile(file, 'broken');
  clock.advance(30_000);
  t.equal(await codeOf(ask(await sign(next.privateKey, CLAIMS, { kid: 'k3' }))), 'unauthenticated');
  t.equal(await codeOf(ask(token)), 'accepted', 'a broken file takes nothing away');
});

t.test(
  'keys by address: unknown key ids do not flood the issuer, and an unreachable issuer lets nobody in',
  async (t) => {
    const provider = await makeProvider('k1');
    let asked = 0;
    const server = createServer((_request, response) => {
      asked += 1;
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify(provider.jwks));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const clock = testClock();
    const jwt = await openJwtVerifier(
      [{ issuer: ISSUER, audiences: ['sophia'], jwks: `http://127.0.0.1:${port}/jwks` }],
      clock,
    );
    await jwt.verify(await sign(provider.privateKey, CLAIMS));
    for (let i = 0; i < 20; i++) {
      t.equal(
        await codeOf(jwt.verify(await sign(provider.privateKey, CLAIMS, { kid: `random-${i}` }))),
        'unauthenticated',
      );
    }
    t.equal(asked, 1);
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    const dead = await openJwtVerifier(
      [{ issuer: ISSUER, audiences: ['sophia'], jwks: `http://127.0.0.1:${port}/jwks` }],
      clock,
    );
    t.equal(await codeOf(dead.verify(await sign(provider.privateKey, CLAIMS))), 'unauthenticated');
  },
);

t.test('one issuer cannot sign for another', async (t) => {
  const one = await tokenGate(t);
  const two = await makeProvider('k1');
  const folder = await mkdtemp(join(tmpdir(), 'jwks-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const file = join(folder, 'two.json');
  await writeFile(file, JSON.stringify(two.jwks));
  const jwt = await openJwtVerifier(
    [
      { issuer: ISSUER, audiences: ['sophia'], jwks: one.file },
      { issuer: 'https://two.example', audiences: ['sophia'], jwks: file },
    ],
    testClock(),
  );
  t.equal(await codeOf(jwt.verify(await sign(two.privateKey, { ...CLAIMS, iss: 'https://two.example' }))), 'accepted');
  t.equal(await codeOf(jwt.verify(await sign(two.privateKey, CLAIMS))), 'unauthenticated');
});

t.test('a configuration that would be unsafe is refused', async (t) => {
  const { file } = await tokenGate(t);
  const good: JwtIssuerOptions = { issuer: ISSUER, audiences: ['sophia'], jwks: file };
  for (const [options, param] of [
    [[{ ...good, audiences: [] }], 'jwt.audiences'],
    [[{ ...good, audiences: [''] }], 'jwt.audiences'],
    [[{ ...good, issuer: '' }], 'jwt.issuer'],
    [[good, good], 'jwt.issuer'],
    [[{ ...good, clockToleranceS: 3600 }], 'jwt.clockToleranceS'],
    [[{ ...good, jwks: 'http://id.example.org/jwks' }], 'jwks'],
    [[{ ...good, jwks: 'ftp://x/y' }], 'jwks'],
    [[{ ...good, jwks: 'https://' }], 'jwks'],
    [[{ ...good, jwks: '/nowhere/jwks.json' }], 'jwks'],
  ] as const) {
    const thrown = (await openJwtVerifier(options, testClock()).catch((error: unknown) => error)) as CodedError;
    t.equal(thrown.code, 'invalid_config');
    t.equal(thrown.param, param);
  }
});
