/** Memory by estimate in a whole fleet: new places get it, those that run keep theirs, and a new leader says the same. */
import t from 'tap';
import type { ModelReading__Output } from '../../../proto/gen/fleet/v1/ModelReading.ts';
import type { DeploymentSpec } from '../../../scheduler/core/resources/contract.ts';
import { LLAMA_8B } from '../model_fixture.ts';
import { GIB } from './fake_node.ts';
import { deployment, Harness } from './harness.ts';

const SOURCE = { url: 'hf://org/model', revision: 'abc' };

/** Without a stated need of memory. */
function unstated(replicas: number, change: Partial<DeploymentSpec> = {}): DeploymentSpec {
  const { gpuMemoryBytes: _stated, ...rest } = deployment(replicas, {
    source: SOURCE,
    extraFlags: ['--max-model-len=8k'],
  });
  return { ...rest, ...change };
}

const reading: ModelReading__Output = {
  source: 'hf://org/model@abc',
  state: 'ready',
  message: '',
  resolved: 'abc',
  wanted: true,
  peers: '',
  facts: {
    weightBytes: 15 * GIB,
    problem: '',
    shape: LLAMA_8B,
  },
};

t.test('what runs keeps its memory when an estimate becomes known, and new replicas get their share', async (t) => {
  const fleet = new Harness();
  const node = fleet.addNode('n1', { gpus: 2 });
  const first = fleet.start('a');
  await fleet.declare('Deployment', 'chat', unstated(1, { sharing: 'shared' }));
  await fleet.until('one on a GPU of its own', () => fleet.ready('chat', 1));
  t.match(fleet.status('chat').memory, /^72\.0 GiB on each GPU, nine tenths .*no host has looked at the files/);
  t.match((await first.view.explainDeployment('chat'))[1], /^memory of a new replica: 72\.0 GiB/);
  const before = JSON.stringify([...node.engines]);
  node.modelReadings = [reading];
  await fleet.until('the estimate', () => /by estimate/.test(fleet.status('chat').memory ?? ''));
  await fleet.run(3000);
  t.equal(JSON.stringify([...node.engines]), before, 'nothing was started anew');
  await fleet.declare('Deployment', 'chat', unstated(3, { sharing: 'shared' }));
  await fleet.until('three', () => fleet.ready('chat', 3));
  const [alone, ...shared] = [...node.engines.values()].map(({ spec }) => spec);
  t.match(alone, { gpuIds: [0] });
  t.equal(alone?.gpuMemoryShare, undefined);
  t.equal(shared.length, 2);
  for (const { gpuIds, gpuMemoryShare, extraFlags } of shared) {
    t.same(gpuIds, [1]);
    t.ok((gpuMemoryShare as number) > 0.25 && (gpuMemoryShare as number) < 0.4, String(gpuMemoryShare));
    t.match(extraFlags, ['--max-model-len=8k', '--gpu-memory-utilization', String(gpuMemoryShare)]);
  }
  // Another leader that has been told of no files yet orders the same.
  const starts = node.starts;
  node.modelReadings = [];
  fleet.kill('a');
  fleet.start('b');
  await fleet.until('b to lead', () => fleet.leaders().join() === 'b');
  await fleet.run(3000);
  t.equal(node.starts, starts);
  t.ok(fleet.ready('chat', 3));
  t.match(fleet.status('chat').memory, /nine tenths/, 'it has to be told again');
  node.modelReadings = [reading];
  await fleet.until('the estimate again', () => /by estimate/.test(fleet.status('chat').memory ?? ''));
  t.same(fleet.doubles, []);
});

t.test(
  'a model that is too large for every GPU waits with its figures, and one that waits is placed when it is known',
  async (t) => {
    const fleet = new Harness();
    const node = fleet.addNode('n1', { gpus: 1 });
    const { view } = fleet.start('a');
    const facts = { ...(reading.facts as NonNullable<ModelReading__Output['facts']>), weightBytes: 100 * GIB };
    node.modelReadings = [{ ...reading, facts }];
    await fleet.run(2000);
    await fleet.declare('Deployment', 'huge', unstated(1));
    await fleet.run(1000);
    t.match(fleet.status('huge'), {
      ready: 0,
      replicas: [{ state: 'pending', reason: /refused by gpu_memory: needs 1\d\d/ }],
    });
    t.match(
      (await view.explainDeployment('huge'))[1],
      /memory of a new replica: on each GPU 1\d\d\.\d GiB by estimate/,
    );
    await fleet.undeclare('Deployment', 'huge');
    node.modelReadings = [];
    // A neighbour takes 30 GiB, so a whole GPU is free nowhere; the estimate fits beside it.
    await fleet.declare('Deployment', 'small', deployment(1, { gpuMemoryBytes: 30 * GIB, sharing: 'shared' }));
    await fleet.until('small', () => fleet.ready('small', 1));
    const other = { url: 'hf://org/other' };
    await fleet.declare('Deployment', 'chat', unstated(1, { sharing: 'shared', source: other }));
    await fleet.run(1000);
    t.equal(fleet.status('chat').ready, 0);
    node.modelReadings = [{ ...reading, source: 'hf://org/other' }];
    // At once, and not when it is planned again for all that waits.
    await fleet.until('chat beside it', () => fleet.ready('chat', 1), 5000);
    t.same(fleet.doubles, []);
  },
);

t.test('scattered replicas are found a better place, and nothing is moved for the asking', async (t) => {
  const fleet = new Harness();
  const node = fleet.addNode('n1', { gpus: 2 });
  const { view } = fleet.start('a');
  const shared = { gpuMemoryBytes: 30 * GIB, sharing: 'shared' as const };
  await fleet.declare('Deployment', 'a', deployment(1, { ...shared, gpuMemoryBytes: 50 * GIB }));
  await fleet.declare('Deployment', 'b', deployment(1, { ...shared, gpuMemoryBytes: 40 * GIB }));
  await fleet.until('both, apart', () => fleet.ready('a', 1) && fleet.ready('b', 1));
  await fleet.declare('Deployment', 'c', deployment(1, { ...shared, gpuMemoryBytes: 20 * GIB, preferences: [] }));
  await fleet.until('c', () => fleet.ready('c', 1));
  await fleet.undeclare('Deployment', 'a');
  await fleet.until('a to be gone', () => fleet.memory.projection.list('placement').length === 2);
  await fleet.run(2000);
  const { starts } = node;
  const plan = await view.defragment(4);
  t.match(plan, { before: { emptyGpus: 0 }, after: { emptyGpus: 1 }, cost: { starts: 1, fetches: 1 } });
  t.match(plan.moves, [{ deployment: 'c', revision: /^\w{10}$/, index: 0, gpuMemoryBytes: 20 * GIB }]);
  t.match(plan.lines, [
    /^move c\/0 from n1 GPU \d to n1 GPU \d, 20\.0 GiB$/,
    'gain: empty GPUs 0 -> 1, empty nodes 0 -> 0',
    /^cost: 1 engine started anew/,
  ]);
  await fleet.run(2000);
  t.equal(node.starts, starts);
  t.same((await view.defragment(0)).moves, []);
});
