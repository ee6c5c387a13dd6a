/** What the agent tells its schedulers of the direct listener, and whose tickets it lets the listener take. */
import t from 'tap';
import { createDirectDesk } from '../../../agent/adapters/direct_desk.ts';
import type { KnownIssuer } from '../../../agent/workers/relay_messages.ts';
import type { TicketIssuer__Output } from '../../../proto/gen/fleet/v1/TicketIssuer.ts';

function setUp() {
  const said: [string, object][] = [];
  const told: (readonly KnownIssuer[])[] = [];
  const counted: string[] = [];
  const logged: string[] = [];
  const desk = createDirectDesk({
    links: {
      sendDirectListener: (scheduler, listener) => void said.push([scheduler, listener]),
      sendDirectUse: (scheduler, use) => void said.push([scheduler, use]),
    },
    setIssuers: (issuers) => void told.push(issuers),
    urlOf: (port) => `http://127.0.0.1:${port}`,
    figures: {
      directEnded: (code) => void counted.push(code),
      directRefused: (code, count) => void counted.push(`${code} ${count}`),
    },
    log: {
      info: (_fields, message) => void logged.push(message),
      error: (_fields, message) => void logged.push(message),
    },
  });
  return { desk, said, told, counted, logged };
}

const ISSUER: TicketIssuer__Output = {
  issuer: 'sched',
  keys: [{ keyId: 'k1', publicKey: Buffer.alloc(32, 1) }],
  maxBodyBytes: 1000,
  maxBodyDepth: 10,
  allowedEngineFields: ['x'],
  allowRemoteMedia: false,
  leaseMs: 5000,
};

t.test('a scheduler is told of the listener when both are there, and again with the keys that are known', async (t) => {
  const { desk, said, told } = setUp();
  desk.connected('s:1');
  t.same(said, [], 'there is nothing to say yet');
  desk.onReport({ what: 'open', port: 7, life: 'l1' });
  desk.connected('s:2');
  const listener = { url: 'http://127.0.0.1:7', life: 'l1', keyIds: [] };
  t.same(said, [
    ['s:1', listener],
    ['s:2', listener],
  ]);
  desk.onTicketIssuer('s:1', ISSUER);
  t.match(told.at(-1), [{ scheduler: 's:1', issuer: 'sched', leaseMs: 5000, allowedEngineFields: ['x'] }]);
  desk.onTicketIssuer('s:2', { ...ISSUER, issuer: 'other' });
  t.same(
    told.at(-1)?.map(({ issuer }) => issuer),
    ['sched', 'other'],
  );
  const known = ['s:1', 's:9'].map((scheduler) => ({ scheduler, keyIds: ['k1'] }));
  desk.onReport({ what: 'keys', known });
  t.same(said.at(-1), ['s:1', { ...listener, keyIds: ['k1'] }], 'only who is there is told');
  desk.connected('s:1');
  t.same(said.at(-1), ['s:1', { ...listener, keyIds: ['k1'] }], 'a new session is told all at once');
});

t.test('a listener that is gone is told as gone, with its keys', async (t) => {
  const { desk, said, logged } = setUp();
  desk.connected('s:1');
  desk.onReport({ what: 'open', port: 7, life: 'l1' });
  desk.onReport({ what: 'keys', known: [{ scheduler: 's:1', keyIds: ['k1'] }] });
  desk.onReport({ what: 'closed', code: 'internal', reason: 'its thread crashed' });
  t.same(said.at(-1), ['s:1', { url: '', life: '', keyIds: [] }]);
  desk.onReport({ what: 'open', port: 7, life: 'l2' });
  t.same(said.at(-1), ['s:1', { url: 'http://127.0.0.1:7', life: 'l2', keyIds: [] }]);
  t.same(logged, ['direct listener open', 'direct listener closed', 'direct listener open']);
});

t.test('what a scheduler says too much of is cut', async (t) => {
  const { desk, told } = setUp();
  const key = { keyId: 'k', publicKey: Buffer.alloc(32) };
  const allowedEngineFields = Array.from({ length: 1000 }, () => 'f');
  desk.onTicketIssuer('s:1', { ...ISSUER, keys: Array.from({ length: 100 }, () => key), allowedEngineFields });
  t.equal(told[0]?.[0]?.keys.length, 16);
  t.equal(told[0]?.[0]?.allowedEngineFields.length, 256);
});

t.test('leases go to the scheduler that made the ticket, and ends and refusals are counted', async (t) => {
  const { desk, said, counted } = setUp();
  const leases = [
    { lease: 'a', phase: 'DIRECT_PHASE_BEGUN' },
    { lease: 'a', phase: 'DIRECT_PHASE_ENDED', code: '' },
    { lease: 'b', phase: 'DIRECT_PHASE_ENDED', code: 'engine_died' },
  ] as const;
  desk.onReport({ what: 'leases', scheduler: 's:1', leases });
  t.same(said, [['s:1', { leases }]]);
  desk.onReport({ what: 'refused', counts: { ticket_used: 3, ticket_invalid: 1 } });
  t.same(counted, ['ok', 'engine_died', 'ticket_used 3', 'ticket_invalid 1']);
});
