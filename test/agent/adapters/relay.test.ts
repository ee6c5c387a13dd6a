/**
 * The relay threads as the agent owns them, in a real pool: a thread that is terminated, throws or runs out of heap loses
 * no request silently, and the next one serves on.
 */
import { Worker } from 'node:worker_threads';
import t from 'tap';
import { createRelay, type RelayOptions, sumReports, type ThreadedRelay } from '../../../agent/adapters/relay.ts';
import type { OpenRequests } from '../../../agent/core/open_requests.ts';
import type { RelayTarget } from '../../../agent/ports.ts';
import type { WorkerStats } from '../../../agent/workers/relay_messages.ts';
import type { Logger } from '../../../lib/io/logger.ts';
import { FakeScheduler, makeCertificates, removeFolder, until } from '../../support/fake_scheduler.ts';
import { type RawEngine, startRawEngine } from '../support/raw_engine.ts';
import { relaySettings } from '../support/relay_stand.ts';

const WAIT_MS = 60_000;

/** Every thread that this process starts: the pool keeps its own to itself. */
const threads: Worker[] = [];
const { postMessage } = Worker.prototype;
Worker.prototype.postMessage = function remember(this: Worker, ...all: Parameters<typeof postMessage>): void {
  if (!threads.includes(this)) threads.push(this);
  postMessage.apply(this, all);
};

interface Line {
  readonly fields: Record<string, unknown>;
  readonly text: string;
}

interface Setup {
  readonly relay: ThreadedRelay;
  readonly scheduler: FakeScheduler;
  readonly engine: RawEngine;
  readonly errors: Line[];
  readonly lost: OpenRequests[];
  readonly target: RelayTarget;
}

async function setUp(
  t: { teardown(work: () => Promise<void>): unknown },
  more: Partial<RelayOptions> = {},
): Promise<Setup> {
  const certificates = await makeCertificates('node-r');
  const scheduler = await new FakeScheduler({ certificates }).start();
  const engine = await startRawEngine();
  const errors: Line[] = [];
  const lost: OpenRequests[] = [];
  const logger = {
    info: () => undefined,
    error: (fields: Record<string, unknown>, text: string) => errors.push({ fields, text }),
  } as unknown as Logger;
  const relay = createRelay({
    workers: 1,
    settings: relaySettings(certificates),
    logger,
    restartDelayMs: 20,
    onThreadLost: (_worker, requests) => lost.push(requests),
    ...more,
  });
  const target: RelayTarget = { engine: 'raw', incarnation: 7, address: { kind: 'unix', path: engine.path } };
  await relay.start();
  relay.setTargets([target]);
  relay.setSchedulers([scheduler.address]);
  await scheduler.waitLane();
  t.teardown(async () => {
    await relay.stop(0);
    engine.close();
    await scheduler.stop();
    await removeFolder(certificates.folder);
  });
  return { relay, scheduler, engine, errors, lost, target };
}

/** The ways in which a thread can end without being asked to. */
const CRASHES: readonly (readonly [name: string, crash: (setup: Setup) => void, options: Partial<RelayOptions>])[] = [
  ['is terminated', () => void threads.at(-1)?.terminate(), {}],
  [
    'throws',
    ({ relay, target }) => {
      relay.setTargets(undefined as unknown as readonly RelayTarget[]);
      relay.setTargets([target]);
    },
    {},
  ],
  [
    'runs out of heap',
    ({ relay, target }) => {
      // In steps: one message beyond the limit by more than V8's margin would end the whole process.
      for (let engines = 5000; engines <= 60_000; engines += 5000) {
        const many = Array.from({ length: engines }, (_, at) => ({ ...target, engine: `engine-${at}` }));
        relay.setTargets([target, ...many]);
      }
      relay.setTargets([target]);
    },
    { heapMb: 48 },
  ],
];

for (const [name, crash, options] of CRASHES) {
  t.test(`a thread that ${name}: its requests are named and counted, and the next thread serves`, async (t) => {
    const setup = await setUp(t, options);
    const { relay, scheduler, engine, errors, lost } = setup;
    const lane = await scheduler.waitLane();
    const order = { engine: 'raw', path: '/v1/completions', body: { model: 'raw', stream: true } };
    const ids = ['one', 'two', 'three'];
    const answers = ids.map((requestId) => lane.submit({ ...order, meta: { requestId } }));
    await until(() => engine.exchanges.length === 3, 'the engine to have them');
    for (const exchange of engine.exchanges) {
      exchange.begin();
      exchange.token(1);
    }
    await until(() => answers.every((answer) => answer.ids.length === 1), 'tokens');
    engine.exchanges[2]?.finish();
    await answers[2]?.ended;
    crash(setup);
    await until(() => lost.length === 1, 'the crash to be told', WAIT_MS);
    t.same(
      lost[0]?.listed,
      ['one', 'two'].map((requestId) => ({ requestId, engine: 'raw' })),
    );
    t.match(errors[0]?.fields, { worker: 0, lostRequests: 2, requestIds: ['one', 'two'] });
    await until(() => lane.closed, 'the scheduler to see its lane cut');
    await until(() => engine.exchanges.every((exchange) => exchange.gone()), 'the engine to see its clients go');
    await until(() => scheduler.lanes.length > 1, 'the next thread', WAIT_MS);
    const next = await scheduler.waitLane();
    const after = next.submit({ ...order, meta: { requestId: 'one' }, incarnation: 7, attempt: 1 });
    await until(() => engine.exchanges.length === 4, 'the engine to have it', WAIT_MS);
    engine.exchanges[3]?.begin();
    engine.exchanges[3]?.token(5);
    engine.exchanges[3]?.finish();
    t.same((await after.ended).ids, [5]);
    // Figures come four times a second, so the newest may still have the request.
    await until(() => relay.stats().lanes === 1 && relay.stats().openByEngine['raw'] === 0, 'its figures', WAIT_MS);
    t.match(relay.stats(), { counters: { threadCrashesTotal: 1, lostWithThreadTotal: 2 }, openByEngine: { raw: 0 } });
    t.equal(relay.stats().counters?.detached, 0);
  });
}

t.test('a thread that crashes at each start is braked, and does not take the agent with it', async (t) => {
  const setup = await setUp(t);
  setup.relay.setTargets(undefined as unknown as readonly RelayTarget[]);
  await until(() => (setup.relay.stats().counters?.threadCrashesTotal ?? 0) >= 3, 'crashes', WAIT_MS);
  setup.relay.setTargets([setup.target]);
  const lanes = setup.scheduler.lanes.length;
  await until(() => setup.scheduler.lanes.length > lanes, 'a thread that lives', WAIT_MS);
});

t.test('progress is told in the time of the main thread, fresh enough for a watchdog of 2 s', async (t) => {
  const { relay, scheduler, engine } = await setUp(t);
  const lane = await scheduler.waitLane();
  const before = performance.now();
  const answer = lane.submit({
    engine: 'raw',
    path: '/v1/completions',
    body: { model: 'raw', stream: true, prompt: 'x'.repeat(500) },
  });
  await until(() => engine.exchanges.length === 1, 'the request');
  const arrived = performance.now();
  await until(() => relay.stats().progress['raw']?.waitingFirst === 1, 'it to wait');
  const waiting = relay.stats().progress['raw'];
  t.match(waiting, { incarnation: 7, open: 1, plain: 0, stalled: 0, faults: 0 });
  t.ok((waiting?.waitingBytes ?? 0) > 500);
  t.ok((waiting?.oldestWaitingSinceMs ?? 0) >= before - 1 && (waiting?.oldestWaitingSinceMs ?? 0) <= arrived + 1);
  t.equal(waiting?.lastProgressAtMs, waiting?.oldestWaitingSinceMs);
  engine.exchanges[0]?.begin();
  for (let id = 0; id < 4; id++) {
    engine.exchanges[0]?.token(id);
    await until(() => answer.ids.length > id, 'a token');
  }
  const last = performance.now();
  await until(() => relay.stats().progress['raw']?.waitingFirst === 0, 'the token to be told');
  await until(() => (relay.stats().progress['raw']?.lastProgressAtMs ?? 0) > arrived, 'its time');
  const moved = relay.stats().progress['raw'];
  t.ok((moved?.lastProgressAtMs ?? 0) >= arrived && (moved?.lastProgressAtMs ?? 0) <= last + 1);
  t.ok((moved?.interTokenP50Ms ?? 0) > 0);
  t.equal(moved?.oldestWaitingSinceMs, undefined);
  engine.exchanges[0]?.finish();
  await until(() => relay.stats().openByEngine['raw'] === 0, 'the end');
  await until(() => relay.stats().loopLagP99Ms !== undefined, 'the lag of the loop');
  t.ok((relay.stats().loopLagP99Ms as number) >= 0);
  t.ok((relay.stats().gcPauseMaxMs as number) >= 0);
});

t.test('the figures of threads add up; one that is stuck says nothing of progress', async (t) => {
  const figures = { open: 1, plain: 0, waitingFirst: 1, waitingBytes: 10, stalled: 0, faults: 1 };
  const stats = (more: object): WorkerStats => ({
    openByEngine: { a: 1 },
    progress: {
      a: { incarnation: 2, figures: { ...figures, firstOpenAtMs: 100, oldestWaitingSinceMs: 100, ...more } },
    },
    counters: {
      detached: 1,
      detachedTotal: 2,
      reattachedTotal: 1,
      expiredTotal: 0,
      unattachableTotal: 0,
      resentTotal: 0,
      batchedTotal: 0,
    },
    lanes: 1,
    tokensTotal: 10,
    messagesTotal: 1,
    bytesTotal: 5,
    stallsTotal: 0,
    loopLagP99Ms: 3,
    gcPauseMaxMs: 2,
  });
  const crashes = { threadCrashesTotal: 1, lostWithThreadTotal: 4 };
  const clock = { nowMs: 5000, fromSharedMs: 1000 };
  const one = stats({ lastTokenAtMs: 300 });
  const both = sumReports(
    [
      { stats: one, atMs: 4900 },
      { stats: stats({ firstOpenAtMs: 50 }), atMs: 4900 },
    ],
    [one],
    clock,
    crashes,
  );
  t.match(both, {
    openByEngine: { a: 2 },
    lanes: 2,
    tokensTotal: 30,
    loopLagP99Ms: 3,
    counters: { detached: 2, detachedTotal: 6, ...crashes },
    progress: { a: { incarnation: 2, open: 2, waitingBytes: 20, faults: 2, lastProgressAtMs: 1300 } },
  });
  const stuck = sumReports([{ stats: one, atMs: 100 }], [], clock, crashes).progress['a'];
  t.match(stuck, { open: 1, waitingFirst: 1 });
  t.equal(stuck?.lastProgressAtMs, undefined);
  t.equal(stuck?.oldestWaitingSinceMs, undefined);
  const lives = (a: number, b: number): number | undefined =>
    sumReports(
      [a, b].map((incarnation) => ({ stats: { ...one, progress: { a: { incarnation, figures } } }, atMs: 4900 })),
      [],
      clock,
      crashes,
    ).progress['a']?.open;
  t.same([lives(1, 2), lives(2, 1), lives(2, 2)], [1, 1, 2], 'only the latest life counts');
});

t.test('a relay that was never given a scheduler stops at once', async (t) => {
  const certificates = await makeCertificates('node-r');
  const relay = createRelay({
    workers: 2,
    settings: relaySettings(certificates),
    logger: { info: () => undefined, error: () => undefined } as unknown as Logger,
    restartDelayMs: 20,
  });
  await relay.start();
  await relay.stop(0);
  t.equal(relay.stats().lanes, 0);
  await removeFolder(certificates.folder);
});

t.test('certificates that came later are those of new lanes, also of a thread that starts again', async (t) => {
  const own = await makeCertificates('node-r');
  t.teardown(() => removeFolder(own.folder));
  const scheduler = await new FakeScheduler({ certificates: own }).start();
  t.teardown(() => scheduler.stop());
  const { relay } = await setUp(t);
  relay.setSchedulers([scheduler.address]);
  relay.setTls(relaySettings(own).tls);
  await scheduler.waitLane();
  const lanes = scheduler.lanes.length;
  void threads.at(-1)?.terminate();
  await until(() => scheduler.lanes.length > lanes, 'a lane of the next life');
});
