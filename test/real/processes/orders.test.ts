/** Orders by the command line, with a real scheduler's doors and fake agents behind them. */
import t from 'tap';
import { readyEngine } from '../../support/fake_agent.ts';
import { draining, lastObject, openCli } from '../../cli/orders_cli.ts';
import type { Outcome } from '../../cli/sophia.ts';

t.test('logs are shown as plain text, followed line by line, and end with their agent', async (t) => {
  const { addAgent, run, start } = await openCli(t);
  const { session, commands } = await addAgent('node-a', ({ command, output, result }) => {
    output({ data: Buffer.from('\u001b[31mred\u001b[0m \u0007bell\ncut ') });
    output({ data: Buffer.concat([Buffer.from('line '), Buffer.from([0xff, 0x0a])]) });
    if (!command.follow) {
      output({ data: Buffer.from('no end') });
      result();
    }
  });
  const shown = await run('engine', 'logs', 'e0', '--tail', '7');
  t.equal(shown.stdout, 'red bell\ncut line \ufffd\nno end\n');
  t.match(commands[0], { verb: 'COMMAND_VERB_ENGINE_LOGS', engine: 'e0', tailLines: 7, follow: false });
  const json = await run('engine', 'logs', 'e0', '--json');
  t.same(lastObject(json.stdout), { engine: 'node-a/e0', lines: ['red bell', 'cut line \ufffd', 'no end'] });
  const followed = start('engine', 'logs', 'e0', '-f', '--json');
  await followed.waitFor(/cut line/);
  t.same(
    followed
      .stdout()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown),
    [
      { engine: 'node-a/e0', line: 'red bell' },
      { engine: 'node-a/e0', line: 'cut line \ufffd' },
    ],
  );
  const stopped = start('engine', 'logs', 'e0', '-f');
  await stopped.waitFor(/cut line/);
  stopped.signal('SIGINT');
  t.equal((await stopped.exited).code, 130);
  session.cancel();
  t.equal((await followed.exited).code, 1);
  t.match(followed.stderr(), /session of node-a was lost/);
  t.match(lastObject(followed.stdout()), { error: { code: 'node_unreachable' } });
  t.equal((await run('engine', 'logs', 'e0', '--tail', 'many')).code, 2);
});

t.test(
  'an unknown engine, a name that two have, and a key without the role are each told as what they are',
  async (t) => {
    const { addAgent, run, runAs } = await openCli(t);
    const a = await addAgent('node-a', ({ result }) => result());
    await addAgent('node-b', ({ result }) => result());
    const said = async (outcome: Promise<Outcome>, pattern: RegExp): Promise<void> => {
      const { code, stderr } = await outcome;
      t.equal(code, 1);
      t.match(stderr, pattern);
    };
    await said(run('engine', 'drain', 'e9'), /There is no engine of this name/);
    await said(run('engine', 'logs', 'e0'), /Several engines have this name: node-a\/e0, node-b\/e0/);
    await said(run('node', 'drain', 'node-c'), /There is no node of this name/);
    await said(runAs('key-gateway', 'node', 'drain', 'node-a'), /roles is required here: operator, admin/);
    await said(runAs('wrong', 'engine', 'restart', 'node-a/e0'), /credential is wrong/);
    t.equal(a.commands.length, 0);
  },
);

t.test('show says why an engine is as it is, with the journal of its agent', async (t) => {
  const { addAgent, run } = await openCli(t);
  const event = readyEngine('e0', 'm', {
    state: 'ENGINE_STATE_STARTING',
    reason: 'loading',
    progressRatio: 0.25,
    etaMs: 30_000,
    adopted: true,
    checks: [
      { name: 'gpu_memory', verdict: 'CHECK_VERDICT_OK', detail: '70 GB free' },
      { name: 'disk', verdict: 'CHECK_VERDICT_WARN', detail: '2 GB left' },
    ],
    cause: 'out_of_gpu_memory',
    advice: 'Lower the memory use.',
    exitCode: 1,
    signal: 'SIGKILL',
  });
  let journal = true;
  const { session } = await addAgent(
    'node-a',
    ({ output, result }) => {
      if (journal) output({ journal: [{ engine: 'e0', incarnation: 1, state: 'ENGINE_STATE_FAILED', reason: 'old' }] });
      result(journal ? {} : { code: 'not_supported', message: 'No journal here.' });
    },
    { engines: [event] },
  );
  const { stdout } = await run('engine', 'show', 'e0');
  for (const pattern of [
    /progress: +\[#####-{15}\] 25 %, about 30 s left/,
    /1, begun by an earlier agent/,
    /gpu_memory +ok +70 GB free/,
    /disk +warn +2 GB left/,
    /cause: +out_of_gpu_memory \(exit 1, SIGKILL\)/,
    /advice: +Lower the memory use\./,
    /failed +old/,
  ])
    t.match(stdout, pattern);
  journal = false;
  t.match((await run('engine', 'show', 'e0')).stdout, /As the scheduler saw it.*No journal here[^]*starting +loading/);
  session.event(draining(2));
  const json = await run('engine', 'show', 'e0', '--json');
  t.match(lastObject(json.stdout), { engine: { event: { drain: { actor: 'anna' } } }, journal: [{}, {}] });
  session.cancel();
});

t.test('every other order carries what was said, and what an agent answers is the outcome', async (t) => {
  const { addAgent, run } = await openCli(t);
  let answer = {};
  const { commands } = await addAgent('node-a', ({ result }) => result(answer));
  const given: [string[], object, RegExp][] = [
    [['engine', 'restart', 'e0', '--reason', 'r'], { verb: 'COMMAND_VERB_ENGINE_RESTART', reason: 'r' }, /restarts/],
    [['engine', 'sleep', 'e0', '--level', '2'], { verb: 'COMMAND_VERB_ENGINE_SLEEP', sleepLevel: 2 }, /sleeps/],
    [['engine', 'wake', 'e0'], { verb: 'COMMAND_VERB_ENGINE_WAKE' }, /awake/],
    [['engine', 'reset-prefix-cache', 'e0'], { verb: 'COMMAND_VERB_PREFIX_CACHE_RESET' }, /empty prefix cache/],
    [
      ['lora', 'load', 'e0', 'sql', '/a/b'],
      { verb: 'COMMAND_VERB_LORA_LOAD', loraName: 'sql', loraPath: '/a/b' },
      /sql/,
    ],
    [['lora', 'unload', 'e0', 'sql'], { verb: 'COMMAND_VERB_LORA_UNLOAD', loraName: 'sql' }, /no longer/],
    [['gpu', 'release', 'node-a', '3'], { verb: 'COMMAND_VERB_GPU_RELEASE', gpu: 3, engine: '' }, /GPU 3 of node-a/],
  ];
  for (const [args, command, said] of given) {
    const { code, stdout } = await run(...args);
    t.equal(code, 0);
    t.match(stdout, said);
    t.match(commands.at(-1), command);
  }
  answer = { code: 'not_supported', message: 'This engine cannot sleep.', param: 'verb' };
  const refused = await run('engine', 'sleep', 'e0', '--json');
  t.equal(refused.code, 1);
  t.match(lastObject(refused.stdout), { error: { code: 'not_supported', message: 'This engine cannot sleep.' } });
  answer = { code: 'of_the_future', message: 'Something new.' };
  t.match((await run('engine', 'wake', 'e0')).stderr, /Something new/);
  for (const args of [
    ['gpu', 'release', 'node-a', 'x'],
    ['engine', 'sleep', 'e0', '--level', '3'],
    ['lora', 'load', 'e0'],
  ])
    t.equal((await run(...args)).code, 2);
  t.equal((await run('engine', 'restart', 'e0', '--reason', 'x'.repeat(600))).code, 2);
});

t.test('GPUs are listed with their health, and why a quarantined one is so', async (t) => {
  const { addAgent, run } = await openCli(t);
  t.match((await run('gpu', 'list')).stdout, /No GPU is known/);
  const message = 'GPU has fallen off the bus.';
  const { session } = await addAgent('node-a', () => undefined, {
    gpus: [
      { index: 0, name: 'NVIDIA GH200', uuid: 'GPU-0' },
      { index: 1, name: 'NVIDIA GH200' },
    ],
    gpuEvents: [{ index: 1, kind: 'xid', xid: 79, action: 'GPU_ACTION_RESTART_ENGINE', quarantined: true, message }],
  });
  session.send({ telemetry: { gpus: [{ index: 0, health: 'ok', utilizationRatio: 0.5 }], snapshot: true } });
  let { stdout } = await run('gpu', 'list');
  while (!/50 %/.test(stdout)) ({ stdout } = await run('gpu', 'list'));
  t.match(stdout, /node-a +0 +NVIDIA GH200 +ok +50 %/);
  t.match(stdout, /node-a +1 +NVIDIA GH200 +quarantined .* restart engine +GPU has fallen off the bus\. \(Xid 79\)/);
  t.match((await run('node', 'show', 'node-a')).stdout, /quarantined: GPU 1: GPU has fallen/);
  t.match(lastObject((await run('gpu', 'list', '--json')).stdout), {
    gpus: [
      { gpu: 0, quarantined: false, health: 'ok', uuid: 'GPU-0' },
      { gpu: 1, quarantined: true, event: { xid: 79 } },
    ],
  });
});
