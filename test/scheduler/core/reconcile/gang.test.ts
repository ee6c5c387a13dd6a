/** What the members of a gang agree on, by itself. */
import t from 'tap';
import type { NodeId } from '../../../../lib/ids.ts';
import type { FleetState } from '../../../../scheduler/core/fleet/state.ts';
import type { Place } from '../../../../scheduler/core/reconcile/contract.ts';
import {
  GANG_PORTS,
  gangAddress,
  gangFlags,
  shapeOf,
  unsoundGang,
  withGang,
} from '../../../../scheduler/core/reconcile/gang.ts';
import { isOrderedOn, newPlace } from '../../../../scheduler/core/reconcile/places.ts';
import { deployment } from '../../reconcile/harness.ts';

const part = (node: string) => ({
  node,
  gpus: [0, 1],
  gpuMemoryBytes: 40,
  graceSpillBytes: 0,
  gpuMemoryShare: 0.5,
  hostMemoryBytes: 0,
});

const place = (nodes: readonly string[], more: Partial<Place> = {}): Place => ({
  ...newPlace(
    {
      deployment: 'wide',
      index: 0,
      revision: 'abc',
      spec: deployment(1, { hosts: nodes.length, gpusPerHost: 2 }),
      priority: 50,
      parts: nodes.map(part),
      waitsFor: [],
      reason: 'it is wanted',
    },
    1,
  ),
  ...more,
});

const gang = (nodes: readonly string[], more: Partial<Place> = {}): Place =>
  withGang(place(nodes, more), { addressOf: (node) => `${node}.lan`, seq: 1, places: [] });

t.test('a replica on one host needs no agreement', async (t) => {
  const one = place(['n1']);
  t.equal(gang(['n1']).gang, undefined);
  t.same(gangFlags(one, part('n1')), []);
});

t.test('two gangs of one host never share a port, and another try takes another one', async (t) => {
  const facts = { addressOf: () => 'h', seq: 1, places: [] };
  const first = withGang(place(['n1', 'n2']), facts);
  const second = withGang(place(['n1', 'n2']), { ...facts, places: [first] });
  const elsewhere = withGang(place(['n1', 'n2']), { ...facts, places: [first], addressOf: () => 'other' });
  t.not(second.gang?.port, first.gang?.port);
  t.equal(elsewhere.gang?.port, first.gang?.port);
  t.not(withGang(place(['n1', 'n2']), { ...facts, seq: 2 }).gang?.port, first.gang?.port);
  const { first: least, count } = GANG_PORTS;
  const all = Array.from({ length: count }, (_, at) => ({
    ...first,
    gang: { address: 'h', port: least + at, nodes: [] },
  }));
  const crowded = withGang(place(['n1', 'n2']), { ...facts, places: all });
  t.ok((crowded.gang?.port ?? 0) >= least && (crowded.gang?.port ?? 0) < least + count, 'it is bounded, come what may');
});

t.test('tensors are divided within a host and layers over hosts, unless the deployment says otherwise', async (t) => {
  const spec = (...extraFlags: string[]) => deployment(1, { hosts: 2, gpusPerHost: 4, extraFlags });
  t.same(shapeOf(spec(), 2), { tensor: 4, pipeline: 2 });
  t.same(shapeOf(spec('-tp', '8'), 2), { tensor: 8, pipeline: 1 });
  t.same(shapeOf(spec('--pipeline_parallel_size=8'), 2), { tensor: 1, pipeline: 8 });
  t.same(shapeOf(spec('--tensor-parallel-size', '2', '-pp', '4'), 2), { tensor: 2, pipeline: 4 });
  t.same(
    shapeOf(deployment(1, { gpusPerHost: 0 }), 3),
    { tensor: 1, pipeline: 3 },
    'hosts without GPUs count one each',
  );
  for (const odd of [
    ['-tp', '3'],
    ['-tp', 'x'],
    ['-tp', '2', '-pp', '2'],
    ['-pp', '0'],
  ]) {
    t.equal(shapeOf(spec(...odd), 2), undefined, odd.join(' '));
    t.match(unsoundGang(spec(...odd)), /do not divide the model over 2 hosts of 4 each/);
  }
  t.equal(unsoundGang(undefined), undefined);
  t.equal(unsoundGang(deployment(1)), undefined);
  t.equal(unsoundGang(spec()), undefined);
  t.match(unsoundGang({ ...spec(), engine: 'llama' }), /llama runs on one host/);
  t.equal(unsoundGang({ ...spec('-tp', '3'), engine: 'sim' }), undefined, 'a simulated one divides nothing');
});

t.test('what the deployment says of the division is not said twice', async (t) => {
  const given = gang(['n1', 'n2'], {
    spec: deployment(1, {
      hosts: 2,
      gpusPerHost: 2,
      extraFlags: ['-tp', '4', '-pp', '1', '--distributed-executor-backend', 'uni'],
    }),
  });
  const tail = ['--master-addr', 'n1.lan', '--master-port', String(given.gang?.port)];
  t.same(gangFlags(given, part('n2')), ['--nnodes', '2', '--node-rank', '1', ...tail, '--headless']);
  const sim = gang(['n1', 'n2'], { spec: deployment(1, { engine: 'sim' }) });
  t.same(gangFlags(sim, part('n1')).slice(0, 4), ['--nnodes', '2', '--node-rank', '0']);
  const odd = gang(['n1', 'n2'], { spec: deployment(1, { extraFlags: ['-tp', '3'] }) });
  t.notOk(
    gangFlags(odd, part('n1')).includes('--pipeline-parallel-size'),
    'a place of another version is left to its engine',
  );
});

t.test('an address is what the agent says, when it is one', async (t) => {
  const host = (told: object | null): FleetState =>
    ({ nodes: new Map([['n1' as NodeId, { hello: { host: told } }]]) }) as unknown as FleetState;
  t.equal(gangAddress(host({ gangAddress: '10.0.0.1', hostname: 'h' }), 'n1'), '10.0.0.1');
  t.equal(gangAddress(host({ gangAddress: 'fd00::1' }), 'n1'), 'fd00::1');
  t.equal(gangAddress(host({ gangAddress: '--middleware', hostname: 'h' }), 'n1'), 'h');
  t.equal(gangAddress(host({ gangAddress: 'a b', hostname: '' }), 'n1'), 'n1');
  t.equal(gangAddress(host(null), 'n1'), 'n1');
  t.equal(gangAddress({ nodes: new Map() }, 'n1'), 'n1');
});

t.test('members are ordered until their leader has ended, unless the gang is broken', async (t) => {
  const whole = gang(['n1', 'n2']);
  const on = (each: Place): boolean[] => ['n1', 'n2'].map((node) => isOrderedOn(each, node));
  t.same(on(whole), [true, true]);
  t.same(on({ ...whole, phase: 'stopping' }), [false, true]);
  t.same(on({ ...whole, phase: 'stopping', parts: [part('n2')] }), [false, false]);
  t.same(on({ ...whole, phase: 'lost' }), [false, false]);
  t.same(on({ ...whole, phase: 'stopping', gang: { address: 'a', port: 1, nodes: ['n1', 'n2'], broken: true } }), [
    false,
    false,
  ]);
  const { gang: _none, ...older } = whole;
  t.same(on({ ...older, phase: 'stopping' }), [false, false]);
});
