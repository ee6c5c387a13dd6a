/** What a scheduler knows of the files of models on its nodes, from what agents tell. */
import t from 'tap';
import { sourceName } from '../../../../lib/model_source.ts';
import { modelName, modelsOnDisk, plainName } from '../../../../scheduler/core/fleet/models_on_disk.ts';
import { desiredStateOf } from '../../../../scheduler/core/fleet/desired.ts';
import { MAX_MODELS_PER_NODE, mergeTelemetry } from '../../../../scheduler/core/fleet/telemetry.ts';
import type { ModelReading__Output } from '../../../../proto/gen/fleet/v1/ModelReading.ts';
import type { Telemetry__Output } from '../../../../proto/gen/fleet/v1/Telemetry.ts';
import { telemetry } from '../../fakes.ts';

const reading = (source: string, state: string, change: Partial<ModelReading__Output> = {}): ModelReading__Output => ({
  source,
  state,
  message: '',
  resolved: '',
  wanted: true,
  facts: null,
  peers: '',
  ...change,
});
const told = (models: readonly ModelReading__Output[], change: Partial<Telemetry__Output> = {}): Telemetry__Output => ({
  ...telemetry([]),
  models: [...models],
  ...change,
});

t.test('models are replaced one by one, and placement hears of those that are whole', async (t) => {
  const first = mergeTelemetry(
    undefined,
    told([reading('hf://o/a', 'ready'), reading('hf://o/b', 'fetching', { presentBytes: 5 })]),
  )?.picture;
  t.same(modelsOnDisk({ telemetry: first }), ['hf://o/a']);
  const delta = told([reading('hf://o/b', 'ready')], { snapshot: false, goneModels: ['hf://o/a'] });
  const next = mergeTelemetry(first, delta)?.picture;
  t.same(modelsOnDisk({ telemetry: next }), ['hf://o/b']);
  t.same(modelsOnDisk({ telemetry: undefined }), []);
  t.equal(sourceName({ url: 'hf://o/a', revision: 'v1' }), 'hf://o/a@v1');
  t.equal(sourceName({ url: 'hf://o/a' }), 'hf://o/a');
});

t.test('a folder is one model, be it named by its path or as a source', async (t) => {
  t.equal(modelName({ model: 'm', source: { url: 'file:///share/m/' } }), '/share/m');
  t.equal(modelName({ model: '/share/m' }), '/share/m');
  t.same(modelsOnDisk({ telemetry: told([reading('file:///share/m', 'ready')]) }), ['/share/m']);
  for (const name of ['org/m', 'hf://o/a@v/', 's3://b/p/', '/']) t.equal(plainName(name), name);
});

t.test('what cannot be is left out, and their number is bounded', async (t) => {
  const merged = mergeTelemetry(
    undefined,
    told([reading('x'.repeat(3000), 'ready'), reading('y', 'ready', { presentBytes: -1 })]),
  );
  t.match(merged?.picture.models, [{ source: 'y', presentBytes: undefined }]);
  t.equal(merged?.leftOut, 3, 'a name, the entry without one, and a size');
  const many = Array.from({ length: MAX_MODELS_PER_NODE + 5 }, (_, index) => reading(`m${index}`, 'ready'));
  t.equal(mergeTelemetry(undefined, told(many))?.picture.models.length, MAX_MODELS_PER_NODE);
});

t.test('a configured engine carries its source to the agent', async (t) => {
  const engine = {
    name: 'e',
    kind: 'vllm',
    model: 'm',
    servedModelName: 'm',
    gpuIds: [],
    extraFlags: [],
    environment: {},
    limits: {},
  } as const;
  const modelSource = { url: 'hf://o/a', revision: '', sha256: {} };
  t.same(desiredStateOf({ n: [{ ...engine, modelSource }] }, 'n' as never, 1)?.engines?.[0]?.modelSource, modelSource);
  t.notOk('modelSource' in (desiredStateOf({ n: [engine] }, 'n' as never, 1)?.engines?.[0] ?? {}));
});
