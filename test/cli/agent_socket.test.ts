/** The command line on the host itself: the same orders over the agent's own socket, with no scheduler at all. */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t, { type Test } from 'tap';
import { createAdminSocket } from '../../agent/adapters/admin_socket/admin_socket.ts';
import type { CommandRunner } from '../../agent/ports.ts';
import type { Command__Output } from '../../proto/gen/fleet/v1/Command.ts';
import type { EngineEvent } from '../../proto/gen/fleet/v1/EngineEvent.ts';
import type { NodeEvent } from '../../proto/gen/fleet/v1/NodeEvent.ts';
import { readyEngine } from '../support/fake_agent.ts';
import { makeHome, type Outcome, sophia, startSophia } from './sophia.ts';

function socketPath(t: Test): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'cli-admin-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return path.join(folder, 'admin.sock');
}

async function openAgent(t: Test, answer: CommandRunner['run'] = () => Promise.resolve({ code: '' })) {
  const place = socketPath(t);
  const state: { engines: EngineEvent[]; nodeEvent?: NodeEvent } = { engines: [readyEngine('e0', 'm')] };
  const commands: Command__Output[] = [];
  const socket = createAdminSocket({
    path: place,
    runner: {
      run(command, sink) {
        commands.push(command);
        return answer(command, sink);
      },
    },
    picture: () => ({ nodeName: 'node-a', agentVersion: '1', gpuEvents: [], ...state }),
    log: { info() {} },
  });
  await socket.start();
  t.teardown(() => socket.stop());
  const home = makeHome(t);
  const args = (rest: string[]): string[] => ['--agent-socket', place, '--endpoint', '127.0.0.1:1', ...rest];
  return {
    state,
    commands,
    socket,
    run: (...rest: string[]): Promise<Outcome> => sophia(t, home, args(rest)),
    start: (...rest: string[]) => startSophia(t, home, args(rest)),
  };
}

t.test('engines are listed, shown and ordered about without a scheduler', async (t) => {
  const { run, commands } = await openAgent(t, ({ verb }, sink) => {
    if (verb === 'COMMAND_VERB_ENGINE_JOURNAL') sink.output({ journal: [readyEngine('e0', 'm', { reason: 'told' })] });
    return Promise.resolve({ code: '' });
  });
  t.match((await run('engine', 'list')).stdout, /node-a\/e0 +sim \(simulated\) +m +ready/);
  t.match((await run('engine', 'show', 'e0')).stdout, /ready +told/);
  t.equal((await run('engine', 'restart', 'node-a/e0', '--reason', 'stuck')).code, 0);
  t.match(commands.at(-1), { verb: 'COMMAND_VERB_ENGINE_RESTART', engine: 'e0', reason: 'stuck', actor: /^local:.+/ });
  t.equal((await run('gpu', 'release', 'node-a', '1')).code, 0);
  t.match(commands.at(-1), { verb: 'COMMAND_VERB_GPU_RELEASE', gpu: 1, engine: '' });
  t.equal(commands.length, 3);
  for (const args of [
    ['engine', 'show', 'e9'],
    ['engine', 'show', 'node-b/e0'],
    ['node', 'drain', 'node-b'],
    ['gpu', 'release', 'node-b', '1'],
  ]) {
    const { code, stdout } = await run('--json', ...args);
    t.equal(code, 1, args.join(' '));
    t.match(JSON.parse(stdout.trim()), { error: { code: 'not_found' } });
  }
});

t.test('a drain is watched until it is over', async (t) => {
  const { start, state } = await openAgent(t, ({ verb }) => {
    if (verb === 'COMMAND_VERB_NODE_DRAIN')
      state.nodeEvent = { draining: true, drain: { runningRequests: 1, actor: '', reason: '' } };
    return Promise.resolve({ code: '' });
  });
  const waiting = start('node', 'drain', 'node-a', '--wait');
  await waiting.waitFor(/1 request runs/);
  state.nodeEvent = { draining: true, drain: { runningRequests: 0, actor: '', reason: '' } };
  t.equal((await waiting.exited).code, 0);
  t.match(waiting.stdout(), /node-a is drained/);
});

t.test('logs are followed until Ctrl-C, which ends the reading, or until the agent goes away', async (t) => {
  const aborted: boolean[] = [];
  const { start, socket } = await openAgent(t, (_command, sink) => {
    sink.output({ data: Buffer.from('one\n') });
    return new Promise((resolve) => {
      sink.signal.addEventListener('abort', () => {
        aborted.push(true);
        resolve({ code: 'cancelled' });
      });
    });
  });
  const stopped = start('engine', 'logs', 'e0', '-f');
  await stopped.waitFor(/one/);
  stopped.signal('SIGINT');
  t.equal((await stopped.exited).code, 130);
  t.same(aborted, [true]);
  const left = start('engine', 'logs', 'e0', '-f');
  await left.waitFor(/one/);
  await socket.stop();
  t.equal((await left.exited).code, 1);
  t.match(left.stderr(), /went away/);
});

t.test('a refusal is told with its code, and so is a socket where no agent answers', async (t) => {
  const { run } = await openAgent(t, () => Promise.resolve({ code: 'engine_failed', message: 'It would not.' }));
  const refused = await run('--json', 'engine', 'wake', 'e0');
  t.match(JSON.parse(refused.stdout), { error: { code: 'engine_failed', message: 'It would not.' } });
  const home = makeHome(t);
  const nobody = await sophia(t, home, ['--agent-socket', socketPath(t), 'engine', 'list']);
  t.equal(nobody.code, 1);
  t.match(nobody.stderr, /No agent answers at .* \(ENOENT\)/);
  const strange = socketPath(t);
  const server = createServer((socket) => socket.end('hello\n')).listen(strange);
  t.teardown(() => server.close());
  const other = await sophia(t, home, ['--agent-socket', strange, 'engine', 'list']);
  t.match(other.stderr, /does not speak as an agent does/);
});
