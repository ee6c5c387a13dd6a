/** The questions of the request path: which engines, which lane, which models. */
import t from 'tap';
import type { NodeId } from '../../../../lib/ids.ts';
import type { DesiredState } from '../../../../proto/gen/fleet/v1/DesiredState.ts';
import type { Hello__Output } from '../../../../proto/gen/fleet/v1/Hello.ts';
import { configuredModels, type ConfiguredEngine, desiredStateOf } from '../../../../scheduler/core/fleet/desired.ts';
import { MAX_NODES } from '../../../../scheduler/core/fleet/state.ts';
import { FleetDirectory } from '../../../../scheduler/core/fleet/directory.ts';
import { createRouter } from '../../../../scheduler/core/routing/router.ts';
import { seededRandom } from '../../../../lib/rng.ts';
import { engineEvent, engineIdOf, fakeLane, hello, LOOP_OPTIONS, NODE, TENANT, telemetry } from '../../fakes.ts';

const at = (nowMs: number) => ({ nowMs, wallMs: 1_000_000 + nowMs });

function directoryWith(
  change: Partial<Hello__Output> = {},
  desired?: DesiredState,
  configured: readonly string[] = [],
) {
  const router = createRouter({ options: { ...LOOP_OPTIONS, staleAfterMs: 1000 }, random: seededRandom(1) });
  const { reservations, engines } = router;
  const directory = new FleetDirectory({ reservations, engines, configuredModels: configured, staleAfterMs: 1000 });
  directory.apply({ kind: 'hello', node: NODE, connection: 1, hello: hello(change), desired }, at(0));
  const lane = fakeLane();
  directory.addLane('s1', lane);
  /** Why no engine is picked, or whether one is only taken as the last. */
  const refusals = (nowMs = 0, endpoint: 'chat' | 'embeddings' = 'chat') => {
    const shape = { model: 'm', tenant: TENANT, promptTokens: 1 };
    const { picked, trace } = router.pick({ shape, endpoint, tried: new Map(), nowMs });
    picked?.lease.release();
    return picked === undefined ? [...trace.refused.keys()] : [trace.mode];
  };
  return { directory, engines, reservations, lane, refusals };
}

t.test('a ready engine behind a lane may be picked; each reason against it has a word', async (t) => {
  const { directory, lane, refusals } = directoryWith();
  t.same(refusals(), [undefined]);
  t.ok(directory.hasRoutableEngine(0));
  t.same(refusals(1001), ['stale']);
  const node = directory.state.nodes.get(NODE);
  const record = node?.engines.get('e0');
  if (node === undefined || record === undefined) throw new Error('the node has its engine');
  t.match(directory.whyNotRoutable(node, record, 1001), { by: 'stale_telemetry', detail: /nothing for 1001 ms/ });
  t.same(refusals(0, 'embeddings'), ['no_endpoint']);
  directory.removeLane(lane);
  t.same(refusals(), ['no_lane']);
  directory.addLane('s1', lane);
  directory.apply(
    { kind: 'engine_event', node: NODE, connection: 1, event: engineEvent({ state: 'ENGINE_STATE_DRAINING' }) },
    at(0),
  );
  t.same(refusals(), ['draining']);
  directory.apply({ kind: 'session_lost', node: NODE, connection: 1 }, at(0));
  t.same(refusals(), ['node_lost']);
  t.notOk(directory.hasRoutableEngine(0));
});

t.test('an engine that names no capabilities is believed to have them', async (t) => {
  const models = engineEvent().models.map((model) => ({ ...model, capabilities: [] }));
  const { refusals } = directoryWith({ engines: [engineEvent({ models })] });
  t.same(refusals(0, 'embeddings'), [undefined]);
});

t.test('an engine at the limit of its specification is full for this scheduler', async (t) => {
  const desired = {
    generation: 1,
    engines: [{ name: 'e0', servedModelName: 'm', limits: { maxConcurrentRequests: 2 } }],
  };
  const { reservations, refusals } = directoryWith({}, desired);
  reservations.reserve(engineIdOf('e0'), 1);
  t.same(refusals(), [undefined]);
  reservations.reserve(engineIdOf('e0'), 1);
  t.same(refusals(), ['at_capacity']);
});

t.test('load of others is what the reading tells beyond our own requests at its time', async (t) => {
  const { directory, engines, reservations } = directoryWith();
  const other = () => engines.find(engineIdOf('e0'))?.otherRequests;
  t.equal(other(), 0, 'unknown is no load');
  reservations.reserve(engineIdOf('e0'), 1);
  const tell = (reading: object) =>
    directory.apply({ kind: 'telemetry', node: NODE, connection: 1, telemetry: telemetry([reading]) }, at(0));
  tell({ relayedRequests: 4, runningRequests: 1, waitingRequests: 1 });
  t.equal(other(), 3);
  reservations.reserve(engineIdOf('e0'), 1);
  t.equal(other(), 3, 'a later request of ours is not taken for one of others');
  tell({ relayedRequests: 2, runningRequests: 5, waitingRequests: 2 });
  t.equal(other(), 5, 'requests that came around the agents count');
  tell({});
  t.equal(other(), 0);
});

t.test('engines that a node has no more leave the table, and so do those of a node that is forgotten', async (t) => {
  const { directory, engines } = directoryWith({ engines: [engineEvent(), engineEvent({ engine: 'e1' })] });
  const known = () => [...directory.engines.slots].map(({ name }) => name);
  t.same(known(), ['e0', 'e1']);
  const say = (node: NodeId, connection: number, nowMs: number, told: Partial<Hello__Output>) =>
    directory.apply({ kind: 'hello', node, connection, hello: hello(told), desired: undefined }, at(nowMs));
  say(NODE, 2, 1, { engines: [engineEvent({ engine: 'e1' })] });
  t.same(known(), ['e1']);
  directory.apply({ kind: 'session_lost', node: NODE, connection: 2 }, at(2));
  t.equal(engines.find(engineIdOf('e1'))?.refusal?.by, 'node_lost');
  for (let i = 1; i <= MAX_NODES; i++) say(`other-${i}` as NodeId, i + 2, 3, { engines: [] });
  t.same(known(), [], 'the lost node made room');
});

t.test('the least loaded lane of the present session leads to a node', async (t) => {
  const { directory, lane } = directoryWith();
  const second = fakeLane(NODE, 1);
  lane.load = 3;
  t.ok(directory.addLane('s1', second));
  t.equal(directory.laneFor(NODE, 'e0'), second);
  second.load = 4;
  t.equal(directory.laneFor(NODE, 'e0'), lane);
  t.equal(directory.lanesOf(NODE), 2);
  t.equal(directory.laneFor('other' as NodeId, 'e0'), undefined);
  t.equal(directory.lanesOf('other' as NodeId), 0);
  directory.removeLane(fakeLane('other' as NodeId));
});

t.test(
  'lanes of another life are refused while the agent is connected, kept while it is not, and taken when replaced',
  async (t) => {
    const { directory, lane } = directoryWith();
    const early = fakeLane(NODE, 7);
    t.notOk(directory.addLane('s2', early));
    directory.apply({ kind: 'session_lost', node: NODE, connection: 1 }, at(0));
    t.ok(directory.addLane('s2', early));
    directory.apply(
      { kind: 'hello', node: NODE, connection: 2, hello: hello({ sessionId: 's2' }), desired: undefined },
      at(0),
    );
    t.equal(directory.laneFor(NODE, 'e0'), early);
    t.same(directory.takeOldLanes(NODE), [lane]);
    t.equal(directory.lanesOf(NODE), 1);
    t.same(directory.takeOldLanes('other' as NodeId), []);
  },
);

t.test('models are known from what engines serve, served, or are to serve', async (t) => {
  const desired = { generation: 1, engines: [{ name: 'e1', servedModelName: 'wanted' }] };
  const engines = [
    engineEvent(),
    engineEvent({ engine: 'e1', state: 'ENGINE_STATE_STARTING', models: [] }),
    engineEvent({
      engine: 'e2',
      state: 'ENGINE_STATE_STOPPED',
      models: [{ id: 'gone', capabilities: [], simulated: false }],
    }),
    engineEvent({ engine: 'e3', state: 'ENGINE_STATE_STARTING', models: [] }),
  ];
  const { directory, reservations } = directoryWith({ engines }, desired, ['configured']);
  reservations.reserve(engineIdOf('e0'), 1);
  t.same(
    ['m', 'wanted', 'configured', 'gone', 'x'].map((model) => directory.knowsModel(model)),
    [true, true, true, false, false],
  );
  t.same(directory.models(0), [
    {
      id: 'configured',
      createdS: 0,
      ownedBy: 'sophia',
      capabilities: [],
      simulated: false,
      readyEngines: 0,
      engines: 0,
      runningRequests: 0,
    },
    {
      id: 'm',
      createdS: 1,
      ownedBy: 'me',
      contextTokens: 4096,
      capabilities: ['chat', 'completions'],
      simulated: true,
      readyEngines: 1,
      engines: 1,
      runningRequests: 1,
    },
    {
      id: 'wanted',
      createdS: 0,
      ownedBy: 'sophia',
      capabilities: [],
      simulated: false,
      readyEngines: 0,
      engines: 1,
      runningRequests: 0,
    },
  ]);
});

t.test('a configuration becomes a desired state; an unnamed node gets none', async (t) => {
  const engine: ConfiguredEngine = {
    name: 'a',
    kind: 'sim',
    model: 'm',
    servedModelName: 's',
    gpuIds: [0],
    extraFlags: ['--x'],
    environment: { A: 'b' },
    limits: { maxRestarts: 3, drainTimeoutMs: undefined },
  };
  const nodes = { known: [engine], '*': [{ ...engine, kind: 'vllm' as const, tcpPort: 9000, unixSocket: '/s' }] };
  t.same(desiredStateOf(nodes, 'known' as NodeId, 5), {
    generation: 5,
    engines: [
      {
        name: 'a',
        model: 'm',
        servedModelName: 's',
        kind: 'ENGINE_KIND_SIM',
        gpuIds: [0],
        extraFlags: ['--x'],
        environment: { A: 'b' },
        limits: { maxRestarts: 3 },
      },
    ],
  });
  t.match(desiredStateOf(nodes, 'stranger' as NodeId, 5)?.engines, [
    { kind: 'ENGINE_KIND_VLLM', tcpPort: 9000, unixSocket: '/s' },
  ]);
  t.equal(desiredStateOf({ known: [engine] }, 'stranger' as NodeId, 5), undefined);
  t.equal(desiredStateOf({ known: [engine] }, 'toString' as NodeId, 5), undefined);
  t.same(configuredModels(nodes), ['s']);
});
