/** The desk that tells nodes of each other: to whom, when, with which tickets, and never for a session that is over. */
import t from 'tap';
import type { NodeId } from '../../../lib/ids.ts';
import type { ModelPeers } from '../../../proto/gen/fleet/v1/ModelPeers.ts';
import type { ModelReading__Output } from '../../../proto/gen/fleet/v1/ModelReading.ts';
import { ModelTicketVerifier } from '../../../proto/ticket_jws.ts';
import { createModelPeerDesk } from '../../../scheduler/adapters/model_peers.ts';
import { openTicketKeys } from '../../../scheduler/adapters/ticket_keys.ts';
import type { FleetState, NodeState } from '../../../scheduler/core/fleet/state.ts';
import type { FleetSink, SessionHandle } from '../../../scheduler/ports.ts';
import { until } from '../../support/waits.ts';
import { fakeClock, telemetry } from '../fakes.ts';

const SOURCE = 'hf://maker/model';
const reading = (state: string): ModelReading__Output => ({
  ...{
    source: SOURCE,
    state,
    message: '',
    resolved: state === 'ready' ? 'c1' : '',
    wanted: true,
    facts: null,
    peers: '',
  },
});

async function setUp() {
  const clock = fakeClock();
  const heard: string[] = [];
  const lines: string[] = [];
  const logger = {
    info: () => undefined,
    warn: (fields: object, text: string) => lines.push(`${JSON.stringify(fields)} ${text}`),
  };
  const tickets = await openTicketKeys({
    ...{ file: undefined, reloadMs: 1000, retireMs: 1000, clock, logger: logger as never },
  });
  const desk = createModelPeerDesk({
    clock,
    tickets,
    issuer: () => ({ issuer: 'first', keys: [...tickets.keys()] }),
    log: logger,
  });
  const fleet: FleetState = { nodes: new Map() };
  const inner = {
    onHello: (session: SessionHandle) => void heard.push(`hello ${session.nodeName}`),
    onSessionLost: (session: SessionHandle) => void heard.push(`lost ${session.nodeName}`),
  } as unknown as FleetSink;
  const sink = desk.listenOn(inner);
  const join = (name: string, state: string) => {
    const told: ModelPeers[] = [];
    const issuers: object[] = [];
    const session: SessionHandle = {
      nodeName: name as NodeId,
      sessionId: name,
      sendDesiredState: () => undefined,
      sendCommand: () => undefined,
      close: () => undefined,
      sendTicketIssuer: (issuer) => void issuers.push(issuer),
      sendModelPeers: (peers) => void told.push(peers),
    };
    fleet.nodes.set(
      name as NodeId,
      {
        ...{ name: name as NodeId, connected: true, telemetry: { ...telemetry([]), models: [reading(state)] } },
      } as NodeState,
    );
    sink.onHello(session, {} as never);
    const door = (url: string, keyIds = tickets.keys().map(({ keyId }) => keyId)): void =>
      sink.onModelListener?.(session, { url, keyIds });
    return { session, told, issuers, door };
  };
  const turn = async (ms = 1000): Promise<void> => {
    await until(() => clock.timers === 1, 'the turn before');
    clock.advance(ms);
    await until(() => clock.timers === 1, 'the turn');
  };
  desk.start(fleet);
  return { clock, desk, fleet, sink, tickets, join, turn, heard, lines };
}

t.test('a node that fetches gets an address and a ticket that is for it, for that node and that model', async (t) => {
  const { desk, sink, tickets, join, turn, heard, clock } = await setUp();
  const a = join('gpu-1', 'ready');
  const b = join('gpu-2', 'fetching');
  await turn();
  t.same(b.told, [], 'nobody has a door');
  a.door('https://gpu-1.example:8446', []);
  t.equal(a.issuers.length, 1, 'it is told by what tickets are known');
  await turn();
  t.same(b.told, [], 'nor has it said that it knows the key');
  a.door('https://gpu-1.example:8446');
  t.equal(a.issuers.length, 1);
  await turn();
  t.match(b.told, [
    {
      models: [
        {
          source: SOURCE,
          peers: [{ node: 'gpu-1', url: 'https://gpu-1.example:8446', resolved: 'c1', validMs: 120_000 }],
        },
      ],
    },
  ]);
  t.same(a.told, []);
  const verifier = new ModelTicketVerifier();
  await verifier.setIssuers([{ issuer: 'first', keys: tickets.keys() }]);
  const { claims } = await verifier.verify(b.told[0]?.models?.[0]?.peers?.[0]?.ticket ?? '');
  t.match(claims, { iss: 'first', aud: 'gpu-1', sub: 'gpu-2', src: SOURCE, res: 'c1' });
  t.equal(claims.exp - claims.iat, 120);

  await turn();
  t.equal(b.told.length, 1, 'nothing has changed');
  await turn(60_000);
  await turn();
  t.equal(b.told.length, 2, 'half of its life is over');
  const again = join('gpu-2', 'fetching');
  await turn();
  t.equal(again.told.length, 1, 'a new session knows nothing');
  desk.keysChanged();
  t.equal(a.issuers.length, 2);
  sink.onSessionLost(a.session);
  sink.onSessionLost(b.session);
  const late = join('gpu-3', 'waiting');
  await turn();
  t.same(late.told, [], 'who is gone gives nothing');
  t.same(heard.slice(-3), ['lost gpu-1', 'lost gpu-2', 'hello gpu-3']);
  desk.stop();
  t.equal(clock.timers, 0);
});

t.test('an address that is none, and one that an older session told, are passed over', async (t) => {
  const { join, turn, desk } = await setUp();
  const old = join('gpu-1', 'ready');
  const a = join('gpu-1', 'ready');
  const b = join('gpu-2', 'waiting');
  old.door('https://gpu-1.example:8446');
  for (const url of [
    'http://gpu-1:1',
    'https://gpu-1/path',
    'https://u:p@gpu-1',
    'ftp://gpu-1',
    'gpu-1',
    '',
    `https://${'x'.repeat(3000)}`,
  ])
    a.door(url);
  await turn();
  t.same(b.told, []);
  a.door('https://gpu-1.example:8446');
  await turn();
  t.equal(b.told.length, 1);
  a.door('');
  const c = join('gpu-3', 'waiting');
  await turn();
  t.same(c.told, [], 'its door is closed');
  desk.stop();
});

t.test('a key that cannot sign costs a line and a turn, and nothing else', async (t) => {
  const { join, turn, desk, lines, tickets } = await setUp();
  const sign = tickets.signModel.bind(tickets);
  tickets.signModel = () => Promise.reject(new Error('the key has been retired'));
  join('gpu-1', 'ready').door('https://gpu-1.example:8446');
  const b = join('gpu-2', 'waiting');
  await turn();
  t.match(lines, [/could not be told/]);
  t.notMatch(lines.join(), /gpu-1\.example/);
  tickets.signModel = sign;
  await turn();
  t.equal(b.told.length, 1);
  await t.rejects(sign('no-such-key', {} as never), /retired/);
  desk.stop();
});
