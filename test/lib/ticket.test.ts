/** When a ticket opens and when it does not, field by field and at each edge of its time. */
import fc from 'fast-check';
import t from 'tap';
import { ReplayCache } from '../../lib/replay_cache.ts';
import { checkTicket, checkTicketBody, readClaims, rememberUntilMs, type TicketClaims } from '../../lib/ticket.ts';

const NOW_S = 1_800_000_000;
const CLAIMS: TicketClaims = {
  iss: 'sched-1',
  aud: 'node-1',
  jti: 'tkt_1',
  iat: NOW_S,
  exp: NOW_S + 30,
  lis: 'life-1',
  eng: 'e0',
  inc: 3,
  mdl: 'm',
  end: 'chat',
  ten: 'acme',
  rid: 'req_1',
  lim: 60_000,
};
const CHECK = { issuer: 'sched-1', node: 'node-1', listener: 'life-1', nowMs: NOW_S * 1000, skewMs: 5000 };

t.test('claims are read as they are, and nothing that is not sound', async (t) => {
  t.same(readClaims(CLAIMS), CLAIMS);
  const bsh = 'A'.repeat(43);
  t.same(
    readClaims({ ...CLAIMS, bsh, more: 1 }),
    { ...CLAIMS, bsh, more: 1 },
    'what a later release adds does not hurt',
  );
  for (const payload of [undefined, null, 1, 'x', [], [CLAIMS]])
    t.throws(() => readClaims(payload), { code: 'ticket_invalid' });
  const texts = ['iss', 'aud', 'jti', 'lis', 'eng', 'mdl', 'ten', 'rid'];
  for (const name of texts)
    for (const value of [undefined, 1, '', 'x'.repeat(513), ['a']])
      t.throws(() => readClaims({ ...CLAIMS, [name]: value }), { code: 'ticket_invalid' }, `${name}: ${String(value)}`);
  for (const name of ['iat', 'exp', 'inc', 'lim'])
    for (const value of [undefined, '1', -1, 0.5, Number.NaN, Infinity, 2 ** 41])
      t.throws(() => readClaims({ ...CLAIMS, [name]: value }), { code: 'ticket_invalid' }, `${name}: ${String(value)}`);
  for (const change of [{ end: 'embeddings' }, { bsh: 'short' }, { bsh: 1 }, { rid: 'a b' }])
    t.throws(() => readClaims({ ...CLAIMS, ...change }), { code: 'ticket_invalid' }, JSON.stringify(change));
});

t.test('a ticket opens on its node, for its listener, within its time and the difference of the clocks', async (t) => {
  checkTicket(CLAIMS, CHECK);
  const at = (ms: number) => ({ ...CHECK, nowMs: NOW_S * 1000 + ms });
  checkTicket(CLAIMS, at(-5000));
  t.throws(() => checkTicket(CLAIMS, at(-5001)), { code: 'ticket_expired' }, 'of a time to come');
  checkTicket(CLAIMS, at(34_999));
  t.throws(() => checkTicket(CLAIMS, at(35_000)), { code: 'ticket_expired' });
  t.throws(() => checkTicket(CLAIMS, { ...CHECK, node: 'node-2' }), { code: 'ticket_wrong_node' });
  t.throws(() => checkTicket(CLAIMS, { ...CHECK, listener: 'life-2' }), { code: 'ticket_stale' });
  t.throws(() => checkTicket(CLAIMS, { ...CHECK, issuer: 'other' }), { code: 'ticket_invalid' });
  checkTicket({ ...CLAIMS, exp: NOW_S + 600 }, CHECK);
  t.throws(() => checkTicket({ ...CLAIMS, exp: NOW_S + 601 }, CHECK), { code: 'ticket_invalid' }, 'lives too long');
  t.equal(rememberUntilMs(CLAIMS, 5000), (NOW_S + 35) * 1000);
});

t.test('a ticket is for its model, and for its body if it names one', async (t) => {
  const never = (): string => t.fail('the hash is asked for only when it matters') as never;
  checkTicketBody(CLAIMS, 'm', never);
  t.throws(() => checkTicketBody(CLAIMS, 'other', never), { code: 'ticket_wrong_request', param: 'model' });
  checkTicketBody({ ...CLAIMS, bsh: 'h' }, 'm', () => 'h');
  t.throws(() => checkTicketBody({ ...CLAIMS, bsh: 'h' }, 'm', () => 'i'), { code: 'ticket_wrong_request' });
});

t.test('a used name is remembered for its time, and a full memory refuses rather than forgets', async (t) => {
  const cache = new ReplayCache(2);
  t.equal(cache.use('a', 100, 0), 'fresh');
  t.equal(cache.use('a', 100, 99), 'used');
  t.equal(cache.use('b', 50, 0), 'fresh');
  t.equal(cache.has('b'), true);
  t.equal(cache.use('c', 100, 99), 'full');
  t.equal(cache.has('c'), false);
  t.equal(cache.use('c', 200, 100), 'fresh', 'both have run out');
  t.equal(cache.size, 1);
});

t.test('over any history nothing is used twice within its time, and the memory is bounded', async () => {
  const call = fc.record({ name: fc.integer({ min: 0, max: 9 }), lifeMs: fc.nat(50), stepMs: fc.nat(20) });
  fc.assert(
    fc.property(fc.array(call, { maxLength: 200 }), fc.integer({ min: 1, max: 5 }), (calls, max) => {
      const cache = new ReplayCache(max);
      const openUntilMs = new Map<number, number>();
      let nowMs = 0;
      for (const { name, lifeMs, stepMs } of calls) {
        nowMs += stepMs;
        const outcome = cache.use(String(name), nowMs + lifeMs, nowMs);
        if (outcome === 'fresh' && (openUntilMs.get(name) ?? -1) > nowMs) return false;
        if (outcome === 'fresh') openUntilMs.set(name, nowMs + lifeMs);
        if (cache.size > max) return false;
      }
      return true;
    }),
  );
});
