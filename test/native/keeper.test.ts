/** Keepers as programs of their own: what they refuse, what they survive, how small they are and how they are built. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { nativeKeeper, unitArguments } from '../../agent/adapters/launcher/keeper_start.ts';
import { encodeLaunch, type KeeperLaunch, LIFE_FILES } from '../../agent/core/keeper_protocol.ts';
import { LIFE_VARIABLE } from '../../agent/core/launch_plan.ts';
import { packageRoot } from '../../lib/io/package_root.ts';
import { processStartTicks } from '../../lib/io/processes.ts';
import { eventually, isAlive } from '../support/child.ts';
import { KEEPERS, type KeeperUnderTest, PATIENCE_MS, under } from '../agent/launcher/support.ts';

interface Owner {
  teardown(task: () => unknown): void;
}

const NODE_MAIN = fileURLToPath(new URL('../../agent/keeper/main.js', import.meta.url));
const programOf = ({ keeper }: KeeperUnderTest): string[] =>
  keeper === 'native' ? [nativeKeeper()] : [process.execPath, NODE_MAIN];

interface Kept {
  readonly folder: string;
  readonly pid: number;
  readonly exited: Promise<number | null>;
}

function launchFile(folder: string, script: string, more: Partial<KeeperLaunch> = {}): string {
  return encodeLaunch({
    engine: 'one',
    incarnation: 1,
    specHash: 'hash',
    folder,
    output: path.join(folder, 'output.log'),
    outputMaxBytes: 1_000_000,
    tailBytes: 4096,
    lingerMs: 60_000,
    args: ['sh', '-c', script],
    environment: { PATH: '/usr/bin:/bin', [LIFE_VARIABLE]: folder },
    ...more,
  });
}

/** Starts a keeper on this text as its plan. */
function start(owner: Owner, kind: KeeperUnderTest, plan: (folder: string) => string | undefined): Kept {
  const folder = mkdtempSync(path.join(tmpdir(), 'keeper-'));
  const text = plan(folder);
  if (text !== undefined) writeFileSync(path.join(folder, LIFE_FILES.launch), text);
  const [command, ...args] = programOf(kind);
  const child = spawn(command as string, [...args, folder], { stdio: 'ignore', detached: true, env: {} });
  const exited = new Promise<number | null>((resolve) => child.once('exit', resolve));
  owner.teardown(async () => {
    await say(folder, 'kill\n').catch(() => undefined);
    child.kill('SIGKILL');
    await exited;
    rmSync(folder, { recursive: true, force: true });
  });
  return { folder, pid: child.pid as number, exited };
}

function open(folder: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path.join(folder, LIFE_FILES.socket));
    socket.once('error', reject);
    socket.once('connect', () => resolve(socket));
  });
}

/** Everything that is answered to these bytes until nothing comes for a moment or the connection ends. */
async function say(folder: string, bytes: string | Buffer, wanted = /(?!)/): Promise<string> {
  const socket = await open(folder);
  return new Promise((resolve) => {
    let text = '';
    const timer = setTimeout(() => socket.destroy(), 3_000);
    socket.setEncoding('latin1').on('data', (piece: string) => {
      text += piece;
      if (wanted.test(text)) socket.destroy();
    });
    socket.on('error', () => socket.destroy());
    socket.once('close', () => {
      clearTimeout(timer);
      resolve(text);
    });
    socket.write(bytes);
  });
}

const serving = (folder: string): Promise<void> =>
  eventually('the keeper serves', () => existsSync(path.join(folder, LIFE_FILES.state)), PATIENCE_MS);

const ANSWER = /\n\{[^\n]*\n/;

for (const kind of KEEPERS) {
  t.test(...under(kind, 'bytes that are no request are answered with an error and harm nothing'), async (t) => {
    const { folder, pid } = start(t, kind, (at) => launchFile(at, 'exec sleep 1000'));
    await serving(folder);
    const rubbish: readonly (string | Buffer)[] = [
      'dance\n',
      'STATUS\n',
      '\n',
      '\0\0\0\n',
      'status \n',
      'x'.repeat(64),
      Buffer.from(Array.from({ length: 4096 }, (_, index) => index % 256)),
      'GET / HTTP/1.1\r\nhost: x\r\n\r\n',
      '{"t":"kill"}\n',
    ];
    for (const bytes of rubbish) {
      const answer = await say(folder, bytes);
      t.match(answer, /"t":"error"/, JSON.stringify(bytes.toString('latin1').slice(0, 20)));
    }
    // So much that the answer may be lost with the connection.
    await say(folder, 'y'.repeat(1_000_000));
    t.match(await say(folder, 'status\n', ANSWER), /"t":"status".*"phase":"running"/);
    t.match(await say(folder, 'term\nstatus\n', /"t":"status"/), /"did":"term"/, 'two requests in one write');
    t.ok(isAlive(pid));
  });

  t.test(...under(kind, 'a request that comes in pieces is one request'), async (t) => {
    const { folder } = start(t, kind, (at) => launchFile(at, 'exec sleep 1000'));
    await serving(folder);
    const socket = await open(folder);
    t.teardown(() => socket.destroy());
    let text = '';
    socket.on('data', (piece: Buffer) => (text += piece.toString()));
    for (const byte of 'pids\n') {
      socket.write(byte);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await eventually('the answer', () => text.includes('"t":"pids"'), PATIENCE_MS);
    t.equal(text.trim().split('\n').length, 2, 'the greeting and one answer');
  });

  t.test(...under(kind, 'more connections than it has places for lose the oldest, and it still answers'), async (t) => {
    const { folder, pid } = start(t, kind, (at) => launchFile(at, 'exec sleep 1000'));
    await serving(folder);
    const sockets: Socket[] = [];
    let closed = 0;
    for (let index = 0; index < 40; index++) {
      const socket = await open(folder);
      socket.on('error', () => undefined);
      socket.on('close', () => (closed += 1));
      socket.resume();
      sockets.push(socket);
    }
    t.teardown(() => sockets.forEach((socket) => socket.destroy()));
    await eventually('the oldest are closed', () => closed >= 32, PATIENCE_MS);
    t.match(await say(folder, 'status\n', ANSWER), /"t":"status"/);
    const descriptors = spawnSync('ls', [`/proc/${pid}/fd`], { encoding: 'utf8' }).stdout.split('\n').length;
    t.ok(descriptors < 40, `${descriptors} descriptors`);
  });

  t.test(...under(kind, 'an end is not acknowledged before it is there; after it the keeper goes'), async (t) => {
    const { folder, exited } = start(t, kind, (at) => launchFile(at, 'until [ -e go ]; do sleep 0.02; done; exit 3'));
    await serving(folder);
    t.match(await say(folder, 'ack\n', ANSWER), /"t":"error","message":"the engine has not ended"/);
    writeFileSync(path.join(folder, 'go'), '');
    t.match(await say(folder, 'subscribe\n', /"t":"ended"/), /"t":"ended".*"exitCode":3/);
    t.match(await say(folder, 'ack\n'), /"did":"ack"/);
    t.equal(await exited, 0);
    t.match(readFileSync(path.join(folder, LIFE_FILES.state), 'utf8'), /"phase":"ended".*"exitCode":3/);
  });

  t.test(...under(kind, 'nobody comes: it goes after its time, and the end stays on disk'), async (t) => {
    const { folder, exited } = start(t, kind, (at) => launchFile(at, 'echo bye; exit 3', { lingerMs: 300 }));
    t.equal(await exited, 0);
    t.match(readFileSync(path.join(folder, LIFE_FILES.state), 'utf8'), /"phase":"ended".*"lastLines":"bye\\n"/);
  });

  t.test(...under(kind, 'a kill whose giver is gone ends the keeper too'), async (t) => {
    const { folder, exited } = start(t, kind, (at) => launchFile(at, 'exec sleep 1000'));
    await serving(folder);
    const socket = await open(folder);
    await new Promise<void>((resolve) => socket.once('data', () => resolve()));
    await new Promise<void>((resolve) => socket.write('kill\n', () => resolve()));
    socket.destroy();
    t.equal(await exited, 0);
    t.match(readFileSync(path.join(folder, LIFE_FILES.state), 'utf8'), /"phase":"ended".*"signal":"SIGKILL"/);
  });

  t.test(...under(kind, 'a plan that is not whole starts nothing'), async (t) => {
    const whole = (at: string): string => launchFile(at, 'touch started');
    const plans: readonly ((at: string) => string | undefined)[] = [
      () => undefined,
      () => '',
      () => 'rubbish',
      (at) => whole(at).slice(0, -1),
      (at) => whole(at).slice(0, -5),
      (at) => whole(at).replace('sophia-launch 1', 'sophia-launch 2'),
      (at) => whole(at).replace('lingerMs=60000', 'lingerMs=soon'),
      (at) => whole(at).replace('incarnation=1', 'strange=1'),
      (at) => whole(at).replace('hash=hash\0', ''),
      (at) => whole(at).replace(/arg=[^\0]*\0/g, ''),
    ];
    for (const plan of plans) {
      const { folder, exited } = start(t, kind, plan);
      t.not(await exited, 0, JSON.stringify(plan(folder)?.slice(0, 30)));
      t.notOk(existsSync(path.join(folder, 'started')));
    }
  });

  t.test(...under(kind, 'the plan is gone once it is read, and what is written is private'), async (t) => {
    const { folder } = start(t, kind, (at) => launchFile(at, 'echo hello; exec sleep 1000'));
    await serving(folder);
    t.notOk(existsSync(path.join(folder, LIFE_FILES.launch)));
    const output = path.join(folder, 'output.log');
    await eventually('it writes', () => existsSync(output) && statSync(output).size > 0, PATIENCE_MS);
    for (const name of [LIFE_FILES.socket, LIFE_FILES.state, 'output.log'])
      t.equal(statSync(path.join(folder, name)).mode & 0o777, 0o600, name);
  });

  t.test(...under(kind, 'it stays small while an engine floods it'), async (t) => {
    const { folder, pid } = start(t, kind, (at) =>
      launchFile(at, 'yes a-line-of-a-flood | head -c 300000000; touch done; exec sleep 1000'),
    );
    await serving(folder);
    await eventually('the flood is over', () => existsSync(path.join(folder, 'done')), PATIENCE_MS);
    const peak = Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
    t.ok(peak > 0 && peak < kind.mostRssKb, `${peak} kB`);
    // A moment long the file is being rotated, and is not there.
    const size = (): number => statSync(path.join(folder, 'output.log'), { throwIfNoEntry: false })?.size ?? 0;
    await eventually('the output is there', () => size() > 0, PATIENCE_MS);
    t.ok(size() <= 1_000_000 + 256 * 1024);
  });
}

t.test('an engine does not live on without its compiled keeper', async (t) => {
  const { folder, pid } = start(t, KEEPERS[0], (at) => launchFile(at, 'exec sleep 1000'));
  await serving(folder);
  const engine = Number(/"enginePid":(\d+)/.exec(readFileSync(path.join(folder, LIFE_FILES.state), 'utf8'))?.[1]);
  t.ok(await processStartTicks(engine));
  process.kill(pid, 'SIGKILL');
  await eventually('it ends', async () => (await processStartTicks(engine)) === undefined, PATIENCE_MS);
});

const buildNative = (...args: string[]): { status: number | null; stdout: string } =>
  spawnSync(process.execPath, [path.join(packageRoot(), 'native', 'build.mjs'), ...args], { encoding: 'utf8' });

t.test('what is built already is not built again', async (t) => {
  t.match(buildNative(), { status: 0 });
  t.match(buildNative(), { status: 0, stdout: '' });
});

t.test('a machine without a compiler is told so in one line, and the build goes on', async (t) => {
  const { status, stdout } = buildNative('--cc', 'no-such-compiler');
  t.equal(status, 0);
  t.match(stdout, /^native: no C compiler: [^\n]*\n$/);
});

t.test('a unit of a keeper carries nothing of a spec but its name', async (t) => {
  const words = unitArguments({ engine: 'one', incarnation: 7, folder: '/data/engines/one/life-7' }, [
    '/bin/keeper',
    '/f',
  ]);
  t.match(
    words.find((word) => word.startsWith('--unit=')),
    /^--unit=sophia-engine-one-7-[0-9a-f]{8}$/,
  );
  t.ok(words.includes('--slice=sophia-engines.slice'));
  t.ok(words.includes('--property=OOMPolicy=continue'));
  t.same(words.slice(words.indexOf('--')), ['--', '/bin/keeper', '/f']);
});
