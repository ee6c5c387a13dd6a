/** The run loop over fakes and a virtual clock: stories of engines from the first order to the last process. */
import t from 'tap';
import { noteLostThread } from '../../agent/run_loop/told.ts';
import { createFixture, type Fixture, serving, SIM_SPEC } from './support/loop_fixture.ts';

const statesOf = (fixture: Fixture): string[] =>
  fixture.journal.map((entry) => (entry.state ?? '').toString().replace('ENGINE_STATE_', '').toLowerCase());

t.test('an engine goes from an order to service, and every step is in its journal', async (t) => {
  const fixture = await serving();
  t.match(fixture.latest('e1'), {
    state: 'ENGINE_STATE_READY',
    message: /first token in 12 ms/,
    checks: [{ name: 'address' }],
  });
  t.same([...new Set(statesOf(fixture))], ['pending', 'preflight', 'starting', 'warming', 'ready']);
  for (const entry of fixture.journal) t.ok(entry.reason !== '' && entry.message !== '');
  t.match(fixture.targets, [{ engine: 'e1', incarnation: 1 }]);
  t.equal(Object.keys(fixture.saved.at(-1)?.starts ?? {}).length, 1, 'how long it took is remembered');
});

t.test('no traffic before a real token', async (t) => {
  const fixture = createFixture();
  await fixture.loop.restore();
  fixture.desire(1, [SIM_SPEC]);
  await fixture.clock.pass(20);
  fixture.engine().generation = { kind: 'failed', message: 'CUDA error' };
  await fixture.clock.pass(200);
  t.equal(fixture.latest('e1')?.state, 'ENGINE_STATE_WARMING');
  t.same(fixture.targets, []);
  await fixture.clock.pass(3000);
  t.match(
    fixture.journal.filter((entry) => entry.state === 'ENGINE_STATE_BACKOFF'),
    [{ reason: 'warm_failed', cause: 'warm_failed', message: /CUDA error/ }],
  );
});

t.test('an embedding model that cannot generate serves all the same', async (t) => {
  const fixture = createFixture();
  await fixture.loop.restore();
  fixture.desire(1, [SIM_SPEC]);
  await fixture.clock.pass(20);
  fixture.engine().generation = { kind: 'not_generative' };
  await fixture.clock.pass(500);
  t.match(fixture.latest('e1'), { state: 'ENGINE_STATE_READY', message: /does not generate/ });
});

t.test('a start tells its progress, and from the second on how long it takes', async (t) => {
  const fixture = createFixture();
  await fixture.loop.restore();
  fixture.desire(1, [SIM_SPEC]);
  await fixture.clock.pass(20);
  const slow = fixture.engine();
  slow.health = 'refused';
  slow.output = 'Initializing a V1 LLM engine\nLoading weights took 3 s\n';
  await fixture.clock.pass(10_000);
  t.match(fixture.latest('e1'), { state: 'ENGINE_STATE_STARTING', progressRatio: 0.4, etaMs: undefined });
  slow.health = 'ok';
  await fixture.clock.pass(500);
  fixture.desire(2, [{ ...SIM_SPEC, limits: { ...SIM_SPEC.limits, maxRestarts: 9 } }]);
  slow.end({ exitCode: 0 });
  while (fixture.engines.length < 2) await fixture.clock.pass(1);
  fixture.engine().health = 'refused';
  await fixture.clock.pass(4000);
  t.match(fixture.latest('e1'), { state: 'ENGINE_STATE_STARTING' });
  const etaMs = fixture.latest('e1')?.etaMs as number;
  const progressRatio = fixture.latest('e1')?.progressRatio as number;
  t.ok(etaMs > 4000 && etaMs < 8000, `${etaMs} ms`);
  t.ok(progressRatio > 0.3 && progressRatio < 0.6, `${progressRatio}`);
});

t.test('a host that is not ready is told with its checks, and is tried again', async (t) => {
  const fixture = createFixture();
  fixture.facts = { address: 'taken' };
  await fixture.loop.restore();
  fixture.desire(1, [SIM_SPEC]);
  await fixture.clock.pass(100);
  t.match(fixture.latest('e1'), {
    state: 'ENGINE_STATE_BACKOFF',
    reason: 'preflight_failed',
    cause: 'port_taken',
    checks: [{ name: 'address', verdict: 'CHECK_VERDICT_FAIL' }],
  });
  t.equal(fixture.engines.length, 0);
  fixture.facts = { address: 'free' };
  await fixture.clock.pass(60_000);
  t.equal(fixture.latest('e1')?.state, 'ENGINE_STATE_READY');
  t.match(fixture.engine().plan.address, { path: '/data/engines/e1/api-1.sock' }, 'and another address was chosen');
});

t.test('a death is told at once, its cause when the tree is gone', async (t) => {
  const fixture = await serving();
  fixture.engine().output = 'torch.OutOfMemoryError: CUDA out of memory.';
  fixture.engine().die({ signal: 'SIGKILL' });
  await fixture.clock.pass(0);
  t.match(fixture.latest('e1'), { state: 'ENGINE_STATE_STOPPING', reason: 'crashed', signal: 'SIGKILL' });
  t.same(fixture.targets, [], 'and it is out of rotation');
  await fixture.clock.pass(900);
  t.equal(fixture.engines.length, 1, 'nothing is started while a process of the tree lives');
  fixture.engine().leave({ signal: 'SIGKILL', orphansKilled: 2 });
  await fixture.clock.pass(0);
  t.match(fixture.latest('e1'), { state: 'ENGINE_STATE_BACKOFF', cause: 'gpu_memory', restarts: 1 });
  t.ok(fixture.journal.some((entry) => entry.reason === 'orphans_killed'));
  await fixture.clock.pass(2000);
  t.match(fixture.latest('e1'), { state: 'ENGINE_STATE_READY', incarnation: 2 });
});

t.test('an engine that has lost its core is out of rotation at once and ended', async (t) => {
  const fixture = await serving();
  const engine = fixture.engine();
  engine.onTerm = () => undefined;
  engine.losePart();
  await fixture.clock.pass(0);
  t.match(fixture.latest('e1'), { state: 'ENGINE_STATE_STOPPING', reason: 'crashed', message: /cannot do without/ });
  t.same(fixture.targets, []);
  t.same(engine.signals, ['SIGTERM']);
  engine.end({ exitCode: 0 });
  await fixture.clock.pass(2000);
  t.match(fixture.latest('e1'), { state: 'ENGINE_STATE_READY', incarnation: 2, restarts: 1 });
});

t.test('an engine that has served is started again, whatever its log says of a request', async (t) => {
  const line = "huggingface_hub.errors.HFValidationError: Repo id must be in the form 'name': '/adapters/none'.";
  const served = await serving();
  served.engine().output = line;
  served.engine().end({ signal: 'SIGKILL' });
  await served.clock.pass(0);
  t.match(served.latest('e1'), { state: 'ENGINE_STATE_BACKOFF', cause: 'killed' });
  await served.clock.pass(2000);
  t.match(served.latest('e1'), { state: 'ENGINE_STATE_READY', incarnation: 2 });
  const fresh = createFixture();
  await fresh.loop.restore();
  fresh.desire(1, [SIM_SPEC]);
  await fresh.clock.pass(20);
  fresh.engine().output = line;
  fresh.engine().end({ exitCode: 1 });
  await fresh.clock.pass(0);
  t.match(
    fresh.latest('e1'),
    { state: 'ENGINE_STATE_FAILED', cause: 'bad_model' },
    'the same line of one that has not',
  );
});

t.test('a restart waits for the GPU memory of the last life, as long as it is bounded', async (t) => {
  const spec = { ...SIM_SPEC, gpuIds: [0] };
  const options = { gpus: [0] };
  const fixture = createFixture(options);
  const held = (): void => {
    fixture.sample = {
      source: 'nvml',
      atMs: fixture.clock.wallMs() + 1,
      gpus: [{ index: 0, processes: [{ pid: 100 }] }],
    };
  };
  fixture.sample = { source: 'nvml', atMs: 0, gpus: [{ index: 0, processes: [] }] };
  await fixture.loop.restore();
  fixture.desire(1, [spec]);
  await fixture.clock.pass(500);
  fixture.engine().end({ exitCode: 1 });
  held();
  await fixture.clock.pass(2000);
  t.equal(fixture.latest('e1')?.state, 'ENGINE_STATE_STOPPING');
  fixture.sample = { source: 'nvml', atMs: fixture.clock.wallMs() + 1, gpus: [{ index: 0, processes: [] }] };
  await fixture.clock.pass(300);
  t.equal(fixture.latest('e1')?.state, 'ENGINE_STATE_BACKOFF');
  await fixture.clock.pass(2000);
  fixture.engine().end({ exitCode: 1 });
  fixture.sample = {
    source: 'nvml',
    atMs: fixture.clock.wallMs() + 9,
    gpus: [{ index: 0, processes: [{ pid: 110 }] }],
  };
  await fixture.clock.pass(3500);
  t.match(fixture.journal.find((entry) => entry.reason === 'gpu_not_released')?.message, /pid 110 on GPU 0/);
  const told = fixture.journal.findLast((entry) => entry.state === 'ENGINE_STATE_BACKOFF');
  t.match(told?.message, /still held by pid 110/, 'and it goes on, with the reason told');
});

t.test(
  'GPU memory of which nothing is known is told of: after a wait where NVML may still tell, else at once',
  async (t) => {
    const spec = { ...SIM_SPEC, gpuIds: [0] };
    const notes = (fixture: Fixture) => fixture.journal.filter(({ reason }) => reason === 'gpu_release_unknown');
    const nvml = createFixture({ gpus: [0] });
    nvml.sample = { source: 'nvml', atMs: 0, gpus: [{ index: 0 }] };
    await nvml.loop.restore();
    nvml.desire(1, [spec]);
    await nvml.clock.pass(500);
    nvml.engine().end({ exitCode: 1 });
    await nvml.clock.pass(2000);
    t.equal(nvml.latest('e1')?.state, 'ENGINE_STATE_STOPPING');
    await nvml.clock.pass(1500);
    t.match(notes(nvml), [{ message: /no sample came in time/ }]);
    const told = nvml.journal.findLast((entry) => entry.state === 'ENGINE_STATE_BACKOFF');
    t.match(told?.message, /could not be read/);
    const blind = createFixture({ gpus: [0] });
    await blind.loop.restore();
    blind.desire(1, [spec]);
    await blind.clock.pass(500);
    blind.engine().end({ exitCode: 1 });
    await blind.clock.pass(100);
    t.match(notes(blind), [{ message: /GPUs are not read/ }]);
    t.equal(blind.latest('e1')?.state, 'ENGINE_STATE_BACKOFF');
  },
);

t.test('a wedged engine leaves rotation, is written down, killed and back without a person', async (t) => {
  const fixture = await serving();
  const wedged = fixture.engine();
  wedged.onTerm = () => undefined;
  wedged.load = { generationTokensTotal: 7 };
  const lastProgressAtMs = fixture.clock.nowMs;
  fixture.progress('e1', { open: 3, lastProgressAtMs, interTokenP50Ms: 20 });
  await fixture.clock.pass(2000);
  t.equal(fixture.latest('e1')?.state, 'ENGINE_STATE_READY', 'not before its bound');
  await fixture.clock.pass(600);
  t.match(fixture.dumps, [/No progress for \d+ ms/]);
  t.same(wedged.signals, ['SIGKILL']);
  t.ok(fixture.journal.some((entry) => entry.reason === 'wedged'));
  t.ok(fixture.journal.some((entry) => entry.reason === 'dumped'));
  fixture.progress('e1', { open: 0 });
  await fixture.clock.pass(2000);
  t.match(fixture.latest('e1'), { state: 'ENGINE_STATE_READY', incarnation: 2, restarts: 1 });
});

t.test('an engine that the host does not let run is not taken for wedged at once', async (t) => {
  const fixture = await serving();
  fixture.engine().load = { generationTokensTotal: 7 };
  const fromMs = fixture.clock.nowMs;
  fixture.runDelayMs = () => (fixture.clock.nowMs - fromMs) * 0.6;
  fixture.progress('e1', { open: 3, lastProgressAtMs: fromMs, interTokenP50Ms: 20 });
  await fixture.clock.pass(3500);
  t.equal(fixture.latest('e1')?.state, 'ENGINE_STATE_READY', 'it got less than half of a CPU');
  await fixture.clock.pass(1500);
  t.match(fixture.dumps, [/No progress for \d+ ms.* beside \d+ ms without a CPU/]);
});

t.test('an engine whose own counters move is left alone, however silent the relay', async (t) => {
  const fixture = await serving();
  fixture.progress('e1', { open: 1, waitingFirst: 1, oldestWaitingSinceMs: fixture.clock.nowMs });
  for (let second = 0; second < 120; second++) {
    fixture.engine().load = { generationTokensTotal: second };
    await fixture.clock.pass(1000);
  }
  t.equal(fixture.engines.length, 1);
});

t.test('an engine that stands still before its first token is found too', async (t) => {
  const fixture = createFixture();
  await fixture.loop.restore();
  fixture.desire(1, [SIM_SPEC]);
  await fixture.clock.pass(20);
  fixture.engine().load = { generationTokensTotal: 0 };
  await fixture.clock.pass(1000);
  fixture.progress('e1', { open: 1, waitingFirst: 1, oldestWaitingSinceMs: fixture.clock.nowMs, waitingBytes: 100 });
  await fixture.clock.pass(4000);
  t.equal(fixture.dumps.length, 0);
  await fixture.clock.pass(2000);
  t.equal(fixture.dumps.length, 1);
});

t.test('faults are noted, and several with bad health end the life', async (t) => {
  const fixture = await serving();
  fixture.progress('e1', { open: 1, faults: 1, lastProgressAtMs: fixture.clock.nowMs });
  await fixture.clock.pass(300);
  t.match(fixture.journal.at(-1), { reason: 'fault', state: 'ENGINE_STATE_READY' });
  fixture.engine().health = 'unhealthy';
  fixture.progress('e1', { open: 0, faults: 3 });
  await fixture.clock.pass(300);
  t.ok(fixture.journal.some((entry) => entry.reason === 'unhealthy'));
});

t.test('an engine that answers badly several times is restarted', async (t) => {
  const fixture = await serving();
  fixture.engine().load = { generationTokensTotal: 5 };
  await fixture.clock.pass(500);
  fixture.engine().health = 'timeout';
  fixture.progress('e1', { open: 1, stalled: 1 });
  await fixture.clock.pass(10_000);
  t.equal(fixture.latest('e1')?.state, 'ENGINE_STATE_READY', 'a slow answer is a busy engine');
  fixture.engine().health = 'unhealthy';
  await fixture.clock.pass(1900);
  t.equal(fixture.engines.length, 1);
  await fixture.clock.pass(3000);
  t.equal(fixture.engines.length, 2);
});

t.test(
  'an engine that has nothing to do and answers nobody is wedged, without a request that would tell',
  async (t) => {
    const fixture = await serving();
    fixture.engine().health = 'timeout';
    await fixture.clock.pass(2500);
    t.equal(fixture.engines.length, 1);
    await fixture.clock.pass(3000);
    t.ok(
      fixture.journal.some(({ reason, message }) => reason === 'wedged' && /took 3 connections/.test(message ?? '')),
    );
    t.equal(fixture.engines.length, 2);
  },
);

t.test('one that froze before it told its counters once is found although it has requests', async (t) => {
  const fixture = await serving();
  fixture.engine().health = 'timeout';
  fixture.progress('e1', { open: 1, waitingFirst: 1, oldestWaitingSinceMs: fixture.clock.nowMs, waitingBytes: 100 });
  await fixture.clock.pass(5500);
  t.ok(fixture.journal.some(({ reason }) => reason === 'wedged'));
  t.equal(fixture.engines.length, 2);
});

t.test('a storm of restarts over all engines is braked', async (t) => {
  const fixture = createFixture();
  await fixture.loop.restore();
  const names = ['a', 'b', 'c', 'd', 'e', 'f'];
  fixture.desire(
    1,
    names.map((name) => ({ ...SIM_SPEC, name })),
  );
  await fixture.clock.pass(500);
  for (const engine of [...fixture.engines]) engine.end({ exitCode: 1 });
  await fixture.clock.pass(5000);
  t.equal(fixture.engines.length, 10, 'four at once');
  await fixture.clock.pass(30_000);
  t.equal(fixture.engines.length, 12, 'the others one after another');
});

t.test(
  'a relay thread that crashes is in the journal of each engine that had requests on it, with their number',
  async (t) => {
    const fixture = await serving();
    const open = (engine: string, requestId: string) => ({ engine, requestId });
    noteLostThread(fixture.loop, 1, { listed: [open('e1', 'a'), open('gone', 'b'), open('e1', 'c')], unlisted: 0 });
    noteLostThread(fixture.loop, 0, { listed: [open('gone', 'b')], unlisted: 0 });
    noteLostThread(fixture.loop, 0, { listed: [open('e1', 'd')], unlisted: 4 });
    t.match(
      fixture.journal.filter((entry) => entry.reason === 'relay_thread_lost'),
      [
        { engine: 'e1', state: 'ENGINE_STATE_READY', message: '2 requests were open on relay thread 1 as it crashed.' },
        { engine: 'e1', message: /^1 request was open on relay thread 0 as it crashed. 4 more/ },
      ],
    );
  },
);

t.test(
  'most questions for its health need no new connection, and a door that is gone is found all the same',
  async (t) => {
    const fixture = await serving();
    const engine = fixture.engine();
    engine.healthAsks.length = 0;
    await fixture.clock.pass(9000);
    t.equal(engine.healthAsks.filter((connection) => connection === 'anew').length, 3);
    t.equal(engine.healthAsks.length, 9);
    engine.doorIsGone = true;
    await fixture.clock.pass(3100);
    t.match(fixture.latest('e1'), { state: 'ENGINE_STATE_READY' });
    await fixture.clock.pass(2000);
    t.same(engine.healthAsks.slice(-3), ['anew', 'anew', 'anew'], 'from the first refusal on each one knocks');
    t.equal(fixture.latest('e1')?.incarnation, 2, 'and is started anew');
  },
);
