/** Which rule says how much GPU memory a new replica gets, what it gives, and what people are told of it. */
import t from 'tap';
import type { ModelShape } from '../../../../lib/model_shape.ts';
import type { ModelFacts } from '../../../../scheduler/core/fleet/model_facts.ts';
import type { FleetState } from '../../../../scheduler/core/fleet/state.ts';
import {
  gpuSizes,
  memoryNeed,
  type MemoryNeed,
  memoryText,
  promisedSpec,
} from '../../../../scheduler/core/reconcile/memory_need.ts';
import {
  type EngineFigures,
  measuredOf,
  type ModelKnowledge,
  useOf,
} from '../../../../scheduler/core/reconcile/model_book.ts';
import { engineUseOf, voidFlag } from '../../../../scheduler/core/placement/memory/engine_use.ts';
import { estimateMemory } from '../../../../scheduler/core/placement/memory/estimate.ts';
import type { DeploymentSpec } from '../../../../scheduler/core/resources/contract.ts';
import { LLAMA_8B } from '../../model_fixture.ts';
import { GIB } from '../../reconcile/fake_node.ts';

const SHAPE: ModelShape = { kind: 'shape', ...LLAMA_8B };
const FACTS: ModelFacts = { weightBytes: 15 * GIB, shape: SHAPE, problem: '' };

const spec = (change: Partial<DeploymentSpec> = {}): DeploymentSpec => {
  const { gpuMemoryBytes: _stated, ...rest } = {
    engine: 'vllm' as const,
    model: '/models/llama',
    servedModelName: 'm',
    replicas: 1,
    gpusPerHost: 1,
    extraFlags: ['--max-model-len', '32k'],
    environment: {},
    ...change,
  };
  return change.gpuMemoryBytes === undefined ? rest : { ...rest, gpuMemoryBytes: change.gpuMemoryBytes };
};

const knowing = (facts: ModelFacts | undefined, figures: readonly EngineFigures[] = []): ModelKnowledge => ({
  version: 1,
  factsOf: () => facts,
  figuresOf: () => figures,
});

const SIZES = [
  { model: 'L4', bytes: 24 * GIB },
  { model: 'H100', bytes: 80 * GIB },
];

function need(change: Partial<DeploymentSpec>, models = knowing(FACTS), sizes = SIZES): MemoryNeed {
  const run = spec(change);
  return memoryNeed(run, run, { sizes, models });
}

t.test('without files that anybody knows it is nine tenths of the smallest GPU, alone on it', async (t) => {
  const found = need({ sharing: 'shared' }, knowing(undefined));
  t.match(found, { rule: 'whole_gpu', sharing: 'exclusive', gpuMemoryBytes: Math.floor(21.6 * GIB) });
  t.match(memoryText(found), /^21\.6 GiB on each GPU, nine tenths of the smallest .*no host has looked at the files/);
  t.match(need({ gpuModels: ['H100'] }, knowing(undefined)), { gpuMemoryBytes: 72 * GIB });
  t.match(need({ gpuModels: ['H200'] }, knowing(undefined)), { gpuMemoryBytes: 0 });
  const half = { ...FACTS, weightBytes: undefined, problem: 'a.safetensors: its header is no JSON object' };
  t.match(memoryText(need({}, knowing(half))), /its weights cannot be read \(a\.safetensors: its header is no JSON/);
  const none = { weightBytes: undefined, shape: undefined, problem: '' };
  t.match(memoryText(need({}, knowing(none))), /its weights and its shape cannot be read$/);
});

t.test('nine tenths are of what programs can have of a GPU, where its agent tells that', async (t) => {
  const h200 = { name: 'H200', memoryTotalBytes: 150_754_820_096 };
  const fleet = (...gpus: object[]) => ({ nodes: new Map([['n', { hello: { gpus } }]]) }) as unknown as FleetState;
  const usable = { ...h200, memoryUsableBytes: 150_109_880_320 };
  t.same(gpuSizes(fleet(usable, usable, h200, { name: 'none' })), [
    { model: 'H200', bytes: 150_109_880_320 },
    { model: 'H200', bytes: 150_754_820_096 },
  ]);
  const [size] = gpuSizes(fleet(usable));
  t.match(need({}, knowing(undefined), size === undefined ? [] : [size]), { gpuMemoryBytes: 135_098_892_288 });
});

t.test('what the deployment states counts, and without a GPU nothing does', async (t) => {
  const stated = need({ gpuMemoryBytes: 5 * GIB, sharing: 'tenant' });
  t.same(stated, { rule: 'stated', gpuMemoryBytes: 5 * GIB, sharing: 'tenant' });
  t.equal(memoryText(stated), '5.0 GiB on each GPU, as the deployment states');
  t.same(need({ gpuMemoryBytes: 5 * GIB }), { rule: 'stated', gpuMemoryBytes: 5 * GIB });
  t.equal(memoryText(need({ gpusPerHost: 0 })), undefined);
});

t.test('an engine that shares its GPU is promised its estimate, which its place then states', async (t) => {
  const found = need({ sharing: 'shared' });
  t.match(found, { rule: 'estimated', sharing: 'shared', shares: true });
  // 15 of weights, 32,768 tokens of 128 KiB, activations, a process.
  t.ok(found.gpuMemoryBytes > 20 * GIB && found.gpuMemoryBytes < 23 * GIB, String(found.gpuMemoryBytes / GIB));
  t.match(
    memoryText(found),
    /^on each GPU 2\d\.\d GiB by estimate from its files \(weights 15\.0 GiB, KV cache 4\.0 GiB/,
  );
  t.equal(promisedSpec(spec(), found).gpuMemoryBytes, found.gpuMemoryBytes);
  t.equal(promisedSpec(spec(), need({})).gpuMemoryBytes, undefined);
  const flags = ['--gpu_memory_utilization=0.5'];
  t.match(need({ sharing: 'shared', extraFlags: flags }), { rule: 'whole_gpu', why: /its flags say what share/ });
});

t.test('one that has its GPU to itself takes nine tenths of the smallest GPU that holds the estimate', async (t) => {
  const small = need({ extraFlags: ['--max-model-len', '4096', '--max-num-seqs', '4'] });
  t.match(small, { rule: 'estimated', gpuMemoryBytes: Math.floor(21.6 * GIB), shares: false });
  t.match(
    memoryText(small),
    /^21\.6 GiB on each GPU, nine tenths of the smallest GPU that holds 1\d\.\d GiB by estimate/,
  );
  t.match(need({ extraFlags: [] }), { rule: 'estimated', gpuMemoryBytes: 72 * GIB }, 'its whole context is 16 GiB');
  // Of what is certain the weights are the largest part: an engine may start where the estimate says no.
  const tight = need({ extraFlags: [] }, knowing(FACTS), SIZES.slice(0, 1));
  t.match(tight, {
    rule: 'whole_gpu',
    gpuMemoryBytes: Math.floor(21.6 * GIB),
    why: /no GPU holds the estimate of 3\d/,
  });
  const huge = need({}, knowing({ ...FACTS, weightBytes: 200 * GIB }));
  t.match(huge, { rule: 'estimated', sharing: 'exclusive' });
  t.ok(huge.gpuMemoryBytes > 200 * GIB);
  t.match(need({ engine: 'sim', model: '/m' }), { rule: 'estimated', shares: false });
  t.ok(need({ engine: 'sim' }).gpuMemoryBytes < 23 * GIB);
});

t.test('flags say how the model is used, and some make the files say nothing', async (t) => {
  const use = (extraFlags: string[], gpus = 1, gpusPerHost = gpus) =>
    engineUseOf({ extraFlags, gpus, gpusPerHost }, SHAPE);
  t.match(use([]), {
    tensorParallel: 1,
    contextTokens: 131_072,
    sequences: 32,
    batchTokens: 8192,
    kvCacheDtype: 'auto',
  });
  t.match(use(['--max_model_len=8K', '--max-num-seqs', '7', '--max-num-batched-tokens=2048']), {
    contextTokens: 8192,
    sequences: 7,
    batchTokens: 2048,
  });
  t.match(use([], 4), { tensorParallel: 4, pipelineParallel: 1 });
  t.match(use(['-tp', '2', '-pp', '2'], 4), { tensorParallel: 2, pipelineParallel: 2 });
  t.match(use(['-tp', '64'], 4), { tensorParallel: 4 });
  t.match(use(['--max-model-len', 'auto', '--kv-cache-dtype', 'fp8_e5m2']), {
    contextTokens: 131_072,
    kvCacheDtype: 'fp8',
  });
  t.match(use(['--kv-cache-dtype=fp8_ds_mla', '--enforce-eager', '--x']), { kvCacheDtype: 'fp8_ds_mla' });
  t.match(
    engineUseOf(
      { extraFlags: [], gpus: 1, gpusPerHost: 1, maxConcurrentRequests: 9 },
      { ...SHAPE, maxPositions: undefined },
    ),
    {
      sequences: 9,
      contextTokens: 8192,
    },
  );
  for (const [flags, expected] of [
    [['--cpu-offload-gb', '8'], '--cpu-offload-gb'],
    [['--quantization', 'fp8'], '--quantization fp8'],
    [['-q', 'awq'], undefined],
    [['--dtype=float32'], '--dtype float32'],
    [['--speculative_config', '{}'], '--speculative-config'],
  ] as const)
    t.equal(voidFlag(flags), expected);
  t.match(need({ extraFlags: ['--load-format', 'bitsandbytes'] }), { rule: 'whole_gpu', why: /with --load-format/ });
});

t.test('a replica over several hosts is estimated as its members are told to divide the model', async (t) => {
  const use = (change: Partial<DeploymentSpec>) => {
    const { tensorParallel: tensor, pipelineParallel: pipeline } = useOf(spec({ extraFlags: [], ...change }), SHAPE);
    return [tensor, pipeline];
  };
  t.same(use({ hosts: 2, gpusPerHost: 4 }), [4, 2]);
  t.same(use({ hosts: 2, gpusPerHost: 4, extraFlags: ['-tp', '8'] }), [8, 1]);
  t.same(use({ hosts: 2, gpusPerHost: 4, extraFlags: ['--pipeline_parallel_size=4'] }), [2, 4]);
  t.same(use({ hosts: 2, gpusPerHost: 4, extraFlags: ['-tp', '3'] }), [3, 1], 'what cannot start is as its flags are');
  t.same(use({ hosts: 2, engine: 'sim' }), [1, 1], 'a simulated one divides nothing');
  t.same(use({ gpusPerHost: 4, extraFlags: ['-pp', '2'] }), [2, 2], 'one host: its stages share its GPUs');
  t.same(use({ gpusPerHost: 4, extraFlags: ['-pp', '3'] }), [1, 3]);
  // Per GPU 15 GiB are 7.5 GiB and half a table of 0.98 GiB; 32,768 tokens of 128 KiB are 2 GiB of 4.
  const wide = need({ sharing: 'shared', hosts: 2 });
  t.match(memoryText(wide), /by estimate from its files \(weights 8\.0 GiB, KV cache 2\.0 GiB/);
  t.match(need({ hosts: 2, environment: { VLLM_PP_LAYER_PARTITION: '20,12' } }), {
    rule: 'whole_gpu',
    why: /with VLLM_PP_LAYER_PARTITION the files do not say/,
  });
});

t.test('what engines of the model used takes the place of what was estimated', async (t) => {
  const plain = need({ sharing: 'shared' });
  const seen: EngineFigures = {
    usedBytes: 21 * GIB,
    weightsBytes: 16 * GIB,
    kvCacheBytes: 2 * GIB,
    kvCacheTokens: 2 ** 14,
    fills: true,
  };
  const found = need({ sharing: 'shared' }, knowing(FACTS, [seen]));
  t.match(memoryText(found), /; measured: weights, process, KV cache\)$/);
  t.match(found, { estimate: { measured: ['weightsBytes', 'overheadBytes', 'kvBytesPerToken'] } });
  t.not(found.gpuMemoryBytes, plain.gpuMemoryBytes);
  const use = engineUseOf({ extraFlags: [], gpus: 1, gpusPerHost: 1 }, SHAPE);
  const estimate = estimateMemory(SHAPE, 15 * GIB, use);
  // vLLM fills its share: the whole says nothing while the size of its cache is not known.
  t.same(measuredOf({ usedBytes: 72 * GIB, fills: true }, estimate, false), {});
  t.same(measuredOf({ usedBytes: 72 * GIB, kvCacheTokens: 9, fills: true }, estimate, true), {});
  const known = measuredOf(
    { usedBytes: 20 * GIB, kvCacheTokens: 2 ** 13, activationBytes: GIB, fills: true },
    estimate,
    false,
  );
  t.same(known, { activationBytes: GIB, overheadBytes: 3 * GIB });
  t.match(measuredOf({ usedBytes: GIB, fills: false }, estimate, false), { overheadBytes: 0 });
  const windows = measuredOf({ kvCacheBytes: GIB, kvCacheTokens: 100, fills: true }, estimate, true);
  t.same(windows, {}, 'a token of a cache with windows is another one');
});
