/** Supervision through real processes: an agent that is replaced under its engines, and an engine that stands still. */
import { mkdtempSync } from 'node:fs';
import { readFile, readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import type { EngineSpec } from '../../proto/gen/fleet/v1/EngineSpec.ts';
import { FakeScheduler, makeCertificates, removeFolder, until } from '../support/fake_scheduler.ts';
import { type AgentProcess, startAgent } from './support/agent_process.ts';

const certificates = await makeCertificates('node-a');
const dataDir = mkdtempSync(path.join(tmpdir(), 'fleet-kept-'));
const scheduler = await new FakeScheduler({ certificates }).start();

const start = (flags: readonly string[] = []): AgentProcess =>
  startAgent({ certificates, schedulers: [scheduler.address], dataDir, flags });

const SIM: EngineSpec = {
  name: 'sim-1',
  kind: 'ENGINE_KIND_SIM',
  model: 'sim-model',
  servedModelName: 'm',
  limits: { startTimeoutMs: 30_000, stopTimeoutMs: 3000, drainTimeoutMs: 2000, maxRestarts: 5 },
};

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    // No such process, which is the answer.
    return false;
  }
};

const chat = (maxTokens: number): object => ({
  model: 'm',
  messages: [{ role: 'user', content: 'Hi' }],
  stream: true,
  ignore_eos: true,
  return_token_ids: true,
  max_tokens: maxTokens,
});

let agent = start();

t.teardown(async () => {
  agent.child.kill('SIGKILL');
  await agent.exited;
  await scheduler.stop();
  await removeFolder(certificates.folder);
  await removeFolder(dataDir);
});

t.test('an agent that is stopped or killed leaves its engine running, and the next one takes it over', async (t) => {
  await until(() => scheduler.hellos.length > 0, 'a hello');
  scheduler.sendDesired(1, [SIM]);
  const first = await scheduler.waitState('sim-1', 'READY');
  t.match(first, { message: /first token/, adopted: false, checks: [{ name: 'address' }] });
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    agent.child.kill(signal);
    await agent.exited;
    t.ok(isAlive(first.pid as number), `the engine outlives ${signal}`);
    const hellos = scheduler.hellos.length;
    const events = scheduler.events.length;
    agent = start();
    await until(() => scheduler.hellos.length > hellos, 'another hello');
    await until(
      () => scheduler.events.slice(events).some((event) => event.state === 'ENGINE_STATE_READY'),
      'the engine to be taken over',
    );
    t.match(scheduler.latest('sim-1'), {
      adopted: true,
      incarnation: first.incarnation,
      pid: first.pid,
      generation: 1,
    });
    const lane = await scheduler.waitLane();
    t.match((await lane.submit({ engine: 'sim-1', body: chat(5) }).ended).done, { finishReason: 'length' });
  }
});

t.test('the death of an engine that was taken over is seen at once', async (t) => {
  const { pid, incarnation } = scheduler.latest('sim-1') ?? {};
  process.kill(pid as number, 'SIGKILL');
  const events = scheduler.events.length;
  await until(() => scheduler.events.length > events, 'an event', 2000);
  t.match(scheduler.events[events], { reason: 'crashed', signal: 'SIGKILL' });
  const again = await scheduler.waitState('sim-1', 'READY', (incarnation as number) + 1);
  t.match(again, { adopted: false, restarts: 1 });
});

t.test('an engine that stands still leaves rotation within its bound and comes back by itself', async (t) => {
  const before = scheduler.latest('sim-1');
  const lane = await scheduler.waitLane();
  const stream = lane.submit({ engine: 'sim-1', body: chat(4000) });
  await until(() => stream.text.length > 200, 'tokens');
  const at = performance.now();
  process.kill(before?.pid as number, 'SIGSTOP');
  const failed = (await stream.ended).failed;
  const silentMs = performance.now() - at;
  t.match(failed, { code: 'engine_died' });
  t.ok(silentMs > 1500 && silentMs < 10_000, `${Math.round(silentMs)} ms`);
  const again = await scheduler.waitState('sim-1', 'READY', (before?.incarnation as number) + 1);
  t.equal(again.incarnation, (before?.incarnation as number) + 1);
  t.ok(scheduler.events.some((event) => event.reason === 'wedged' && event.state === 'ENGINE_STATE_STOPPING'));
  const [dump] = await readdir(path.join(dataDir, 'engines', 'sim-1', 'dumps'));
  const text = await readFile(path.join(dataDir, 'engines', 'sim-1', 'dumps', dump as string), 'utf8');
  t.match(text, /No progress for \d+ ms/);
  t.match(text, /State:\tT \(stopped\)/);
});

t.test('the journal on disk tells the whole story', async (t) => {
  const text = await readFile(path.join(dataDir, 'engines', 'sim-1', 'journal.ndjson'), 'utf8');
  const reasons = text
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { reason: string }).reason);
  for (const reason of ['wanted', 'launching', 'serving', 'adopted', 'crashed', 'wedged', 'dumped'])
    t.ok(reasons.includes(reason), reason);
});

t.test('with no scheduler at all the next agent serves what was wanted last', async (t) => {
  const { pid } = scheduler.latest('sim-1') ?? {};
  agent.child.kill('SIGKILL');
  await agent.exited;
  process.kill(pid as number, 'SIGKILL');
  const lonely = startAgent({ certificates, schedulers: ['127.0.0.1:1'], dataDir });
  t.teardown(() => lonely.child.kill('SIGKILL'));
  const journal = async (): Promise<string> =>
    readFile(path.join(dataDir, 'engines', 'sim-1', 'journal.ndjson'), 'utf8');
  const before = (await journal()).length;
  await until(async () => /"reason":"serving"/.test((await journal()).slice(before)), 'the engine to serve', 30_000);
  lonely.child.kill('SIGTERM');
  t.equal(await lonely.exited, 0);
  agent = start(['--stop-engines-on-exit']);
  const hellos = scheduler.hellos.length;
  await until(() => scheduler.hellos.length > hellos, 'a hello');
  const running = await scheduler.waitState('sim-1', 'READY');
  agent.child.kill('SIGTERM');
  t.equal(await agent.exited, 0);
  t.notOk(
    isAlive(scheduler.latest('sim-1')?.pid ?? (running.pid as number)),
    'and an agent that is told to leaves none',
  );
});
