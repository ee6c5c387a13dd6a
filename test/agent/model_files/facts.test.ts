/** What an agent reads out of the files of models: headers and config.json only, with every kind of fault told and harmless. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { createFactsReader, type FactsReader } from '../../../agent/adapters/model_files/facts_reader.ts';
import { createRootModels } from '../../../agent/adapters/model_files/root_models.ts';
import { createHubModels } from '../../../agent/adapters/model_files/hub_models.ts';
import {
  ggufFacts,
  ggufFiles,
  missingPieces,
  modelFacts,
  pathModel,
  weightFiles,
} from '../../../agent/core/model_files/facts.ts';
import { commitIn, hubCacheOf, hubModelOf, isHubModel } from '../../../agent/core/model_files/hub_cache.ts';
import { startMemory } from '../../../agent/core/startup_log.ts';
import { pathModelReadings } from '../../../agent/wire/models.ts';
import type { ModelFacts } from '../../../proto/gen/fleet/v1/ModelFacts.ts';
import { ggufHeader, SMALL } from '../../support/gguf.ts';
import { until } from '../../support/waits.ts';
import { address, place, temporary } from './place.ts';

const GIB = 2 ** 30;
const CONFIG = {
  num_hidden_layers: 2,
  hidden_size: 64,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 1000,
  torch_dtype: 'bfloat16',
  max_position_embeddings: 4096,
};

/** A safetensors file with one tensor of so many bytes. */
function tensors(bytes: number, header?: string): Buffer {
  const text = header ?? JSON.stringify({ w: { dtype: 'BF16', shape: [bytes / 2], data_offsets: [0, bytes] } });
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(Buffer.byteLength(text)));
  return Buffer.concat([length, Buffer.from(text), Buffer.alloc(bytes)]);
}

function model(folder: string, files: Readonly<Record<string, string | Buffer>>): string {
  const made = mkdtempSync(path.join(folder, 'm-'));
  for (const [name, content] of Object.entries(files)) writeFileSync(path.join(made, name), content);
  return made;
}

async function look(reader: FactsReader, folder: string): Promise<ModelFacts> {
  await until(() => reader.of(folder) !== undefined, `facts of ${folder}`);
  return reader.of(folder) as ModelFacts;
}

t.test('weights are the sum of the files that an engine loads, the shape is that of config.json', async (t) => {
  const folder = model(temporary(t), {
    'config.json': JSON.stringify(CONFIG),
    'model-00001-of-00002.safetensors': tensors(100),
    'model-00002-of-00002.safetensors': tensors(60),
    'consolidated.safetensors': tensors(160),
    'adapter_model.safetensors': tensors(8),
    'pytorch_model.bin': 'x',
  });
  const reader = createFactsReader(() => 0);
  t.equal(reader.of(folder), undefined, 'nobody waits for it');
  const facts = await look(reader, folder);
  t.match(facts, {
    weightBytes: 160,
    problem: '',
    shape: { hidden: 64, kvHeads: 2, fullLayers: 2, maxPositions: 4096 },
  });
  rmSync(folder, { recursive: true });
  t.equal(reader.of(folder), facts, 'the same object for as long as it is known');
  t.same(weightFiles(['consolidated.00.safetensors', 'original/consolidated.safetensors', 'README.md']), [
    'consolidated.00.safetensors',
  ]);
});

t.test('what cannot be read is told with its reason', async (t) => {
  const home = temporary(t);
  const reader = createFactsReader(() => 0);
  const config = JSON.stringify(CONFIG);
  const lie = JSON.stringify({ w: { dtype: 'BF16', shape: [500], data_offsets: [0, 1000] } });
  const long = Buffer.alloc(16);
  long.writeBigUInt64LE(BigInt(90_000_000));
  for (const [files, problem] of [
    [{ 'a.safetensors': tensors(2) }, /^config\.json cannot be read \(ENOENT\)$/],
    [{ 'config.json': '{', 'a.safetensors': tensors(2) }, /^config\.json is no JSON$/],
    [
      { 'config.json': '{"n_layer":2}', 'a.safetensors': tensors(2) },
      /^config\.json lacks hidden_size, num_attention_heads, vocab/,
    ],
    [
      { 'config.json': `"${'x'.repeat(4 * 1024 * 1024)}"` },
      /^config\.json has \d+ bytes; there is no safetensors file$/,
    ],
    [{ 'config.json': config }, /^there is no safetensors file$/],
    [{ 'config.json': config, 'a.safetensors': 'short' }, /^a\.safetensors is shorter than its header says$/],
    [{ 'config.json': config, 'a.safetensors': tensors(2, '[]') }, /^a\.safetensors: its header is no JSON object$/],
    [{ 'config.json': config, 'a.safetensors': tensors(2, lie) }, /^a\.safetensors is shorter than its header says$/],
    [{ 'config.json': config, 'a.safetensors': long }, /^a\.safetensors: its header would be 90000008 bytes$/],
    [{ 'config.json': config, 'a.safetensors': Buffer.alloc(8, 255) }, /its header would be/],
    [{ 'config.json': config, 'a.safetensors': tensors(0, '{"__metadata__":{}}') }, /^its files hold no weights$/],
  ] as const) {
    const facts = await look(reader, model(home, files));
    t.match(facts.problem, problem);
  }
  const folder = model(home, { 'config.json': config });
  mkdirSync(path.join(folder, 'a.safetensors'));
  t.match((await look(reader, folder)).problem, /^a\.safetensors cannot be read \(EISDIR\)$/);
  const many = Object.fromEntries(Array.from({ length: 1025 }, (_, i) => [`${i}.safetensors`, '']));
  t.match((await look(reader, model(home, many))).problem, /more than 1024 safetensors files/);
  t.match(modelFacts({ config: 'x'.repeat(400), weights: [] }).problem?.length, 200);
});

t.test(
  'what was not sound is looked at again after a while, and of many models the oldest are forgotten',
  async (t) => {
    const home = temporary(t);
    let nowMs = 0;
    const reader = createFactsReader(() => nowMs);
    const folder = model(home, { 'config.json': JSON.stringify(CONFIG) });
    const before = await look(reader, folder);
    writeFileSync(path.join(folder, 'a.safetensors'), tensors(20));
    nowMs = 59_000;
    t.equal(reader.of(folder), before);
    nowMs = 60_000;
    await until(() => reader.of(folder)?.problem === '', 'it to be sound');
    t.match(reader.of(folder), { weightBytes: 20 });
    t.equal(reader.of(path.join(home, 'none')), undefined);
    for (let i = 0; i < 1024; i++) reader.of(path.join(home, `none${i}`));
    t.equal(reader.of(folder), undefined, 'it begins anew');
    await look(reader, folder);
  },
);

t.test('telemetry tells the facts of brought models, and of paths that engines load', async (t) => {
  const home = temporary(t);
  const folder = model(home, { 'config.json': JSON.stringify(CONFIG), 'a.safetensors': tensors(20) });
  const facts = createFactsReader(() => 0);
  const here = await place(t, { facts });
  await here.bring(address(`file://${folder}`));
  const told = () => here.models.readings()[0]?.facts as ModelFacts | undefined;
  await until(() => told() !== undefined, 'its facts');
  t.match(told(), { weightBytes: 20 });
  const spec = (name: string, more: object = {}) => ({ life: { spec: { name, model: folder, ...more } } });
  const other = path.join(home, 'none');
  const engines = [
    spec('a'),
    spec('b'),
    spec('c', { modelSource: {} }),
    spec('d', { model: 'org/m' }),
    spec('e', { model: other }),
  ];
  const loop = { engines: () => engines } as never;
  const looks = { facts, rootModels: () => [folder] };
  t.match(pathModelReadings(loop, looks), [
    { source: folder, state: 'ready', wanted: true, facts: { weightBytes: 20 } },
  ]);
  t.equal(pathModelReadings(loop, looks).length, 1);
  t.match(pathModelReadings({ engines: () => [] }, looks), [{ source: folder, wanted: false }]);
  t.equal(pathModel({ model: 'org/m' }), undefined);
});

t.test(
  'models that lie in the roots are found without an engine, within bounds, and again after a while',
  async (t) => {
    const root = temporary(t);
    const make = (...steps: string[]): string => {
      const folder = path.join(root, ...steps);
      mkdirSync(folder, { recursive: true });
      writeFileSync(path.join(folder, 'config.json'), '{}');
      return folder;
    };
    const near = make('near');
    const deep = make('org', 'deep');
    make('near', 'inside');
    make('a', 'b', 'too-deep');
    make('.cache');
    make('brought', 'x');
    symlinkSync(near, path.join(root, 'zlink'));
    writeFileSync(path.join(root, 'file'), '');
    let nowMs = 0;
    const except = path.join(root, 'brought');
    const models = createRootModels({ roots: [`${root}/`, path.join(root, 'none')], except, nowMs: () => nowMs });
    t.same(models(), []);
    await until(() => models().length > 0, 'models');
    t.same(models(), [near, deep, path.join(root, 'zlink')]);
    const late = make('late');
    nowMs = 59_999;
    models();
    t.notOk(models().includes(late));
    nowMs = 60_000;
    await until(() => models().includes(late), 'the late one');
    for (let i = 0; i < 300; i++) make(`m${i}`);
    nowMs = 120_000;
    await until(() => models().length === 256, 'no more than so many');
    t.same(createRootModels({ roots: [], except, nowMs: () => 0 })(), []);
  },
);

t.test('what engines say of their memory while they start is read in the words of several releases', async (t) => {
  t.equal(startMemory('nothing', undefined), undefined);
  const log = [
    '(Worker_TP0 pid=1) INFO [gpu_model_runner.py:1] Model loading took 7.5 GiB memory and 3.1 seconds',
    '(Worker_TP1 pid=2) INFO [gpu_model_runner.py:1] Model loading took 8.0000 GiB and 3.2 seconds',
    '(Worker_TP0 pid=1) INFO [gpu_worker.py:1] Available KV cache memory: 20.00 GiB',
    '(Worker_TP1 pid=2) INFO [gpu_worker.py:1] Available KV cache memory: 19.5 GiB',
  ].join('\n');
  const first = startMemory(log, undefined);
  t.same(first, { weightsBytes: 8 * GIB, kvCacheBytes: 19.5 * GIB });
  t.equal(startMemory(log, first), first, 'the same again is the same object');
  t.equal(startMemory('Model loading took 0.00 GiB; Available KV cache memory: . GiB', first), first);
  const more = 'weights memory: 8GiB; torch peak memory increase: 1.50GiB; non-torch';
  t.same(startMemory(more, first), { ...first, activationBytes: 1.5 * GIB });
  t.match(startMemory('PyTorch activation peak memory takes 1.25GiB', undefined), { activationBytes: 1.25 * GIB });
});

/** A whole GGUF file, with room for its tensors. */
const gguf = (plan = SMALL): Buffer => Buffer.concat([ggufHeader(plan), Buffer.alloc(256)]);

t.test('a GGUF model is sized by its own header, in one file or several, as a folder or as a file', async (t) => {
  const home = temporary(t);
  const reader = createFactsReader(() => 0);
  const one = model(home, { 'm-Q4.gguf': gguf(), 'mmproj-m.gguf': 'x', 'README.md': '' });
  const expected = {
    weightBytes: 100,
    problem: '',
    shape: { hidden: 64, fullLayers: 4, kvHeads: 2, maxPositions: 4096 },
  };
  t.match(await look(reader, one), expected);
  t.match(await look(reader, path.join(one, 'm-Q4.gguf')), expected);
  const second = { ...SMALL, fields: [] };
  const two = model(home, {
    'm-00001-of-00002.gguf': gguf(),
    'm-00002-of-00002.gguf': gguf(second),
    'other.gguf': gguf(),
  });
  t.match(await look(reader, path.join(two, 'm-00001-of-00002.gguf')), { ...expected, weightBytes: 200 });
  t.match((await look(reader, two)).problem, /^there are 2 GGUF models, and none is named$/);
  // A header longer than what is read at first, by its vocabulary.
  const words = Array.from({ length: 100_000 }, (_, index) => `word number ${index}`);
  const long = { ...SMALL, fields: [...SMALL.fields.slice(0, -3), ['tokenizer.ggml.tokens', 9, words, 8] as const] };
  t.match(await look(reader, model(home, { 'm.gguf': gguf(long) })), { shape: { vocabulary: 100_000 } });
  t.equal(reader.of(path.join(home, 'none.gguf')), undefined);
  for (const [files, problem] of [
    [{ 'm.gguf': 'GGU' }, /^m\.gguf is shorter than its header says$/],
    [{ 'm.gguf': 'GGML and so on' }, /^m\.gguf: it does not begin as a GGUF file does \(not_gguf\)$/],
    [{ 'm.gguf': ggufHeader(SMALL) }, /^m\.gguf is shorter than its header says$/],
    [{ 'm.gguf': gguf({ ...SMALL, fields: [] }) }, /^m\.gguf lacks general\.architecture$/],
    [{ 'm.gguf': gguf({ ...SMALL, tensors: [] }) }, /^it holds no weights$/],
    [{ 'm-00001-of-00003.gguf': gguf() }, /^2 of 3 pieces are missing$/],
    [{ 'config.json': '{}', 'm-00001-of-00003.safetensors': tensors(20) }, /; 2 of 3 pieces are missing$/],
  ] as const)
    t.match((await look(reader, model(home, files))).problem, problem);
  const folder = model(home, {});
  mkdirSync(path.join(folder, 'm.gguf'));
  t.match((await look(reader, folder)).problem, /^m\.gguf cannot be read \(EISDIR\)$/);
  const many = Object.fromEntries(
    Array.from({ length: 1025 }, (_, i) => [`m-${String(i + 1).padStart(5, '0')}-of-01025.gguf`, '']),
  );
  t.match((await look(reader, model(home, many))).problem, /more than 1024 GGUF files/);
  t.equal(ggufFiles([]), 'there is no safetensors file');
  t.equal(missingPieces(['m-00002-of-00002.gguf', 'm-00001-of-00002.gguf']), undefined);
  t.match(ggufFacts('no'), { shape: null, problem: 'no' });
});

t.test('models of the hub that lie in the cache of the host are told under their names', async (t) => {
  const home = temporary(t);
  const cache = path.join(home, '.cache/huggingface/hub');
  const commit = (digit: string): string => digit.repeat(40);
  const put = (name: string, digit: string, files: Readonly<Record<string, string | Buffer>>, ref?: string): void => {
    const snapshot = path.join(cache, name, 'snapshots', commit(digit));
    const blobs = path.join(cache, name, 'blobs');
    mkdirSync(snapshot, { recursive: true });
    mkdirSync(blobs, { recursive: true });
    for (const [file, content] of Object.entries(files)) {
      writeFileSync(path.join(blobs, digit + file), content);
      symlinkSync(path.join('../../blobs', digit + file), path.join(snapshot, file));
    }
    if (ref === undefined) return;
    mkdirSync(path.join(cache, name, 'refs'), { recursive: true });
    writeFileSync(path.join(cache, name, 'refs/main'), ref);
  };
  const whole = { 'config.json': JSON.stringify(CONFIG), 'model.safetensors': tensors(20) };
  put('models--org--chat', 'a', { ...whole, 'model.safetensors': tensors(40) });
  put('models--org--chat', 'b', whole, `${commit('b')}\n`);
  put('models--gpt2', 'c', whole);
  put('models--org--half', 'd', { ...whole, 'model.safetensors': Buffer.alloc(4) }, commit('d'));
  put('models--org--two', 'e', whole);
  put('models--org--two', 'f', whole);
  put('datasets--org--data', 'a', whole);
  const facts = createFactsReader(() => 0);
  const hub = { modelsIn: createHubModels(() => 0), inherited: { HOME: home } };
  const looks = { facts, rootModels: () => [], hub };
  const spec = (model: string, more: object = {}) => ({
    life: { spec: { name: 'e', model, environment: {}, ...more } },
  });
  const told = (...engines: object[]) => pathModelReadings({ engines: () => engines } as never, looks);
  await until(() => told().length === 2, 'both models');
  t.match(told(spec('org/chat')), [
    { source: 'gpt2', state: 'ready', resolved: commit('c'), wanted: false, facts: { weightBytes: 20, problem: '' } },
    { source: 'org/chat', resolved: commit('b'), wanted: true, facts: { weightBytes: 20, shape: { hidden: 64 } } },
  ]);
  t.match(
    told(spec('org/chat', { modelSource: {} })).map(({ wanted }) => wanted),
    [false, false],
  );
  await until(() => told(spec('org/half')).length === 3, 'the one that cannot be sized, which an engine loads');
  t.match(told(spec('org/half'))[2], { source: 'org/half', wanted: true, facts: { problem: /shorter/ } });
  // An engine may have a cache of its own; that there are many caches has an end.
  const other = path.join(home, 'other');
  const engines = [spec('org/chat', { environment: { HF_HOME: other } })];
  told(...engines);
  t.equal(told(...engines).length, 2);
  for (let i = 0; i < 10; i++) hub.modelsIn(path.join(home, `none${i}`));
  t.same(hub.modelsIn(path.join(home, 'none9')), []);
  t.equal(told().length, 2);

  t.equal(hubCacheOf({}), undefined);
  t.equal(hubCacheOf({ HOME: '' }), undefined);
  t.equal(hubCacheOf({ HF_HUB_CACHE: 'relative' }), undefined);
  t.equal(hubCacheOf({ HF_HUB_CACHE: '/c', HF_HOME: '/h', HOME: '/u' }), '/c');
  t.equal(hubCacheOf({ HF_HOME: '/h', HOME: '/u' }), '/h/hub');
  for (const name of ['models--a--b--c', 'models--..--x', 'models--', 'models', 'spaces--a--b', 'models--a--b/../c'])
    t.equal(hubModelOf(name), undefined, name);
  t.equal(hubModelOf('models--Qwen--Qwen3-8B'), 'Qwen/Qwen3-8B');
  t.notOk(isHubModel({ model: '/srv/m' }));
  t.notOk(isHubModel({ model: 'a/b/c' }));
  t.notOk(isHubModel({ model: 'a--b' }));
  t.equal(commitIn('main'), undefined);
});
