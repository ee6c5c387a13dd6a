/** A relay thread's program run in the test's own thread, between a scheduler and an engine that the test plays. */
import { readFileSync } from 'node:fs';
import { MessageChannel } from 'node:worker_threads';
import { openListBytes } from '../../../agent/core/open_requests.ts';
import type { RelayTarget } from '../../../agent/ports.ts';
import type { FromRelay, RelaySettings, ToRelay, WorkerStats } from '../../../agent/workers/relay_messages.ts';
import { runRelay } from '../../../agent/workers/relay_worker.ts';
import {
  type Answer,
  type FakeLane,
  FakeScheduler,
  makeCertificates,
  removeFolder,
  type SubmitOptions,
  type TestCertificates,
  until,
} from '../../support/fake_scheduler.ts';
import { type RawEngine, type RawExchange, startRawEngine } from './raw_engine.ts';

export const relaySettings = (certificates: TestCertificates, more: Partial<RelaySettings> = {}): RelaySettings => ({
  nodeName: 'node-r',
  sessionId: 'session-of-the-test',
  tls: {
    caPem: certificates.ca.certPem,
    certPem: readFileSync(certificates.agent.certFile, 'utf8'),
    keyPem: readFileSync(certificates.agent.keyFile, 'utf8'),
  },
  engineConnectTimeoutMs: 2000,
  engineIdleSocketMs: 3000,
  laneHoldMs: 0,
  laneGraceMs: 20_000,
  maxRetainedBytes: 16 << 20,
  maxJournalTokens: 10_000,
  batchEmbeddings: true,
  maxEventBytes: 1 << 20,
  maxMessageBytes: 32 << 20,
  maxRequests: 64,
  keepaliveMs: 10_000,
  reconnectBaseMs: 20,
  reconnectCapMs: 100,
  ...more,
});

export interface RelayStand {
  readonly scheduler: FakeScheduler;
  readonly engine: RawEngine;
  readonly certificates: TestCertificates;
  tell(message: ToRelay): void;
  stats(): WorkerStats | undefined;
  /** Submits on a lane to the engine, and waits until the engine has it. */
  begin(more?: Partial<SubmitOptions>, lane?: FakeLane): Promise<{ answer: Answer; exchange: RawExchange }>;
  /** The open lane of the n-th generation: after each cut another. */
  lane(): Promise<FakeLane>;
  /** Cuts a lane and waits for the next one. */
  cut(lane: FakeLane): Promise<FakeLane>;
}

export const TARGET_INCARNATION = 7;

export async function startStand(
  t: { teardown(work: () => Promise<void>): unknown },
  more: Partial<RelaySettings> = {},
  answer?: (exchange: RawExchange) => void,
): Promise<RelayStand> {
  const certificates = await makeCertificates('node-r');
  const scheduler = await new FakeScheduler({ certificates }).start();
  const engine = await startRawEngine(answer);
  const { port1: main, port2: port } = new MessageChannel();
  const said: FromRelay[] = [];
  main.on('message', (message: FromRelay) => said.push(message));
  const tell = (message: ToRelay): void => main.postMessage(message);
  const settings = relaySettings(certificates, more);
  const openList = new SharedArrayBuffer(openListBytes(settings.maxRequests));
  const running = runRelay({ worker: 0, port, settings, openList });
  const target: RelayTarget = {
    engine: 'raw',
    incarnation: TARGET_INCARNATION,
    address: { kind: 'unix', path: engine.path },
  };
  tell({ kind: 'targets', targets: [target] });
  tell({ kind: 'schedulers', addresses: [scheduler.address] });
  await scheduler.waitLane();
  t.teardown(async () => {
    tell({ kind: 'stop', graceMs: 0 });
    await running;
    main.close();
    engine.close();
    await scheduler.stop();
    await removeFolder(certificates.folder);
  });
  const stand: RelayStand = {
    scheduler,
    engine,
    certificates,
    tell,
    stats: () => said.findLast((message) => message.kind === 'stats')?.stats,
    lane: () => scheduler.waitLane(),
    async begin(options = {}, lane) {
      const on = lane ?? (await scheduler.waitLane());
      const before = engine.exchanges.length;
      const body = { model: 'raw', prompt: 'Hello', stream: true, return_token_ids: true };
      const order = on.submit({ engine: 'raw', path: '/v1/completions', body, ...options });
      await until(() => engine.exchanges.length > before, 'the engine to have the request');
      return { answer: order, exchange: engine.exchanges[before] as RawExchange };
    },
    async cut(lane) {
      const lanes = scheduler.lanes.length;
      lane.cut();
      await until(() => scheduler.lanes.length > lanes, 'the lane to come back');
      const next = scheduler.lanes[lanes] as FakeLane;
      await until(() => next.hello !== undefined, 'the hello of the new lane');
      return next;
    },
  };
  return stand;
}
