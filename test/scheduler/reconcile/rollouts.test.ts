/** Rollouts of whole fleets in memory: written before they are done, judged by what is seen, carried on by the next leader. */
import t from 'tap';
import type { EngineId } from '../../../lib/ids.ts';
import { RolloutRunner } from '../../../scheduler/adapters/reconcile/rollout_runner.ts';
import { engineId } from '../../../scheduler/core/fleet/state.ts';
import type { RevisionTally, SmokeResult } from '../../../scheduler/core/rollout/contract.ts';
import { revisionOf } from '../../../scheduler/core/rollout/revision.ts';
import type { SmokeTarget } from '../../../scheduler/core/rollout/smoke_asker.ts';
import { NO_RULES, type TrafficRules } from '../../../scheduler/core/routing/traffic_rules.ts';
import type { DeploymentSpec, RolloutReport } from '../../../scheduler/core/resources/contract.ts';
import { silentLog } from '../fakes.ts';
import { deployment, type FakeScheduler, Harness } from './harness.ts';

/** Requests a second of each revision that is asked about. */
const RATE = 100;

interface Rolling {
  readonly scheduler: FakeScheduler;
  readonly divided: { rules: TrafficRules; times: number };
  readonly asked: SmokeTarget[];
}

/** What a revision that has `bad` in its flags answers. */
function startRolling(fleet: Harness, id: string, bad = 'none'): Rolling {
  const results = new Map<string, SmokeResult>();
  const divided = { rules: NO_RULES, times: 0 };
  const asked: SmokeTarget[] = [];
  const tallyOf = (): RevisionTally => {
    const started = Math.floor((fleet.nowMs / 1000) * RATE);
    return { started, spoken: started, ended: started, failures: 0, rejections: 0, ttftCount: 0, ttftMs: [] };
  };
  const runner = new RolloutRunner({
    logger: silentLog,
    tallyOf,
    divide(rules) {
      divided.rules = rules;
      divided.times += 1;
    },
    smoke: {
      ask(target) {
        asked.push(target);
        const isBad = target.engine.includes(bad);
        results.set(target.key, { ok: !isBad, answered: true, attempts: 1, detail: isBad ? 'nonsense' : 'well' });
      },
      keepOnly(keys) {
        for (const key of results.keys()) if (!keys.has(key)) results.delete(key);
      },
      resultOf: (key) => results.get(key),
    },
  });
  return { scheduler: fleet.start(id, {}, { rollouts: runner }), divided, asked };
}

const ROLLING = { rollout: { kind: 'rolling', stepMs: 500 } } as const;
const spec = (replicas: number, flag: string, more: Partial<DeploymentSpec> = {}): DeploymentSpec =>
  deployment(replicas, { ...ROLLING, extraFlags: ['--seed', flag], ...more });
const idOf = (flag: string): string => revisionOf(spec(1, flag)).id;

const report = ({ scheduler }: Rolling, name = 'chat'): RolloutReport => scheduler.view.rollout(name) as RolloutReport;
const revisions = (fleet: Harness): string[] => [
  ...new Set(fleet.status('chat').replicas.map(({ revision }) => revision)),
];
const order = (fleet: Harness, verb: string): Promise<void> =>
  fleet.append({
    kind: 'lifecycle.changed',
    resource: { kind: 'RolloutOrder', name: 'chat' },
    after: { verb, reason: 'night' },
  });
const isOver = (fleet: Harness, flag: string, count: number) => (): boolean =>
  fleet.ready('chat', count) && revisions(fleet).join() === idOf(flag);

async function begin(fleet: Harness, rolling: Rolling, count = 2): Promise<void> {
  await fleet.declare('Deployment', 'chat', spec(count, '1'));
  await fleet.until('the first revision', isOver(fleet, '1', count));
  await fleet.until('its rollout to be over', () => report(rolling).phase === 'done');
}

t.test('a good revision rolls: closed until it has answered, and the old one serves until it is proven', async (t) => {
  const fleet = new Harness();
  fleet.addNode('n1', { gpus: 4 });
  const rolling = startRolling(fleet, 'a');
  const { divided, asked } = rolling;
  await begin(fleet, rolling);
  t.equal(asked.length, 2, 'each replica was asked once');
  await fleet.declare('Deployment', 'chat', spec(2, '2'));
  await fleet.until('a new replica to be ordered', () => revisions(fleet).includes(idOf('2')));
  const [first] = fleet.status('chat').replicas.filter(({ revision }) => revision === idOf('2'));
  const engine = first?.engines[0] as EngineId;
  t.match(divided.rules.markOf(engine), { closed: true, label: `chat.${idOf('2')}` }, 'known before it runs');
  t.equal(divided.rules.markOf(engineId('n1' as never, 'other')), undefined);
  let least = 2;
  await fleet.until('the new revision', () => {
    least = Math.min(least, fleet.status('chat').ready);
    return isOver(fleet, '2', 2)();
  });
  t.equal(least, 2);
  await fleet.until('its end', () => report(rolling).phase === 'done');
  t.match(divided.rules.markOf(engine), { closed: false });
  t.equal(divided.rules.markOf(engine)?.share, undefined, 'one revision is divided from none');
  t.match(report(rolling), { revision: idOf('2'), paused: false, history: [/done/, /done/] });
  t.match(fleet.status('chat').rollout, /done/);
  const { times } = divided;
  await fleet.declare('Deployment', 'chat', spec(3, '2'));
  await fleet.until('three', () => fleet.ready('chat', 3));
  t.equal(report(rolling).history.length, 2, 'to scale is no rollout');
  t.equal(divided.times, times, 'and routing is told nothing new');
  t.same(fleet.doubles, []);
  await fleet.undeclare('Deployment', 'chat');
  const states = (): unknown => fleet.memory.projection.get('lifecycle', 'Rollout', 'chat');
  await fleet.until('its state to end', () => states() === undefined);
});

t.test('a bad revision goes back by itself and is not tried again', async (t) => {
  const fleet = new Harness();
  const node = fleet.addNode('n1', { gpus: 4 });
  const rolling = startRolling(fleet, 'a', idOf('bad'));
  await begin(fleet, rolling);
  await fleet.declare('Deployment', 'chat', spec(2, 'bad'));
  await fleet.until('it to go back', () => report(rolling).phase === 'rolled_back');
  await fleet.until('the old revision', isOver(fleet, '1', 2));
  t.match(report(rolling).history[0], /rolled back, smoke: .*nonsense/);
  const { starts } = node;
  await fleet.run(5000);
  t.equal(node.starts, starts);
  // Engines that do not come up turn it back too.
  node.options = { ...node.options, fails: new RegExp(idOf('broken')) };
  await fleet.declare('Deployment', 'chat', spec(2, 'broken'));
  await fleet.until('it to go back again', () => /readiness/.test(report(rolling).history[0] ?? ''));
  await fleet.until('the old revision again', isOver(fleet, '1', 2));
  node.options = { ...node.options, fails: /^$/, rejects: new RegExp(idOf('refused')) };
  await fleet.declare('Deployment', 'chat', spec(2, 'refused'));
  await fleet.until('a refusal to go back', () => report(rolling).history.length === 4);
  t.match(report(rolling).history[0], /readiness/);
  t.same(fleet.doubles, []);
});

t.test('orders are taken up once: a paused rollout stands, and undo leads back', async (t) => {
  const fleet = new Harness();
  fleet.addNode('n1', { gpus: 4 });
  const rolling = startRolling(fleet, 'a');
  await begin(fleet, rolling);
  const waiting = (): unknown => fleet.memory.projection.get('lifecycle', 'RolloutOrder', 'chat');
  await fleet.declare('Deployment', 'chat', spec(2, '2'));
  await fleet.until('a rollout', () => report(rolling).phase === 'replacing');
  await order(fleet, 'pause');
  t.match(report(rolling).lines.at(-1), /pause is ordered by key:test/);
  await fleet.until('the pause', () => report(rolling).paused);
  t.equal(waiting(), undefined);
  await fleet.run(5000);
  t.match(report(rolling), { paused: true, phase: 'replacing' });
  t.ok(revisions(fleet).includes(idOf('1')));
  await order(fleet, 'undo');
  await fleet.until('it to be back', () => report(rolling).phase === 'rolled_back');
  t.match(report(rolling).history[0], /key:test undid it: night/);
  await fleet.until('the old revision', isOver(fleet, '1', 2));
  // A third revision, and with nothing under way an undo rolls to the one before.
  await fleet.declare('Deployment', 'chat', spec(2, '3'));
  await fleet.until('the third', isOver(fleet, '3', 2));
  await fleet.until('its end', () => report(rolling).phase === 'done');
  await order(fleet, 'undo');
  await fleet.until('the first again', isOver(fleet, '1', 2));
  // What makes no sense is refused, and what nobody knows is taken away.
  await fleet.until('its end', () => report(rolling).phase === 'done');
  await order(fleet, 'resume');
  await fleet.until('it to be taken up', () => waiting() === undefined);
  await order(fleet, 'dance');
  await fleet.until('it to be taken away', () => waiting() === undefined);
  t.match(report(rolling), { phase: 'done', revision: idOf('1') });
});

t.test('a rollout goes on under the next leader, and all schedulers divide alike', async (t) => {
  const fleet = new Harness();
  const node = fleet.addNode('n1', { gpus: 4 });
  const first = startRolling(fleet, 'a');
  await fleet.until('a to lead', () => first.scheduler.view.leader().isLeader);
  const second = startRolling(fleet, 'b');
  await begin(fleet, first, 3);
  await fleet.declare('Deployment', 'chat', spec(3, '2'));
  const fresh = (): string[] =>
    fleet
      .status('chat')
      .replicas.filter(({ revision, state }) => revision === idOf('2') && state === 'ready')
      .flatMap(({ engines }) => engines);
  await fleet.until('a new replica', () => fresh().length === 1);
  await fleet.until('it to be open', () => first.divided.rules.markOf(fresh()[0] as EngineId)?.closed === false);
  await fleet.until(
    'the other to know',
    () =>
      JSON.stringify(second.divided.rules.markOf(fresh()[0] as EngineId)) ===
      JSON.stringify(first.divided.rules.markOf(fresh()[0] as EngineId)),
  );
  t.equal(second.asked.length, 0, 'who does not lead asks nobody');
  const { starts } = node;
  fleet.kill('a');
  await fleet.until('b to lead', () => second.scheduler.view.leader().isLeader);
  await fleet.until('the new revision', isOver(fleet, '2', 3));
  t.equal(node.starts, starts + 2, 'nothing was begun anew');
  await fleet.until('its end', () => report(second).phase === 'done');
  t.equal(report(second).history.length, 2);
  t.same(fleet.doubles, []);
});

t.test('while the fleet is frozen no rollout begins; a plan foretells its first step', async (t) => {
  const fleet = new Harness();
  fleet.addNode('n1', { gpus: 4 });
  const rolling = startRolling(fleet, 'a');
  await begin(fleet, rolling);
  const { view } = rolling.scheduler;
  const next = { kind: 'Deployment', metadata: { name: 'chat', labels: {} }, spec: spec(2, '2') };
  t.match(await view.plan([next as never], []), { assignments: 1, stops: 0 });
  await fleet.append({ kind: 'freeze.set', resource: { kind: 'Fleet', name: 'fleet' }, after: { reason: 'night' } });
  await fleet.declare('Deployment', 'chat', spec(2, '2'));
  await fleet.run(3000);
  t.match(report(rolling), { phase: 'done', revision: idOf('1') });
  t.match(report(rolling).lines.at(-1), /is asked for, and the leader has not looked/);
  t.equal(view.rollout('other'), undefined);
});
