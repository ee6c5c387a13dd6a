/** Who may talk to an agent, and what becomes of engines of a dead agent. */
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { groupMembers } from '../../lib/io/processes.ts';
import type { EngineSpec } from '../../proto/gen/fleet/v1/EngineSpec.ts';
import { FakeScheduler, makeCertificates, removeFolder, until } from '../support/fake_scheduler.ts';
import { startAgent } from './support/agent_process.ts';

const certificates = await makeCertificates('node-a');
t.teardown(() => removeFolder(certificates.folder));

const SIM: EngineSpec = {
  name: 'sim-1',
  kind: 'ENGINE_KIND_SIM',
  model: 'sim-model',
  servedModelName: 'm',
  limits: { startTimeoutMs: 30_000, stopTimeoutMs: 2000, drainTimeoutMs: 200 },
};

t.test('a stranger with a certificate of another authority gets no session', async (t) => {
  const strange = await makeCertificates('node-a');
  const scheduler = await new FakeScheduler({ certificates }).start();
  const mixed = { ...strange, caFile: certificates.caFile };
  const agent = startAgent({ certificates: mixed, schedulers: [scheduler.address] });
  await until(() => agent.output().includes('session lost'), 'a refusal');
  t.equal(scheduler.hellos.length, 0);
  t.equal(await agent.stop(), 0);
  await scheduler.stop();
  await removeFolder(strange.folder);
});

t.test(
  'of several schedulers a stranger gets no hello, another version no lane, and the newer term rules',
  async (t) => {
    const strangeCertificates = await makeCertificates('node-a');
    const stranger = await new FakeScheduler({ certificates: strangeCertificates }).start();
    const mismatch = await new FakeScheduler({ certificates, protocolVersion: 2 }).start();
    const old = await new FakeScheduler({ certificates, term: 1 }).start();
    const young = await new FakeScheduler({ certificates, term: 2 }).start();
    const all = [stranger, mismatch, old, young];
    const flags = ['--stop-engines-on-exit'];
    const agent = startAgent({ certificates, schedulers: all.map((one) => one.address), flags });
    await until(() => old.hellos.length > 0 && young.hellos.length > 0 && mismatch.hellos.length > 0, 'the sessions');
    young.sendDesired(1, [SIM]);
    await young.waitState('sim-1', 'READY');
    old.sendDesired(9, []);
    await until(() => agent.output().includes('stale_term'), 'the older order to be ignored');
    await old.waitState('sim-1', 'READY');
    const body = {
      model: 'm',
      messages: [{ role: 'user', content: 'Hi' }],
      stream: true,
      return_token_ids: true,
      max_tokens: 5,
      ignore_eos: true,
    };
    for (const scheduler of [old, young]) {
      const answer = await (await scheduler.waitLane()).submit({ engine: 'sim-1', body }).ended;
      t.equal(answer.ids.length, 5);
    }
    t.match(agent.output(), /protocol_mismatch: the scheduler speaks version 2, this agent 1/);
    t.equal(mismatch.lanes.length, 0);
    t.equal(stranger.hellos.length, 0);
    t.equal(stranger.sessions, 0);
    t.equal(await agent.stop(), 0);
    await Promise.all(all.map((one) => one.stop()));
    await removeFolder(strangeCertificates.folder);
  },
);

t.test('an engine that a killed agent left is found, proven and taken over by the next one', async (t) => {
  const scheduler = await new FakeScheduler({ certificates }).start();
  const dataDir = mkdtempSync(path.join(tmpdir(), 'fleet-left-'));
  const first = startAgent({ certificates, schedulers: [scheduler.address], dataDir });
  await until(() => scheduler.hellos.length > 0, 'a hello');
  scheduler.sendDesired(1, [SIM]);
  const { pid, incarnation } = await scheduler.waitState('sim-1', 'READY');
  first.child.kill('SIGKILL');
  await first.exited;
  t.not((await groupMembers(pid as number)).length, 0, 'the engine outlives its agent');
  // A record whose number is another process now kills nobody: here it is this test itself.
  const life = `life-${incarnation}`;
  const other = path.join(dataDir, 'engines', 'other', life);
  mkdirSync(other, { recursive: true });
  for (const file of ['plan.json', 'state.json']) {
    const record = JSON.parse(readFileSync(path.join(dataDir, 'engines', 'sim-1', life, file), 'utf8')) as object;
    const altered = {
      engine: 'other',
      keeperPid: process.pid,
      keeperTicks: '1',
      enginePid: process.pid,
      engineTicks: '1',
      address: { kind: 'unix', path: path.join(dataDir, 'engines', 'other', 'api.sock') },
    };
    writeFileSync(path.join(other, file), JSON.stringify({ ...record, ...altered, environment: {} }));
  }
  const events = scheduler.events.length;
  const flags = ['--stop-engines-on-exit'];
  const second = startAgent({ certificates, schedulers: [scheduler.address], dataDir, flags });
  const isReady = (): boolean =>
    scheduler.events.slice(events).some((event) => event.engine === 'sim-1' && event.state === 'ENGINE_STATE_READY');
  await until(isReady, 'the engine to be taken over');
  t.match(scheduler.latest('sim-1'), { adopted: true, incarnation, pid }, 'as it is, with its weights');
  t.equal(await second.stop(), 0);
  t.same(await groupMembers(pid as number), [], 'and an agent that is told to leaves none');
  await scheduler.stop();
  await removeFolder(dataDir);
});
