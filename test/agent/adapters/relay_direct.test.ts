/** The thread of direct calls among the relay threads: it opens no lane, and a crash of it is told and got over. */
import t from 'tap';
import { createRelay } from '../../../agent/adapters/relay.ts';
import type { DirectReport, KnownIssuer } from '../../../agent/workers/relay_messages.ts';
import type { Logger } from '../../../lib/io/logger.ts';
import { FakeScheduler, makeCertificates, removeFolder, until } from '../../support/fake_scheduler.ts';
import { relaySettings } from '../support/relay_stand.ts';

t.test('a crashed thread is told as closed, and comes back as another life', async (t) => {
  const certificates = await makeCertificates('node-r');
  const scheduler = await new FakeScheduler({ certificates }).start();
  const reports: DirectReport[] = [];
  const relay = createRelay({
    workers: 1,
    settings: relaySettings(certificates),
    logger: { info() {}, warn() {}, error() {} } as unknown as Logger,
    restartDelayMs: 10,
    direct: {
      settings: {
        ...{ host: '127.0.0.1', port: 0, clockSkewMs: 0, maxConnections: 8, maxUsedTickets: 8 },
        ...{ windowBytes: 1024, pingPeriodMs: 1000, stallTimeoutMs: 1000 },
      },
      onReport: (report) => void reports.push(report),
    },
  });
  const lives = (): string[] => reports.flatMap((report) => (report.what === 'open' ? [report.life] : []));
  await relay.start();
  relay.setSchedulers([scheduler.address]);
  await until(() => lives().length === 1, 'the listener');
  await scheduler.waitLane();
  t.equal(scheduler.lanes.length, 1, 'only the relay thread has a lane');
  // Nothing that a scheduler can send ends the thread: a message that none of our own code makes does.
  relay.setIssuers([null as unknown as KnownIssuer]);
  await until(() => reports.some(({ what }) => what === 'closed'), 'the crash to be told');
  relay.setIssuers([]);
  await until(() => lives().length === 2, 'the listener again');
  t.equal(new Set(lives()).size, 2, 'tickets of the first life are not taken by the second');
  t.equal(relay.stats().counters?.threadCrashesTotal, 1);
  await relay.stop(0);
  await scheduler.stop();
  await removeFolder(certificates.folder);
});
