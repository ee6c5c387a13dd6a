/** The places of requests that do not come through the scheduler: held by what agents say, and given back in every case. */
import fc from 'fast-check';
import t from 'tap';
import { seededRandom } from '../../../../lib/rng.ts';
import type { DirectLease__Output } from '../../../../proto/gen/fleet/v1/DirectLease.ts';
import type { TicketIssuer } from '../../../../proto/gen/fleet/v1/TicketIssuer.ts';
import { DirectLeases } from '../../../../scheduler/core/direct/leases.ts';
import type { TicketEvent } from '../../../../scheduler/ports.ts';
import { engineEvent, engineIdOf, fakeClock, fakeSession, hello, NODE, request, testLoop } from '../../fakes.ts';
import type { RequestId } from '../../../../lib/ids.ts';

const OPTIONS = { ticketTtlMs: 30_000, skewMs: 5000, leaseMs: 10_000, maxLeases: 3, requestTimeoutMs: 60_000 };
/** From a ticket to the end of its place when nobody takes it: its time, the clocks, the report. */
const UNUSED_MS = 40_000;
const KEY = { keyId: 'k1', publicKey: new Uint8Array(32) };
const LISTENER = { url: 'http://10.0.0.1:8444', life: 'life-1', keyIds: ['k1'] };

function setUp(change: { keys?: (typeof KEY)[]; engines?: ReturnType<typeof engineEvent>[] } = {}) {
  const told: TicketIssuer[] = [];
  const events: TicketEvent[] = [];
  let held = 0;
  const issuer: TicketIssuer = { issuer: 'sched', keys: change.keys ?? [KEY] };
  const made = testLoop({
    deps: { direct: { options: OPTIONS, issuer: () => issuer } },
    ...(change.engines === undefined ? {} : { hello: { engines: change.engines } }),
  });
  made.figures.ticket = (event, now) => {
    events.push(event);
    held = now;
  };
  const session = Object.assign(made.session, { sendTicketIssuer: (each: TicketIssuer) => void told.push(each) });
  const direct = made.loop.direct as NonNullable<typeof made.loop.direct>;
  const { fleetSink, inspector } = made.loop;
  let ids = 0;
  return {
    ...made,
    direct,
    told,
    events,
    held: () => held,
    listen: (more: Partial<typeof LISTENER> = {}) => fleetSink.onDirectListener?.(session, { ...LISTENER, ...more }),
    open: (more: Parameters<typeof request>[0] = {}) =>
      direct.open(request({ id: `r${++ids}` as RequestId, door: 'direct', ...more })),
    use: (lease: string, phase: DirectLease__Output['phase'], more: Partial<DirectLease__Output> = {}) =>
      fleetSink.onDirectUse?.(session, [{ lease, phase, code: '', ...more }]),
    reserved: () => inspector.reservations.total,
    record: (id: string) => inspector.log.find(id),
  };
}

t.test('no ticket is made before the agent has a listener and has said that it knows the key', async (t) => {
  const { open, listen, told, figures, record } = setUp();
  t.throws(() => open(), { code: 'direct_unavailable' });
  t.match(record('r1'), { outcome: 'failed', errorCode: 'direct_unavailable' });
  t.match(record('r1')?.decisions[0]?.verdicts, [{ kind: 'refused', by: 'no_direct_listener' }]);
  t.same(figures.refusals, ['m direct direct_unavailable']);
  listen({ keyIds: [] });
  t.match(told, [{ issuer: 'sched', keys: [{ keyId: 'k1' }] }], 'the agent is told the key');
  t.throws(() => open(), { code: 'direct_unavailable' });
  listen();
  t.equal(told.length, 1, 'and not again when it has said so');
  t.equal(open().engine, engineIdOf('e0'));
});

t.test('a ticket says all that the agent judges by', async (t) => {
  const { open, listen, clock, direct } = setUp();
  listen();
  const { claims, url, keyId } = open({ endpoint: 'completions', deadlineAtMs: clock.monotonicMs() + 1500.2 });
  t.equal(url, 'http://10.0.0.1:8444/v1/completions');
  t.equal(keyId, 'k1');
  const iat = Math.floor(clock.wallMs() / 1000);
  t.match(claims, {
    iss: 'sched',
    aud: NODE,
    lis: 'life-1',
    eng: 'e0',
    inc: 1,
    mdl: 'm',
    end: 'completions',
    ten: 'acme',
  });
  t.match(claims, { rid: 'r1', lim: 1501, iat, jti: /^tkt_[a-z2-7]{24}$/ });
  t.ok(claims.exp >= iat + 30 && claims.exp <= iat + 31);
  t.notOk('bsh' in claims);
  const bound = direct.open(request({ id: 'r2' as RequestId, door: 'direct' }), 'hash');
  t.match(bound.claims, { bsh: 'hash', lim: 60_000 });
  t.not(bound.claims.jti, claims.jti);
});

t.test('a request is counted from the ticket to its end, with its first token and its usage', async (t) => {
  const { open, listen, use, clock, figures, events, reserved, record, held } = setUp();
  listen();
  const { jti } = open().claims;
  t.equal(reserved(), 1);
  t.equal(figures.active, 1);
  use(jti, 'DIRECT_PHASE_UNSPECIFIED');
  use(jti, 'DIRECT_PHASE_BEGUN');
  clock.advance(100);
  use(jti, 'DIRECT_PHASE_FIRST_TOKEN');
  clock.advance(9000);
  use(jti, 'DIRECT_PHASE_FIRST_TOKEN');
  use(jti, 'DIRECT_PHASE_HELD');
  clock.advance(9000);
  t.equal(reserved(), 1);
  use(jti, 'DIRECT_PHASE_ENDED', { promptTokens: 5, completionTokens: 7, cachedPromptTokens: 4 });
  t.equal(reserved(), 0);
  t.equal(held(), 0);
  t.equal(clock.timers, 0);
  t.same(events, ['issued', 'begun', 'ended']);
  const usage = { promptTokens: 5, completionTokens: 7, cachedPromptTokens: 4 };
  t.match(figures.ends, [
    { door: 'direct', outcome: 'ok', firstTokenAtMs: 1100, endedAtMs: 19_100, usage, outputTokens: 7 },
  ]);
  t.match(record('r1'), { outcome: 'finished', outputTokens: 7, errorCode: '' });
  use(jti, 'DIRECT_PHASE_ENDED');
  t.equal(events.at(-1), 'unknown', 'what is said of it afterwards changes nothing');
});

t.test('an end with a code, known or not, and without figures', async (t) => {
  const { open, listen, use, figures } = setUp();
  listen();
  use(open().claims.jti, 'DIRECT_PHASE_ENDED', { code: 'engine_overloaded', promptTokens: 3 });
  use(open().claims.jti, 'DIRECT_PHASE_ENDED', { code: 'no_such_code', completionTokens: 3 });
  use(open().claims.jti, 'DIRECT_PHASE_ENDED', { code: 'cancelled' });
  t.match(figures.ends, [
    { outcome: 'engine_overloaded', usage: { promptTokens: 3 }, outputTokens: 0 },
    { outcome: 'engine_failed', usage: { completionTokens: 3 } },
    { outcome: 'cancelled', usage: undefined },
  ]);
});

t.test('a ticket that nobody takes, and a request of which nothing more is heard, run out', async (t) => {
  const { open, listen, use, clock, figures, events, reserved } = setUp();
  listen();
  open();
  const begun = open().claims.jti;
  use(begun, 'DIRECT_PHASE_BEGUN');
  clock.advance(OPTIONS.leaseMs - 1);
  t.equal(reserved(), 2);
  clock.advance(1);
  t.equal(reserved(), 1);
  t.match(figures.ends, [{ outcome: 'stream_lost' }]);
  clock.advance(UNUSED_MS - OPTIONS.leaseMs - 1);
  t.equal(reserved(), 1);
  clock.advance(1);
  t.equal(reserved(), 0);
  t.match(figures.ends[1], { outcome: 'cancelled' });
  t.same(events, ['issued', 'issued', 'begun', 'lost', 'unused']);
});

t.test('a place whose ticket could not be signed is given back at once', async (t) => {
  const { open, listen, reserved, figures } = setUp();
  listen();
  const placement = open();
  placement.release();
  placement.release();
  t.equal(reserved(), 0);
  t.match(figures.ends, [{ outcome: 'internal' }]);
});

t.test('the end of the engine, of the listener or of the agent is the end of its requests', async (t) => {
  for (const [what, act] of Object.entries({
    engine: ({ loop, session }: ReturnType<typeof setUp>) =>
      loop.fleetSink.onEngineEvent(session, engineEvent({ state: 'ENGINE_STATE_BACKOFF' })),
    listener: ({ listen }: ReturnType<typeof setUp>) => listen({ life: 'life-2' }),
    'listener that is closed': ({ listen }: ReturnType<typeof setUp>) => listen({ life: '', url: '' }),
    agent: ({ loop }: ReturnType<typeof setUp>) =>
      loop.fleetSink.onHello(fakeSession('s2'), hello({ sessionId: 's2' })),
  })) {
    const made = setUp();
    made.listen();
    made.use(made.open().claims.jti, 'DIRECT_PHASE_BEGUN');
    made.open();
    act(made);
    made.clock.advance(500);
    t.equal(made.reserved(), 0, what);
    t.match(made.figures.ends, [{ outcome: 'engine_died' }, { outcome: 'engine_died' }]);
    if (what !== 'listener' && what !== 'engine') t.throws(() => made.open(), what);
  }
});

t.test('an agent speaks only for its own tickets, and an old session for nothing', async (t) => {
  const { open, listen, loop, session, events, reserved, told } = setUp();
  listen();
  const { jti } = open().claims;
  const other = fakeSession('s9', 'node-b' as typeof NODE);
  loop.fleetSink.onHello(other, hello({ nodeName: 'node-b', sessionId: 's9', engines: [] }));
  loop.fleetSink.onDirectUse?.(other, [{ lease: jti, phase: 'DIRECT_PHASE_ENDED', code: '' }]);
  t.equal(events.at(-1), 'unknown');
  t.equal(reserved(), 1);
  const young = Object.assign(fakeSession(), { sendTicketIssuer: (each: TicketIssuer) => void told.push(each) });
  loop.fleetSink.onHello(young, hello());
  loop.fleetSink.onDirectListener?.(session, { ...LISTENER, life: 'life-of-a-liar' });
  t.equal(reserved(), 1, 'the word of a replaced session does not count');
  loop.fleetSink.onDirectListener?.(young, LISTENER);
  t.equal(told.length, 2, 'a new session is told the keys');
  t.equal(reserved(), 1, 'and the listener is still the same');
});

t.test('an address that is none is no listener', async (t) => {
  const { listen, open } = setUp();
  for (const url of ['', 'ftp://a:1', 'http://a/b', 'http://a@b', `http://${'a'.repeat(2048)}`, 'http://a?x']) {
    listen({ url, life: 'x' });
    t.throws(() => open(), { code: 'direct_unavailable' }, url.slice(0, 20));
  }
  listen({ url: 'https://[::1]:8444' });
  t.equal(open().url, 'https://[::1]:8444/v1/chat/completions');
});

t.test('a new key signs for an agent from the moment at which that knows it', async (t) => {
  const keys = [KEY];
  const { listen, open, direct, told } = setUp({ keys });
  listen();
  keys.unshift({ keyId: 'k2', publicKey: new Uint8Array(32) });
  direct.keysChanged();
  t.match(told.at(-1), { keys: [{ keyId: 'k2' }, { keyId: 'k1' }] });
  t.equal(open().keyId, 'k1');
  listen({ keyIds: ['k2', 'k1'] });
  t.equal(open().keyId, 'k2');
});

t.test('tickets are bounded, and refused as requests are', async (t) => {
  const { listen, open, loop, reserved } = setUp();
  listen();
  for (let i = 0; i < OPTIONS.maxLeases; i++) open();
  t.throws(() => open(), { code: 'overloaded' });
  t.throws(() => setUp().open({ model: 'other' }), { code: 'model_not_found' });
  t.throws(() => setUp({ engines: [engineEvent({ state: 'ENGINE_STATE_STARTING' })] }).open(), { code: 'no_engine' });
  loop.drain();
  t.throws(() => open(), { code: 'overloaded' });
  t.equal(reserved(), OPTIONS.maxLeases);
  const draining = setUp();
  draining.listen();
  draining.loop.drain();
  t.throws(() => draining.open(), { code: 'draining' });
  t.equal(draining.reserved(), 0);
});

t.test('over any history no place is kept and none is given back twice', async () => {
  const phases = ['BEGUN', 'FIRST_TOKEN', 'HELD', 'ENDED'] as const;
  const action = fc.oneof(
    fc.constant({ kind: 'open' } as const),
    fc.record({ kind: fc.constant('use' as const), at: fc.nat(9), phase: fc.constantFrom(...phases) }),
    fc.record({ kind: fc.constant('wait' as const), ms: fc.nat(20_000) }),
    fc.constant({ kind: 'listener' } as const),
  );
  fc.assert(
    fc.property(fc.array(action, { maxLength: 60 }), fc.nat(), (actions, seed) => {
      const made = setUp();
      const random = seededRandom(seed);
      made.listen();
      const out: string[] = [];
      for (const each of actions) {
        if (each.kind === 'open' && made.direct.size < OPTIONS.maxLeases) out.push(made.open().claims.jti);
        else if (each.kind === 'use') made.use(out[each.at] ?? 'x', `DIRECT_PHASE_${each.phase}`);
        else if (each.kind === 'wait') made.clock.advance(each.ms);
        else if (each.kind === 'listener') made.listen({ life: `life-${Math.floor(random.next() * 3)}` });
        if (made.reserved() !== made.direct.size || made.figures.active !== made.direct.size) return false;
      }
      made.clock.advance(UNUSED_MS);
      return made.reserved() === 0 && made.figures.active === 0 && made.clock.timers === 0;
    }),
    { numRuns: 300 },
  );
});

t.test('an engine whose breaker is open is not taken in a panic when its agent takes no direct calls', async (t) => {
  const { open, listen, use, reserved, record, loop } = setUp();
  listen();
  for (let i = 0; i < 10; i++) use(open().claims.jti, 'DIRECT_PHASE_ENDED', { code: 'engine_died' });
  open();
  t.equal(record('r11')?.decisions[0]?.mode, 'panic', 'the breaker is open, and there is no other engine');
  const held = loop.inspector.reservations.total;
  listen({ url: '' });
  t.throws(() => open(), { code: 'direct_unavailable' });
  t.match(record('r12')?.decisions[0]?.verdicts, [{ kind: 'refused', by: 'no_direct_listener' }]);
  t.equal(reserved(), held, 'nothing is held for it');
});

t.test('a place on a node without a listener is given back', async (t) => {
  const ends: string[] = [];
  const direct = new DirectLeases({
    clock: fakeClock(),
    random: seededRandom(1),
    options: OPTIONS,
    issuer: () => ({ issuer: 'sched', keys: [KEY] }),
    place: () => ({ node: NODE, name: 'e0', ended: ({ outcome }: { outcome: string }) => ends.push(outcome) }) as never,
    count: () => undefined,
  });
  t.throws(() => direct.open(request({ door: 'direct' })), { code: 'direct_unavailable' });
  t.same(ends, ['direct_unavailable']);
  t.equal(direct.size, 0);
});
