/** Rules of what operators do by hand: when quarantines end, how pinned engines are called, what stopping a place is. */
import t from 'tap';
import type { Entry } from '../../../../scheduler/core/events/projection.ts';
import type { QuarantineResource } from '../../../../scheduler/core/reconcile/contract.ts';
import { readDeclared } from '../../../../scheduler/core/reconcile/declared.ts';
import { engineName } from '../../../../scheduler/core/reconcile/places.ts';
import { gpuHold, isOver, nodeHold } from '../../../../scheduler/core/reconcile/quarantines.ts';
import { planStop } from '../../../../scheduler/core/reconcile/stop_place.ts';
import { areaOf, planApply, planDelete } from '../../../../scheduler/core/resources/changes.ts';
import type { DeploymentSpec, Resource } from '../../../../scheduler/core/resources/contract.ts';
import { createDeclaredModels } from '../../../../scheduler/core/resources/declared_models.ts';
import {
  engineOfPinned,
  pinnedName,
  pinnedSpec,
  replicaText,
  wantedBy,
} from '../../../../scheduler/core/resources/pinned.ts';
import { endOf, quarantineIn } from '../../../../scheduler/core/resources/quarantine.ts';
import { revisionOf } from '../../../../scheduler/core/rollout/revision.ts';
import { createProjection } from '../../../../scheduler/core/events/projection.ts';

const ORIGIN = { actor: 'key:ops', reason: 'why', correlationId: 'c' };

const entry = (kind: string, name: string, value: unknown, change: Partial<Entry> = {}): Entry =>
  ({ area: 'desired', kind, name, version: 9, value, atMs: 1000, actor: 'x', ...change }) as Entry;

const quarantine = (spec: object, more: object = {}): Entry =>
  entry('Quarantine', 'q', { spec: { node: 'n1', reason: 'r', ...spec }, labels: {}, ...more }, { area: 'quarantine' });

const resource = (spec: object, kind: Resource['kind'] = 'Quarantine'): Resource => ({
  apiVersion: 'sophia/v1',
  kind,
  metadata: { name: 'q', labels: {} },
  spec: { node: 'n1', reason: 'r', ...spec } as Resource['spec'],
});

t.test('a duration counts from the event that said it first, a moment is a moment', async (t) => {
  t.equal(endOf(quarantine({})), undefined);
  t.equal(endOf(quarantine({ until: 500 })), 1500);
  t.equal(endOf(quarantine({ until: 500 }, { sinceMs: 200 })), 700);
  t.equal(endOf(quarantine({ until: '1970-01-01T00:00:02.000Z' })), 2000);
  t.equal(quarantineIn(entry('Quarantine', 'q', null)), undefined);
  t.equal(quarantineIn(entry('Later', 'q', { spec: { node: 'n', reason: 'r' } })), undefined);
  const held: QuarantineResource = { name: 'q', version: 1, spec: { node: 'n', reason: 'r' }, endsAtMs: 10 };
  t.same(
    [9, 10].map((atMs) => isOver(held, atMs)),
    [false, true],
  );
});

t.test('what is applied again keeps its time, unless it says another one or means something else', async (t) => {
  const applied = (spec: object, before?: Entry) => planApply(resource(spec), before, ORIGIN);
  t.match(applied({ until: 500 }), {
    outcome: 'created',
    item: { kind: 'quarantine.set', after: { spec: { until: 500 } } },
  });
  const before = quarantine({ until: 500 });
  t.match(applied({ until: 500 }, before), { outcome: 'unchanged', item: undefined });
  t.match(applied({ until: 500, reason: 'x' }, before), { outcome: 'changed', item: { after: { sinceMs: 1000 } } });
  t.match(applied({ until: 500, reason: 'x' }, quarantine({ until: 500 }, { sinceMs: 7 })), {
    item: { after: { sinceMs: 7 } },
  });
  for (const spec of [
    { until: 501 },
    { until: 500, gpu: 1 },
    { until: 500, node: 'n2' },
    {},
    { until: '2027-01-01T00:00:00.000Z' },
  ])
    t.notOk('sinceMs' in (applied(spec, before) as { item: { after: object } }).item.after, JSON.stringify(spec));
  t.match(planDelete({ kind: 'Quarantine', name: 'q' }, before, ORIGIN), { item: { kind: 'quarantine.lifted' } });
  t.match(planApply(resource({}, 'Engine'), undefined, ORIGIN), { item: { kind: 'desired.created' } });
  t.same([areaOf('Quarantine'), areaOf('Engine')], ['quarantine', 'desired']);
});

t.test('several quarantines of one GPU are told together, by index and by UUID', async (t) => {
  const of = (name: string, spec: object): [string, QuarantineResource] => [
    name,
    { name, version: 1, spec: { node: 'n1', reason: `why ${name}`, ...spec } },
  ];
  const all = new Map([of('b', { gpu: 0 }), of('a', { gpu: 0 }), of('c', { gpu: 'GPU-AB' }), of('d', { node: 'n2' })]);
  t.same(gpuHold(all, 'n1', 0, 'gpu-ab'), {
    names: ['a', 'b', 'c'],
    why: 'quarantine/a: why a; quarantine/b: why b; quarantine/c: why c',
  });
  t.match(gpuHold(all, 'n1', 1, 'GPU-ab'), { names: ['c'] });
  t.equal(gpuHold(all, 'n1', 1, undefined), undefined);
  t.equal(nodeHold(all, 'n1'), undefined);
  t.match(nodeHold(all, 'n2'), { names: ['d'] });
});

t.test('a pinned engine is a deployment that no deployment can be taken for', async (t) => {
  t.equal(engineOfPinned(pinnedName('a')), 'a');
  t.equal(engineOfPinned('a'), undefined);
  t.same([replicaText('engine/a', 0), replicaText('a', 0)], ['engine/a', 'a/0']);
  t.same(wantedBy('engine/a'), { kind: 'Engine', name: 'a' });
  t.same(wantedBy('a'), { kind: 'Deployment', name: 'a' });
  t.equal(engineName('engine/a', 0, 'rev', 1), 'a-pin-rev');
  t.not(engineName('engine/a', 0, 'rev', 1), engineName('a', 0, 'rev', 1));
  const spec = pinnedSpec({ engine: 'sim', model: 'm', node: 'n1' }) as DeploymentSpec;
  t.match(spec, { replicas: 1, rollout: { maxSurge: 0, maxUnavailable: 1 } });
  t.not(revisionOf(spec).id, revisionOf({ ...spec, node: 'n2' }).id, 'on another node it is another one');
  const value = { spec: { engine: 'sim', model: 'm', servedModelName: 'x', node: 'n1' }, labels: {} };
  const projection = createProjection([entry('Engine', 'a', value), entry('Deployment', 'a', value)]);
  t.same([...readDeclared(projection).deployments.keys()].sort(), ['a', 'engine/a']);
  t.same([...createDeclaredModels()(projection)], ['x']);
});

t.test(
  'a place is stopped in the phases in which its engine is to run, and released where it never began',
  async (t) => {
    const value = (phase: string) => ({
      deployment: 'chat',
      index: 0,
      number: 1,
      revision: 'r',
      spec: {},
      engine: 'chat-0-r',
      priority: 50,
      parts: [],
      phase,
      reason: 'it is wanted',
      waitsFor: [],
    });
    const place = (phase: string): Entry => entry('Replica', 'chat/0/1', value(phase), { area: 'placement' });
    const ref = { kind: 'Engine', name: 'n1/chat-0-r' } as const;
    for (const phase of ['placed', 'leaving'])
      t.match(planStop(ref, place(phase), ORIGIN), {
        outcome: 'stopped',
        version: 9,
        item: { kind: 'placement.moved', expected: 9, after: { phase: 'stopping', reason: 'stopped by hand: why' } },
      });
    t.match(planStop(ref, place('waiting'), ORIGIN), {
      outcome: 'stopped',
      item: { kind: 'placement.released', after: null },
    });
    for (const phase of ['stopping', 'lost'])
      t.match(planStop(ref, place(phase), ORIGIN), { outcome: 'unchanged', item: undefined });
    t.match(planStop(ref, undefined, ORIGIN), { outcome: 'not_found' });
    t.match(planStop(ref, entry('Later', 'x', {}), ORIGIN), { outcome: 'not_found' });
    t.match(planStop({ ...ref, version: 8 }, place('placed'), ORIGIN), {
      kindOfPlan: 'conflict',
      expected: 8,
      actual: 9,
    });
    const silent = { ...ORIGIN, reason: '' };
    t.match(planStop(ref, place('placed'), silent), { item: { after: { reason: 'stopped by hand' } } });
  },
);
