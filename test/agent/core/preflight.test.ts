/** The look at the host before a start: each check with its figures, and what stops a start. */
import t from 'tap';
import type { AcceptedSpec } from '../../../agent/core/engine_spec.ts';
import { flagValue, judgePreflight, type PreflightFacts, type PreflightInput } from '../../../agent/core/preflight.ts';
import type { GpuState } from '../../../agent/ports.ts';

const GIB = 1024 ** 3;
const SPEC: AcceptedSpec = {
  name: 'e',
  kind: 'vllm',
  model: '/models/m',
  servedModelName: 'm',
  gpuIds: [0],
  extraFlags: [],
  environment: {},
  limits: { startTimeoutMs: 1, drainTimeoutMs: 1, stopTimeoutMs: 1, maxRestarts: 1 },
  hash: 'h',
};
const GPU: GpuState = { index: 0, memoryTotalBytes: 96 * GIB, memoryUsedBytes: 1 * GIB };
const FACTS: PreflightFacts = {
  address: 'free',
  program: 'found',
  model: { kind: 'folder', bytes: 16 * GIB },
  hostMemoryAvailableBytes: 100 * GIB,
  cacheDiskFreeBytes: 100 * GIB,
};

interface Change {
  readonly spec?: Partial<AcceptedSpec>;
  readonly facts?: Partial<PreflightFacts>;
  readonly gpu?: Partial<GpuState>;
  readonly input?: Partial<PreflightInput>;
}

const judge = ({ spec, facts, gpu, input }: Change = {}) =>
  judgePreflight({
    spec: { ...SPEC, ...spec },
    facts: { ...FACTS, ...facts },
    sample: { source: 'nvml', atMs: 0, gpus: [{ ...GPU, ...gpu }] },
    others: [],
    addressText: 'unix:/s',
    quarantinedGpus: [],
    ...input,
  });

const verdicts = (change?: Change) =>
  Object.fromEntries(judge(change).checks.map(({ name, verdict }) => [name, verdict]));

t.test('a host that is ready has a verdict for each check', async (t) => {
  t.equal(judge().kind, 'go');
  t.same(verdicts(), {
    address: 'ok',
    program: 'ok',
    model: 'ok',
    host_memory: 'ok',
    cache_disk: 'ok',
    gpu_ids: 'ok',
    gpu_memory: 'ok',
  });
  t.notOk('gpu_memory' in verdicts({ spec: { gpuIds: [] } }), 'an engine without GPUs needs no check of them');
});

t.test('a GPU may be used by others that share it', async (t) => {
  const gpuIds = (own: number | undefined, other: number | undefined): string | undefined => {
    const share = (value: number | undefined) => (value === undefined ? {} : { gpuMemoryShare: value });
    const others = [{ name: 'o', gpuIds: [0], ...share(other) }];
    return verdicts({ spec: share(own), input: { others } })['gpu_ids'];
  };
  t.equal(gpuIds(0.5, 0.5), 'ok');
  t.equal(gpuIds(0.5, 0.6), 'fail');
  t.equal(gpuIds(undefined, 0.6), 'fail');
});

t.test('each thing that stops a start is named with its row', async (t) => {
  const cases: readonly (readonly [Change, string, string, string])[] = [
    [{ facts: { address: 'taken' } }, 'address', 'port_taken', 'other_address'],
    [{ input: { others: [{ name: 'o', gpuIds: [], address: 'unix:/s' }] } }, 'address', 'port_taken', 'other_address'],
    [{ facts: { program: 'missing' } }, 'program', 'program', 'backoff'],
    [{ facts: { model: { kind: 'missing' } } }, 'model', 'bad_model', 'never'],
    [{ facts: { model: { kind: 'unreadable', why: 'EACCES' } } }, 'model', 'bad_model', 'never'],
    [{ facts: { model: { kind: 'outside' } } }, 'model', 'bad_model', 'never'],
    [{ facts: { model: { kind: 'not_a_model' } } }, 'model', 'bad_model', 'never'],
    [{ spec: { extraFlags: ['--cpu-offload-gb', '60'] } }, 'host_memory', 'host_memory', 'backoff'],
    [{ facts: { cacheDiskFreeBytes: 1000 } }, 'cache_disk', 'disk_full', 'backoff'],
    [{ input: { others: [{ name: 'o', gpuIds: [0] }] } }, 'gpu_ids', 'host', 'backoff'],
    [{ input: { quarantinedGpus: [0] } }, 'gpu_ids', 'gpu_fault', 'backoff'],
    [{ gpu: { index: 1 } }, 'gpu_ids', 'gpu_fault', 'backoff'],
    [{ gpu: { memoryUsedBytes: 20 * GIB } }, 'gpu_memory', 'gpu_memory', 'backoff'],
  ];
  for (const [change, name, cause, retry] of cases) {
    const outcome = judge(change);
    t.match(outcome, { kind: 'stop', diagnosis: { cause, retry } }, name);
    t.equal(outcome.checks.find((check) => check.verdict === 'fail')?.name, name);
  }
});

t.test('what cannot be read is unknown and stops nothing', async (t) => {
  const nothing = judgePreflight({
    spec: SPEC,
    facts: {},
    sample: { source: 'none', atMs: 0, gpus: [], reason: 'no driver' },
    others: [],
    addressText: 'unix:/s',
    quarantinedGpus: [],
  });
  t.equal(nothing.kind, 'go');
  t.same([...new Set(nothing.checks.map(({ verdict }) => verdict))], ['unknown']);
  t.match(nothing.checks.find(({ name }) => name === 'gpu_ids')?.detail, /no driver/);
  t.equal(verdicts({ facts: { model: { kind: 'hub' } } })['model'], 'unknown');
  t.equal(verdicts({ spec: { kind: 'llama' } })['gpu_memory'], 'unknown');
});

t.test('GPU memory is judged by the flags of vLLM', async (t) => {
  const used = { memoryUsedBytes: 40 * GIB };
  t.equal(verdicts({ gpu: used })['gpu_memory'], 'fail');
  t.equal(verdicts({ gpu: used, spec: { extraFlags: ['--gpu-memory-utilization', '0.5'] } })['gpu_memory'], 'ok');
  t.equal(verdicts({ gpu: used, spec: { extraFlags: ['--gpu_memory_utilization=0.5'] } })['gpu_memory'], 'ok');
  t.equal(verdicts({ gpu: used, spec: { extraFlags: [`--kv-cache-memory-bytes=${GIB}`] } })['gpu_memory'], 'ok');
  // An H200: of 143,771 MiB the driver keeps 615 for itself, and what vLLM takes its share of is the rest.
  const h200 = { memoryTotalBytes: 150_754_820_096, memoryUsedBytes: 0, memoryFreeBytes: 150_109_880_320 };
  const whole = judge({ gpu: h200, spec: { extraFlags: ['--gpu-memory-utilization', '1'] } });
  t.match(whole.checks.find(({ name }) => name === 'gpu_memory')?.detail, /139.8 GiB of 139.8 GiB are free, 139.8 GiB/);
  t.equal(whole.kind, 'go');
  // Bytes that are free by subtraction alone are not to be had.
  const absolute = { extraFlags: [`--kv-cache-memory-bytes=${h200.memoryTotalBytes}`] };
  t.equal(verdicts({ gpu: h200, spec: absolute })['gpu_memory'], 'fail');
  t.equal(flagValue(['--a'], '--a'), undefined);
  t.equal(flagValue(['--b', '1'], '--a'), undefined);
});

t.test('little host memory or disk is a warning, because needs are estimates', async (t) => {
  t.equal(verdicts({ facts: { hostMemoryAvailableBytes: GIB } })['host_memory'], 'warn');
  t.equal(verdicts({ facts: { cacheDiskFreeBytes: 0.5 * GIB } })['cache_disk'], 'warn');
  const llama = {
    spec: { kind: 'llama' as const, gpuIds: [] },
    facts: { model: { kind: 'gguf' as const, bytes: 200 * GIB } },
  };
  t.equal(verdicts(llama)['host_memory'], 'warn');
});

t.test('on a GH200 the addressing mode stands beside the figures', async (t) => {
  const ats = { addressingMode: 'ats', numaNode: 1 };
  t.equal(verdicts({ gpu: ats })['addressing'], 'ok');
  const full = judge({ gpu: { ...ats, memoryUsedBytes: 60 * GIB } });
  t.match(full, { kind: 'stop', message: /Page cache of the host counts as used/ });
  t.equal(verdicts({ gpu: ats, spec: { extraFlags: ['--cpu-offload-gb', '8'] } })['addressing'], 'warn');
  const mixed = judge({
    spec: { gpuIds: [0, 1] },
    input: {
      sample: {
        source: 'nvml',
        atMs: 0,
        gpus: [
          { ...GPU, ...ats },
          { ...GPU, index: 1, addressingMode: 'none' },
        ],
      },
    },
  });
  t.match(
    mixed.checks.find(({ name }) => name === 'addressing'),
    { verdict: 'warn', detail: /differ/ },
  );
});
