/** Which specifications are accepted, and what is said about the others. */
import fc from 'fast-check';
import t from 'tap';
import { acceptSpecs, type HostRules, hashText, isConfined, utf8Length } from '../../../agent/core/engine_spec.ts';
import type { EngineSpec__Output } from '../../../proto/gen/fleet/v1/EngineSpec.ts';

const RULES: HostRules = {
  gpuIndexes: [0, 1],
  modelRoots: ['/models'],
  socketRoots: ['/data'],
  allowedExtraFlags: [],
  maxEngines: 8,
  defaultLimits: { startTimeoutMs: 1000, drainTimeoutMs: 2000, stopTimeoutMs: 3000, maxRestarts: 4 },
};

const spec = (change: Partial<EngineSpec__Output> = {}): EngineSpec__Output => ({
  name: 'engine-1',
  kind: 'ENGINE_KIND_VLLM',
  model: 'org/model',
  servedModelName: 'model',
  gpuIds: [],
  extraFlags: [],
  environment: {},
  limits: null,
  ...change,
});

const complaint = (change: Partial<EngineSpec__Output>, rules: Partial<HostRules> = {}) => {
  const { accepted, rejections } = acceptSpecs([spec(change)], { ...RULES, ...rules });
  return accepted.length === 1 ? undefined : rejections[0]?.param;
};

t.test('a sound specification is accepted with the limits of the agent', async (t) => {
  const { accepted, rejections } = acceptSpecs([spec()], RULES);
  t.same(rejections, []);
  t.match(accepted[0], { name: 'engine-1', kind: 'vllm', limits: RULES.defaultLimits, servedModelName: 'model' });
});

t.test('limits of the specification win, and the model is its own served name', async (t) => {
  const limits = { startTimeoutMs: 5, drainTimeoutMs: 6, stopTimeoutMs: 7, maxRestarts: 0, maxConcurrentRequests: 9 };
  const [accepted] = acceptSpecs([spec({ limits, servedModelName: '' })], RULES).accepted;
  t.same(accepted?.limits, { startTimeoutMs: 5, drainTimeoutMs: 6, stopTimeoutMs: 7, maxRestarts: 0 });
  t.equal(accepted?.maxConcurrentRequests, 9);
  t.equal(accepted?.servedModelName, 'org/model');
});

t.test('each fault is named by its field', async (t) => {
  const cases: readonly (readonly [Partial<EngineSpec__Output>, string])[] = [
    [{ name: '' }, 'name'],
    [{ name: 'Upper' }, 'name'],
    [{ name: '../x' }, 'name'],
    [{ name: '-x' }, 'name'],
    [{ name: 'x'.repeat(64) }, 'name'],
    [{ kind: 'ENGINE_KIND_UNSPECIFIED' }, 'kind'],
    [{ model: '' }, 'model'],
    [{ model: '--config=/etc/passwd' }, 'model'],
    [{ model: 'a\0b' }, 'model'],
    [{ model: '/etc/passwd' }, 'model'],
    [{ model: '/models/../etc' }, 'model'],
    [{ model: '../etc' }, 'model'],
    [{ model: '/modelsx/a' }, 'model'],
    [{ model: 'm'.repeat(9000) }, 'model'],
    [{ servedModelName: '-x' }, 'served_model_name'],
    [{ servedModelName: 'a\nb' }, 'served_model_name'],
    [{ extraFlags: ['value'] }, 'extra_flags[0]'],
    [{ extraFlags: ['--ok', 'a\nb'] }, 'extra_flags[1]'],
    [{ extraFlags: ['--port', '80'] }, 'extra_flags[0]'],
    [{ extraFlags: ['--uds=/x'] }, 'extra_flags[0]'],
    [{ extraFlags: Array.from({ length: 129 }, () => '--x') }, 'extra_flags'],
    [{ environment: { 'A B': 'x' } }, 'environment'],
    [{ environment: { LD_PRELOAD: '/x.so' } }, 'environment.LD_PRELOAD'],
    [{ environment: { A: 'x\0' } }, 'environment.A'],
    [{ unixSocket: '/data/a', tcpPort: 1 }, 'tcp_port'],
    [{ tcpPort: 0 }, 'tcp_port'],
    [{ tcpPort: 65_536 }, 'tcp_port'],
    [{ unixSocket: '/tmp/a' }, 'unix_socket'],
    [{ unixSocket: 'a' }, 'unix_socket'],
    [{ unixSocket: '/data/\n' }, 'unix_socket'],
    [{ unixSocket: `/data/${'é'.repeat(60)}` }, 'unix_socket'],
    [{ gpuIds: [2] }, 'gpu_ids'],
    [{ gpuIds: [0, 0] }, 'gpu_ids'],
    [{ gpuMemoryShare: 0 }, 'gpu_memory_share'],
    [{ gpuMemoryShare: 1.01 }, 'gpu_memory_share'],
    [{ gpuMemoryShare: Number.NaN }, 'gpu_memory_share'],
  ];
  for (const [change, param] of cases) t.equal(complaint(change), param, JSON.stringify(change).slice(0, 80));
});

t.test('what is allowed is accepted', async (t) => {
  for (const change of [
    { model: '/models/a' },
    { model: '/models' },
    { tcpPort: 8000 },
    { unixSocket: '/data/x.sock' },
    { gpuIds: [0, 1] },
    { extraFlags: ['--dtype', 'float32', '-O3'] },
    { environment: { HF_HUB_OFFLINE: '1' } },
  ]) {
    t.equal(complaint(change), undefined, JSON.stringify(change));
  }
  t.equal(complaint({ model: '/anywhere' }, { modelRoots: [] }), undefined);
  t.equal(complaint({ model: '/models/x' }, { modelRoots: ['/models/'] }), undefined);
  t.equal(complaint({ extraFlags: ['--dtype', 'x'] }, { allowedExtraFlags: ['--dtype'] }), undefined);
  t.equal(complaint({ extraFlags: ['--other'] }, { allowedExtraFlags: ['--dtype'] }), 'extra_flags[0]');
});

t.test('of two that want the same thing the first gets it', async (t) => {
  const pairs: readonly (readonly [Partial<EngineSpec__Output>, Partial<EngineSpec__Output>, string])[] = [
    [{}, {}, 'name'],
    [{ name: 'a', gpuIds: [0] }, { name: 'b', gpuIds: [1, 0] }, 'gpu_ids'],
    [{ name: 'a', tcpPort: 9 }, { name: 'b', tcpPort: 9 }, 'tcp_port'],
    [{ name: 'a', unixSocket: '/data/s' }, { name: 'b', unixSocket: '/data/s' }, 'unix_socket'],
  ];
  for (const [first, second, param] of pairs) {
    const { accepted, rejections } = acceptSpecs([spec(first), spec(second)], RULES);
    t.equal(accepted.length, 1);
    t.match(rejections, [{ code: 'invalid_spec', param }]);
  }
  const many = Array.from({ length: 9 }, (_, index) => spec({ name: `e${index}` }));
  t.match(acceptSpecs(many, RULES).rejections, [{ engine: 'e8', param: 'engines' }]);
});

t.test('the hash names the process and not its limits', async (t) => {
  const hash = (change: Partial<EngineSpec__Output>): string | undefined =>
    acceptSpecs([spec(change)], RULES).accepted[0]?.hash;
  t.equal(hash({ limits: { maxRestarts: 1 } as EngineSpec__Output['limits'] }), hash({}));
  t.equal(hash({ environment: { A: '1', B: '2' } }), hash({ environment: { B: '2', A: '1' } }));
  for (const change of [
    { model: 'x' },
    { extraFlags: ['--a'] },
    { gpuIds: [1] },
    { tcpPort: 5 },
    { environment: { A: '1' } },
    { servedModelName: 'y' },
  ]) {
    t.not(hash(change), hash({}), JSON.stringify(change));
  }
  t.match(hashText('a'), /^[0-9a-f]{16}$/);
});

t.test('no specification makes it throw, and each is either accepted or rejected', async (t) => {
  const word = fc.oneof(fc.string(), fc.constantFrom('/models/a', '..', '--x', 'a', '\0'));
  const anySpec = fc.record({
    name: word,
    kind: fc.constantFrom('ENGINE_KIND_VLLM', 'ENGINE_KIND_SIM', 'ENGINE_KIND_UNSPECIFIED') as fc.Arbitrary<
      EngineSpec__Output['kind']
    >,
    model: word,
    servedModelName: word,
    gpuIds: fc.array(fc.nat(3)),
    extraFlags: fc.array(word),
    environment: fc.dictionary(word, word),
    limits: fc.constant(null),
  });
  fc.assert(
    fc.property(fc.array(anySpec, { maxLength: 6 }), (specs) => {
      const { accepted, rejections } = acceptSpecs(specs, RULES);
      const gpus = accepted.flatMap((one) => one.gpuIds);
      return accepted.length + rejections.length === specs.length && new Set(gpus).size === gpus.length;
    }),
  );
  t.pass();
});

t.test('paths and lengths', async (t) => {
  t.equal(isConfined('/a/./b', []), false);
  t.equal(isConfined('a', []), false);
  t.equal(isConfined('/a', []), true);
  t.equal(utf8Length('aé日🙂'), Buffer.byteLength('aé日🙂'));
});

t.test('a GPU has several engines when each says its share and there is enough for all', async (t) => {
  const names = (...shares: readonly (number | undefined)[]): string[] => {
    const specs = shares.map((share, i) =>
      spec({ name: `e${i}`, gpuIds: [0], ...(share === undefined ? {} : { gpuMemoryShare: share }) }),
    );
    return acceptSpecs(specs, RULES).accepted.map(({ name }) => name);
  };
  t.same(names(0.5, 0.5), ['e0', 'e1']);
  t.same(names(0.1, 0.2, 0.7), ['e0', 'e1', 'e2']);
  t.same(names(0.5, 0.6, 0.5), ['e0', 'e2']);
  t.same(names(0.5, undefined), ['e0'], 'one that says nothing wants it for itself');
  t.same(names(undefined, 0.5), ['e0']);
  const [first] = acceptSpecs([spec({ gpuMemoryShare: 0.5, gpuIds: [0] })], RULES).accepted;
  t.equal(first?.gpuMemoryShare, 0.5);
  t.equal(first?.hash, acceptSpecs([spec({ gpuIds: [0] })], RULES).accepted[0]?.hash, 'it is no other process');
});
