/** An engine under a keeper: how it starts, how it ends, and that nothing of it is left, with real processes. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import t from 'tap';
import type { LaunchedEngine } from '../../../agent/ports.ts';
import { isProcess, processFacts, processStartTicks } from '../../../lib/io/processes.ts';
import { eventually, isAlive } from '../../support/child.ts';
import { SIM_MAIN } from '../engines/sim/launch.ts';
import { bench, KEEPERS, PATIENCE_MS, processesWith, under } from './support.ts';

const openFiles = (): number => readdirSync('/proc/self/fd').length;

/** A number no other test sleeps for, so that a process can be found by it. */
let sleeps = 0;
const uniqueSleep = (): string => `9${process.pid}${String((sleeps += 1)).padStart(3, '0')}`;

/**
 * The mark of the life, and what the coverage of a test run adds to every child of a Node: among it the paths of all
 * test files, which alone are longer than the last lines that a keeper keeps.
 */
const ADDED = '^(SOPHIA_ENGINE_LIFE|NODE_V8_COVERAGE|NODE_OPTIONS|_?TAP[A-Z0-9_]*)=';

/** The end of a script that waits for its test. */
const UNTIL_RELEASED = 'until [ -e released ]; do sleep 0.02; done';

function release(root: string): void {
  writeFileSync(path.join(root, 'one', 'released'), '');
}

async function gone(engine: LaunchedEngine): Promise<void> {
  await eventually('the keeper is gone', () => !isAlive(engine.keeperPid), PATIENCE_MS);
}

for (const kind of KEEPERS) {
  t.test(
    ...under(kind, 'the end of an engine is told with its code or signal, its time and its last lines'),
    async (t) => {
      const { launch } = bench(t, kind);
      const cases = [
        ['echo bye; exit 0', { exitCode: 0, signal: undefined }],
        ['echo bye; exit 3', { exitCode: 3, signal: undefined }],
        ['echo bye >&2; exit 255', { exitCode: 255, signal: undefined }],
        ['echo bye; kill -KILL $$', { exitCode: undefined, signal: 'SIGKILL' }],
        ['echo bye; kill -SEGV $$', { exitCode: undefined, signal: 'SIGSEGV' }],
        ['echo bye; kill -ABRT $$', { exitCode: undefined, signal: 'SIGABRT' }],
      ] as const;
      for (const [script, wanted] of cases) {
        const beforeMs = Date.now();
        const engine = await launch(script);
        const [died, exited] = [await engine.died, await engine.exited];
        t.match(exited, { ...wanted, lastLines: 'bye\n', orphansKilled: 0, unseen: undefined }, script);
        t.match(died, { ...wanted, lastLines: 'bye\n' });
        t.ok((exited.atMs ?? 0) >= beforeMs - 1 && (exited.atMs ?? 0) <= Date.now() + 1, 'with the time');
        t.equal(engine.ended(), true);
        await gone(engine);
      }
    },
  );

  t.test(
    ...under(kind, 'a program that cannot run is refused with the reason, and nothing of it is left'),
    async (t) => {
      const { launcher, plan, root } = bench(t, kind);
      await mkdir(path.join(root, 'one'), { recursive: true });
      const plain = path.join(root, 'one', 'plain.txt');
      writeFileSync(plain, 'no program\n', { mode: 0o644 });
      const cases = [
        ['no-such-program-anywhere', /there is no such program/],
        ['/no/such/folder/program', /there is no such program/],
        [plain, /may not be run/],
      ] as const;
      for (const [command, reason] of cases) {
        await t.rejects(launcher.launch({ ...(await plan('')), command }), {
          code: 'engine_unreachable',
          message: reason,
        });
      }
      t.same(
        readdirSync(path.join(root, 'one')).filter((name) => name.startsWith('life-')),
        [],
      );
      await eventually('no keeper is left', async () => (await launcher.adoptable()).length === 0, PATIENCE_MS);
    },
  );

  t.test(
    ...under(kind, 'an engine gets exactly the words, the variables and the descriptors of its plan'),
    async (t) => {
      const { launcher, plan } = bench(t, kind);
      const run = async (command: string, args: readonly string[]): Promise<string> => {
        const environment = { PATH: '/usr/bin:/bin', 'WITH SPACE': 'a=b\nc', EMPTY: '' };
        const engine = await launcher.launch({ ...(await plan('', { environment })), command, args });
        return (await engine.exited).lastLines ?? '';
      };
      const words = ['plain', 'two words', '', '$(touch x); `id` "quoted" \'single\'', 'line\nbreak', 'ünïcode €'];
      t.equal(await run('printf', ['[%s]', ...words]), words.map((word) => `[${word}]`).join(''));
      t.same((await run('grep', ['-zvE', ADDED, '/proc/self/environ'])).split('\0').sort(), [
        '',
        'EMPTY=',
        'PATH=/usr/bin:/bin',
        'WITH SPACE=a=b\nc',
      ]);
      const descriptors = (await run('ls', ['-l', '/proc/self/fd'])).split('\n').filter((line) => line.includes('->'));
      t.equal(descriptors.length, 4, 'three of its own, and the folder that ls reads');
      t.match(descriptors[0], / 0 -> \/dev\/null$/, 'nothing can be read');
    },
  );

  t.test(...under(kind, 'an engine leads its own session in its own folder'), async (t) => {
    const { launch, root } = bench(t, kind);
    const engine = await launch('pwd; exec sleep 1000');
    const facts = await processFacts(engine.pid);
    t.match(facts, { pid: engine.pid, session: engine.pid, group: engine.pid, parent: engine.keeperPid });
    t.not((await processFacts(engine.keeperPid))?.session, (await processFacts(process.pid))?.session);
    const nameFile = `/proc/${engine.pid}/comm`;
    await eventually('the shell has become sleep', () => readFileSync(nameFile, 'utf8') === 'sleep\n', PATIENCE_MS);
    engine.signal('SIGKILL');
    t.match(await engine.exited, { signal: 'SIGKILL', lastLines: `${path.join(root, 'one')}\n` });
  });

  t.test(...under(kind, 'a grandchild in a session of its own does not outlive its engine'), async (t) => {
    const { launch, root } = bench(t, kind);
    const seconds = uniqueSleep();
    const engine = await launch(`(setsid sleep ${seconds} & ) ; ${UNTIL_RELEASED}; exit 4`);
    await eventually('the grandchild runs', async () => (await processesWith(seconds)).length === 1, PATIENCE_MS);
    release(root);
    t.match(await engine.exited, { exitCode: 4, orphansKilled: 1 });
    t.same(await processesWith(seconds), []);
  });

  if (kind.isSubreaper)
    t.test(...under(kind, 'nor does one that has cleared its environment'), async (t) => {
      const { launch, root } = bench(t, kind);
      const seconds = uniqueSleep();
      const engine = await launch(`(cd /; env -i setsid sleep ${seconds} & ) ; ${UNTIL_RELEASED}; exit 4`);
      await eventually('the grandchild runs', async () => (await processesWith(seconds)).length === 1, PATIENCE_MS);
      release(root);
      t.match(await engine.exited, { exitCode: 4, orphansKilled: 1 });
      t.same(await processesWith(seconds), []);
    });

  // As Python's resource tracker does: it ends by itself, and removes what is left, once nobody holds its pipe.
  const tidier = (work: string): string =>
    `mkfifo pipe; sh -c '${work}' multiprocessing.resource_tracker < pipe & exec 3> pipe`;

  for (const how of ['killed by a stranger', 'killed on request'])
    t.test(...under(kind, `what tidies up after an engine may do so when it is ${how}`), async (t) => {
      const { launch, root } = bench(t, kind);
      const seconds = uniqueSleep();
      const engine = await launch(`${tidier('read line; : > tidied')}; sleep ${seconds} & wait`);
      await eventually('all run', async () => (await processesWith(seconds)).length === 1, PATIENCE_MS);
      if (how === 'killed on request') engine.signal('SIGKILL');
      else process.kill(engine.pid, 'SIGKILL');
      t.match(await engine.exited, { signal: 'SIGKILL' });
      t.ok(existsSync(path.join(root, 'one', 'tidied')));
      t.same(await processesWith('multiprocessing.resource_tracker'), []);
      t.same(await processesWith(seconds), []);
    });

  t.test(...under(kind, 'what never ends its tidying is killed too'), async (t) => {
    const { launch } = bench(t, kind);
    const engine = await launch(`${tidier('mkfifo never; read line < never')}; ${UNTIL_RELEASED}`);
    const tidying = async (): Promise<boolean> => (await processesWith('multiprocessing.resource_tracker')).length > 0;
    await eventually('it runs', tidying, PATIENCE_MS);
    process.kill(engine.pid, 'SIGKILL');
    t.match(await engine.exited, { signal: 'SIGKILL', orphansKilled: Number });
    t.notOk(await tidying());
  });

  t.test(...under(kind, 'SIGTERM goes to the first process alone, SIGKILL to the whole tree'), async (t) => {
    const { launch, root } = bench(t, kind);
    const seconds = uniqueSleep();
    const engine = await launch(
      `trap 'echo asked' TERM; setsid sleep ${seconds} & echo up; while :; do sleep 0.05; done`,
    );
    await eventually('the child runs', async () => (await processesWith(seconds)).length === 1, PATIENCE_MS);
    const members = await engine.processes();
    t.ok(members.includes(engine.pid), 'the first process is listed');
    t.ok(members.includes((await processesWith(seconds))[0] ?? -1), 'and so is one in another session');
    t.notOk(members.includes(engine.keeperPid), 'the keeper is not');
    engine.signal('SIGTERM');
    await eventually(
      'the first process was asked',
      () => readFileSync(path.join(root, 'one', 'output.log'), 'utf8').includes('asked'),
      PATIENCE_MS,
    );
    t.equal((await processesWith(seconds)).length, 1, 'the child was not');
    engine.signal('SIGKILL');
    t.match(await engine.exited, { signal: 'SIGKILL', lastLines: /up\nasked\n/ });
    t.same(await processesWith(seconds), []);
  });

  t.test(...under(kind, 'a killed API server of the simulated engine leaves no process'), async (t) => {
    const { launcher, plan, root } = bench(t, kind);
    const made = await plan('', { address: { kind: 'unix', path: path.join(root, 'one', 'api.sock') } });
    const uds = path.join(root, 'one', 'api.sock');
    const engine = await launcher.launch({
      ...made,
      command: process.execPath,
      args: [SIM_MAIN, '--uds', uds, '--served-model-name', 'sim', '--sim-orphan-ttl-s', '60'],
    });
    const output = (): boolean =>
      existsSync(made.outputFile) && readFileSync(made.outputFile, 'utf8').includes('Application startup complete.');
    await eventually('it serves', output, PATIENCE_MS);
    const tree = await engine.processes();
    t.ok(tree.length >= 2, 'it has helpers');
    process.kill(engine.pid, 'SIGKILL');
    const exit = await engine.exited;
    t.match(exit, { signal: 'SIGKILL' });
    t.ok((exit.orphansKilled ?? 0) >= 1, 'its helpers were killed');
    for (const pid of tree) t.notOk(await processStartTicks(pid), `${pid} is gone`);
  });

  t.test(...under(kind, 'a keeper that is killed takes its engine along, and the end is told as unseen'), async (t) => {
    const { launch, root } = bench(t, kind);
    const seconds = uniqueSleep();
    const engine = await launch(`(setsid sleep ${seconds} & ) ; exec sleep ${seconds}`);
    await eventually('both run', async () => (await processesWith(seconds)).length === 2, PATIENCE_MS);
    process.kill(engine.keeperPid, 'SIGKILL');
    t.match(await engine.died, { unseen: true });
    t.match(await engine.exited, { unseen: true, atMs: Number });
    t.equal(engine.ended(), true);
    t.same(await processesWith(seconds), []);
    t.same(
      readdirSync(path.join(root, 'one')).filter((name) => name.startsWith('life-')),
      [],
    );
  });

  t.test(...under(kind, 'a keeper that hangs when its engine is to be killed is killed with it'), async (t) => {
    const { launch } = bench(t, kind);
    const seconds = uniqueSleep();
    const engine = await launch(`setsid sleep ${seconds} & exec sleep ${seconds}`);
    process.kill(engine.keeperPid, 'SIGSTOP');
    engine.signal('SIGKILL');
    t.match(await engine.exited, { unseen: true });
    t.same(await processesWith(seconds), []);
    t.notOk(await processStartTicks(engine.keeperPid), 'the keeper is gone');
  });

  t.test(...under(kind, 'a keeper heeds no request to end that is meant for an agent'), async (t) => {
    const { launch } = bench(t, kind);
    const engine = await launch('exec sleep 1000');
    const ticks = (await processStartTicks(engine.keeperPid)) as string;
    for (const signal of ['SIGTERM', 'SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGPIPE'] as const)
      process.kill(engine.keeperPid, signal);
    t.ok((await engine.processes()).includes(engine.pid), 'it still answers');
    t.ok(await isProcess(engine.keeperPid, ticks));
    engine.signal('SIGTERM');
    t.match(await engine.exited, { signal: 'SIGTERM' });
  });

  t.test(...under(kind, 'a folder whose path is longer than that of a socket may be is no hindrance'), async (t) => {
    const { launch, root, another } = bench(t, kind, { depth: 12 });
    t.ok(root.length > 140);
    const engine = await launch('exec sleep 1000');
    const [adopted] = await another().adoptable();
    t.equal(adopted?.launched.pid, engine.pid);
    adopted?.launched.signal('SIGKILL');
    t.match(await engine.exited, { signal: 'SIGKILL' });
  });

  t.test(...under(kind, `${kind.launches} launches leak neither a descriptor nor a process`), async (t) => {
    const { launch, root } = bench(t, kind);
    await (await launch('exit 1')).exited;
    const before = openFiles();
    const keepers = new Set<number>();
    for (let round = 0; round < kind.launches; round++) {
      const engine = await launch(round % 2 === 0 ? 'exit 1' : 'exec sleep 1000');
      keepers.add(engine.keeperPid);
      if (round % 2 === 1) engine.signal('SIGKILL');
      await engine.exited;
    }
    await eventually('all descriptors are closed', () => openFiles() <= before, PATIENCE_MS);
    // A keeper goes once its end is taken, which the last of them may just be doing.
    for (const pid of keepers)
      await eventually(`keeper ${pid} is gone`, async () => (await processStartTicks(pid)) === undefined, PATIENCE_MS);
    t.same(readdirSync(path.join(root, 'one')).sort(), ['incarnation', 'output.log']);
  });
}
