/** Orders at the scheduler: who gets them, how they end, and what bounds them. */
import t from 'tap';
import { COMMAND_WINDOW_BYTES } from '../../../../lib/command_verbs.ts';
import type { CodedError } from '../../../../lib/errors.ts';
import type { NodeId } from '../../../../lib/ids.ts';
import type { Command__Output } from '../../../../proto/gen/fleet/v1/Command.ts';
import type { CommandOutput__Output } from '../../../../proto/gen/fleet/v1/CommandOutput.ts';
import type { CommandReader } from '../../../../scheduler/ports.ts';
import { engineEvent, fakeSession, hello, testLoop } from '../../fakes.ts';

interface Recorder extends CommandReader {
  readonly calls: string[];
  error: CodedError | undefined;
}

function recorder(): Recorder {
  const reader: Recorder = {
    calls: [],
    error: undefined,
    onOutput: (output) => void reader.calls.push(`output:${output.data.toString()}`),
    onResult: (result) => void reader.calls.push(`result:${result.code}`),
    onError(error) {
      reader.error = error;
      reader.calls.push(`error:${error.code}`);
    },
  };
  return reader;
}

const order = (verb: string, target = 'e0', more: Partial<Command__Output> = {}) => ({
  target,
  actor: 'key-1',
  command: { id: '', verb, engine: 'forged', actor: 'forged', reason: 'why', ...more } as Command__Output,
});

const output = (id: string, data: Buffer | string): CommandOutput__Output => ({
  id,
  data: Buffer.from(data),
  journal: [],
});

t.test('an order goes to the node of its engine, with who gave it, and its answers to who asked', async (t) => {
  const { loop, session, clock } = testLoop();
  const reader = recorder();
  loop.commander.run(order('COMMAND_VERB_ENGINE_DRAIN'), reader);
  const [sent] = session.commands;
  t.match(sent, { verb: 'COMMAND_VERB_ENGINE_DRAIN', engine: 'e0', actor: 'key-1', reason: 'why' });
  const id = sent?.id ?? '';
  loop.fleetSink.onCommandOutput(session, output(id, 'a'));
  loop.fleetSink.onCommandOutput(session, output('unknown', 'b'));
  loop.fleetSink.onCommandOutput(fakeSession('other'), output(id, 'c'));
  loop.fleetSink.onCommandResult(session, { id, code: 'engine_failed', message: 'm', param: '' });
  loop.fleetSink.onCommandResult(session, { id, code: '', message: '', param: '' });
  loop.fleetSink.onCommandOutput(session, output(id, 'late'));
  clock.advance(10 * 60_000);
  t.same(reader.calls, ['output:a', 'result:engine_failed'], 'and nothing after the result');
});

t.test('a node is named for its orders, an engine for the others, and what is wrong is refused', async (t) => {
  const { loop, session } = testLoop();
  loop.commander.run(order('COMMAND_VERB_NODE_DRAIN', 'node-a'), recorder());
  t.match(session.commands, [{ verb: 'COMMAND_VERB_NODE_DRAIN', engine: '' }]);
  const refused = (verb: string, target: string, code: string): void => {
    t.throws(() => loop.commander.run(order(verb, target), recorder()), { code }, `${verb} ${target}`);
  };
  refused('COMMAND_VERB_NODE_DRAIN', 'e0', 'not_found');
  refused('COMMAND_VERB_ENGINE_DRAIN', 'e9', 'not_found');
  refused('COMMAND_VERB_ENGINE_DRAIN', '', 'missing_field');
  refused('COMMAND_VERB_GPU_RELEASE', 'node-a', 'missing_field');
  refused('COMMAND_VERB_CANCEL', 'node-a', 'invalid_value');
  loop.fleetSink.onHello(fakeSession('s9', 'node-b' as NodeId), hello({ nodeName: 'node-b', sessionId: 's9' }));
  t.throws(() => loop.commander.run(order('COMMAND_VERB_ENGINE_DRAIN'), recorder()), {
    code: 'invalid_value',
    param: 'target',
    message: /node-a\/e0, node-b\/e0/,
  });
  t.equal(session.commands.length, 1, 'nothing was sent');
});

t.test('an order to a node that is lost, or is being lost, ends with node_unreachable', async (t) => {
  const { loop, session } = testLoop();
  const reader = recorder();
  const running = loop.commander.run(order('COMMAND_VERB_ENGINE_LOGS', 'e0', { follow: true }), reader);
  loop.fleetSink.onSessionLost(session);
  t.same(reader.calls, ['error:node_unreachable']);
  running.grant(COMMAND_WINDOW_BYTES);
  running.cancel();
  t.equal(session.commands.length, 1, 'nothing more is said on a session that is gone');
  t.throws(() => loop.commander.run(order('COMMAND_VERB_ENGINE_DRAIN'), recorder()), { code: 'node_unreachable' });
});

t.test('a session that is taken over by a newer one takes its orders with it', async (t) => {
  const { loop } = testLoop();
  const reader = recorder();
  loop.commander.run(order('COMMAND_VERB_ENGINE_RESTART'), reader);
  const newer = fakeSession('s2');
  loop.fleetSink.onHello(newer, hello({ sessionId: 's2' }));
  t.same(reader.calls, ['error:node_unreachable']);
  loop.commander.run(order('COMMAND_VERB_ENGINE_RESTART'), recorder());
  t.equal(newer.commands.length, 1, 'the next order goes down the newer session');
});

t.test('an order without a result in time is cancelled at the agent; one that follows has all the time', async (t) => {
  const { loop, session, clock } = testLoop();
  const [short, long] = [recorder(), recorder()];
  loop.commander.run(order('COMMAND_VERB_ENGINE_DRAIN'), short);
  loop.commander.run(order('COMMAND_VERB_ENGINE_LOGS', 'e0', { follow: true }), long);
  clock.advance(10 * 60_000);
  t.same(short.calls, ['error:deadline_exceeded']);
  t.same(long.calls, []);
  t.match(session.commands.at(-1), { verb: 'COMMAND_VERB_CANCEL', targetId: session.commands[0]?.id });
});

t.test('whoever asked goes away: the agent is told once', async (t) => {
  const { loop, session } = testLoop();
  const running = loop.commander.run(order('COMMAND_VERB_ENGINE_LOGS'), recorder());
  running.cancel();
  running.cancel();
  t.same(
    session.commands.map(({ verb }) => verb),
    ['COMMAND_VERB_ENGINE_LOGS', 'COMMAND_VERB_CANCEL'],
  );
});

t.test('more is granted as it is taken, in halves; an agent that sends far too much is cut off', async (t) => {
  const { loop, session } = testLoop();
  const reader = recorder();
  const running = loop.commander.run(order('COMMAND_VERB_ENGINE_LOGS', 'e0', { follow: true }), reader);
  const [sent] = session.commands;
  t.equal(sent?.creditBytes, COMMAND_WINDOW_BYTES);
  running.grant(COMMAND_WINDOW_BYTES / 2 - 1);
  t.equal(session.commands.length, 1);
  running.grant(1);
  t.match(session.commands[1], {
    verb: 'COMMAND_VERB_CREDIT',
    targetId: sent?.id,
    creditBytes: COMMAND_WINDOW_BYTES / 2,
  });
  for (let i = 0; i < 20; i++) {
    loop.fleetSink.onCommandOutput(session, output(sent?.id ?? '', Buffer.alloc(COMMAND_WINDOW_BYTES)));
    running.grant(COMMAND_WINDOW_BYTES);
  }
  t.equal(reader.error, undefined, 'as much as it was granted is not too much');
  for (let i = 0; i < 20; i++) {
    loop.fleetSink.onCommandOutput(session, output(sent?.id ?? '', Buffer.alloc(COMMAND_WINDOW_BYTES)));
  }
  t.equal(reader.error?.code, 'overloaded');
  t.match(session.commands.at(-1), { verb: 'COMMAND_VERB_CANCEL' });
});

t.test('there is a bound on orders under way, and a scheduler that stops ends them all', async (t) => {
  const { loop } = testLoop();
  const readers = Array.from({ length: 16 }, recorder);
  for (const reader of readers) loop.commander.run(order('COMMAND_VERB_ENGINE_LOGS'), reader);
  t.throws(() => loop.commander.run(order('COMMAND_VERB_ENGINE_LOGS'), recorder()), { code: 'overloaded' });
  loop.drain();
  t.ok(readers.every((reader) => reader.calls.join() === 'error:draining'));
});

t.test('the newest event of a GPU and of a node is kept, and a hello is the truth about them', async (t) => {
  const { loop, session } = testLoop();
  const node = () => loop.inspector.directory.state.nodes.get('node-a' as NodeId);
  const gpu = (index: number, quarantined: boolean) => ({ index, quarantined, kind: 'xid', message: 'x' }) as never;
  loop.fleetSink.onGpuEvent(session, gpu(0, true));
  loop.fleetSink.onGpuEvent(session, gpu(1, false));
  loop.fleetSink.onGpuEvent(session, gpu(0, false));
  loop.fleetSink.onGpuEvent(session, gpu(2, true));
  t.match(Object.fromEntries(node()?.gpuEvents ?? []), { 0: { quarantined: false }, 2: { quarantined: true } });
  const again = fakeSession('s1');
  loop.fleetSink.onHello(again, hello({ gpuEvents: [gpu(3, true)] }));
  t.same([...(node()?.gpuEvents.keys() ?? [])].sort(), [0, 1, 3], 'what it no longer names is released');
  for (let index = 10; index < 300; index++) loop.fleetSink.onGpuEvent(again, gpu(index, false));
  t.equal(node()?.gpuEvents.size, 256);
});

t.test('the engines of a node that drains are not picked, whatever their own state says', async (t) => {
  const { loop, session } = testLoop({ hello: { engines: [engineEvent()] } });
  const reason = (): string | undefined => {
    const { directory } = loop.inspector;
    const node = directory.state.nodes.get('node-a' as NodeId);
    const engine = node?.engines.get('e0');
    if (node === undefined || engine === undefined) throw new Error('the engine is gone');
    return directory.whyNotRoutable(node, engine, loop.inspector.nowMs())?.by;
  };
  t.equal(reason(), undefined);
  loop.fleetSink.onNodeEvent(session, { draining: true, drain: null });
  t.equal(reason(), 'node_draining');
  loop.fleetSink.onNodeEvent(session, { draining: false, drain: null });
  t.equal(reason(), undefined);
  loop.fleetSink.onHello(fakeSession('s1'), hello({ nodeEvent: { draining: true, drain: null } }));
  t.equal(reason(), 'node_draining');
});
