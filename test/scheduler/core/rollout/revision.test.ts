/** What is a new revision and what is not, and what a strategy leaves open. */
import t from 'tap';
import { revisionOf, specWith } from '../../../../scheduler/core/rollout/revision.ts';
import { rulesOf } from '../../../../scheduler/core/rollout/strategy.ts';
import type { DeploymentSpec, RolloutStrategy } from '../../../../scheduler/core/resources/contract.ts';

const SPEC: DeploymentSpec = {
  engine: 'vllm',
  model: 'org/name',
  servedModelName: 'name',
  replicas: 2,
  gpusPerHost: 1,
  extraFlags: ['--max-model-len', '4096'],
  environment: { A: '1', B: '2' },
};

t.test('a change of what engines are made of is a new revision, any other is not', async (t) => {
  const { id, spec } = revisionOf(SPEC);
  t.match(id, /^[a-km-np-z2-9]{10}$/);
  const same: Partial<DeploymentSpec>[] = [
    { replicas: 9 },
    { rollout: { kind: 'canary' } },
    { priority: 3, tenant: 'acme', regions: ['eu'], pool: 'p', placement: 'spread' },
    { gangTopologyKey: 'rack' },
    { hosts: 1 },
    { environment: { B: '2', A: '1' } },
  ];
  for (const change of same) t.equal(revisionOf({ ...SPEC, ...change }).id, id, JSON.stringify(change));
  const others: Partial<DeploymentSpec>[] = [
    { engine: 'sim' },
    { model: 'org/other' },
    { source: { url: 'hf://org/name', revision: 'main' } },
    { servedModelName: 'other' },
    { hosts: 2 },
    { gpusPerHost: 2 },
    { gpuMemoryBytes: 1 },
    { graceSpillBytes: 1 },
    { hostMemoryBytes: 1 },
    { extraFlags: ['4096', '--max-model-len'] },
    { environment: { A: '1' } },
    { maxConcurrentRequests: 5 },
  ];
  const ids = new Set(others.map((change) => revisionOf({ ...SPEC, ...change }).id));
  t.equal(ids.size, others.length);
  t.notOk(ids.has(id));
  t.notOk('replicas' in spec);
  t.same(revisionOf(spec as unknown as DeploymentSpec), { id, spec }, 'the kept fields make the same revision');
});

t.test('an earlier revision is run with what the deployment says of the rest now', async (t) => {
  const old = revisionOf({ ...SPEC, gpuMemoryBytes: 5 });
  const now = { ...SPEC, replicas: 7, maxConcurrentRequests: 3, model: 'org/new' };
  t.same(specWith(now, old), { ...SPEC, hosts: 1, gpuMemoryBytes: 5, replicas: 7 });
});

t.test('what a strategy leaves open has a value, and what cannot be is brought to what can', async (t) => {
  t.match(rulesOf(undefined), { kind: 'rolling', maxSurge: 1, maxUnavailable: 0, stepMs: 10_000, maxErrorRate: 0.02 });
  t.same(
    [rulesOf(undefined).deadlineFrom, rulesOf({ kind: 'rolling', deadlineMs: 5000 }).deadlineFrom],
    ['progress', 'start'],
  );
  t.same(rulesOf({ kind: 'canary' }).steps, [5, 25, 50]);
  t.same(rulesOf({ kind: 'canary', steps: [50, 0, 120, 10, 50, Number.NaN] }).steps, [10, 50]);
  t.same(rulesOf({ kind: 'rolling', steps: [10] }).steps, []);
  t.equal(rulesOf({ kind: 'rolling', maxSurge: 0 }).maxSurge, 1, 'something must give way');
  t.equal(rulesOf({ kind: 'rolling', maxSurge: 0, maxUnavailable: 2 }).maxSurge, 0);
  const odd: RolloutStrategy = {
    kind: 'blue_green',
    stepMs: -1,
    maxTtftRatio: 0.1,
    maxErrorRate: 7,
    deadlineMs: Number.NaN,
  };
  t.match(rulesOf(odd), { stepMs: 0, maxTtftRatio: 1, maxErrorRate: 1, deadlineMs: 3_600_000 });
  t.same(rulesOf({ kind: 'rolling', smoke: { prompt: 'p', contains: 'c' } }).smoke, { prompt: 'p', contains: 'c' });
});
