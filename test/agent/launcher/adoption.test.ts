/** What a new agent finds of the engines of one that was killed, and what it leaves alone, with real processes. */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import path from 'node:path';
import t from 'tap';
import { LIFE_FILES } from '../../../agent/core/keeper_protocol.ts';
import { bootId, isProcess, livingProcesses, processStartTicks } from '../../../lib/io/processes.ts';
import { eventually, isAlive } from '../../support/child.ts';
import { bench, KEEPERS, launchInChild, PATIENCE_MS, planOf, processesWith, under } from './support.ts';

const lifeFolders = (root: string): string[] =>
  readdirSync(path.join(root, 'one')).filter((name) => name.startsWith('life-'));

let sleeps = 0;
const uniqueSleep = (): string => `8${process.pid}${String((sleeps += 1)).padStart(3, '0')}`;

for (const kind of KEEPERS) {
  t.test(
    ...under(kind, 'an engine lives on when its agent is killed; the next one adopts it and can stop it'),
    async (t) => {
      const { launcher, plan, root } = bench(t, kind);
      const made = await plan('trap "echo asked; exit 7" TERM; while :; do sleep 0.02; done', {
        environment: { PATH: '/usr/bin:/bin', SECRET: 'a\nb' },
      });
      const agent = await launchInChild(t, root, kind.keeper, made);
      await agent.kill();
      const [found, ...others] = await launcher.adoptable();
      t.same(others, []);
      t.match(found, { engine: 'one', incarnation: made.incarnation, specHash: made.specHash });
      t.same(found?.plan, made);
      const launched = found?.launched;
      t.match(launched, { pid: agent.enginePid, keeperPid: agent.keeperPid });
      t.ok(Math.abs((launched?.startedAtMs ?? 0) - Date.now()) < 60_000);
      t.equal(launched?.ended(), false);
      t.ok((await launched?.processes())?.includes(agent.enginePid));
      launched?.signal('SIGTERM');
      t.match(await launched?.exited, { exitCode: 7, lastLines: 'asked\n', orphansKilled: 0 });
      t.same(lifeFolders(root), []);
      t.same(await launcher.adoptable(), []);
    },
  );

  t.test(...under(kind, 'an end that no agent saw is told to the next one, once'), async (t) => {
    const { launcher, plan, root } = bench(t, kind);
    const made = await plan('until [ -e go ]; do sleep 0.02; done; echo last words; exit 9');
    const agent = await launchInChild(t, root, kind.keeper, made);
    await agent.kill();
    writeFileSync(path.join(root, 'one', 'go'), '');
    await eventually('the engine has ended', () => !isAlive(agent.enginePid), PATIENCE_MS);
    t.ok(await processStartTicks(agent.keeperPid), 'its keeper waits for an agent');
    const [found] = await launcher.adoptable();
    t.match(await found?.launched.exited, { exitCode: 9, lastLines: 'last words\n' });
    await eventually('the keeper goes', () => !isAlive(agent.keeperPid), PATIENCE_MS);
    t.same(await launcher.adoptable(), []);
  });

  t.test(...under(kind, 'so is one whose keeper is gone too'), async (t) => {
    const { launcher, plan, root } = bench(t, kind);
    const made = await plan('until [ -e go ]; do sleep 0.02; done; echo last words; exit 9');
    const agent = await launchInChild(t, root, kind.keeper, made);
    await agent.kill();
    writeFileSync(path.join(root, 'one', 'go'), '');
    const state = path.join(root, 'one', `life-${made.incarnation}`, LIFE_FILES.state);
    await eventually(
      'the end is written down',
      () => existsSync(state) && readFileSync(state, 'utf8').includes('"ended"'),
      PATIENCE_MS,
    );
    process.kill(agent.keeperPid, 'SIGKILL');
    await eventually('the keeper is gone', () => !isAlive(agent.keeperPid), PATIENCE_MS);
    const [found] = await launcher.adoptable();
    const exit = await found?.launched.exited;
    t.match(exit, { exitCode: 9, lastLines: 'last words\n' });
    t.equal(exit?.unseen, undefined);
    t.equal(found?.launched.ended(), true);
    t.same(await found?.launched.processes(), []);
    t.same(lifeFolders(root), []);
  });

  t.test(
    ...under(kind, 'what is left of an engine whose keeper was killed is killed, and told as unseen'),
    async (t) => {
      const { launcher, plan, root } = bench(t, kind);
      const seconds = uniqueSleep();
      const made = await plan(`(setsid sleep ${seconds} & ) ; exec sleep ${seconds}`);
      const agent = await launchInChild(t, root, kind.keeper, made);
      await eventually('both run', async () => (await processesWith(seconds)).length === 2, PATIENCE_MS);
      await agent.kill();
      process.kill(agent.keeperPid, 'SIGKILL');
      const [found] = await launcher.adoptable();
      t.match(found, { engine: 'one', incarnation: made.incarnation });
      const exit = await found?.launched.exited;
      t.match(exit, { unseen: true });
      t.ok((exit?.orphansKilled ?? 0) >= 1);
      t.same(await processesWith(seconds), []);
      t.same(lifeFolders(root), []);
    },
  );

  for (const [what, wordsLost] of [
    ['a keeper that hangs when the next agent comes is killed with its engine', false],
    ['so is one whose last words are lost as well', true],
  ] as const) {
    // One kind tells: the search is the agent's, and each case waits for its whole patience.
    if (wordsLost && kind.keeper === 'node') continue;
    t.test(...under(kind, what), async (t) => {
      const { launcher, plan, root } = bench(t, kind);
      const seconds = uniqueSleep();
      const agent = await launchInChild(t, root, kind.keeper, await plan(`exec sleep ${seconds}`));
      await agent.kill();
      process.kill(agent.keeperPid, 'SIGSTOP');
      if (wordsLost) rmSync(path.join(root, 'one', lifeFolders(root)[0] as string, LIFE_FILES.state), { force: true });
      const [found] = await launcher.adoptable();
      t.match(await found?.launched.exited, { unseen: true });
      t.same(await processesWith(seconds), []);
      // Dead is enough: it is for the host's first process to reap it.
      const lives = async (): Promise<boolean> => (await livingProcesses()).some(({ pid }) => pid === agent.keeperPid);
      await eventually('the keeper is dead', async () => !(await lives()), PATIENCE_MS);
    });
  }

  t.test(...under(kind, 'a keeper whose engine is not the one of the folder is left alone'), async (t) => {
    const { launcher, plan, root, another } = bench(t, kind);
    const engine = await launcher.launch(await plan('exec sleep 1000'));
    const file = path.join(root, 'one', lifeFolders(root)[0] as string, LIFE_FILES.plan);
    const honest = readFileSync(file, 'utf8');
    for (const altered of [
      honest.replace('hash-of-spec', 'another-hash'),
      honest.replace('"incarnation":1', '"incarnation":2'),
      honest.replace('"engine":"one"', '"engine":"two"'),
      honest.slice(0, honest.length / 2),
      '[]',
    ]) {
      writeFileSync(file, altered);
      t.same(await another().adoptable(), [], altered.slice(0, 60));
      t.ok(isAlive(engine.pid));
    }
    writeFileSync(file, honest);
    const [found] = await another().adoptable();
    t.equal(found?.launched.pid, engine.pid, 'and with the right plan it is found again');
    engine.signal('SIGKILL');
    await engine.exited;
  });

  t.test(...under(kind, 'of two lives of one engine the newer one counts and the older one is ended'), async (t) => {
    const { launch, another } = bench(t, kind);
    const older = await launch('exec sleep 1000');
    const newer = await launch('exec sleep 1000');
    const found = await another().adoptable();
    t.same(
      found.map(({ launched }) => launched.pid),
      [newer.pid],
    );
    t.match(await older.exited, { signal: 'SIGKILL' });
    newer.signal('SIGKILL');
    await newer.exited;
  });
}

/** A folder of a life as an agent writes it, without a keeper. */
function makeLife(root: string, plan: object | string, state?: object): string {
  const folder = path.join(root, 'one', 'life-1');
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, LIFE_FILES.plan), typeof plan === 'string' ? plan : JSON.stringify(plan));
  if (state !== undefined) writeFileSync(path.join(folder, LIFE_FILES.state), JSON.stringify(state));
  return folder;
}

const stateOf = async (pid: number, ticks: string, more: object = {}): Promise<object> => ({
  t: 'status',
  version: 1,
  kind: 'native',
  phase: 'running',
  keeperPid: 999_999_999,
  keeperTicks: '1',
  enginePid: pid,
  engineTicks: ticks,
  bootId: await bootId(),
  engine: 'one',
  incarnation: 1,
  specHash: 'hash-of-spec',
  startedAtMs: 1,
  outputBytes: 0,
  droppedBytes: 0,
  ...more,
});

t.test('a stranger who has got the number of a dead engine is not touched', async (t) => {
  const stranger = spawn('sleep', ['1000'], { detached: true });
  t.teardown(() => stranger.kill('SIGKILL'));
  const pid = stranger.pid as number;
  const ticks = (await processStartTicks(pid)) as string;
  const cases = [
    await stateOf(pid, '12345'),
    await stateOf(pid, ticks, { bootId: 'of-another-boot', keeperPid: pid, keeperTicks: ticks }),
    await stateOf(2, '12345', { keeperPid: pid, keeperTicks: '12345' }),
  ];
  for (const state of cases) {
    const { launcher, root } = bench(t, KEEPERS[0]);
    makeLife(root, planOf(root, 1, ''), state);
    const [found] = await launcher.adoptable();
    t.match(await found?.launched.exited, { unseen: true, orphansKilled: 0 });
    t.ok(await isProcess(pid, ticks), 'it lives');
  }
});

t.test('a life that never began is cleared away and told to nobody', async (t) => {
  const { launcher, root } = bench(t, KEEPERS[0]);
  const folder = makeLife(root, planOf(root, 1, ''));
  writeFileSync(path.join(folder, LIFE_FILES.launch), 'never read');
  t.same(await launcher.adoptable(), []);
  t.notOk(existsSync(folder));
});

t.test('a start that failed before the agent was killed is no end of an engine', async (t) => {
  const { launcher, root } = bench(t, KEEPERS[0]);
  const state = await stateOf(0, '0', { phase: 'failed', failure: 'ENOENT' });
  const folder = makeLife(root, planOf(root, 1, ''), state);
  t.same(await launcher.adoptable(), []);
  t.notOk(existsSync(folder));
});

t.test('folders that no agent wrote are left as they are', async (t) => {
  const { launcher, root } = bench(t, KEEPERS[0]);
  const folder = makeLife(root, 'not json');
  mkdirSync(path.join(root, 'one', 'life-x'));
  mkdirSync(path.join(root, 'one', 'life-0'));
  writeFileSync(path.join(root, 'a-file'), '');
  mkdirSync(path.join(root, 'empty'));
  t.same(await launcher.adoptable(), []);
  t.ok(existsSync(folder));
});

t.test('something else that listens in a folder is not taken for a keeper', async (t) => {
  const greetings = ['rubbish\n', '{"t":"ok","did":"ack"}\n', '{"t":"hello","version":2}\n', 'x'.repeat(3_000_000)];
  for (const greeting of greetings) {
    const { launcher, root } = bench(t, KEEPERS[0]);
    const folder = makeLife(root, planOf(root, 1, ''));
    const server = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.write(greeting);
    });
    await new Promise<void>((resolve) => server.listen(path.join(folder, LIFE_FILES.socket), resolve));
    const [found] = await launcher.adoptable();
    t.match(await found?.launched.exited, { unseen: true, orphansKilled: 0 }, greeting.slice(0, 30));
    await new Promise((resolve) => server.close(resolve));
  }
});
