/** Reconcile with real agents, engines and a store: from declared deployments to engines, and back to free GPUs. */
import t from 'tap';
import { createLogger } from '../../../lib/io/logger.ts';
import { type ControlScheduler, startControlScheduler } from '../../support/control/control_scheduler.ts';
import { declare, freeze, makeControlWorld, simDeployment, undeclare, unfreeze } from '../../support/control/world.ts';
import { until } from '../../support/waits.ts';

const LIMIT_MS = 40_000;

function ready(scheduler: ControlScheduler, name: string, count: number): boolean {
  const status = scheduler.view.deploymentStatus(name);
  return (
    status?.ready === count &&
    status.wanted === count &&
    status.replicas.length === count &&
    status.replicas.every(({ state }) => state === 'ready')
  );
}

const nodesOf = (scheduler: ControlScheduler, name: string): string[] =>
  (scheduler.view.deploymentStatus(name)?.replicas ?? []).flatMap(({ gpus }) => gpus.map(({ node }) => node)).sort();

/** No GPU has two engines at once, by all that was ever written. */
async function placesOverlap(scheduler: ControlScheduler): Promise<string[]> {
  const held = new Map<string, string>();
  const wrong: string[] = [];
  const rows = await scheduler.store.read(0, 5000);
  for (const { body } of rows) {
    const { kind, resource, after } = JSON.parse(body);
    if (kind === 'placement.released') for (const [gpu, by] of held) if (by === resource.name) held.delete(gpu);
    if (kind !== 'placement.assigned' || after.phase === 'waiting') continue;
    for (const { node, gpus } of after.parts) {
      for (const gpu of gpus) {
        const key = `${node}/${gpu}`;
        if (held.has(key)) wrong.push(`${key}: ${held.get(key)} and ${resource.name}`);
        held.set(key, resource.name);
      }
    }
  }
  return wrong;
}

const pidsOf = (scheduler: ControlScheduler): string[] =>
  [...scheduler.fleet.nodes.values()]
    .flatMap((node) => [...node.engines.values()].map(({ name, event }) => ({ where: `${node.name}/${name}`, event })))
    .flatMap(({ where, event }) => (event.pid === undefined ? [] : [`${where}:${event.pid}`]))
    .sort();

t.test('three deployments become ready, change, move, heal and go', async (t) => {
  const world = await makeControlWorld(t);
  const lines: string[] = [];
  const logger = createLogger({ name: 'test', level: 'info', destination: { write: (line) => void lines.push(line) } });
  const start = (port = 0): Promise<ControlScheduler> =>
    startControlScheduler({ root: world.root, id: 'a', logger, port });
  let scheduler = await start();
  t.teardown(() => scheduler.stop());
  const { port } = scheduler;
  const reach = async (what: string, holds: () => boolean): Promise<void> => {
    try {
      await until(holds, what, LIMIT_MS);
    } catch (error) {
      t.comment(lines.slice(-60).join(''));
      throw error;
    }
  };
  await Promise.all(['n1', 'n2'].map((name) => world.startNode(name, [port])));
  const isReady = (name: string, count: number) => (): boolean => ready(scheduler, name, count);

  await declare(scheduler.store, 'Deployment', 'chat', simDeployment('chat', 1));
  await declare(scheduler.store, 'Deployment', 'code', simDeployment('code', 1));
  await declare(scheduler.store, 'Deployment', 'tiny', simDeployment('tiny', 1, { gpusPerHost: 0 }));
  for (const name of ['chat', 'code', 'tiny']) await reach(`${name} to be ready`, isReady(name, 1));
  t.match(scheduler.view.leader(), { isLeader: true, holder: /^a\// });
  const plan = await scheduler.view.plan([], [{ kind: 'Deployment', name: 'code' }]);
  t.match(plan, { stops: 1, assignments: 0, lines: [/^stop code\/0 on n\d: it is not wanted$/] });

  // Up, to more than there is room for: one waits and says why; and down again.
  await declare(scheduler.store, 'Deployment', 'chat', simDeployment('chat', 4));
  await reach('three of chat to be ready', () => scheduler.view.deploymentStatus('chat')?.ready === 3);
  const waiting = scheduler.view.deploymentStatus('chat')?.replicas.find(({ state }) => state === 'pending');
  t.match(waiting, { engines: [], reason: /n\d/ });
  t.match(
    (await scheduler.view.explainDeployment('chat')).join('\n'),
    /4 wanted, 3 running, 0 to be started, 1 pending/,
  );
  await declare(scheduler.store, 'Deployment', 'chat', simDeployment('chat', 1));
  await reach('chat to be small again', isReady('chat', 1));

  // A drained node is left by what runs there, and never with less than one that serves.
  const [from] = nodesOf(scheduler, 'chat') as [string];
  let least = 1;
  const watching = setInterval(() => {
    least = Math.min(least, scheduler.view.deploymentStatus('chat')?.ready ?? 0);
  }, 20);
  await declare(scheduler.store, 'Node', from, { draining: true });
  await reach('the drained node to be left', () => isReady('chat', 1)() && !nodesOf(scheduler, 'chat').includes(from));
  clearInterval(watching);
  t.equal(least, 1, 'there was always one that served');
  await declare(scheduler.store, 'Node', from, {});

  // While the fleet is frozen nothing changes.
  await freeze(scheduler.store, 'a look at it');
  await declare(scheduler.store, 'Deployment', 'late', simDeployment('late', 1));
  await reach('the freeze to be known', () => scheduler.view.deploymentStatus('late') !== undefined);
  t.match((await scheduler.view.explainDeployment('late'))[0], /frozen by key:test: a look at it/);
  const { seq } = await scheduler.store.head();
  await new Promise((resolve) => setTimeout(resolve, 300));
  t.equal((await scheduler.store.head()).seq, seq);
  t.equal(scheduler.view.deploymentStatus('late')?.replicas[0]?.state, 'pending');
  await unfreeze(scheduler.store);
  await reach('late to be ready', isReady('late', 1));

  // A scheduler that starts anew finds everything as it is, and starts nothing twice.
  const before = pidsOf(scheduler);
  await scheduler.stop(false);
  scheduler = await start(port);
  for (const name of ['chat', 'code', 'late']) await reach(`${name} to be known again`, isReady(name, 1));
  await reach('the new one to lead', () => scheduler.view.leader().isLeader);
  t.same(pidsOf(scheduler), before);

  // A host that is gone is no host for long.
  const [dead] = nodesOf(scheduler, 'chat') as [string];
  world.killNode(dead);
  const living = dead === 'n1' ? 'n2' : 'n1';
  const isHealed = (): boolean => isReady('chat', 1)() || scheduler.view.deploymentStatus('chat')?.ready === 1;
  await reach('chat to run elsewhere', () => isHealed() && nodesOf(scheduler, 'chat').includes(living));
  const actions = (await scheduler.store.read(0, 5000)).filter(({ kind }) => kind === 'action.taken');
  t.ok(actions.length > 0);
  t.match(JSON.parse(actions[0]?.body ?? '{}'), { after: { symptom: 'node_lost', node: dead } });

  // It comes back, is told what it has not to run any more, and everything goes in the end.
  await world.startNode(dead, [port]);
  for (const name of ['chat', 'code', 'tiny', 'late']) await undeclare(scheduler.store, 'Deployment', name);
  await reach('every place to be gone', () => scheduler.projection.list('placement').length === 0);
  t.same(await placesOverlap(scheduler), []);
  // Two that share a GPU, by their shares of its memory.
  await declare(scheduler.store, 'Deployment', 'pair', simDeployment('pair', 2, { sharing: 'shared' }));
  await reach('both of the pair to be ready', isReady('pair', 2));
  const gpus = (scheduler.view.deploymentStatus('pair')?.replicas ?? []).map((each) => JSON.stringify(each.gpus));
  t.equal(new Set(gpus).size, 1, gpus.join());
  await undeclare(scheduler.store, 'Deployment', 'pair');
  await reach('every place to be gone again', () => scheduler.projection.list('placement').length === 0);
  const left = [...scheduler.fleet.nodes.values()].flatMap(({ engines }) =>
    [...engines.values()].filter(({ event }) => event.state !== 'ENGINE_STATE_STOPPED'),
  );
  t.same(left, []);
});
