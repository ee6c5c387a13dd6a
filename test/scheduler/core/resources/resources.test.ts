/** The pure rules of declared resources: names, contradictions, differences, and what an apply comes to. */
import t from 'tap';
import { actorOf } from '../../../../scheduler/core/resources/actor.ts';
import {
  freezeItem,
  piecesOf,
  planApply,
  planDelete,
  resourceOf,
  unfreezeItem,
} from '../../../../scheduler/core/resources/changes.ts';
import type { DeploymentSpec, Resource, ResourceKind } from '../../../../scheduler/core/resources/contract.ts';
import { diffValues, MAX_CHANGES } from '../../../../scheduler/core/resources/diff.ts';
import { kindNamed, kindProblem, nameProblem, resourceText } from '../../../../scheduler/core/resources/names.ts';
import { resourceNotes, specProblems } from '../../../../scheduler/core/resources/rules.ts';
import type { Requirement } from '../../../../scheduler/core/placement/contract.ts';
import type { JsonObject } from '../../../../scheduler/core/events/json.ts';
import type { Entry } from '../../../../scheduler/core/events/projection.ts';

const ORIGIN = { actor: 'key:a', reason: 'why', correlationId: 'req_1' };

const SPEC: DeploymentSpec = {
  engine: 'vllm',
  model: 'm',
  servedModelName: 'm',
  replicas: 1,
  gpusPerHost: 1,
  extraFlags: [],
  environment: {},
};

function resource(kind: ResourceKind, spec: object, metadata: Partial<Resource['metadata']> = {}): Resource {
  return { apiVersion: 'sophia/v1', kind, metadata: { name: 'x', labels: {}, ...metadata }, spec: spec as JsonObject };
}

const problems = (change: Partial<DeploymentSpec>): string[] =>
  specProblems(resource('Deployment', { ...SPEC, ...change })).map(({ path, message }) => `${path}: ${message}`);

const entry = (found: Resource, version: number): Entry => ({
  area: 'desired',
  kind: found.kind,
  name: found.metadata.name,
  version,
  value: { spec: found.spec, labels: found.metadata.labels },
  atMs: 5,
  actor: 'key:b',
});

t.test('names are RFC 1123: labels, and for nodes host names', async (t) => {
  const good: [ResourceKind, string][] = [
    ['Deployment', 'a'],
    ['Pool', 'a-1'],
    ['Alias', '0'.repeat(63)],
    ['Node', 'gpu-1.example.org'],
  ];
  for (const [kind, name] of good) t.equal(nameProblem(kind, name), undefined, name);
  const bad = ['', 'A', '-a', 'a-', 'a.b', 'a_b', 'x'.repeat(64), "a'; DROP TABLE x;--", '<script>', 'a b', 'é', 'a\n'];
  for (const name of bad) t.match(nameProblem('Deployment', name), /RFC 1123 label/, JSON.stringify(name));
  for (const name of ['a..b', '.a', 'a.', 'A.b', `${'a'.repeat(250)}.bcde`, '<b>'])
    t.match(nameProblem('Node', name), /RFC 1123 subdomain/, name);
  t.ok((nameProblem('Pool', 'X'.repeat(10_000)) ?? '').length < 300, 'a long name is cut in the refusal');
});

t.test('kinds are taken as people type them, and others get a hint', async (t) => {
  const words = { node: 'Node', Nodes: 'Node', DEPLOY: 'Deployment', aliases: 'Alias', pool: 'Pool' };
  for (const [word, kind] of Object.entries(words)) t.equal(kindNamed(word), kind);
  for (const word of ['', 'pod', 'constructor', '__proto__']) t.equal(kindNamed(word), undefined);
  t.match(kindProblem('Deploymnt'), /did you mean Deployment\?/);
  t.notMatch(kindProblem('zzzzzzzzzz'), /did you mean/);
  t.equal(resourceText('Deployment', 'chat'), 'deployment/chat');
});

t.test('flags that the agent sets, that stand twice, or that contradict the spec are refused', async (t) => {
  t.same(problems({}), []);
  t.same(problems({ extraFlags: ['--max-num-seqs', '8', '-O', '--dtype=half'] }), []);
  t.match(problems({ extraFlags: ['--port', '1', '--port=2'] }), [
    /extraFlags\[0\]: --port may not be set/,
    /extraFlags\[2\]: --port may not be set/,
    /extraFlags\[2\]: --port stands twice/,
  ]);
  t.match(problems({ extraFlags: ['--served_model_name', 'x'] }), [/use spec.servedModelName/]);
  t.match(problems({ extraFlags: ['8', '--seed'] }), [/extraFlags\[0\]: a value stands without a flag/]);
  const memory = { extraFlags: ['--gpu-memory-utilization', '0.5'] };
  t.same(problems(memory), [], 'alone it is the word that counts');
  t.match(problems({ ...memory, gpuMemoryBytes: 1 }), [/both say how much GPU memory/]);
  t.match(problems({ extraFlags: ['-tp', '4'], gpusPerHost: 2 }), [/ask for 4 GPUs, gpusPerHost and hosts for 2/]);
  t.same(problems({ extraFlags: ['-tp', '4'], gpusPerHost: 2, hosts: 2 }), []);
  t.same(problems({ extraFlags: ['-tp', '3'], gpusPerHost: 0, hosts: 3 }), [], 'without GPUs a host counts as one');
  t.match(problems({ extraFlags: ['-tp', '4'], gpusPerHost: 2, hosts: 3 }), [
    /do not divide the model over 3 hosts of 2/,
  ]);
  t.match(problems({ extraFlags: ['--node-rank', '1'], hosts: 2 }), [
    /--node-rank may not be set: .* each of the 2 hosts/,
  ]);
  t.same(problems({ extraFlags: ['--node-rank', '1'] }), [], 'whoever puts hosts together by hand may');
  t.same(problems({ extraFlags: ['-tp', '4', '-pp', '2'], gpusPerHost: 4, hosts: 2 }), []);
  t.same(problems({ extraFlags: ['constructor=1'].map((flag) => `--${flag}`) }), []);
});

t.test('members about GPUs without a GPU, a spill that is too large and a spread llama are refused', async (t) => {
  t.match(problems({ gpusPerHost: 0, gpuMemoryBytes: 1, nvlink: 'required' }), [/spec.gpuMemoryBytes/, /spec.nvlink/]);
  t.match(problems({ gpuMemoryBytes: 10, graceSpillBytes: 11 }), [/spec.graceSpillBytes: is a part/]);
  t.same(problems({ graceSpillBytes: 11 }), []);
  t.match(problems({ engine: 'llama', hosts: 2 }), [/spec.hosts/]);
  t.same(problems({ hosts: 2, gangTopologyKey: 'rack' }), []);
  for (const hosts of [{}, { hosts: 1 }])
    t.match(problems({ ...hosts, gangTopologyKey: 'rack' }), [/spec.gangTopologyKey: makes no sense with hosts 1/]);
});

t.test('rollouts that could not end are refused', async (t) => {
  t.same(problems({ rollout: { kind: 'rolling' } }), []);
  t.match(problems({ rollout: { kind: 'rolling', maxSurge: 0 } }), [/no replica could ever be changed/]);
  t.same(problems({ rollout: { kind: 'rolling', maxSurge: 0, maxUnavailable: 1 } }), []);
  t.match(problems({ rollout: { kind: 'blue_green', steps: [5] } }), [/only a canary has steps/]);
  t.match(problems({ rollout: { kind: 'canary', steps: [5, 5, 50] } }), [/rollout.steps\[1\]: the shares must rise/]);
  t.match(problems({ rollout: { kind: 'canary', steps: [5, 50], stepMs: 10, deadlineMs: 19 } }), [/over before/]);
  t.same(problems({ rollout: { kind: 'canary', stepMs: 10, deadlineMs: 10 } }), []);
});

t.test('expressions over labels have the values that their operator takes', async (t) => {
  const values: Record<Requirement['operator'], readonly string[]> = {
    In: ['a'],
    NotIn: ['a'],
    Exists: [],
    DoesNotExist: [],
    Gt: ['1'],
    Lt: ['-1.5'],
  };
  for (const [operator, good] of Object.entries(values) as [Requirement['operator'], readonly string[]][]) {
    t.same(problems({ constraints: [{ key: 'k', operator, values: good }] }), [], operator);
    const bad = operator === 'Gt' || operator === 'Lt' ? ['x'] : good.length === 0 ? ['a'] : [];
    t.match(
      problems({ constraints: [{ key: 'k', operator, values: bad }] }),
      [/spec.constraints\[0\].values/],
      operator,
    );
  }
  t.match(problems({ constraints: [{ key: 'k', operator: 'Gt', values: [' '] }] }), [/Gt needs one number/]);
  t.same(problems({ constraints: [{ key: 'k', operator: 'Exists' }] }), []);
  t.match(problems({ preferences: [{ requirement: { key: 'k', operator: 'In' }, weight: 1 }] }), [
    /spec.preferences\[0\].requirement.values: In needs values/,
  ]);
  t.match(specProblems(resource('Pool', { nodes: [{ key: 'k', operator: 'NotIn' }] })), [
    { path: 'spec.nodes[0].values' },
  ]);
});

t.test('tolerations, taints and weights', async (t) => {
  t.same(problems({ tolerations: [{ operator: 'Exists' }, { key: 'a', value: 'b' }] }), []);
  t.match(problems({ tolerations: [{ operator: 'Exists', value: 'x' }, {}] }), [
    /tolerations\[0\].value/,
    /tolerations\[1\].key/,
  ]);
  const taint = { key: 'a', effect: 'NoSchedule' };
  t.same(specProblems(resource('Node', {})), []);
  t.same(specProblems(resource('Node', { taints: [taint, { ...taint, effect: 'NoExecute' }] })), []);
  t.match(specProblems(resource('Node', { taints: [taint, taint] })), [{ path: 'spec.taints[1]' }]);
  const to = (deployment: string, weight: number) => ({ deployment, weight });
  t.same(specProblems(resource('Alias', { targets: [to('a', 0), to('b', 1)] })), []);
  t.match(specProblems(resource('Alias', { targets: [to('a', 0), to('a', 0)] })), [
    { path: 'spec.targets[1].deployment' },
    { path: 'spec.targets', message: /above 0/ },
  ]);
});

t.test('what refers to nothing is allowed and told', async (t) => {
  const has = (_kind: ResourceKind, name: string): boolean => name === 'there';
  const notes = (spec: object) => resourceNotes(resource('Deployment', { ...SPEC, ...spec }), has);
  t.same(notes({}), []);
  t.same(notes({ pool: 'there' }), []);
  t.match(notes({ pool: 'gone', replicas: 0 }), [/no pool gone/, /replicas is 0/]);
  const targets = [
    { deployment: 'there', weight: 1 },
    { deployment: 'gone', weight: 1 },
  ];
  t.match(resourceNotes(resource('Alias', { targets }), has), [/no deployment gone/]);
  t.same(resourceNotes(resource('Node', {}), has), []);
});

t.test('a difference names each member, with both sides', async (t) => {
  t.same(diffValues({ a: 1, b: { c: [1] } }, { a: 1, b: { c: [1] } }), []);
  t.same(diffValues({ spec: { a: 1, b: 2 } }, { spec: { a: 3, c: null } }), [
    { path: 'spec.a', before: 1, after: 3 },
    { path: 'spec.b', before: 2 },
    { path: 'spec.c', after: null },
  ]);
  t.same(diffValues({ l: [{ a: 1 }, { b: 1 }] }, { l: [{ a: 2 }] }), [
    { path: 'l[0].a', before: 1, after: 2 },
    { path: 'l[1]', before: { b: 1 } },
  ]);
  t.same(diffValues({ l: [1, 2] }, { l: [1, 3] }), [{ path: 'l', before: [1, 2], after: [1, 3] }]);
  t.same(diffValues({}, { labels: { 'a.b/c': 'x' } }), [{ path: 'labels', after: { 'a.b/c': 'x' } }]);
  t.same(diffValues({ labels: {} }, { labels: { 'a.b/c': 'x' } }), [{ path: 'labels["a.b/c"]', after: 'x' }]);
  t.same(diffValues({}, JSON.parse('{"__proto__":{"a":1}}') as JsonObject), [{ path: '__proto__', after: { a: 1 } }]);
  const many = Object.fromEntries(Array.from({ length: 500 }, (_, index) => [`k${index}`, index]));
  t.equal(diffValues({}, many).length, MAX_CHANGES);
});

t.test('an apply creates, changes or leaves alone, and holds to the version that was seen', async (t) => {
  const wanted = resource('Deployment', SPEC, { labels: { team: 'a' } });
  t.match(planApply(wanted, undefined, ORIGIN), {
    outcome: 'created',
    version: 0,
    item: { kind: 'desired.created', resource: { kind: 'Deployment', name: 'x' }, ...ORIGIN, expected: 0 },
  });
  const there = entry(wanted, 7);
  t.match(planApply(wanted, there, ORIGIN), { outcome: 'unchanged', version: 7, item: undefined, changes: [] });
  const more = resource('Deployment', { ...SPEC, replicas: 3 }, { labels: { team: 'a' }, version: 7 });
  t.match(planApply(more, there, ORIGIN), {
    outcome: 'changed',
    changes: [{ path: 'spec.replicas', before: 1, after: 3 }],
    item: { kind: 'desired.changed', after: { spec: { replicas: 3 }, labels: { team: 'a' } }, expected: 7 },
  });
  const stale = resource('Deployment', SPEC, { version: 6 });
  t.match(planApply(stale, there, ORIGIN), { kindOfPlan: 'conflict', expected: 6, actual: 7 });
  t.match(planApply(stale, undefined, ORIGIN), { kindOfPlan: 'conflict', expected: 6, actual: 0 });
  t.match(planApply(resource('Deployment', SPEC, { version: 0 }), there, ORIGIN), { kindOfPlan: 'conflict' });
  t.same(resourceOf(there), { ...wanted, metadata: { name: 'x', labels: { team: 'a' }, version: 7 } });
});

t.test('a delete removes what is there, and holds to the version that was seen', async (t) => {
  const there = entry(resource('Pool', { nodes: [] }), 4);
  const ref = { kind: 'Pool' as const, name: 'x' };
  t.match(planDelete(ref, there, ORIGIN), {
    outcome: 'deleted',
    item: { kind: 'desired.deleted', after: null, expected: 4 },
  });
  t.match(planDelete(ref, undefined, ORIGIN), { outcome: 'not_found', item: undefined });
  t.match(planDelete({ ...ref, version: 3 }, there, ORIGIN), { kindOfPlan: 'conflict', expected: 3, actual: 4 });
});

t.test('the freeze, pieces and actors', async (t) => {
  t.match(freezeItem(ORIGIN), { kind: 'freeze.set', after: { reason: 'why' }, actor: 'key:a' });
  t.match(unfreezeItem(ORIGIN), { kind: 'freeze.lifted', after: null });
  t.same(piecesOf([1, 2, 3, 4, 5], 2), [[1, 2], [3, 4], [5]]);
  t.same(piecesOf([], 2), []);
  t.equal(actorOf({ keyId: 'abc' as never, subject: 's' }), 'key:abc');
  t.equal(actorOf({ subject: 's'.repeat(600) }).length, 512);
});
