/** Tickets on the wire: what was signed by a known key is read, and nothing else. */
import { generateKeyPairSync } from 'node:crypto';
import { CompactSign, type CryptoKey, importPKCS8 } from 'jose';
import t from 'tap';
import type { TicketClaims } from '../../lib/ticket.ts';
import { signTicket, ticketKeyId, TicketVerifier } from '../../proto/ticket_jws.ts';

const CLAIMS: TicketClaims = {
  ...{ iss: 'a', aud: 'n', jti: 'j', iat: 1, exp: 2, lis: 'l', eng: 'e', inc: 1, mdl: 'm' },
  ...{ end: 'chat', ten: 't', rid: 'r', lim: 1 },
};

async function makeKey(): Promise<{ keyId: string; publicKey: Uint8Array; privateKey: CryptoKey }> {
  const pair = generateKeyPairSync('ed25519');
  const publicKey = new Uint8Array(pair.publicKey.export({ type: 'spki', format: 'der' }).subarray(-32));
  const pem = pair.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
  return { keyId: await ticketKeyId(publicKey), publicKey, privateKey: await importPKCS8(pem, 'EdDSA') };
}

t.test('the ticket of a known key gives its claims and its issuer, also where two share a key', async (t) => {
  const key = await makeKey();
  const verifier = new TicketVerifier();
  const issuers = ['a', 'b'].map((issuer) => ({ issuer, keys: [key] }));
  t.same(await verifier.setIssuers(issuers), new Set([key.keyId]));
  for (const iss of ['a', 'b']) {
    const ticket = await signTicket(key.privateKey, key.keyId, { ...CLAIMS, iss });
    const { claims, issuer } = await verifier.verify(ticket);
    t.equal(claims.iss, iss);
    t.equal(issuer.issuer, iss);
  }
  const strange = await verifier.verify(await signTicket(key.privateKey, key.keyId, { ...CLAIMS, iss: 'c' }));
  t.equal(strange.issuer.issuer, 'a', 'the claim is then found to be another by who checks it');
});

t.test('a key that is none, or has another name than its thumbprint, is left out', async (t) => {
  const [key, other] = [await makeKey(), await makeKey()];
  const verifier = new TicketVerifier();
  const keys = [
    { keyId: other.keyId, publicKey: key.publicKey },
    { keyId: 'short', publicKey: key.publicKey.subarray(1) },
  ];
  t.same(await verifier.setIssuers([{ issuer: 'a', keys }]), new Set());
  await t.rejects(verifier.verify(await signTicket(key.privateKey, other.keyId, CLAIMS)), { code: 'ticket_invalid' });
});

t.test('a key that is gone opens nothing any more', async (t) => {
  const [old, young] = [await makeKey(), await makeKey()];
  const verifier = new TicketVerifier();
  await verifier.setIssuers([{ issuer: 'a', keys: [young, old] }]);
  const ticket = await signTicket(old.privateKey, old.keyId, CLAIMS);
  t.equal((await verifier.verify(ticket)).claims.jti, 'j');
  await verifier.setIssuers([{ issuer: 'a', keys: [young] }]);
  await t.rejects(verifier.verify(ticket), { code: 'ticket_invalid' });
});

t.test('what is signed well but is no ticket is refused', async (t) => {
  const key = await makeKey();
  const verifier = new TicketVerifier();
  await verifier.setIssuers([{ issuer: 'a', keys: [key] }]);
  const sign = (payload: string | Uint8Array, header: object): Promise<string> =>
    new CompactSign(typeof payload === 'string' ? Buffer.from(payload) : payload)
      .setProtectedHeader({ alg: 'EdDSA', kid: key.keyId, ...header })
      .sign(key.privateKey);
  const typ = 'sophia-ticket+jwt';
  const tickets = {
    'another type': await sign(JSON.stringify(CLAIMS), { typ: 'JWT' }),
    'no type': await sign(JSON.stringify(CLAIMS), {}),
    'no JSON': await sign('{', { typ }),
    'no UTF-8': await sign(new Uint8Array([0xff]), { typ }),
    'no claims': await sign('[]', { typ }),
    'no key': await sign(JSON.stringify(CLAIMS), { typ, kid: undefined }),
    'not a JWS': 'a.b',
    'too long': 'a'.repeat(4097),
  };
  for (const [name, ticket] of Object.entries(tickets))
    await t.rejects(verifier.verify(ticket), { code: 'ticket_invalid' }, name);
});
