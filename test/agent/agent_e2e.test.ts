/** The agent through its real doors: a scheduler over mTLS, a simulated engine as real processes. */
import http from 'node:http';
import t from 'tap';
import type { EngineSpec } from '../../proto/gen/fleet/v1/EngineSpec.ts';
import { FRAME } from '../../proto/codec.ts';
import {
  type Answer,
  FakeScheduler,
  type FakeLane,
  makeCertificates,
  removeFolder,
  until,
} from '../support/fake_scheduler.ts';
import { startAgent } from './support/agent_process.ts';
import { groupMembers } from '../../lib/io/processes.ts';

const certificates = await makeCertificates('node-a');
const scheduler = await new FakeScheduler({ certificates }).start();
const agent = startAgent({
  certificates,
  schedulers: [scheduler.address],
  flags: ['--lane-hold-ms', '2', '--stop-engines-on-exit'],
});

const SIM: EngineSpec = {
  name: 'sim-1',
  kind: 'ENGINE_KIND_SIM',
  model: 'sim-model',
  servedModelName: 'm',
  extraFlags: ['--max-num-seqs', '512'],
  limits: { startTimeoutMs: 30_000, stopTimeoutMs: 3000, drainTimeoutMs: 2000, maxRestarts: 5 },
};

const chat = (content: string, more: object = {}): object => ({
  model: 'm',
  messages: [{ role: 'user', content }],
  stream: true,
  return_token_ids: true,
  stream_options: { include_usage: true },
  ignore_eos: true,
  ...more,
});

const socketOf = (name: string): string => (scheduler.latest(name)?.address ?? '').replace(/^unix:/, '');

function askEngine(path: string, body?: object): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = http.request(
      {
        socketPath: socketOf('sim-1'),
        path,
        method: body === undefined ? 'GET' : 'POST',
        agent: false,
        headers: { 'content-type': 'application/json', 'x-request-id': 'req-direct' },
      },
      (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (piece: string) => (text += piece));
        response.on('end', () => resolve(text));
      },
    );
    request.on('error', reject);
    request.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

async function runningRequests(): Promise<number> {
  const metrics = await askEngine('/metrics');
  return Number(/^vllm:num_requests_running\{[^}]*\} (\S+)$/m.exec(metrics)?.[1] ?? Number.NaN);
}

const textOf = (sse: string): string =>
  sse
    .split('\n\n')
    .filter((event) => event.startsWith('data: {'))
    .map((event) => {
      const chunk = JSON.parse(event.slice(6)) as { choices: { delta: { content?: string } }[] };
      return chunk.choices[0]?.delta.content ?? '';
    })
    .join('');

async function lane(): Promise<FakeLane> {
  return scheduler.waitLane();
}

const submit = async (body: object, more: object = {}): Promise<Answer> =>
  (await lane()).submit({ engine: 'sim-1', body, ...more });

t.before(async () => {
  try {
    await until(() => scheduler.hellos.length > 0, 'a hello');
    scheduler.sendDesired(1, [SIM]);
    await scheduler.waitState('sim-1', 'READY');
  } catch (error) {
    process.stderr.write(agent.output());
    throw error;
  }
});

t.teardown(async () => {
  await agent.stop();
  await scheduler.stop();
  await removeFolder(certificates.folder);
});

t.test('the hello and the ready event say what the host and the engine are', async (t) => {
  t.match(scheduler.hellos[0], {
    nodeName: 'node-a',
    protocolVersion: 1,
    gpuSource: 'none',
    laneCount: 1,
    host: { cpuCores: Number, architecture: process.arch },
  });
  t.match(scheduler.latest('sim-1'), {
    kind: 'ENGINE_KIND_SIM',
    models: [{ id: 'm', simulated: true }],
    incarnation: 1,
    generation: 1,
  });
  t.match(scheduler.acks.at(-1), { generation: 1, rejections: [] });
  t.match((await lane()).hello, {
    protocolVersion: 1,
    nodeName: 'node-a',
    worker: 0,
    sessionId: scheduler.hellos[0]?.sessionId,
  });
  await until(
    () => scheduler.telemetry.some((one) => one.engines[0]?.runningRequests !== undefined),
    'telemetry of the engine',
  );
  t.match(scheduler.telemetry[0], {
    snapshot: true,
    gpuSource: 'none',
    gpus: [],
    host: { memoryUsedBytes: Number },
    agent: { rssBytes: Number },
  });
  const snapshots = scheduler.telemetry.filter((one) => one.snapshot);
  t.equal(snapshots.length, 1, 'one snapshot per session; what follows are deltas');
});

t.test('a stream has the text and the ids that the engine gives when asked directly', async (t) => {
  const body = chat('Tell me about the sea', { max_tokens: 40, seed: 3 });
  const direct = await askEngine('/v1/chat/completions', body);
  const answer = await (await submit(body)).ended;
  t.equal(textOf(answer.text), textOf(direct));
  t.equal(answer.ids.length, 40);
  const directIds = [...direct.matchAll(/"token_ids":\[([\d,]+)\]\}\]/g)].flatMap((match) =>
    (match[1] as string).split(',').map(Number),
  );
  t.same(answer.ids, directIds);
  t.match(answer.done, { finishReason: 'length', usage: { completionTokens: 40, promptTokens: Number } });
  t.notMatch(answer.text, /"token_ids":\[/);
  t.notMatch(answer.text, /"usage":\{/);
  t.notMatch(answer.text, /\[DONE\]/);
  t.equal(answer.head, true);
  let index = 0;
  for (const frame of answer.frames) {
    t.equal(frame.index, index);
    index += frame.ids;
  }
});

t.test('usage and ids stay in the chunks for a client that asked for them', async (t) => {
  const answer = await (await submit(chat('Hi', { max_tokens: 4 }), { meta: { wantUsage: true, wantTokenIds: true } }))
    .ended;
  t.match(answer.text, /"usage":\{"prompt_tokens"/);
  t.match(answer.text, /"token_ids":\[/);
  t.match(answer.text, /"prompt_token_ids":\[/);
  t.equal(answer.ids.length, 4);
});

t.test('a plain answer comes whole, with its usage', async (t) => {
  const answer = await (await submit({ ...chat('Hi', { max_tokens: 5 }), stream: false, stream_options: undefined }))
    .ended;
  t.equal((JSON.parse(answer.text) as { usage: { completion_tokens: number } }).usage.completion_tokens, 5);
  t.equal(answer.done?.usage?.completionTokens, 5);
});

t.test('refusals of the engine keep their status, message and parameter', async (t) => {
  const unknown = await (await submit(chat('Hi', { model: 'other' }))).ended;
  t.match(unknown.failed, { code: 'engine_rejected', status: 404, message: /other/ });
  const long = await (await submit(chat('Hi', { max_tokens: 10_000_000 }))).ended;
  t.match(long.failed, { code: 'context_length_exceeded', status: 400 });
});

t.test('requests that cannot be taken fail with the code that says why', async (t) => {
  const there = await lane();
  const failure = async (answer: Answer): Promise<string | undefined> => (await answer.ended).failed?.code;
  t.equal(await failure(there.submit({ engine: 'nobody', body: chat('Hi') })), 'engine_unreachable');
  t.equal(await failure(there.submit({ engine: 'sim-1', body: chat('Hi'), incarnation: 99 })), 'engine_died');
  t.equal(await failure(there.submit({ engine: 'sim-1', body: chat('Hi'), resumeIds: [1, 2] })), 'not_supported');
  t.equal(await failure(there.submit({ engine: 'sim-1', body: chat('Hi'), path: '/v1/x y' })), 'invalid_value');
  t.equal(
    await failure(there.submit({ engine: 'sim-1', body: chat('Hi'), meta: { requestId: 'a\r\nb: c' } })),
    'invalid_value',
  );
  t.equal(
    await failure(there.submit({ engine: 'sim-1', body: chat('Hi'), meta: { traceparent: 'x\r\n' } })),
    'invalid_value',
  );
  const attach = there.expect(77_777);
  there.send(FRAME.ATTACH, 77_777);
  t.equal(await failure(attach), 'not_found');
});

t.test('each way in which an engine goes wrong has its code', async (t) => {
  const cases: readonly (readonly [object, object, string])[] = [
    [{ kind: 'error', after_tokens: 3 }, {}, 'engine_failed'],
    [{ kind: 'abort', after_tokens: 3 }, {}, 'engine_aborted'],
    [{ kind: 'abort' }, { stream: false, stream_options: undefined }, 'engine_aborted'],
    [{ kind: 'drop', after_tokens: 3 }, {}, 'engine_died'],
    [{ kind: 'refuse', status: 503 }, {}, 'engine_overloaded'],
    [{ kind: 'refuse', status: 500 }, {}, 'engine_failed'],
    [{ kind: 'garbage', shape: 'not-http' }, {}, 'engine_garbage'],
    [{ kind: 'garbage', shape: 'bad-chunk', after_tokens: 2 }, {}, 'engine_garbage'],
    [{ kind: 'garbage', shape: 'endless-header' }, {}, 'engine_garbage'],
  ];
  for (const [fault, change, code] of cases) {
    await askEngine('/sim/faults', fault);
    const answer = await (await submit(chat('Hi', { max_tokens: 20, ...change }))).ended;
    t.equal(answer.failed?.code, code, JSON.stringify(fault));
    t.equal(answer.done, undefined);
    t.equal(answer.late, 0);
  }
  t.equal((await (await submit(chat('Hi', { max_tokens: 3 }))).ended).ids.length, 3, 'and the relay goes on');
});

t.test('a deadline ends the request and the work of the engine', async (t) => {
  const answer = await (await submit(chat('Hi', { max_tokens: 4000 }), { meta: { deadlineMs: 300 } })).ended;
  t.equal(answer.failed?.code, 'deadline_exceeded');
  await until(async () => (await runningRequests()) === 0, 'the engine to be idle');
});

t.test('a cancel stops the engine in prefill and in mid-stream, and nothing comes after it', async (t) => {
  const there = await lane();
  const early = there.submit({ engine: 'sim-1', body: chat('word '.repeat(3000), { max_tokens: 2000 }) });
  there.cancel(early);
  const streaming = there.submit({ engine: 'sim-1', body: chat('Hi', { max_tokens: 4000 }) });
  await until(() => streaming.ids.length > 5, 'tokens');
  there.cancel(streaming);
  const at = performance.now();
  await until(async () => (await runningRequests()) === 0, 'the engine to be idle', 5000);
  t.ok(performance.now() - at < 5000);
  const seen = streaming.late;
  await new Promise((resolve) => setTimeout(resolve, 200));
  t.equal(streaming.late, seen, 'no frame long after the cancel');
  t.equal(early.done, undefined);
});

t.test('a reader that gives no credit holds its own stream only', async (t) => {
  const there = await lane();
  const stalled = there.submit({
    engine: 'sim-1',
    body: chat('Hi', { max_tokens: 1500 }),
    credit: 600,
    autoCredit: false,
  });
  const others = Array.from({ length: 8 }, (_, n) =>
    there.submit({ engine: 'sim-1', body: chat(`Hi ${n}`, { max_tokens: 60 }) }),
  );
  for (const other of others) t.equal((await other.ended).ids.length, 60);
  const bytes = (): number => stalled.frames.reduce((sum, frame) => sum + frame.bytes, 0);
  const before = bytes();
  t.ok(before > 600 && before < 600 + 64 * 1024, `${before} bytes came`);
  await new Promise((resolve) => setTimeout(resolve, 300));
  t.equal(bytes(), before, 'nothing comes without credit');
  t.equal(stalled.done, undefined);
  there.grant(stalled, 100_000_000);
  t.equal((await stalled.ended).ids.length, 1500);
});

t.test('an engine core that is killed fails its streams, and the engine comes back as another life', async (t) => {
  const before = scheduler.latest('sim-1');
  const streaming = await submit(chat('Hi', { max_tokens: 4000 }), { incarnation: before?.incarnation });
  await until(() => streaming.ids.length > 2, 'tokens');
  process.kill(before?.pid as number, 'SIGKILL');
  const at = performance.now();
  t.match((await streaming.ended).failed, { code: 'engine_died' });
  t.ok(performance.now() - at < 3000, 'the failure comes at once');
  const again = await scheduler.waitState('sim-1', 'READY', (before?.incarnation ?? 0) + 1);
  t.equal(again.incarnation, (before?.incarnation ?? 0) + 1);
  t.equal(again.restarts, 1);
  const crash = scheduler.events.find((event) => event.state === 'ENGINE_STATE_BACKOFF');
  t.match(crash, { reason: 'crashed', signal: 'SIGKILL' });
  t.same(await groupMembers(before?.pid as number), [], 'nothing of the old life is left');
  t.match((await (await submit(chat('Hi'), { incarnation: before?.incarnation })).ended).failed, {
    code: 'engine_died',
  });
  t.equal(
    (await (await submit(chat('Hi', { max_tokens: 3 }), { incarnation: again.incarnation })).ended).ids.length,
    3,
  );
});

t.test('a lane that is cut comes back, and its request goes on where it was', async (t) => {
  const there = await lane();
  const order = { engine: 'sim-1', body: chat('Hi', { max_tokens: 4000 }), credit: 10_000_000, autoCredit: false };
  const streaming = there.submit({ ...order, meta: { requestId: 'cut-1' } });
  await until(() => streaming.ids.length > 2, 'tokens');
  there.cut();
  there.closed = true;
  const next = await lane();
  t.not(next, there);
  const had = streaming.ids.length;
  const again = next.attach('cut-1', { index: had, hadBytes: Buffer.byteLength(streaming.text), credit: 10_000_000 });
  await until(() => again.ids.length > 2, 'more tokens');
  t.equal(again.frames[0]?.index, had);
  next.cancel(again);
  await until(async () => (await runningRequests()) === 0, 'the engine to be idle', 5000);
  t.equal((await next.submit({ engine: 'sim-1', body: chat('Hi', { max_tokens: 3 }) }).ended).ids.length, 3);
});

t.test('a lane on which the scheduler breaks the protocol is dropped and opened anew', async (t) => {
  const there = await lane();
  there.writeRaw(Buffer.from([0x0a, 3, 1, 2, 3]));
  await until(() => there.closed, 'the lane to be dropped');
  t.equal((await (await submit(chat('Hi', { max_tokens: 3 }))).ended).ids.length, 3);
});

t.test('a session that is cut comes back with the whole picture; an older term is not obeyed', async (t) => {
  const incarnation = scheduler.latest('sim-1')?.incarnation;
  scheduler.cutSession();
  const hellos = scheduler.hellos.length;
  await until(() => scheduler.hellos.length > hellos, 'another hello');
  t.match(scheduler.hellos.at(-1), {
    observedGeneration: 1,
    observedTerm: 1,
    engines: [{ engine: 'sim-1', state: 'ENGINE_STATE_READY', incarnation }],
  });
  const acks = scheduler.acks.length;
  scheduler.sendDesired(2, [], 0);
  scheduler.sendDesired(2, [SIM]);
  await until(() => scheduler.acks.length > acks, 'an acknowledgement');
  t.equal(scheduler.acks.length, acks + 1, 'the order of the older term was not acknowledged');
  t.match(scheduler.latest('sim-1'), { state: 'ENGINE_STATE_READY', incarnation });
});

t.test('bad specifications are rejected by name, the good one goes on', async (t) => {
  const acks = scheduler.acks.length;
  scheduler.sendDesired(3, [
    SIM,
    { ...SIM, name: 'gpu', gpuIds: [0] },
    { ...SIM, name: 'Bad Name' },
    { ...SIM, name: 'flags', extraFlags: ['--uds', '/x'] },
    { ...SIM, name: 'unknown', extraFlags: ['--no-such-flag'] },
  ]);
  await until(() => scheduler.acks.length > acks, 'an acknowledgement');
  t.match(scheduler.acks.at(-1), {
    generation: 3,
    rejections: [
      { engine: 'gpu', code: 'invalid_spec', param: 'gpu_ids' },
      { engine: 'Bad Name', param: 'name' },
      { engine: 'flags', param: 'extra_flags[0]' },
      { engine: 'unknown', param: 'extra_flags[0]' },
    ],
  });
  t.equal(scheduler.latest('sim-1')?.state, 'ENGINE_STATE_READY');
});

t.test('an engine that cannot start says why', async (t) => {
  scheduler.sendDesired(4, [
    SIM,
    { ...SIM, name: 'broken', extraFlags: ['--sim-no-such-flag'], limits: { ...SIM.limits, maxRestarts: 0 } },
  ]);
  const failed = await scheduler.waitState('broken', 'FAILED');
  t.match(failed, { exitCode: 2, reason: 'start_crashed', cause: 'bad_flag', advice: /Correct the flag/ });
});

t.test('an engine that is no longer wanted finishes its requests and ends', async (t) => {
  const pid = scheduler.latest('sim-1')?.pid as number;
  const streaming = await submit(chat('Hi', { max_tokens: 50 }));
  await until(() => streaming.ids.length > 2, 'tokens');
  scheduler.sendDesired(5, [{ ...SIM, name: 'sim-2' }]);
  t.equal((await streaming.ended).ids.length, 50);
  await scheduler.waitState('sim-1', 'STOPPED');
  t.same(await groupMembers(pid), []);
  await scheduler.waitState('sim-2', 'READY');
});

t.test('on SIGTERM the agent says goodbye and leaves no process behind', async (t) => {
  const pid = scheduler.latest('sim-2')?.pid as number;
  t.not((await groupMembers(pid)).length, 0);
  agent.child.kill('SIGTERM');
  t.equal(await agent.exited, 0);
  t.equal(scheduler.goodbyes.length, 1);
  t.same(await groupMembers(pid), []);
});
