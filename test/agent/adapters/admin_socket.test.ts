/** The local socket: who may open it, what may be said on it, and what a client that does not read costs. */
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { createAdminSocket } from '../../../agent/adapters/admin_socket/admin_socket.ts';
import type { CommandRunner, CommandSink } from '../../../agent/ports.ts';
import type { Command__Output } from '../../../proto/gen/fleet/v1/Command.ts';
import { eventually, startChild } from '../../support/child.ts';

interface Owner {
  teardown(task: () => unknown): void;
}

function folderOf(owner: Owner): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'agent-admin-'));
  owner.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

const PICTURE = {
  nodeName: 'node-a',
  agentVersion: '1',
  engines: [{ engine: 'e0' }, { engine: 'e1' }],
  gpuEvents: [],
};

async function open(owner: Owner, runner: CommandRunner['run'] = () => Promise.resolve({ code: '', message: 'ran' })) {
  const place = path.join(folderOf(owner), 'admin.sock');
  const options = { path: place, runner: { run: runner }, picture: () => PICTURE, log: { info() {} } };
  const socket = createAdminSocket(options);
  await socket.start();
  owner.teardown(() => socket.stop());
  return { place, options, socket };
}

interface TestClient {
  readonly socket: Socket;
  readonly lines: Record<string, unknown>[];
  readonly closed: () => boolean;
  say(request: object | string): void;
}

function dial(owner: Owner, place: string): TestClient {
  const socket = createConnection(place);
  owner.teardown(() => socket.destroy());
  const lines: Record<string, unknown>[] = [];
  let rest = '';
  let closed = false;
  socket.setEncoding('utf8').on('data', (text: string) => {
    const parts = (rest + text).split('\n');
    rest = parts.pop() ?? '';
    lines.push(...parts.map((part) => JSON.parse(part) as Record<string, unknown>));
  });
  socket.on('error', () => undefined).on('close', () => (closed = true));
  return {
    socket,
    lines,
    closed: () => closed,
    say: (request) => void socket.write(`${typeof request === 'string' ? request : JSON.stringify(request)}\n`),
  };
}

t.test('the socket is for its own user only, and lists, shows and orders', async (t) => {
  const seen: Command__Output[] = [];
  const { place } = await open(t, (command, sink) => {
    seen.push(command);
    sink.output({ data: Buffer.from([0x68, 0xc3]) });
    sink.output({ data: Buffer.from([0xa9, 0xff, 0x0a]), journal: [{ engine: 'e0' }] });
    return Promise.resolve({ code: '', message: 'ran' });
  });
  t.equal(statSync(place).mode & 0o777, 0o600);
  const client = dial(t, place);
  client.say({ id: '1', verb: 'list' });
  client.say({ id: '2', verb: 'show', engine: 'e1' });
  client.say({ id: '3', verb: 'show', engine: 'e9' });
  const order = { id: '4', verb: 'COMMAND_VERB_ENGINE_DRAIN', engine: 'e0', actor: 'anna', reason: 'r', follow: true };
  client.say(order);
  client.say({ id: '5', verb: 'COMMAND_VERB_GPU_RELEASE', gpu: 1, sleepLevel: 2, tailLines: 3 });
  await eventually('all answers', () => client.lines.filter((line) => line['result'] !== undefined).length === 2);
  t.match(client.lines, [
    { id: '1', picture: { nodeName: 'node-a', engines: [{ engine: 'e0' }, { engine: 'e1' }] } },
    { id: '2', picture: { engines: [{ engine: 'e1' }] } },
    { id: '3', error: { code: 'not_found', param: 'engine' } },
    { id: '4', output: { text: 'h' } },
    { id: '4', output: { text: '\u00e9\ufffd\n', journal: [{ engine: 'e0' }] } },
  ]);
  t.match(seen, [
    { actor: 'local:anna', engine: 'e0', reason: 'r', follow: false },
    { actor: 'local:unknown', gpu: 1, sleepLevel: 2, tailLines: 3 },
  ]);
});

t.test('what cannot be understood gets a coded error, and the connection lives on', async (t) => {
  const { place } = await open(t);
  const client = dial(t, place);
  const bad: [string, string][] = [
    ['{', 'malformed_json'],
    ['[]', 'invalid_value'],
    ['{"id":"1","verb":"nonsense"}', 'invalid_value'],
    ['{"id":"1","verb":"list","extra":1}', 'invalid_value'],
    ['{"id":"1","verb":"COMMAND_VERB_ENGINE_LOGS","engine":"e0","tailLines":-1}', 'invalid_value'],
    [`{"id":"1","verb":"list","engine":"${'x'.repeat(100)}"}`, 'invalid_value'],
    ['\u0000\u0001', 'malformed_json'],
  ];
  for (const [line] of bad) client.say(line);
  client.say('');
  client.say({ id: '9', verb: 'list' });
  await eventually('all answers', () => client.lines.length === bad.length + 1);
  t.same(
    client.lines.slice(0, -1).map((line) => (line['error'] as { code: string }).code),
    bad.map(([, code]) => code),
  );
  t.match(client.lines[2], { id: '1' }, 'the refused request is named where it has a name');
  t.match(client.lines.at(-1), { id: '9', picture: {} });
  client.socket.write('x'.repeat(70_000));
  await eventually('an endless line ends the connection', client.closed);
  t.match(client.lines.at(-1), { error: { code: 'body_too_large' } });
});

t.test('commands are bounded, cancelled by their id, and end with their client', async (t) => {
  const signals: AbortSignal[] = [];
  const { place } = await open(t, (_command, { signal }) => {
    signals.push(signal);
    return new Promise((resolve) => {
      signal.addEventListener('abort', () => resolve({ code: 'cancelled', message: '' }));
    });
  });
  const client = dial(t, place);
  const order = { verb: 'COMMAND_VERB_ENGINE_LOGS', engine: 'e0', follow: true };
  for (let id = 0; id < 8; id++) client.say({ id: String(id), ...order });
  client.say({ id: '0', ...order });
  client.say({ id: '8', ...order });
  await eventually('the refusals', () => client.lines.length === 2);
  t.match(client.lines, [{ error: { code: 'already_exists' } }, { id: '8', error: { code: 'overloaded' } }]);
  client.say({ id: 'c', verb: 'COMMAND_VERB_CANCEL', targetId: '3' });
  await eventually('the cancelled one ends', () => client.lines.length === 3);
  t.match(client.lines[2], { id: '3', result: { code: 'cancelled' } });
  client.socket.destroy();
  await eventually('the others end with their client', () => signals.every((signal) => signal.aborted));
});

t.test('a client that does not read holds back its own command', async (t) => {
  let sent = 0;
  const { place } = await open(t, async (_command, sink: CommandSink) => {
    while (!sink.signal.aborted && sent < 1000) {
      await sink.ready?.();
      sink.output({ data: Buffer.alloc(16 * 1024, 0x61) });
      sent += 1;
    }
    return { code: '', message: '' };
  });
  const client = dial(t, place);
  client.socket.pause();
  client.say({ id: '1', verb: 'COMMAND_VERB_ENGINE_LOGS', engine: 'e0' });
  let before = -1;
  await eventually('the command stalls', async () => {
    const stalled = sent > 0 && sent === before;
    before = sent;
    await new Promise((resolve) => setTimeout(resolve, 100));
    return stalled;
  });
  t.ok(sent < 200, `${sent} pieces for nobody`);
  const other = dial(t, place);
  other.say({ id: '1', verb: 'list' });
  await eventually('another client is served', () => other.lines.length === 1);
  client.socket.resume();
  await eventually('it goes on', () => sent === 1000, 20_000);
});

t.test('a runner that throws is an internal error, without its words', async (t) => {
  const { place } = await open(t, () => Promise.reject(new Error('secret')));
  const client = dial(t, place);
  client.say({ id: '1', verb: 'COMMAND_VERB_ENGINE_DRAIN', engine: 'e0' });
  await eventually('the answer', () => client.lines.length === 1);
  t.match(client.lines[0], { result: { code: 'internal' } });
  t.notMatch(JSON.stringify(client.lines), 'secret');
});

t.test(
  'the socket of a dead agent is replaced, that of a living one is not, and no other file is touched',
  async (t) => {
    const { place, options } = await open(t);
    await t.rejects(createAdminSocket(options).start(), { code: 'address_in_use', param: 'adminSocket' });
    const left = path.join(folderOf(t), 'left.sock');
    const script = `require('net').createServer().listen(${JSON.stringify(left)}, () => console.log('up'))`;
    const dead = startChild(t, { args: ['-e', script] });
    await dead.waitFor(/up/);
    dead.signal('SIGKILL');
    await dead.exited;
    const next = createAdminSocket({ ...options, path: left });
    await next.start();
    const client = dial(t, left);
    client.say({ id: '1', verb: 'list' });
    await eventually('it answers', () => client.lines.length === 1);
    await next.stop();
    t.throws(() => statSync(left), { code: 'ENOENT' }, 'a clean stop takes it away');
    const file = path.join(folderOf(t), 'notes.txt');
    writeFileSync(file, 'mine');
    await t.rejects(createAdminSocket({ ...options, path: file }).start(), { code: 'invalid_config' });
    t.equal(statSync(file).size, 4);
    await t.rejects(createAdminSocket({ ...options, path: path.join(file, 'x') }).start(), { code: 'invalid_config' });
    const long = path.join(path.dirname(place), 'x'.repeat(120));
    await t.rejects(createAdminSocket({ ...options, path: long }).start(), {
      code: 'invalid_config',
      message: /longer/,
    });
  },
);
