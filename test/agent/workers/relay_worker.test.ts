/**
 * The relay thread's program, run in this thread: the same lanes and engine as in the agent's own tests, so that what
 * it refuses, holds back and reports can be seen frame by frame.
 */
import { MessageChannel } from 'node:worker_threads';
import t from 'tap';
import { openListBytes } from '../../../agent/core/open_requests.ts';
import type { FromRelay, RelaySettings, ToRelay, WorkerStats } from '../../../agent/workers/relay_messages.ts';
import { runRelay } from '../../../agent/workers/relay_worker.ts';
import { FRAME } from '../../../proto/codec.ts';
import {
  type Answer,
  type FakeLane,
  FakeScheduler,
  makeCertificates,
  removeFolder,
  type SubmitOptions,
  until,
} from '../../support/fake_scheduler.ts';
import { launchSim } from '../engines/sim/launch.ts';

const MAX_REQUESTS = 8;
const certificates = await makeCertificates('node-r');
const scheduler = await new FakeScheduler({ certificates }).start();
const sim = await launchSim(t, ['--sim-itl-ms', '5', '--max-num-seqs', '64']);

const settings: RelaySettings = {
  nodeName: 'node-r',
  sessionId: 'session-of-the-test',
  tls: {
    caPem: certificates.ca.certPem,
    certPem: await read(certificates.agent.certFile),
    keyPem: await read(certificates.agent.keyFile),
  },
  engineConnectTimeoutMs: 2000,
  engineIdleSocketMs: 3000,
  laneHoldMs: 0,
  laneGraceMs: 0,
  maxRetainedBytes: 16 << 20,
  maxJournalTokens: 10_000,
  batchEmbeddings: true,
  maxEventBytes: 1 << 20,
  maxMessageBytes: 32 << 20,
  maxRequests: MAX_REQUESTS,
  keepaliveMs: 10_000,
  reconnectBaseMs: 20,
  reconnectCapMs: 100,
};

async function read(file: string): Promise<string> {
  const { readFile } = await import('node:fs/promises');
  return readFile(file, 'utf8');
}

const { port1: main, port2: port } = new MessageChannel();
const said: FromRelay[] = [];
main.on('message', (message: FromRelay) => said.push(message));
const tell = (message: ToRelay): void => main.postMessage(message);
const running = runRelay({ worker: 3, port, settings, openList: new SharedArrayBuffer(openListBytes(MAX_REQUESTS)) });
const stats = (): WorkerStats | undefined => said.findLast((message) => message.kind === 'stats')?.stats;

const target = {
  engine: 'sim-1',
  incarnation: 7,
  address: { kind: 'unix', path: sim.uds },
} as const;

const body = (more: object = {}): object => ({
  model: 'sim',
  prompt: 'Hello',
  stream: true,
  return_token_ids: true,
  max_tokens: 20,
  ignore_eos: true,
  stream_options: { include_usage: true },
  ...more,
});

async function submit(more: Partial<SubmitOptions> = {}): Promise<Answer> {
  const lane = await scheduler.waitLane();
  return lane.submit({ engine: 'sim-1', path: '/v1/completions', body: body(), ...more });
}

t.before(async () => {
  tell({ kind: 'targets', targets: [target] });
  tell({ kind: 'schedulers', addresses: [scheduler.address] });
  await scheduler.waitLane();
});

t.teardown(async () => {
  await scheduler.stop();
  await removeFolder(certificates.folder);
});

t.test('the lane introduces itself, and a stream comes whole, with its ids and usage', async (t) => {
  t.match((await scheduler.waitLane()).hello, { nodeName: 'node-r', sessionId: 'session-of-the-test', worker: 3 });
  const answer = await (await submit({ incarnation: 7 })).ended;
  t.ok(answer.head);
  t.equal(answer.ids.length, 20);
  t.match(answer.done, { finishReason: 'length', usage: { completionTokens: 20 } });
  t.notMatch(answer.text, /token_ids":\[|"usage":\{/, 'what the client did not ask for is cut out');
  await until(() => stats()?.tokensTotal === 20, 'the count of tokens');
  t.ok(said.some((message) => message.kind === 'lane' && message.state === 'open'));
});

t.test('what cannot be carried out is refused with a code, before the engine is asked', async (t) => {
  const refused: readonly (readonly [more: Partial<SubmitOptions>, code: string])[] = [
    [{ engine: 'nobody' }, 'engine_unreachable'],
    [{ incarnation: 6 }, 'engine_died'],
    [{ resumeIds: [1, 2, 3] }, 'not_supported'],
    [{ path: '/v1/a b' }, 'invalid_value'],
    [{ meta: { requestId: 'a b' } }, 'invalid_value'],
    [{ meta: { traceparent: 'x\r\ny' } }, 'invalid_value'],
  ];
  for (const [more, code] of refused) {
    const failed = (await (await submit(more)).ended).failed;
    t.match(failed, { code }, JSON.stringify(more));
  }
  const lane = await scheduler.waitLane();
  const attached = lane.expect(900);
  lane.send(FRAME.ATTACH, 900);
  t.match((await attached.ended).failed, { code: 'not_found' });
});

t.test('a limit of the engine, a draining engine and a full relay refuse further requests', async (t) => {
  const slow = { body: body({ max_tokens: 4000 }) };
  tell({ kind: 'targets', targets: [{ ...target, maxConcurrentRequests: 1 }] });
  const first = await submit(slow);
  await until(() => first.ids.length > 0, 'tokens');
  t.match((await (await submit()).ended).failed, { code: 'engine_overloaded' });
  tell({ kind: 'targets', targets: [{ ...target, draining: true }] });
  await until(async () => (await (await submit()).ended).failed?.code === 'draining', 'the drain');
  tell({ kind: 'targets', targets: [target] });
  // The order and the requests take two ways into the thread, so that either may arrive first.
  await until(async () => (await (await submit()).ended).failed === undefined, 'the end of the drain');
  const many = [first];
  while (many.length < MAX_REQUESTS) many.push(await submit(slow));
  await until(() => many.every((answer) => answer.ids.length > 0), 'all of them streaming');
  t.match((await (await submit()).ended).failed, { code: 'engine_overloaded' });
  const lane = await scheduler.waitLane();
  for (const answer of many) lane.cancel(answer);
  await until(() => stats()?.openByEngine['sim-1'] === 0, 'nothing is open');
  // What was on its way when the cancel was sent has arrived by then.
  const lateFrames = (): number => many.reduce((sum, answer) => sum + answer.late, 0);
  await new Promise((resolve) => setTimeout(resolve, 50));
  const arrived = lateFrames();
  await new Promise((resolve) => setTimeout(resolve, 100));
  t.equal(lateFrames(), arrived, 'nothing comes after a cancel');
});

t.test('without credit a request stands still and its neighbour does not', async (t) => {
  const lane = await scheduler.waitLane();
  const stalled = await submit({ body: body({ max_tokens: 400 }), credit: 500, autoCredit: false });
  const neighbour = await (await submit()).ended;
  t.equal(neighbour.ids.length, 20);
  const before = stalled.text.length;
  t.ok(before < 2000);
  await until(() => (stats()?.stallsTotal ?? 0) > 0, 'the stall is counted');
  lane.grant(stalled, 10_000_000);
  t.equal((await stalled.ended).ids.length, 400);
});

t.test('a plain answer, an error of the engine and a deadline come as they are', async (t) => {
  const plain = await (await submit({ body: body({ stream: false, stream_options: undefined }) })).ended;
  t.match(JSON.parse(plain.text), { object: 'text_completion', usage: { completion_tokens: 20 } });
  t.match(plain.done, { usage: { completionTokens: 20 } });
  const unknown = await (await submit({ body: body({ model: 'other' }) })).ended;
  t.match(unknown.failed, { code: 'engine_rejected', status: 404 }, 'an engine that says 404');
  const late = await (await submit({ body: body({ max_tokens: 4000 }), meta: { deadlineMs: 100 } })).ended;
  t.match(late.failed, { code: 'deadline_exceeded' });
});

t.test('a lane that is cut takes its requests with it, and comes back', async (t) => {
  const lane: FakeLane = await scheduler.waitLane();
  const lost = await submit({ body: body({ max_tokens: 4000 }) });
  await until(() => lost.ids.length > 0, 'tokens');
  lane.cut();
  await until(() => stats()?.openByEngine['sim-1'] === 0, 'the request is aborted');
  await until(() => scheduler.lanes.filter((one) => one.hello !== undefined).length > 1, 'a new lane');
  t.equal((await (await submit()).ended).ids.length, 20);
  const broken = await scheduler.waitLane();
  broken.writeRaw(Buffer.from([0x0a, 0x03, 1, 2, 3]));
  await until(
    () => said.filter((message) => message.kind === 'lane' && message.state === 'lost').length >= 2,
    'the loss',
  );
  await scheduler.waitLane();
});

t.test('an engine that goes takes its requests with it; a stop ends the rest and the thread', async (t) => {
  const dying = await submit({ body: body({ max_tokens: 4000 }) });
  await until(() => dying.ids.length > 0, 'tokens');
  tell({ kind: 'targets', targets: [{ ...target, incarnation: 8 }] });
  t.match((await dying.ended).failed, { code: 'engine_died' });
  const last = await submit({ body: body({ max_tokens: 4000 }) });
  await until(() => last.ids.length > 0, 'tokens');
  tell({ kind: 'stop', graceMs: 100 });
  await until(async () => (await (await submit()).ended).failed?.code === 'draining', 'the refusal').catch(
    () => undefined,
  );
  t.match((await last.ended).failed, { code: 'engine_died' });
  await running;
  main.close();
});
