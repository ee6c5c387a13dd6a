/** What an agent's sessions carry over a break: GPU events until they are acknowledged, answers only to who asked. */
import { readFileSync } from 'node:fs';
import t from 'tap';
import { createSchedulerLinks } from '../../../agent/adapters/scheduler_link.ts';
import type { SchedulerLinks, SessionEvents } from '../../../agent/ports.ts';
import { systemRandom } from '../../../lib/io/system.ts';
import type { Command__Output } from '../../../proto/gen/fleet/v1/Command.ts';
import type { EngineEvent } from '../../../proto/gen/fleet/v1/EngineEvent.ts';
import type { Hello } from '../../../proto/gen/fleet/v1/Hello.ts';
import { silentLog } from '../../scheduler/fakes.ts';
import { FakeScheduler, makeCertificates, removeFolder, until } from '../../support/fake_scheduler.ts';

const certificates = await makeCertificates('node-a');
t.teardown(() => removeFolder(certificates.folder));

interface Owner {
  teardown(task: () => unknown): void;
}

function openLinks(owner: Owner, schedulers: readonly string[]) {
  const dropped: number[] = [];
  const stuck: string[] = [];
  const commands: { scheduler: string; term: number; command: Command__Output }[] = [];
  const log: string[] = [];
  const tls = {
    caPem: certificates.ca.certPem,
    certPem: readFileSync(certificates.agent.certFile, 'utf8'),
    keyPem: readFileSync(certificates.agent.keyFile, 'utf8'),
  };
  const links: SchedulerLinks = createSchedulerLinks({
    schedulers,
    tls: () => tls,
    keepaliveMs: 10_000,
    welcomeTimeoutMs: 5_000,
    backoff: { baseMs: 20, capMs: 100, minMs: 10 },
    random: systemRandom,
    logger: silentLog,
    onDropped: (count, what) => void (what === 'stuck_session' ? stuck.push(what) : dropped.push(count)),
  });
  const events: SessionEvents = {
    onConnected: (scheduler) => void log.push(`connected ${scheduler}`),
    onDisconnected: (scheduler) => void log.push(`lost ${scheduler}`),
    onDesiredState: () => undefined,
    onCommand: (scheduler, term, command) => void commands.push({ scheduler, term, command }),
  };
  const engines: EngineEvent[] = [];
  const hello: Hello = {
    engines,
    protocolVersion: 1,
    nodeName: 'node-a',
    sessionId: 's1',
    gpuEvents: [{ index: 7, quarantined: true }],
    nodeEvent: { draining: true },
  };
  links.start(events, () => hello);
  owner.teardown(() => links.stop('the test ends'));
  return { links, dropped, stuck, engines, commands, log };
}

async function startScheduler(owner: Owner, term = 1): Promise<FakeScheduler> {
  const scheduler = await new FakeScheduler({ certificates, term }).start();
  owner.teardown(() => scheduler.stop());
  return scheduler;
}

const indexes = (scheduler: FakeScheduler): number[] => scheduler.gpuEvents.map((event) => event.index);

t.test('GPU events of a break come on the next session, in order; acknowledged ones do not come again', async (t) => {
  const scheduler = await startScheduler(t);
  const { links, log } = openLinks(t, [scheduler.address]);
  links.sendGpuEvent({ index: 0 });
  await until(() => indexes(scheduler).length === 1, 'the event from before the session');
  t.match(scheduler.hellos[0], { gpuEvents: [{ index: 7, quarantined: true }], nodeEvent: { draining: true } });
  await until(() => log.length === 1, 'the acknowledgement');
  scheduler.acknowledges = false;
  links.sendGpuEvent({ index: 1 });
  await until(() => indexes(scheduler).length === 2, 'the second event');
  scheduler.cutSession();
  await until(() => log.some((line) => line.startsWith('lost')), 'the break');
  links.sendGpuEvent({ index: 2 });
  scheduler.acknowledges = true;
  await until(() => indexes(scheduler).length === 4, 'both on the next session');
  t.same(indexes(scheduler), [0, 1, 1, 2]);
  scheduler.cutSession();
  await until(() => scheduler.hellos.length === 3, 'a third session');
  links.sendGpuEvent({ index: 3 });
  links.sendNodeEvent({ draining: false });
  await until(() => scheduler.nodeEvents.length === 1, 'the node event');
  t.same(indexes(scheduler), [0, 1, 1, 2, 3]);
});

t.test(
  'a hello that is no longer right is said again on a new session, and nothing of the old one is lost',
  async (t) => {
    const scheduler = await startScheduler(t);
    const { links, engines, log } = openLinks(t, [scheduler.address]);
    await until(() => log.length === 1, 'the first session');
    engines.push({ engine: 'new', incarnation: 1, state: 'ENGINE_STATE_READY' });
    links.greetAgain?.('there is more to tell');
    links.sendGpuEvent({ index: 3 });
    await until(() => scheduler.hellos.length === 2 && log.length === 3, 'the second session');
    t.same(log, [`connected ${scheduler.address}`, `lost ${scheduler.address}`, `connected ${scheduler.address}`]);
    t.match(scheduler.hellos[1], { sessionId: 's1', engines: [{ engine: 'new' }] });
    await until(() => indexes(scheduler).includes(3), 'the event of between');
  },
);

t.test('what is kept for a scheduler that is away is bounded, and the oldest is dropped and counted', async (t) => {
  const { links, dropped } = openLinks(t, ['127.0.0.1:1']);
  for (let index = 0; index < 1030; index++) links.sendGpuEvent({ index });
  t.equal(
    dropped.reduce((sum, one) => sum + one, 0),
    6,
  );
});

t.test('a command comes with its scheduler and term, and its answers go there and nowhere else', async (t) => {
  const [a, b] = [await startScheduler(t, 3), await startScheduler(t, 4)];
  const { links, commands, log } = openLinks(t, [a.address, b.address]);
  await until(() => log.length === 2, 'both sessions');
  a.sendCommand({ id: 'c1', verb: 'COMMAND_VERB_ENGINE_LOGS', engine: 'e0', follow: true });
  await until(() => commands.length === 1, 'the command');
  t.match(commands, [{ scheduler: a.address, term: 3, command: { id: 'c1', engine: 'e0', follow: true } }]);
  links.sendCommandOutput(a.address, { id: 'c1', data: Buffer.from('line\n') });
  links.sendCommandOutput(a.address, { id: 'c1', journal: [{ engine: 'e0' }] });
  links.sendCommandResult(a.address, { id: 'c1', code: 'cancelled' });
  links.sendCommandResult('nowhere:1', { id: 'c1' });
  await until(() => a.results.length === 1, 'the result');
  t.match(a.outputs, [{ id: 'c1', data: Buffer.from('line\n') }, { journal: [{ engine: 'e0' }] }]);
  t.match(a.results, [{ id: 'c1', code: 'cancelled' }]);
  t.equal(b.outputs.length + b.results.length, 0);
});

t.test('a flood of outputs neither stops an event nor grows without a bound', async (t) => {
  const scheduler = await startScheduler(t);
  const { links, dropped, log } = openLinks(t, [scheduler.address]);
  await until(() => log.length === 1, 'the session');
  for (let i = 0; i < 400; i++) {
    links.sendCommandOutput(scheduler.address, { id: 'c', data: Buffer.alloc(64 * 1024) });
  }
  t.ok(dropped.length > 0, 'what does not fit is refused and counted');
  links.sendCommandResult(scheduler.address, { id: 'c', code: '' });
  links.sendGpuEvent({ index: 1 });
  await until(() => scheduler.gpuEvents.length === 1, 'the event');
  const before = scheduler.outputs.length;
  await until(() => scheduler.results.length === 1, 'the result, which is never refused');
  t.ok(before < scheduler.outputs.length, 'the event went past outputs that waited');
});

t.test('a scheduler that stops reading loses its session, not an event: the next hello tells all', async (t) => {
  const scheduler = await startScheduler(t);
  const { links, dropped, stuck, engines, log } = openLinks(t, [scheduler.address]);
  await until(() => log.length === 1, 'the session');
  scheduler.stopReading();
  let sent = 0;
  const message = 'x'.repeat(8192);
  await until(() => {
    // A turn at a time, so that the transport may take what it can.
    for (let i = 0; i < 100 && stuck.length === 0; i++) {
      links.sendEngineEvent({ engine: 'e', restarts: ++sent, message });
      engines.splice(0, 1, { engine: 'e', restarts: sent });
    }
    return stuck.length > 0;
  }, 'the session to be given up');
  t.match(log[1], /^lost/);
  await until(() => scheduler.hellos.length === 2, 'the next session');
  t.equal(scheduler.latest('e')?.restarts, sent, 'the hello has the newest');
  await until(() => log.length === 3, 'its welcome');
  links.sendEngineEvent({ engine: 'e', restarts: sent + 1 });
  await until(() => scheduler.latest('e')?.restarts === sent + 1, 'an event of the new session');
  t.same([stuck.length, dropped.length], [1, 0]);
});
