/** From text to a resource: what is taken, what is refused, in which words; and that the examples are right. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { packageRoot } from '../../../lib/io/package_root.ts';
import { readYamlDocuments } from '../../../lib/io/yaml_documents.ts';
import { jsonSchemaOf, parseResource, refusalOf } from '../../../scheduler/adapters/resources/parse_resource.ts';
import { RESOURCE_KINDS } from '../../../scheduler/core/resources/contract.ts';

const deployment = (spec: object, metadata: object = { name: 'x' }): object => ({
  apiVersion: 'sophia/v1',
  kind: 'Deployment',
  metadata,
  spec: { engine: 'sim', model: 'm', ...spec },
});

function specOf(value: unknown): Record<string, unknown> {
  const parsed = parseResource(value);
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems));
  return parsed.resource.spec as Record<string, unknown>;
}

function problemsOf(value: unknown): string[] {
  const parsed = parseResource(value);
  return parsed.ok ? [] : parsed.problems.map(({ path: at, message }) => `${at}: ${message}`);
}

t.test('all examples are right', async (t) => {
  const folder = path.join(packageRoot(), 'examples');
  const files = ['.', 'by-hand'].flatMap((part) =>
    readdirSync(path.join(folder, part)).map((name) => path.join(part, name)),
  );
  const kinds = new Set<string>();
  for (const file of files.filter((name) => name.endsWith('.yaml')))
    for (const { value } of readYamlDocuments(readFileSync(path.join(folder, file), 'utf8'), file)) {
      t.same(problemsOf(value), [], `${file} ${JSON.stringify(value).slice(0, 80)}`);
      kinds.add((value as { kind: string }).kind);
    }
  t.same([...kinds].sort(), [...RESOURCE_KINDS].sort());
});

t.test('docs/RESOURCES.md names every member', async (t) => {
  const page = readFileSync(path.join(packageRoot(), 'docs/RESOURCES.md'), 'utf8');
  const names = new Set<string>();
  const visit = (schema: Record<string, unknown>): void => {
    for (const [name, inner] of Object.entries(
      (schema['properties'] ?? {}) as Record<string, Record<string, unknown>>,
    )) {
      names.add(name);
      visit(inner);
    }
    if (typeof schema['items'] === 'object') visit(schema['items'] as Record<string, unknown>);
  };
  for (const kind of RESOURCE_KINDS) visit(jsonSchemaOf(kind) as Record<string, unknown>);
  t.ok(names.size > 60);
  t.same(
    [...names].filter((name) => !page.includes(`\`${name}\``)),
    [],
  );
});

t.test('what is left out has its default, and quantities become numbers', async (t) => {
  t.same(specOf(deployment({})), {
    engine: 'sim',
    model: 'm',
    servedModelName: 'x',
    replicas: 1,
    gpusPerHost: 1,
    extraFlags: [],
    environment: {},
  });
  const spec = specOf(
    deployment({
      gpuMemoryBytes: '24GiB',
      hostMemoryBytes: '1.5Gi',
      graceSpillBytes: 1000,
      extraFlags: ['--a', 5, true],
      environment: { A: 1, B: 'x' },
      rollout: { kind: 'canary', steps: [5], stepMs: '30s', deadlineMs: '5m', maxErrorRate: '20m' },
    }),
  );
  t.match(spec, {
    gpuMemoryBytes: 24 * 1024 ** 3,
    hostMemoryBytes: 1.5 * 1024 ** 3,
    graceSpillBytes: 1000,
    extraFlags: ['--a', '5', 'true'],
    environment: { A: '1', B: 'x' },
    rollout: { stepMs: 30_000, deadlineMs: 300_000, maxErrorRate: 0.02 },
  });
  const sizes = { '1': 1, '5k': 5000, '2MB': 2e6, '2 MiB': 2 * 1024 ** 2, '1T': 1e12, '0.5GiB': 1024 ** 3 / 2 };
  for (const [text, bytes] of Object.entries(sizes))
    t.equal(specOf(deployment({ gpuMemoryBytes: text }))['gpuMemoryBytes'], bytes, text);
  const rate = (maxErrorRate: unknown) => deployment({ rollout: { kind: 'rolling', maxErrorRate } });
  t.match(specOf(rate('2%')), { rollout: { maxErrorRate: 0.02 } });
  for (const text of ['24 GB x', '-1', '0', '', '1e3', 'GiB', '9999TiB', Number.NaN, 0.5, null])
    t.match(problemsOf(deployment({ gpuMemoryBytes: text })), [/spec.gpuMemoryBytes: must be a size/], String(text));
  for (const text of ['30', '-1s', '1y', '31d'])
    t.match(problemsOf(deployment({ rollout: { kind: 'rolling', stepMs: text } })), [
      /spec.rollout.stepMs: must be mill/,
    ]);
  for (const text of ['200%', '2', 1.5]) t.match(problemsOf(rate(text)), [/maxErrorRate: must be a share/]);
});

t.test('an unknown member is refused with its path, what it may have meant, and what is allowed', async (t) => {
  t.match(problemsOf(deployment({ replcas: 2 })), [
    /^spec\.replcas: .*did you mean replicas\?.*allowed: engine, model/,
  ]);
  t.match(problemsOf(deployment({ rollout: { kind: 'rolling', surge: 1 } })), [
    /^spec\.rollout\.surge: .*allowed: kind, maxSurge/,
  ]);
  t.match(problemsOf(deployment({ constraints: [{ key: 'a', op: 'In' }] })), [
    /spec\.constraints\[0\]\.operator: must be one of In, NotIn/,
    /spec\.constraints\[0\]\.op: .*allowed: key, operator, values/,
  ]);
  t.match(problemsOf(deployment({ ['<b>\u001b']: 1 })), [/^spec\["<b>\\u001b"\]: /]);
  t.match(problemsOf(deployment({}, { name: 'x', nam: 1 })), [/^metadata\.nam: .*did you mean name/]);
  t.match(problemsOf({ ...deployment({}), extra: 1, stats: {} }), [/^extra: /, /^stats: /]);
  t.same(problemsOf({ ...deployment({}), status: { ready: 1 } }), [], 'what a scheduler tells is passed over');
  const proto = JSON.parse(
    '{"apiVersion":"sophia/v1","kind":"Pool","metadata":{"name":"x"},"spec":{"nodes":[],"__proto__":{"a":1}}}',
  );
  t.match(problemsOf(proto), [/__proto__/]);
});

t.test('what is missing or of a wrong type is named, all of it at once', async (t) => {
  t.match(problemsOf(null), [/must be an object/]);
  t.match(problemsOf([]), [/must be an object/]);
  t.match(problemsOf({}), [/^apiVersion: must be sophia\/v1/, /^metadata.name: is required/, /^kind: is required/]);
  t.match(problemsOf({ ...deployment({}), kind: 'Deploymnt' }), [/^kind: .*did you mean Deployment/]);
  t.match(problemsOf({ ...deployment({}), spec: undefined }), [
    /spec.engine: must be one of vllm, llama, sim/,
    /spec.model: is required/,
  ]);
  t.match(problemsOf(deployment({ replicas: '3', gpusPerHost: 1.5, extraFlags: 'x' })), [
    /spec.replicas: expected number, received string/,
    /spec.gpusPerHost/,
    /spec.extraFlags: expected array/,
  ]);
  t.match(problemsOf(deployment({ extraFlags: ['a\nb'] })), [/extraFlags\[0\]: must be one line/]);
  t.match(
    problemsOf(deployment({ extraFlags: ['--port', '1'] })),
    [/--port may not be set/],
    'rules come after the shape',
  );
});

t.test('names and labels with SQL or markup are refused', async (t) => {
  for (const name of [
    "x'; DROP TABLE sophia.event_log;--",
    '<script>alert(1)</script>',
    '../../etc',
    '',
    'x'.repeat(64),
  ])
    t.match(problemsOf(deployment({}, { name })), [/^metadata\.name: /], name);
  t.match(problemsOf(deployment({}, { name: 'x', labels: { 'a b': 'x', ok: '<b>' } })), [
    /^metadata\.labels\["a b"\]: must be a label key/,
    /^metadata\.labels\.ok: must be a label value/,
  ]);
  t.same(problemsOf(deployment({}, { name: 'x', labels: { 'example.org/team': 'a-b_c.d', empty: '' } })), []);
  const labels = Object.fromEntries(Array.from({ length: 65 }, (_, index) => [`l${index}`, 'x']));
  t.match(problemsOf(deployment({}, { name: 'x', labels })), [/at most 64 labels/]);
});

t.test('a label by which hosts are kept together is a label key, and no engine of one host has it', async (t) => {
  const kept = (gangTopologyKey: unknown) => problemsOf(deployment({ hosts: 2, gangTopologyKey }));
  for (const key of ['rack', 'example.org/nvlink-domain', 'topology.kubernetes.io/region']) t.same(kept(key), [], key);
  const bad = ['<b>rack</b>', "rack'; DROP TABLE sophia.event_log;--", '', 'a b', '/rack', 'x'.repeat(64)];
  for (const key of [...bad, `${'a'.repeat(300)}/${'b'.repeat(60)}`, 7, null])
    t.match(kept(key), [/^spec\.gangTopologyKey: /], String(key).slice(0, 40));
  const engine = { ...deployment({ node: 'n1', gangTopologyKey: 'rack' }), kind: 'Engine' };
  t.match(problemsOf(engine), [/^spec\.gangTopologyKey: is not a member/]);
});

t.test('what get prints can be applied again', async (t) => {
  const parsed = parseResource(deployment({}, { name: 'x', version: 7, updatedAtMs: 1, updatedBy: 'key:a' }));
  t.match(parsed, { ok: true, resource: { metadata: { name: 'x', version: 7 } } });
  t.notMatch(JSON.stringify(parsed), 'updatedBy');
});

t.test('a refusal names ten problems and counts the others', async (t) => {
  const problems = Array.from({ length: 12 }, (_, index) => ({ path: `p${index}`, message: 'm' }));
  const error = refusalOf(problems);
  t.match(error, { code: 'invalid_resource', param: 'p0' });
  t.match(error.message, /^p0: m\n[^]*p9: m\nand 2 more$/);
});
