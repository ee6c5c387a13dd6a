/** What a rollout is told of replicas and GPUs, what its state means for reconcile, and what of it is written. */
import t from 'tap';
import type { NodeId } from '../../../../lib/ids.ts';
import { declaredOf, type EntryOf } from './rollout_fixture.ts';
import type { FleetState, NodeState } from '../../../../scheduler/core/fleet/state.ts';
import type { Place, PlacePhase } from '../../../../scheduler/core/reconcile/contract.ts';
import { rolloutReport } from '../../../../scheduler/core/reconcile/rollout_report.ts';
import {
  foreseenTargets,
  incarnationOf,
  replicaFacts,
  rolloutTargets,
} from '../../../../scheduler/core/reconcile/rollout_targets.ts';
import { turnRollouts } from '../../../../scheduler/core/reconcile/rollout_turn.ts';
import { aliasesOf } from '../../../../scheduler/core/resources/aliases.ts';
import type { RolloutState } from '../../../../scheduler/core/rollout/contract.ts';
import { isOrderVerb, orderVerb } from '../../../../scheduler/core/rollout/orders.ts';
import { revisionOf } from '../../../../scheduler/core/rollout/revision.ts';
import { NO_TALLY } from '../../../../scheduler/core/rollout/tallies.ts';
import { trafficNow } from '../../../../scheduler/core/rollout/traffic_now.ts';
import { deployment } from '../../reconcile/harness.ts';

const SPEC = deployment(2);
const OLD = revisionOf(deployment(2, { model: 'old' }));
const IDLE: RolloutState = { seen: revisionOf(SPEC).id, current: OLD, running: null, history: [] };

const place = (index: number, phase: PlacePhase, change: Partial<Place> = {}): Place => ({
  name: `chat/${index}/1`,
  version: 1,
  deployment: 'chat',
  index,
  number: 1,
  revision: OLD.id,
  spec: deployment(2, { model: 'old' }),
  engine: `chat-${index}`,
  priority: 0,
  parts: [{ node: 'n', gpus: [index], gpuMemoryBytes: 1, gpuMemoryShare: 1, hostMemoryBytes: 0, graceSpillBytes: 0 }],
  phase,
  reason: 'it is not wanted',
  waitsFor: phase === 'waiting' ? ['x/0/1'] : [],
  ...change,
});

interface Gpu {
  readonly health?: string;
  readonly event?: boolean;
}

function fleetOf(engines: Readonly<Record<string, string>>, gpus: readonly Gpu[] = []): FleetState {
  const records = Object.entries(engines).map(([name, state]) => [
    name,
    { event: { state: `ENGINE_STATE_${state}`, incarnation: 3, reason: 'why', message: '' } },
  ]);
  const node = {
    connected: true,
    rejections: [],
    hello: { gpus: gpus.map((_, index) => ({ index })) },
    engines: new Map(records as never),
    telemetry: { gpus: gpus.map(({ health = 'ok' }, index) => ({ index, health })) },
    gpuEvents: new Map(gpus.map(({ event = false }, index) => [index, { quarantined: event, message: 'XID 79' }])),
  } as unknown as NodeState;
  return { nodes: new Map([['n' as NodeId, node]]) };
}

const none = (): undefined => undefined;

t.test('replicas are told by what their agents say; a place on a lost node counts for nothing', async (t) => {
  const places = [
    place(0, 'placed'),
    place(1, 'leaving'),
    place(2, 'stopping'),
    place(3, 'lost'),
    place(4, 'waiting'),
    place(5, 'placed'),
    place(6, 'placed', {
      parts: [{ node: 'away', gpus: [], gpuMemoryBytes: 0, gpuMemoryShare: 1, hostMemoryBytes: 0, graceSpillBytes: 0 }],
    }),
    place(7, 'placed', { deployment: 'other' }),
    place(8, 'placed', { parts: [] }),
  ];
  const fleet = fleetOf({ 'chat-0': 'READY', 'chat-1': 'READY', 'chat-5': 'FAILED' });
  const smoke = { ok: true, answered: true, attempts: 1, detail: 'well' };
  const facts = replicaFacts({ places, quarantines: new Map() }, 'chat', fleet, (name, life) =>
    name === 'chat/0/1' && life === 3 ? smoke : undefined,
  );
  t.same(
    facts.map(({ key, state, restarts }) => `${key} ${state} ${restarts}`),
    [
      'chat/0/1 ready 2',
      'chat/1/1 ready 2',
      'chat/2/1 stopping 0',
      'chat/4/1 placed 0',
      'chat/5/1 failed 2',
      'chat/6/1 placed 0',
      'chat/8/1 placed 0',
    ],
  );
  t.same(facts[0]?.smoke, smoke);
  t.match(facts[3]?.reason, /waits for x\/0\/1/);
  t.equal(incarnationOf(fleet, place(0, 'placed')), 3);
  t.equal(incarnationOf(fleet, place(9, 'placed')), undefined);
});

t.test('the worst GPU counts, whoever says so', async (t) => {
  const fleet = fleetOf({}, [{}, { health: 'degraded' }, { health: 'unhealthy' }, { event: true }, {}]);
  const quarantines = new Map([['x', { name: 'x', version: 1, spec: { node: 'n', gpu: 4, reason: 'by hand' } }]]);
  const places = [
    ...[0, 1, 2, 3, 4].map((index) => place(index, 'placed')),
    place(5, 'placed', {
      parts: [
        { node: 'n', gpus: [0, 1, 2], gpuMemoryBytes: 1, gpuMemoryShare: 1, hostMemoryBytes: 0, graceSpillBytes: 0 },
      ],
    }),
  ];
  t.same(
    replicaFacts({ places, quarantines }, 'chat', fleet, none).map(({ gpu, gpuReason = '' }) => `${gpu} ${gpuReason}`),
    [
      'ok ',
      'degraded n GPU 1: its agent calls it degraded',
      'failed n GPU 2: its agent calls it unhealthy',
      'failed n GPU 3: XID 79',
      'failed n GPU 4: quarantine/x: by hand',
      'failed n GPU 2: its agent calls it unhealthy',
    ],
  );
});

t.test('the state alone says what is wanted; what nobody looked at is kept as it stands', async (t) => {
  const resource = { name: 'chat', version: 1, spec: SPEC, revision: IDLE.seen };
  const ready = (): boolean => true;
  const run = (given: object, places: readonly Place[] = [], targets = rolloutTargets): unknown =>
    targets({ ...resource, ...given }, places, ready).map(({ revision, spec, replicas }) => [
      revision,
      spec.model,
      replicas,
    ]);
  t.same(run({}), []);
  t.same(run({}, [place(0, 'placed'), place(1, 'waiting'), place(2, 'stopping')]), [[OLD.id, 'old', 2]]);
  t.same(run({ rollout: IDLE }), [[OLD.id, 'old', 2]], 'what was rolled back is not started again');
  t.same(run({ rollout: { ...IDLE, current: null } }), [[IDLE.seen, 'm', 2]]);
  const adopted = { ...IDLE, current: { id: 'before', spec: {} } };
  t.same(run({ rollout: adopted }), [], 'nobody knows of what it was made');
  t.same(run({ rollout: adopted }, [place(0, 'placed', { revision: 'before' })]), [['before', 'old', 2]]);
  const running = { to: revisionOf(SPEC), from: null, wanted: { [OLD.id]: 1, [IDLE.seen]: 1 } };
  const past = [{ revision: OLD, outcome: 'done' }];
  t.same(run({ rollout: { ...IDLE, current: null, running, history: past } }), [
    [OLD.id, 'old', 1],
    [IDLE.seen, 'm', 1],
  ]);
  t.same(run({ rollout: IDLE, revision: 'next' }, [place(0, 'placed')], foreseenTargets), [
    ['next', 'm', 1],
    [OLD.id, 'old', 1],
  ]);
  t.same(run({ rollout: IDLE }, [], foreseenTargets), [[OLD.id, 'old', 2]]);
  t.match(trafficNow(IDLE, [], 2), { shares: [{ revision: OLD.id, proven: true }], admitted: [] });
  t.match(trafficNow({ ...IDLE, current: null }, [], 2), { shares: [{ revision: IDLE.seen }] });
});

const DEPLOYED: EntryOf = ['desired', 'Deployment', 'chat', { spec: SPEC, labels: {} }];
const turn = (...entries: EntryOf[]) =>
  turnRollouts({
    declared: declaredOf(...entries),
    fleet: fleetOf({}),
    wallMs: 1,
    writer: { actor: 'scheduler:a', correlationId: 'c' },
    tallyOf: () => NO_TALLY,
    smokeOf: none,
  });
const kinds = ({ items }: ReturnType<typeof turn>): string[] =>
  items.map(({ kind, resource, expected }) => `${kind} ${resource.kind}/${resource.name} ${expected}`);

t.test('a turn writes state and orders side by side, and ends what has no deployment', async (t) => {
  t.same(kinds(turn(DEPLOYED)), ['lifecycle.changed Rollout/chat absent']);
  const rest: EntryOf = ['lifecycle', 'Rollout', 'chat', { ...IDLE, current: revisionOf(SPEC) }];
  t.same(kinds(turn(DEPLOYED, rest)), [], 'what rests is left alone');
  t.same(kinds(turn(DEPLOYED, ['lifecycle', 'Rollout', 'chat', 7])), ['lifecycle.changed Rollout/chat 7']);
  for (const value of [{ verb: 'pause' }, { verb: 'dance' }, null]) {
    const order: EntryOf = ['lifecycle', 'RolloutOrder', 'chat', value];
    t.same(kinds(turn(DEPLOYED, rest, order)), ['lifecycle.ended RolloutOrder/chat 7'], JSON.stringify(value));
    t.same(kinds(turn(rest, order)), ['lifecycle.ended Rollout/chat 7', 'lifecycle.ended RolloutOrder/chat 7']);
  }
  const undo: EntryOf = ['lifecycle', 'RolloutOrder', 'chat', { verb: 'undo', reason: 'slow' }];
  const before: EntryOf = [
    'lifecycle',
    'Rollout',
    'chat',
    { ...IDLE, current: revisionOf(SPEC), history: [{ revision: OLD, outcome: 'done' }] },
  ];
  t.same(kinds(turn(DEPLOYED, before, undo)), [
    'lifecycle.changed Rollout/chat 7',
    'lifecycle.ended RolloutOrder/chat 7',
  ]);
  const many = Array.from({ length: 900 }, (_, at): EntryOf => ['desired', 'Deployment', `d${at}`, DEPLOYED[3]]);
  const gone = Array.from({ length: 900 }, (_, at): EntryOf => ['lifecycle', 'Rollout', `d${at}`, IDLE]);
  t.equal(turn(...many).items.length, 400, 'one append takes it');
  t.equal(turn(...gone).items.length, 400);
});

t.test('a report says what is not looked at yet and what waits', async (t) => {
  const resource = { name: 'chat', version: 1, spec: SPEC, revision: 'next' };
  t.match(rolloutReport(resource, undefined, undefined), { phase: '', revision: '', paused: false });
  const waiting = { verb: 'undo', actor: 'key:a', reason: '' } as const;
  t.match(rolloutReport({ ...resource, rollout: IDLE }, waiting, undefined).lines.slice(-2), [
    /next is asked for/,
    /undo is ordered by key:a/,
  ]);
  t.ok(isOrderVerb(orderVerb('undo')));
  t.throws(() => orderVerb('dance'), { code: 'invalid_value', param: 'verb' });
});

t.test('an alias has the models of its deployments; what is not there is left out', async (t) => {
  const entries: EntryOf[] = [
    DEPLOYED,
    [
      'desired',
      'Alias',
      'gpt',
      {
        spec: {
          targets: [
            { deployment: 'chat', weight: 3 },
            { deployment: 'x', weight: 1 },
          ],
        },
      },
    ],
  ];
  const list = (_area: string, kind: string) =>
    entries.filter((entry) => entry[1] === kind).map(([, , name, value]) => ({ name, value }));
  const get = (_area: string, kind: string, name: string) => list('', kind).find((entry) => entry.name === name);
  t.same([...aliasesOf({ list, get } as never)], [['gpt', [{ model: 'm', weight: 3 }]]]);
});
