/** An agent as a process whose certificates are rotated under it: streams that run go on, new connections use the new. */
import { readFileSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { createCa, issueCertificate, writePair } from '../../lib/io/local_ca.ts';
import type { EngineSpec } from '../../proto/gen/fleet/v1/EngineSpec.ts';
import {
  FakeScheduler,
  makeCertificates,
  removeFolder,
  type TestCertificates,
  until,
} from '../support/fake_scheduler.ts';
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
const body = (tokens: number): object => ({
  model: 'm',
  messages: [{ role: 'user', content: 'Hi' }],
  stream: true,
  return_token_ids: true,
  max_tokens: tokens,
  ignore_eos: true,
});

/** What a scheduler of another authority has. */
async function schedulerOf(name: string): Promise<TestCertificates> {
  const nowMs = Date.now();
  const ca = await createCa(name, nowMs);
  const server = await issueCertificate(ca, { commonName: 'scheduler', hosts: ['127.0.0.1'], nowMs });
  return { ...certificates, ca, server };
}

t.test('an authority is rotated while a stream runs', async (t) => {
  const scheduler = await new FakeScheduler({ certificates }).start();
  const { port } = scheduler;
  const flags = ['--tls-reload-ms', '100', '--stop-engines-on-exit'];
  const agent = startAgent({ certificates, schedulers: [scheduler.address], flags });
  const loads = (): number => agent.output().split('new certificates are in use').length - 1;
  await until(() => scheduler.hellos.length > 0, 'a session');
  scheduler.sendDesired(1, [SIM]);
  await scheduler.waitState('sim-1', 'READY');
  const lane = await scheduler.waitLane();
  // It has no credit to end before more is granted.
  const answer = lane.submit({ engine: 'sim-1', body: body(50), credit: 1, autoCredit: false });
  await until(() => answer.ids.length > 0, 'a first token');

  const next = await schedulerOf('next authority');
  writeFileSync(certificates.caFile, certificates.ca.certPem + next.ca.certPem);
  await until(() => loads() === 1, 'the bundle');
  const pair = await issueCertificate(next.ca, { commonName: 'node-a', hosts: [], nowMs: Date.now() });
  await writePair(certificates.folder, 'agent', pair);
  await until(() => loads() === 2, 'the pair');
  t.equal(scheduler.sessions, 1, 'the session was not cut');
  t.equal(lane.closed, false, 'nor the lane');
  lane.grant(answer, 1_000_000);
  const { done, ids } = await answer.ended;
  t.ok(done);
  t.equal(ids.length, 50, 'the stream is whole');

  const good = readFileSync(certificates.agent.certFile);
  writeFileSync(certificates.agent.certFile, good.subarray(0, 200));
  await until(() => agent.output().includes('changed certificates are not sound'), 'the refusal');

  await scheduler.stop();
  const moved = await new FakeScheduler({ certificates: next, port }).start();
  await until(() => moved.hellos.length > 0, 'a session under the next authority');
  const short = await (await moved.waitLane()).submit({ engine: 'sim-1', body: body(5) }).ended;
  t.equal(short.ids.length, 5, 'lanes as well');
  await moved.stop();

  const stranger = await new FakeScheduler({ certificates: await schedulerOf('stranger'), port }).start();
  const lost = (): number => agent.output().split('session lost').length;
  const before = lost();
  await until(() => lost() > before + 1, 'refusals of a stranger');
  t.equal(stranger.hellos.length + stranger.lanes.length, 0);
  await stranger.stop();
  t.equal(await agent.stop(), 0);
});
