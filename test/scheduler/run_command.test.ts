/** An operator's order over gRPC: to the agent and back, at the reader's pace, and every way in which it can fail. */
import t from 'tap';
import { readyEngine } from '../support/fake_agent.ts';
import { eventually } from '../support/child.ts';
import { CANARY_KEY, readAll } from './grpc/door_fixture.ts';
import { openOrders } from './orders_fixture.ts';

t.test('outputs come as they are made, the result last, and the agent learns who gave the order', async (t) => {
  const { addAgent, run } = await openOrders(t);
  const { commands } = await addAgent('node-a', ({ output, result }) => {
    output({ data: Buffer.from('one\n') });
    output({ journal: [{ engine: 'e0', reason: 'serving' }] });
    result({ code: 'not_supported', message: 'It cannot.', param: 'verb' });
  });
  const command = {
    verb: 'COMMAND_VERB_ENGINE_SLEEP',
    sleepLevel: 2,
    reason: 'night',
    actor: 'forged',
    engine: 'forged',
    follow: true,
  } as const;
  const { messages } = await readAll(run({ target: 'e0', command }));
  t.match(messages, [
    { output: { data: Buffer.from('one\n') } },
    { output: { journal: [{ engine: 'e0', reason: 'serving' }] } },
    { result: { code: 'not_supported', message: 'It cannot.', param: 'verb' } },
  ]);
  t.match(commands, [{ engine: 'e0', actor: 'test', reason: 'night', sleepLevel: 2, follow: false }]);
});

t.test('what is wrong is refused before any agent hears of it', async (t) => {
  const { addAgent, run } = await openOrders(t);
  const a = await addAgent('node-a', ({ result }) => result());
  const b = await addAgent('node-b', ({ result }) => result());
  const drain = { verb: 'COMMAND_VERB_ENGINE_DRAIN' } as const;
  const refused: [object, string, string][] = [
    [{ target: 'e0', command: drain }, 'invalid_value', 'target'],
    [{ target: 'node-a/e9', command: drain }, 'not_found', 'target'],
    [{ target: 'node-c', command: { verb: 'COMMAND_VERB_NODE_DRAIN' } }, 'not_found', 'target'],
    [{ target: 'node-a/e0' }, 'missing_field', 'command'],
    [{ target: '', command: drain }, 'invalid_value', 'target'],
    [{ target: 'node-a/e0', command: { verb: 99 } }, 'invalid_value', 'command.verb'],
    [{ target: 'node-a/e0', command: { verb: 'COMMAND_VERB_CANCEL', targetId: 'c1' } }, 'invalid_value', 'verb'],
    [{ target: 'node-a', command: { verb: 'COMMAND_VERB_GPU_RELEASE' } }, 'missing_field', 'gpu'],
    [{ target: 'node-a', command: { verb: 'COMMAND_VERB_GPU_RELEASE', gpu: 999 } }, 'invalid_value', 'command.gpu'],
    [{ target: 'node-a/e0', command: { ...drain, reason: 'x'.repeat(600) } }, 'invalid_value', 'command.reason'],
    [
      { target: 'node-a/e0', command: { verb: 'COMMAND_VERB_ENGINE_LOGS', tailLines: 1e6 } },
      'invalid_value',
      'command.tailLines',
    ],
  ];
  for (const [request, code, param] of refused) {
    const { failure } = await readAll(run(request));
    t.match(failure?.error, { code, param }, JSON.stringify(request));
  }
  for (const key of [CANARY_KEY, 'key-gateway']) {
    const { failure } = await readAll(run({ target: 'node-a/e0', command: drain }, key));
    t.equal(failure?.error.code, 'permission_denied');
  }
  t.equal(a.commands.length + b.commands.length, 0);
});

t.test('an agent that is lost in the middle ends the order with node_unreachable', async (t) => {
  const { addAgent, run } = await openOrders(t);
  const { session } = await addAgent('node-a', ({ output }) => output({ data: Buffer.from('one\n') }));
  const request = { target: 'e0', command: { verb: 'COMMAND_VERB_ENGINE_LOGS', follow: true } } as const;
  const call = run(request);
  call.once('data', () => session.cancel());
  const { failure } = await readAll(call);
  t.equal(failure?.error.code, 'node_unreachable');
  const again = await readAll(run(request));
  t.equal(again.failure?.error.code, 'node_unreachable', 'and one that comes later is not even tried');
});

t.test('a caller that goes away ends the order at the agent', async (t) => {
  const { addAgent, run } = await openOrders(t);
  const { commands } = await addAgent('node-a', ({ command, output }) => {
    if (command.verb === 'COMMAND_VERB_ENGINE_LOGS') output({ data: Buffer.from('one\n') });
  });
  const call = run({ target: 'e0', command: { verb: 'COMMAND_VERB_ENGINE_LOGS', follow: true } });
  call.on('error', () => undefined);
  call.once('data', () => call.cancel());
  await eventually('the cancel', () => commands.length === 2);
  t.match(commands[1], { verb: 'COMMAND_VERB_CANCEL', targetId: commands[0]?.id });
});

t.test('a reader that takes nothing is granted nothing, and one that reads again gets all of it', async (t) => {
  const { addAgent, run } = await openOrders(t);
  const piece = Buffer.alloc(32 * 1024, 0x61);
  const total = 400;
  let creditBytes = 0;
  let sent = 0;
  let finished = false;
  const { commands } = await addAgent('node-a', ({ command, output, result }) => {
    // An agent sends no more than it was granted.
    creditBytes += command.creditBytes ?? 0;
    while (creditBytes > 0 && sent < total) {
      creditBytes -= piece.length;
      sent += 1;
      output({ data: piece });
    }
    if (sent < total || finished) return;
    finished = true;
    const id = commands[0]?.id ?? '';
    if (command.id === id) result();
  });
  const call = run({ target: 'e0', command: { verb: 'COMMAND_VERB_ENGINE_LOGS', follow: true } });
  // A client of this library pauses its transport only after its first read.
  let first = 0;
  call.once('data', ({ output }: { output: { data: Buffer } }) => {
    first = output.data.length;
    call.pause();
  });
  let before = -1;
  await eventually('the agent stalls', async () => {
    const stalled = sent > 0 && sent === before;
    before = sent;
    await new Promise((resolve) => setTimeout(resolve, 150));
    return stalled;
  });
  t.ok(sent < total / 2, `${sent} pieces for a reader that takes none`);
  const { messages } = await readAll(call);
  t.equal(
    messages.reduce((sum, { output }) => sum + (output?.data.length ?? 0), first),
    total * piece.length,
  );
  t.match(messages.at(-1), { result: { code: '' } });
});

t.test('quarantined GPUs and a draining node are shown, and events are acknowledged', async (t) => {
  const { addAgent, loop } = await openOrders(t);
  const { session } = await addAgent('node-a', () => undefined, {
    engines: [readyEngine('e0', 'm')],
    gpuEvents: [{ index: 1, quarantined: true, kind: 'xid', xid: 79, message: 'fell off the bus' }],
  });
  session.send({ gpuEvent: { index: 2, quarantined: false, kind: 'thermal' } });
  session.send({ nodeEvent: { draining: true, drain: { runningRequests: 2, actor: 'anna' } } });
  await eventually('both acknowledged', () => session.received.filter((one) => one.eventAck != null).length === 2);
  const node = [...loop.inspector.directory.state.nodes.values()][0];
  t.match(Object.fromEntries(node?.gpuEvents ?? []), { 1: { xid: 79 }, 2: { kind: 'thermal' } });
  t.match(node?.nodeEvent, { draining: true, drain: { runningRequests: 2, actor: 'anna' } });
});
