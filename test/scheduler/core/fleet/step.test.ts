/** What an agent says becomes the scheduler's picture of its node; late and old words change nothing. */
import t from 'tap';
import type { NodeId } from '../../../../lib/ids.ts';
import type { EngineEvent__Output } from '../../../../proto/gen/fleet/v1/EngineEvent.ts';
import type { Hello__Output } from '../../../../proto/gen/fleet/v1/Hello.ts';
import type { Telemetry__Output } from '../../../../proto/gen/fleet/v1/Telemetry.ts';
import {
  emptyFleet,
  findEngine,
  MAX_ENGINES_PER_NODE,
  MAX_HISTORY,
  MAX_NODES,
  stateWord,
} from '../../../../scheduler/core/fleet/state.ts';
import { step, type StepContext } from '../../../../scheduler/core/fleet/step.ts';
import { engineEvent, engineIdOf, hello, NODE, telemetry } from '../../fakes.ts';

const context: StepContext = { nowMs: 100, wallMs: 1_000_100, reserved: () => 3 };

function fleetWith(change: Partial<Hello__Output> = {}) {
  const state = emptyFleet();
  const sayHello = (next: Partial<Hello__Output>, connection: number) =>
    step(state, { kind: 'hello', node: NODE, connection, hello: hello(next), desired: undefined }, context);
  const event = (next: Partial<EngineEvent__Output>, connection = 1) =>
    step(state, { kind: 'engine_event', node: NODE, connection, event: engineEvent(next) }, context);
  const effects = sayHello(change, 1);
  return { state, sayHello, event, effects, engine: (name = 'e0') => findEngine(state, engineIdOf(name)) };
}

t.test('a hello is the whole truth of a node', async (t) => {
  const { state, effects, engine } = fleetWith();
  t.same(effects, []);
  t.match(state.nodes.get(NODE), { connected: true, sessionId: 's1', lastSeenAtMs: 100, connectedAtWallMs: 1_000_100 });
  t.match(engine(), { id: 'node-a/e0', models: [{ id: 'm' }] });
  t.equal(findEngine(state, engineIdOf('other')), undefined);
  t.equal(findEngine(state, engineIdOf('e0', 'nowhere' as NodeId)), undefined);
});

t.test('the same agent may come back: nothing is lost; another life of it ends what ran', async (t) => {
  const { sayHello, state } = fleetWith();
  t.same(sayHello({}, 2), [{ kind: 'session_replaced', node: NODE, connection: 1, restarted: false }]);
  const effects = sayHello({ sessionId: 's2', engines: [engineEvent({ incarnation: 2 })] }, 3);
  t.same(effects, [
    { kind: 'session_replaced', node: NODE, connection: 2, restarted: true },
    { kind: 'engine_ended', engine: engineIdOf('e0'), incarnation: 1 },
  ]);
  t.equal(state.nodes.get(NODE)?.connection, 3);
});

t.test(
  'an engine that a hello does not name any more has ended; one that was dead before has not ended again',
  async (t) => {
    const { sayHello, event } = fleetWith({ engines: [engineEvent(), engineEvent({ engine: 'e1' })] });
    event({ engine: 'e1', state: 'ENGINE_STATE_FAILED' });
    t.same(
      sayHello({ engines: [] }, 2).filter((effect) => effect.kind === 'engine_ended'),
      [{ kind: 'engine_ended', engine: engineIdOf('e0'), incarnation: 1 }],
    );
  },
);

t.test('an agent of a lost session that comes back replaces nobody', async (t) => {
  const { state, sayHello } = fleetWith();
  t.same(step(state, { kind: 'session_lost', node: NODE, connection: 1 }, context), []);
  t.equal(state.nodes.get(NODE)?.connected, false);
  t.same(sayHello({}, 2), []);
  t.equal(state.nodes.get(NODE)?.connected, true);
});

t.test('words of an older stream and of unknown nodes are passed over', async (t) => {
  const { state, sayHello, event, engine } = fleetWith();
  sayHello({}, 2);
  t.same(event({ state: 'ENGINE_STATE_FAILED' }, 1), [{ kind: 'passed_over', what: 'old_stream' }]);
  t.equal(engine()?.event.state, 'ENGINE_STATE_READY');
  t.same(step(state, { kind: 'session_lost', node: NODE, connection: 1 }, context), [
    { kind: 'passed_over', what: 'old_stream' },
  ]);
  t.same(step(state, { kind: 'goodbye', node: 'x' as NodeId, connection: 1, reason: '' }, context), [
    { kind: 'passed_over', what: 'old_stream' },
  ]);
});

t.test('an event of an older incarnation is late; a newer one or a death ends the life before it', async (t) => {
  const { event, engine } = fleetWith({ engines: [engineEvent({ incarnation: 5 })] });
  t.same(event({ incarnation: 4 }), [{ kind: 'passed_over', what: 'old_incarnation' }]);
  t.equal(engine()?.event.incarnation, 5);
  t.same(event({ incarnation: 5, state: 'ENGINE_STATE_DRAINING' }), [], 'a draining engine still answers');
  const ended = [{ kind: 'engine_ended', engine: engineIdOf('e0'), incarnation: 5 }];
  t.same(event({ incarnation: 5, state: 'ENGINE_STATE_BACKOFF' }), ended);
  t.same(event({ incarnation: 6, state: 'ENGINE_STATE_STARTING', models: [] }), [], 'it has ended already');
  t.match(engine()?.models, [{ id: 'm' }], 'a restarting engine keeps its models known');
  t.same(event({ incarnation: 7 }), [{ kind: 'engine_ended', engine: engineIdOf('e0'), incarnation: 6 }]);
});

t.test('a new engine may come with an event; a node holds a bounded number of them', async (t) => {
  const many = Array.from({ length: MAX_ENGINES_PER_NODE - 1 }, (_, i) => engineEvent({ engine: `x${i}` }));
  const { event, engine } = fleetWith({ engines: many });
  t.same(event({ engine: 'one-more' }), []);
  t.ok(engine('one-more'));
  t.same(event({ engine: 'too-many' }), [{ kind: 'passed_over', what: 'too_many_engines' }]);
});

t.test('history is bounded, and progress of one state takes one entry', async (t) => {
  const { event, engine } = fleetWith();
  for (let i = 0; i < 10; i++)
    event({ state: 'ENGINE_STATE_STARTING', reason: 'loading', incarnation: 2, progressRatio: i / 10 });
  t.equal(engine()?.history.length, 2);
  t.equal(engine()?.history.at(-1)?.progressRatio, 0.9);
  for (let i = 3; i < 3 + 2 * MAX_HISTORY; i++) event({ incarnation: i });
  t.equal(engine()?.history.length, MAX_HISTORY);
});

t.test('a reading belongs to one life of an engine', async (t) => {
  const { state, event, engine } = fleetWith();
  const tell = (incarnation: number, runningRequests: number) =>
    step(
      state,
      {
        kind: 'telemetry',
        node: NODE,
        connection: 1,
        telemetry: telemetry([{ incarnation, runningRequests }, { engine: 'no' }]),
      },
      context,
    );
  tell(1, 5);
  t.match(engine(), { reading: { runningRequests: 5 }, reservedAtReading: 3 });
  event({ incarnation: 1, reason: 'still' });
  t.match(engine(), { reading: { runningRequests: 5 }, reservedAtReading: 3 });
  tell(2, 9);
  t.match(engine(), { reading: undefined }, 'the life that it speaks of is not known yet');
  event({ incarnation: 2 });
  t.match(engine(), { reading: { runningRequests: 9 } }, 'and now it is');
  event({ incarnation: 3 });
  t.match(engine(), { reading: undefined, reservedAtReading: 0 });
});

t.test('a delta means something only after a snapshot of its own session', async (t) => {
  const { state, sayHello, engine } = fleetWith();
  const tell = (connection: number, change: Partial<Telemetry__Output>) =>
    step(state, { kind: 'telemetry', node: NODE, connection, telemetry: { ...telemetry([]), ...change } }, context);
  const reading = (runningRequests: number) => telemetry([{ runningRequests }]).engines;
  const ignored = [{ kind: 'passed_over', what: 'delta_before_snapshot' }];
  t.same(tell(1, { snapshot: false, engines: reading(7) }), ignored);
  t.match(state.nodes.get(NODE), { telemetry: undefined, lastSeenAtMs: 100 });
  t.equal(engine()?.reading, undefined);
  t.same(tell(1, { engines: reading(1) }), []);
  t.same(tell(1, { snapshot: false, engines: reading(2) }), []);
  t.match(engine(), { reading: { runningRequests: 2 } });
  sayHello({}, 2);
  t.match(state.nodes.get(NODE)?.telemetry?.engines, [{ runningRequests: 2 }], 'the last picture is shown meanwhile');
  t.same(tell(2, { snapshot: false, engines: reading(9) }), ignored);
  t.match(engine(), { reading: { runningRequests: 2 } });
  t.same(tell(2, { engines: [] }), []);
  t.equal(engine()?.reading, undefined);
});

t.test('silence about an engine says that it stands as it was, and ours are counted again', async (t) => {
  const { state, engine } = fleetWith();
  const tell = (reserved: number, message: Telemetry__Output) =>
    step(
      state,
      { kind: 'telemetry', node: NODE, connection: 1, telemetry: message },
      { ...context, reserved: () => reserved },
    );
  tell(4, telemetry([{ relayedRequests: 4 }]));
  t.match(engine(), { reading: { relayedRequests: 4 }, reservedAtReading: 4 });
  tell(1, { ...telemetry([]), snapshot: false });
  t.match(engine(), { reading: { relayedRequests: 4 }, reservedAtReading: 1 }, 'three of the four are of others now');
});

t.test('a figure that cannot be is counted and never kept', async (t) => {
  const { state, engine } = fleetWith();
  const message = telemetry([{ runningRequests: 3, waitingRequests: Number.NaN, kvCacheUsageRatio: -1 }]);
  const effects = step(state, { kind: 'telemetry', node: NODE, connection: 1, telemetry: message }, context);
  t.same(effects, [{ kind: 'passed_over', what: 'impossible_figure', count: 2 }]);
  t.same(engine()?.reading, { engine: 'e0', incarnation: 1, runningRequests: 3 });
});

t.test('acknowledgements and goodbyes are kept', async (t) => {
  const { state } = fleetWith();
  const rejections = [{ engine: 'e9', code: 'invalid_spec', message: 'no', param: 'model' }];
  step(state, { kind: 'desired_ack', node: NODE, connection: 1, generation: 7, rejections }, context);
  step(state, { kind: 'goodbye', node: NODE, connection: 1, reason: 'upgrade' }, context);
  t.match(state.nodes.get(NODE), { observedGeneration: 7, rejections, goodbye: 'upgrade' });
});

t.test('the table of nodes is bounded: the longest lost goes, connected ones stay', async (t) => {
  const state = emptyFleet();
  const join = (name: string, nowMs: number) =>
    step(
      state,
      { kind: 'hello', node: name as NodeId, connection: nowMs, hello: hello({ nodeName: name }), desired: undefined },
      { ...context, nowMs },
    );
  for (let i = 1; i <= MAX_NODES; i++) join(`n${i}`, i);
  for (const i of [20, 10, 30]) step(state, { kind: 'session_lost', node: `n${i}` as NodeId, connection: i }, context);
  join('late', MAX_NODES + 1);
  t.equal(state.nodes.size, MAX_NODES);
  t.notOk(state.nodes.has('n10' as NodeId));
  join('later', MAX_NODES + 2);
  join('latest', MAX_NODES + 3);
  t.equal(state.nodes.size, MAX_NODES);
  join('nobody-is-lost', MAX_NODES + 4);
  t.equal(state.nodes.size, MAX_NODES + 1, 'a living node is never forgotten');
});

t.test('states have words', async (t) => {
  t.equal(stateWord('ENGINE_STATE_DRAINING'), 'draining');
});
