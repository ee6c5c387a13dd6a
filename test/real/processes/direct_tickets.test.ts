/**
 * Tickets that were signed well and are not for this place or time, keys that change, and what is left of leases when a
 * process dies; over TLS.
 */
import { generateKeyPairSync } from 'node:crypto';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { CompactSign, importPKCS8 } from 'jose';
import t from 'tap';
import { createCa, issueCertificate, writePair } from '../../../lib/io/local_ca.ts';
import type { TicketClaims } from '../../../lib/ticket.ts';
import type { Engine__Output } from '../../../proto/gen/admin/v1/Engine.ts';
import type { RouteResponse__Output } from '../../../proto/gen/inference/v1/RouteResponse.ts';
import { eventually } from '../../support/child.ts';
import { callDirect, openDirect, route } from '../../support/direct.ts';
import { simEngine, startFleet } from '../../support/fleet.ts';

const MODEL = 'sim/model-a';
const certificates = await mkdtemp(path.join(tmpdir(), 'direct-tls-'));
t.teardown(() => rm(certificates, { recursive: true, force: true }));
const authority = await createCa('authority of the test', Date.now());
let ca = authority.certPem;
const hosts = ['localhost', '127.0.0.1'];
const pair = await issueCertificate(authority, { commonName: 'direct', hosts, nowMs: Date.now() });
const { certFile, keyFile } = await writePair(certificates, 'direct', pair);

const fleet = await startFleet(t, {
  engines: [simEngine({ name: 'sim-0', model: MODEL, flags: ['--sim-itl-ms', '20'] })],
  scheduler: { schedulerId: 'sched-1', ticketTtlMs: 6000, ticketSkewMs: 500, directLeaseMs: 3000, tlsReloadMs: 200 },
  agent: {
    ...{ tlsReloadMs: 200, directPort: 0, directClockSkewMs: 500, directCertFile: certFile, directKeyFile: keyFile },
  },
});
const ticketKeyFile = path.join(fleet.root, 'tls', 'ticket.key');
const body = { model: MODEL, messages: [{ role: 'user', content: 'Hello' }], max_tokens: 4 };
const long = { ...body, max_tokens: 3000, ignore_eos: true, stream: true };

const held = async (): Promise<number> => {
  const { engines } = await fleet.admin<{ engines: Engine__Output[] }>('ListEngines');
  return engines.reduce((sum, engine) => sum + engine.runningRequests, 0);
};

async function nextTicket(): Promise<RouteResponse__Output> {
  let answer: RouteResponse__Output | undefined;
  await eventually(
    'a ticket',
    async () => {
      answer = await route(fleet, { envelope: { model: MODEL } }).catch(() => undefined);
      return answer !== undefined;
    },
    20_000,
  );
  return answer as RouteResponse__Output;
}

const partsOf = (ticket: string) =>
  ticket
    .split('.')
    .slice(0, 2)
    .map((part) => JSON.parse(Buffer.from(part, 'base64url').toString()) as Record<string, unknown>) as [
    { alg: string; kid: string; typ: string },
    TicketClaims & Record<string, unknown>,
  ];

/** A ticket with other claims, signed by the scheduler's own key: what a scheduler that errs, or another one, would give. */
async function minted(ticket: string, change: Partial<TicketClaims>): Promise<string> {
  const [header, claims] = partsOf(ticket);
  const key = await importPKCS8(readFileSync(ticketKeyFile, 'utf8'), 'EdDSA');
  const iat = Math.floor(Date.now() / 1000);
  const payload = Buffer.from(JSON.stringify({ ...claims, iat, exp: iat + 30, ...change }));
  return new CompactSign(payload).setProtectedHeader(header).sign(key);
}

await t.test(
  'a ticket of another node, life, time, issuer or shape does not open, though it is signed well',
  async (t) => {
    const { url, ticket } = await nextTicket();
    const nowS = Math.floor(Date.now() / 1000);
    const cases: readonly (readonly [string, Partial<TicketClaims>, number, string])[] = [
      ['another node', { aud: 'node-b' }, 403, 'ticket_wrong_node'],
      ['another life of the listener', { lis: 'x' }, 410, 'ticket_stale'],
      ['another life of the engine', { inc: 99, jti: 'a' }, 410, 'ticket_stale'],
      ['another engine', { eng: 'sim-9', jti: 'b' }, 502, 'engine_unreachable'],
      ['past', { iat: nowS - 10, exp: nowS - 5 }, 401, 'ticket_expired'],
      ['to come', { iat: nowS + 60, exp: nowS + 90 }, 401, 'ticket_expired'],
      ['a long life', { exp: nowS + 3600 }, 401, 'ticket_invalid'],
      ['another issuer', { iss: 'sched-2' }, 401, 'ticket_invalid'],
      ['no sound endpoint', { end: 'embeddings' as never }, 401, 'ticket_invalid'],
      ['another endpoint', { end: 'completions' }, 403, 'ticket_wrong_request'],
      ['another model', { mdl: 'other' }, 403, 'ticket_wrong_request'],
      ['another body', { bsh: 'A'.repeat(43) }, 403, 'ticket_wrong_request'],
      ['a header in the id', { rid: 'a\r\nx: y' }, 401, 'ticket_invalid'],
    ];
    for (const [name, change, status, code] of cases)
      t.match(await callDirect({ url, ca, body, ticket: await minted(ticket, change) }), { status, code }, name);
    t.match(
      await callDirect({ url, ca, body, ticket: await minted(ticket, {}) }),
      { status: 200 },
      'unchanged it opens',
    );
  },
);

await t.test('a ticket runs out, and its place with it', async (t) => {
  await eventually('earlier places to be free', async () => (await held()) === 0, 60_000);
  const { url, ticket, expiresAtMs } = await nextTicket();
  t.ok((await held()) >= 1);
  await eventually('the time to pass', () => Date.now() > expiresAtMs + 600, 10_000);
  t.match(await callDirect({ url, ca, ticket, body }), { status: 401, code: 'ticket_expired' });
  await eventually('the place to be free', async () => (await held()) === 0, 60_000);
});

await t.test('the listener speaks TLS and nothing else', async (t) => {
  const { url, ticket } = await nextTicket();
  t.match(url, /^https:/);
  await t.rejects(callDirect({ url: url.replace('https', 'http'), ticket, body }));
  await t.rejects(callDirect({ url, ticket, body }), /certificate/, 'and its certificate is not of a public authority');
  t.match(await callDirect({ url, ca, ticket, body }), { status: 200 });
});

await t.test('another certificate in place of the first is shown soon', async () => {
  const other = await createCa('another authority of the test', Date.now());
  const next = await issueCertificate(other, { commonName: 'direct', hosts, nowMs: Date.now() });
  await writePair(certificates, 'direct', next);
  await eventually('the new certificate', async () => {
    const ticket = await nextTicket();
    const answer = await callDirect({ ...ticket, ca: other.certPem, body }).catch(() => undefined);
    return answer?.status === 200;
  });
  ca = other.certPem;
});

await t.test('another key file signs soon, and tickets of the old key still open', async (t) => {
  const old = await nextTicket();
  const [{ kid }] = partsOf(old.ticket);
  const damaged = path.join(certificates, 'damaged');
  writeFileSync(damaged, 'not a key', { mode: 0o600 });
  renameSync(damaged, ticketKeyFile);
  const log = () => readFileSync(fleet.scheduler.logFile, 'utf8');
  await eventually('the damaged file to be refused', () => log().includes('the key for tickets stays as it was'));
  const next = path.join(certificates, 'next.key');
  writeFileSync(next, generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }), {
    mode: 0o600,
  });
  renameSync(next, ticketKeyFile);
  t.match(await callDirect({ ...old, ca, body }), { status: 200 });
  let young: RouteResponse__Output | undefined;
  await eventually('the new key to sign', async () => {
    young = await nextTicket();
    return partsOf(young.ticket)[0].kid !== kid;
  });
  t.match(await callDirect({ ...(young as RouteResponse__Output), ca, body }), { status: 200 });
});

await t.test('an agent that is killed leaves no place taken, and its next life takes no old ticket', async (t) => {
  const running = openDirect({ ...(await nextTicket()), ca, body: long });
  const waiting = await nextTicket();
  await running.begun;
  process.kill(fleet.agent.pid, 'SIGKILL');
  await fleet.agent.exited;
  await t.rejects(running.answer);
  await fleet.restartAgent();
  const { url, ticket } = await nextTicket();
  const fresh = await minted(waiting.ticket, {});
  t.match(await callDirect({ url, ca, ticket: fresh, body }), { status: 410, code: 'ticket_stale' });
  t.match(await callDirect({ url, ca, ticket, body }), { status: 200 });
  await eventually('every place to be free', async () => (await held()) === 0, 60_000);
});

await t.test('a scheduler that is killed takes neither a running stream nor a ticket with it', async (t) => {
  const running = openDirect({ ...(await nextTicket()), ca, body: { ...long, max_tokens: 100 } });
  await running.begun;
  const waiting = await nextTicket();
  process.kill(fleet.scheduler.pid, 'SIGKILL');
  await fleet.scheduler.exited;
  t.match(await callDirect({ ...waiting, ca, body }), { status: 200 });
  const { status, text } = await running.answer;
  t.equal(status, 200);
  t.match(text, /data: \[DONE\]\n\n$/);
});

await t.test('the fleet stops and leaves no process behind', async (t) => {
  await fleet.stop();
  t.pass('nothing is left');
});
