/** Engines whose model has a source: they wait for the files, tell how far they are, and start on the local path. */
import t from 'tap';
import { acceptSpecs } from '../../agent/core/engine_spec.ts';
import type { ModelSource } from '../../agent/core/model_files/source.ts';
import type { ModelFilesState } from '../../agent/ports.ts';
import type { EngineSpec__Output } from '../../proto/gen/fleet/v1/EngineSpec.ts';
import { createFixture, SIM_SPEC } from './support/loop_fixture.ts';

const SOURCE: ModelSource = { url: 'hf://org/name', revision: 'v1', sha256: {} };
const SPEC = { ...SIM_SPEC, kind: 'ENGINE_KIND_LLAMA', model: 'org/name', modelSource: SOURCE } as const;
const READY: ModelFilesState = { kind: 'ready', path: '/shelf/name@1', files: ['config.json', 'q4.gguf'] };

/** Files whose state the test sets. */
function fakeModels(
  state: ModelFilesState = { kind: 'busy', message: 'model 34 %, 2.1 GiB/s, ETA 40 s', ratio: 0.34, etaMs: 40_000 },
) {
  return {
    state,
    wanted: [] as readonly ModelSource[],
    asks: 0,
    setWanted(sources: readonly ModelSource[]) {
      this.wanted = sources;
    },
    stateOf(): ModelFilesState {
      return this.state;
    },
    again() {
      this.asks += 1;
    },
    readings: () => [],
  };
}

async function ordered(models: ReturnType<typeof fakeModels> | undefined, spec: object = SPEC) {
  const fixture = createFixture(models === undefined ? {} : { models });
  await fixture.loop.restore();
  fixture.desire(1, [spec as never]);
  await fixture.clock.pass(500);
  return fixture;
}

t.test(
  'an engine waits for its files with a reason that shows how far they are, and then starts on the local path',
  async (t) => {
    const models = fakeModels();
    const fixture = await ordered(models);
    t.same(models.wanted, [SOURCE]);
    t.match(fixture.latest('e1'), {
      state: 'ENGINE_STATE_PREFLIGHT',
      reason: 'model_files',
      message: 'model 34 %, 2.1 GiB/s, ETA 40 s',
      progressRatio: 0.34,
      etaMs: 40_000,
    });
    await fixture.clock.pass(10 * 60_000);
    t.equal(fixture.latest('e1')?.state, 'ENGINE_STATE_PREFLIGHT', 'however long it takes');
    t.equal(fixture.engines.length, 0);
    t.notOk(fixture.journal.some(({ state }) => state === 'ENGINE_STATE_BACKOFF'));
    models.state = { kind: 'busy', message: 'model 90 %', ratio: 0.9 };
    await fixture.clock.pass(3000);
    t.match(fixture.latest('e1'), { message: 'model 90 %', progressRatio: 0.9, etaMs: undefined });
    models.state = READY;
    await fixture.clock.pass(2000);
    t.equal(fixture.latest('e1')?.state, 'ENGINE_STATE_READY');
    const { args, specHash } = fixture.engine().plan;
    t.equal(args[args.indexOf('--model') + 1], '/shelf/name@1/q4.gguf');
    t.equal(args[args.indexOf('--served-model-name') + 1], 'm');
    t.equal(
      specHash,
      acceptSpecs([whole(SPEC)], fixture.loop.parts.rules()).accepted[0]?.hash,
      'the place of the files is not part of the wish',
    );
  },
);

t.test('files that will not come fail the engine with why, and a new order asks for them again', async (t) => {
  const models = fakeModels({ kind: 'failed', message: 'w.safetensors has wrong bytes.' });
  const fixture = await ordered(models);
  t.match(fixture.latest('e1'), {
    state: 'ENGINE_STATE_FAILED',
    reason: 'preflight_failed',
    cause: 'model_files',
    message: /wrong bytes\. It is not tried again/,
    checks: [{ name: 'model', verdict: 'CHECK_VERDICT_FAIL' }],
    progressRatio: undefined,
  });
  t.equal(models.asks, 1);
  models.state = READY;
  fixture.desire(2, [SPEC as never]);
  await fixture.clock.pass(2000);
  t.equal(models.asks, 2);
  t.equal(fixture.latest('e1')?.state, 'ENGINE_STATE_READY');
});

t.test('an engine that is not wanted any more waits no longer, and its files may go', async (t) => {
  const models = fakeModels();
  const fixture = await ordered(models);
  fixture.desire(2, []);
  await fixture.clock.pass(1000);
  t.equal(fixture.loop.runtimeOf('e1'), undefined);
  t.same(models.wanted, []);
  models.state = READY;
  await fixture.clock.pass(60_000);
  t.equal(fixture.engines.length, 0);
});

t.test('an agent that brings no files refuses such an engine, and others start as before', async (t) => {
  t.match((await ordered(undefined)).latest('e1'), { state: 'ENGINE_STATE_FAILED', message: /brings no files/ });
  const models = fakeModels();
  const plain = await ordered(models, SIM_SPEC);
  t.equal(plain.latest('e1')?.state, 'ENGINE_STATE_READY');
  t.same([models.wanted, models.asks], [[], 0]);
});

const whole = (spec: object): EngineSpec__Output =>
  ({
    servedModelName: '',
    gpuIds: [],
    extraFlags: [],
    environment: {},
    limits: null,
    ...spec,
  }) as unknown as EngineSpec__Output;

t.test(
  'a specification with a source is checked by its fields, and one without has the hash that it always had',
  async (t) => {
    const rules = { ...createFixture().loop.parts.rules(), modelRoots: ['/models'] };
    const judge = (change: object) => acceptSpecs([whole({ ...SPEC, ...change })], rules);
    t.match(judge({ modelSource: { ...SOURCE, url: 'ftp://x' } }).rejections, [
      { code: 'invalid_spec', param: 'model_source.url' },
    ]);
    t.match(judge({ modelSource: { ...SOURCE, url: 'file:///etc', revision: '' } }).rejections, [
      { param: 'model_source.url' },
    ]);
    const [one] = judge({}).accepted;
    t.same(one?.modelSource, SOURCE);
    const bare = judge({ modelSource: undefined }).accepted[0];
    t.equal(bare?.hash, judge({ modelSource: null }).accepted[0]?.hash);
    t.equal(acceptSpecs([whole(SIM_SPEC)], rules).accepted[0]?.hash, 'eeb903287900d1bc');
    t.not(bare?.hash, one?.hash);
    const sums = { b: '1'.repeat(64), a: '0'.repeat(64) };
    const turned = { a: sums.a, b: sums.b };
    t.equal(
      judge({ modelSource: { ...SOURCE, sha256: sums } }).accepted[0]?.hash,
      judge({ modelSource: { ...SOURCE, sha256: turned } }).accepted[0]?.hash,
    );
  },
);
