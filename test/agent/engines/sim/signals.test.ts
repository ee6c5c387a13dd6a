/**
 * Each row of the table of what a real vLLM did under signals, repeated by the simulated tree of processes.
 */
import t from 'tap';
import { setTimeout as sleep } from 'node:timers/promises';
import { choices, get, post, stream, textOf } from '../surface/client.ts';
import { eventually, groupMembers, launchSim, metric, spawnSim, type SimProcess } from './launch.ts';

const LONG = { messages: [{ role: 'user', content: 'go on' }], max_tokens: 5_000, ignore_eos: true };
const CHAT = '/v1/chat/completions';

async function running(sim: SimProcess): Promise<number> {
  return metric((await get(sim.uds, '/metrics')).text, 'vllm:num_requests_running');
}

t.test("the tree is API -> EngineCore -> Worker in one process group, under vLLM's names", async (t) => {
  const sim = await launchSim(t, ['--sim-itl-ms', '10']);
  const members = groupMembers(sim.apiPid);
  t.equal(members.length, 3);
  t.equal(members.find((member) => member.title === 'VLLM::EngineCore')?.ppid, sim.apiPid);
  t.equal(members.find((member) => member.title === 'VLLM::Worker')?.ppid, sim.corePid());
});

t.test(
  'SIGSTOP of EngineCore or Worker silences streams while /health and /metrics answer; SIGCONT resumes',
  async (t) => {
    const sim = await launchSim(t, ['--sim-itl-ms', '10']);
    for (const pid of [sim.corePid(), sim.workerPid()]) {
      const open = stream(sim.uds, CHAT, LONG);
      await open.until(5);
      process.kill(pid, 'SIGSTOP');
      await sleep(100);
      const before = open.frames.length;
      t.equal((await get(sim.uds, '/health')).status, 200);
      t.equal((await get(sim.uds, '/metrics')).status, 200);
      await sleep(200);
      t.equal(open.frames.length, before, 'silent');
      process.kill(pid, 'SIGCONT');
      await open.until(before + 5);
      open.leave();
      await eventually(async () => (await running(sim)) === 0, 1_000);
    }
  },
);

t.test(
  'kill -9 of EngineCore: error chunk, [DONE], clean end in 200; 503, then refused; API and Worker end',
  async (t) => {
    const sim = await launchSim(t, ['--sim-itl-ms', '10']);
    const [chat, completion] = [
      stream(sim.uds, CHAT, LONG),
      stream(sim.uds, '/v1/completions', { prompt: 'a', max_tokens: 5_000, ignore_eos: true }),
    ];
    await Promise.all([chat.until(3), completion.until(3)]);
    const workerPid = sim.workerPid();
    process.kill(sim.corePid(), 'SIGKILL');
    t.equal(await chat.ended, 'clean');
    t.equal(await completion.ended, 'clean');
    t.equal(await chat.status, 200);
    t.equal((await get(sim.uds, '/health')).status, 503);
    for (const { frames } of [chat, completion]) {
      t.equal(frames.at(-1), '[DONE]');
      t.equal(frames.at(-2).error.code, 500);
      t.type(frames.at(-2).error.message, 'string');
      t.notOk(
        choices(frames).some((choice) => choice.finish_reason),
        'no finish reason beside the error',
      );
    }
    await eventually(
      () =>
        get(sim.uds, '/health').then(
          () => false,
          () => true,
        ),
      3_000,
    );
    t.same(await sim.exited, [0, null], 'as seen: an engine death can exit 0');
    t.ok(
      groupMembers(sim.apiPid).some((member) => member.pid === workerPid),
      'the worker outlives the API',
    );
    await eventually(() => groupMembers(sim.apiPid).length === 0, 8_000);
  },
);

t.test('kill -9 of the API leaves EngineCore (ppid 1 or its subreaper) and Worker alive and working', async (t) => {
  const sim = await launchSim(t, ['--sim-itl-ms', '5']);
  const open = stream(sim.uds, CHAT, LONG);
  await open.until(3);
  const [corePid, workerPid] = [sim.corePid(), sim.workerPid()];
  process.kill(sim.apiPid, 'SIGKILL');
  t.equal(await open.ended, 'dropped');
  await sim.exited;
  await sleep(300);
  const left = groupMembers(sim.apiPid);
  t.same(left.map((member) => member.pid).sort(), [corePid, workerPid].sort());
  t.not(left.find((member) => member.pid === corePid)?.ppid, sim.apiPid);
});

t.test('an orphaned EngineCore ends by itself only after --sim-orphan-ttl-s', async (t) => {
  const sim = await launchSim(t, ['--sim-itl-ms', '5', '--sim-orphan-ttl-s', '0.3']);
  process.kill(sim.apiPid, 'SIGKILL');
  await sim.exited;
  t.equal(groupMembers(sim.apiPid).length, 2);
  await eventually(() => groupMembers(sim.apiPid).length === 0, 5_000);
});

t.test('kill -9 of the Worker takes the engine down', async (t) => {
  const sim = await launchSim(t, ['--sim-itl-ms', '10']);
  const open = stream(sim.uds, CHAT, LONG);
  await open.until(3);
  process.kill(sim.workerPid(), 'SIGKILL');
  t.equal(await open.ended, 'clean');
  t.equal(open.frames.at(-2).error.code, 500);
  await sim.exited;
  t.match(sim.log(), /EngineCore encountered a fatal error/);
  await eventually(() => groupMembers(sim.apiPid).length === 0, 5_000);
});

t.test('SIGTERM with --shutdown-timeout 0 aborts what runs, leaves no process', async (t) => {
  const sim = await launchSim(t, ['--sim-itl-ms', '10', '--shutdown-timeout', '0']);
  const open = stream(sim.uds, CHAT, LONG);
  const plain = post(sim.uds, CHAT, LONG);
  await open.until(3);
  await eventually(async () => (await running(sim)) === 2, 2_000);
  process.kill(sim.apiPid, 'SIGTERM');
  t.equal(await open.ended, 'clean');
  t.equal(open.frames.at(-1), '[DONE]');
  t.same(
    choices(open.frames)
      .filter((choice) => choice.finish_reason)
      .map((choice) => choice.finish_reason),
    ['abort'],
  );
  t.equal(JSON.parse((await plain).text).choices[0].finish_reason, 'abort');
  t.same(await sim.exited, [0, null]);
  await eventually(() => groupMembers(sim.apiPid).length === 0, 3_000);
});

t.test('SIGTERM, the two other outcomes that were seen: an error chunk; streams open and silent', async (t) => {
  const failing = await launchSim(t, ['--sim-itl-ms', '10', '--sim-sigterm', 'error']);
  const first = stream(failing.uds, CHAT, LONG);
  await first.until(3);
  process.kill(failing.apiPid, 'SIGTERM');
  t.equal(await first.ended, 'clean');
  t.equal(first.frames.at(-2).error.code, 500);
  await failing.exited;

  const hanging = await launchSim(t, ['--sim-itl-ms', '10', '--sim-sigterm', 'hang']);
  const second = stream(hanging.uds, CHAT, LONG);
  await second.until(3);
  process.kill(hanging.apiPid, 'SIGTERM');
  await eventually(() => groupMembers(hanging.apiPid).length === 1, 3_000);
  const before = second.frames.length;
  await sleep(300);
  t.equal(second.frames.length, before);
  t.equal(hanging.api.exitCode, null, 'only KILL ends it');
});

t.test(
  'SIGTERM to the whole group with a time limit drains: streams finish, new work gets 500, /health stays 200',
  async (t) => {
    const sim = await launchSim(t, ['--sim-itl-ms', '10', '--shutdown-timeout', '20']);
    const open = stream(sim.uds, CHAT, { ...LONG, max_tokens: 80 });
    await open.until(3);
    process.kill(-sim.apiPid, 'SIGTERM');
    await eventually(() => sim.log().includes('draining in-flight requests count=1 timeout=20s'), 2_000);
    t.equal((await get(sim.uds, '/health')).status, 200);
    const refused = await post(sim.uds, CHAT, LONG);
    t.equal(refused.status, 500);
    t.match(JSON.parse(refused.text).error.message, 'cannot schedule new futures after shutdown');
    t.equal(await open.ended, 'clean');
    t.equal(choices(open.frames).at(-1).finish_reason, 'length');
    t.ok(textOf(open.frames).startsWith('[simulated]'));
    t.same(await sim.exited, [0, null]);
    await eventually(() => groupMembers(sim.apiPid).length === 0, 3_000);
  },
);

t.test(
  'SIGTERM while it starts, a taken socket, and a bad flag each end with one sentence and no process',
  async (t) => {
    const slow = spawnSim(t, ['--sim-start-ms', '60000']);
    await eventually(() => groupMembers(slow.apiPid).length === 3, 5_000);
    process.kill(slow.apiPid, 'SIGTERM');
    t.same(await slow.exited, [0, null]);
    await eventually(() => groupMembers(slow.apiPid).length === 0, 3_000);

    const owner = await launchSim(t, ['--sim-unpaced']);
    const taken = spawnSim(t, ['--uds', owner.uds]);
    t.same(await taken.exited, [1, null]);
    t.match(taken.log(), /Address already in use/);
    t.equal((await get(owner.uds, '/health')).status, 200, 'the owner is not disturbed');

    for (const flags of [['--no-such-flag'], ['--max-model-len', 'many'], ['--sim-timing', 'z80'], ['--port', '0']]) {
      const bad = spawnSim(t, flags);
      t.same(await bad.exited, [2, null], flags.join(' '));
      t.equal(bad.log().trim().split('\n').length, 1, bad.log());
    }
  },
);

t.test('a socket file that a killed engine left is taken over', async (t) => {
  const first = await launchSim(t, ['--sim-unpaced']);
  process.kill(-first.apiPid, 'SIGKILL');
  await first.exited;
  const second = await launchSim(t, ['--sim-unpaced', '--uds', first.uds]);
  t.ok(second.log());
  t.equal((await get(first.uds, '/health')).status, 200);
});
