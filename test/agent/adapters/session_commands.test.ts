/** Orders that come down a session: who may give them, how many at a time, at whose pace, and what a lost session ends. */
import t from 'tap';
import { createSessionCommands } from '../../../agent/adapters/session_commands.ts';
import { routeCommands } from '../../../agent/adapters/command_router.ts';
import type { CommandRunner, CommandSink } from '../../../agent/ports.ts';
import { CodedError } from '../../../lib/errors.ts';
import type { Command__Output } from '../../../proto/gen/fleet/v1/Command.ts';
import { eventually } from '../../support/child.ts';

const command = (id: string, more: Partial<Command__Output> = {}): Command__Output =>
  ({ id, verb: 'COMMAND_VERB_ENGINE_LOGS', engine: 'e0', follow: true, ...more }) as Command__Output;

/** A runner whose commands the test ends, and what was sent to schedulers. */
function fixture(change: { runner?: CommandRunner; term?: number } = {}) {
  const sinks = new Map<string, CommandSink>();
  const finish = new Map<string, (code?: string) => void>();
  const sent: string[] = [];
  const runner: CommandRunner = change.runner ?? {
    run: ({ id }, sink) =>
      new Promise((resolve) => {
        sinks.set(id, sink);
        finish.set(id, (code = '') => resolve({ code, message: '' }));
      }),
  };
  const commands = createSessionCommands({
    runner,
    links: {
      sendCommandOutput: (scheduler, { id, data }) => void sent.push(`${scheduler} ${id} output ${String(data)}`),
      sendCommandResult: (scheduler, { id, code }) => void sent.push(`${scheduler} ${id} result ${code}`),
    },
    newestTerm: () => change.term,
    maxCommands: 2,
    log: { info() {}, warn() {} },
  });
  return { commands, sinks, finish, sent };
}

t.test('a command answers the scheduler that gave it, outputs before the result', async (t) => {
  const { commands, sinks, finish, sent } = fixture();
  commands.onCommand('a', 1, command('1'));
  commands.onCommand('b', 1, command('1x'));
  sinks.get('1')?.output({ data: Buffer.from('line') });
  sinks.get('1x')?.output({ data: Buffer.from('other') });
  finish.get('1')?.();
  await eventually('the result', () => sent.length === 3);
  t.same(sent, ['a 1 output line', 'b 1x output other', 'a 1 result ']);
});

t.test('an order of an older term is refused, a question is not', async (t) => {
  const { commands, sent, finish } = fixture({ term: 5 });
  commands.onCommand('a', 4, command('1', { verb: 'COMMAND_VERB_ENGINE_DRAIN' }));
  t.same(sent, ['a 1 result stale_term']);
  commands.onCommand('a', 5, command('2', { verb: 'COMMAND_VERB_ENGINE_DRAIN' }));
  commands.onCommand('a', 4, command('3'));
  t.same([...finish.keys()], ['2', '3']);
});

t.test('too many, the same id twice and an order that lacks something are refused', async (t) => {
  const { commands, sent, finish } = fixture();
  commands.onCommand('a', 1, command('1'));
  commands.onCommand('a', 1, command('1'));
  commands.onCommand('a', 1, command('2'));
  commands.onCommand('a', 1, command('3'));
  t.same(sent, ['a 1 result already_exists', 'a 3 result overloaded']);
  finish.get('2')?.();
  await eventually('room', () => sent.includes('a 2 result '));
  commands.onCommand('a', 1, command('4', { engine: '' }));
  commands.onCommand('a', 1, command('5', { verb: 'COMMAND_VERB_UNSPECIFIED' }));
  t.same(sent.slice(3), ['a 4 result missing_field', 'a 5 result invalid_value']);
});

t.test('a lost session and a cancel abort the signal; what still comes is said to nobody', async (t) => {
  const { commands, sinks, finish, sent } = fixture();
  commands.onCommand('a', 1, command('1'));
  commands.onCommand('a', 1, command('2'));
  commands.onCommand('a', 1, command('c', { verb: 'COMMAND_VERB_CANCEL', targetId: '1' }));
  t.equal(sinks.get('1')?.signal.aborted, true);
  t.equal(sinks.get('2')?.signal.aborted, false);
  commands.onDisconnected('a');
  commands.onDisconnected('unknown');
  t.equal(sinks.get('2')?.signal.aborted, true);
  sinks.get('2')?.output({ data: Buffer.from('late') });
  finish.get('1')?.('cancelled');
  finish.get('2')?.('cancelled');
  commands.onCommand('a', 1, command('3'));
  finish.get('3')?.();
  await eventually('the next session is served', () => sent.length > 0);
  t.same(sent, ['a 3 result ']);
});

t.test('a command waits for credit, and goes on when more is granted or nobody reads', async (t) => {
  const { commands, sinks } = fixture();
  commands.onCommand('a', 1, command('1', { creditBytes: 10 }));
  const sink = sinks.get('1') as CommandSink;
  await sink.ready?.();
  sink.output({ data: Buffer.alloc(30) });
  let ready = 0;
  const wait = (): void => void sink.ready?.().then(() => (ready += 1));
  wait();
  commands.onCommand('a', 1, command('g', { verb: 'COMMAND_VERB_CREDIT', targetId: '1', creditBytes: 20 }));
  await new Promise((resolve) => setTimeout(resolve, 20));
  t.equal(ready, 0, 'it owes as much as was granted');
  commands.onCommand('a', 1, command('g', { verb: 'COMMAND_VERB_CREDIT', targetId: '1', creditBytes: 1 }));
  await eventually('credit', () => ready === 1);
  sink.output({ data: Buffer.alloc(30) });
  wait();
  commands.onDisconnected('a');
  await eventually('the abort', () => ready === 2);
});

t.test('a part that throws is a coded result, and each verb goes to its part', async (t) => {
  const part = (name: string): CommandRunner => ({ run: () => Promise.resolve({ code: '', message: name }) });
  const router = routeCommands({
    logs: part('logs'),
    rest: { run: () => Promise.reject(new CodedError('engine_failed', 'It would not.')) },
    releaseGpu: (gpu, { reason }) => Promise.resolve({ code: '', message: `gpu ${gpu} ${reason}` }),
  });
  const sink: CommandSink = { output() {}, signal: new AbortController().signal };
  t.match(await router.run(command('1'), sink), { message: 'logs' });
  const release = { verb: 'COMMAND_VERB_GPU_RELEASE', gpu: 3, reason: 'replaced' } as const;
  t.match(await router.run(command('1', release), sink), { message: 'gpu 3 replaced' });
  const drain = command('1', { verb: 'COMMAND_VERB_ENGINE_DRAIN' });
  t.match(await router.run(drain, sink), { code: 'engine_failed', message: 'It would not.' });
  t.match(await router.run(command('1', { engine: '' }), sink), { code: 'missing_field', param: 'engine' });
  const { commands, sent } = fixture({ runner: { run: () => Promise.reject(new Error('secret')) } });
  commands.onCommand('a', 1, command('1'));
  await eventually('a result', () => sent.length === 1);
  t.same(sent, ['a 1 result internal']);
});
