/**
 * Random histories: whatever operators declare and whatever fails in whatever order, no GPU ever has two engines, at most
 * one scheduler leads, and when it is quiet again the fleet comes to what is declared.
 */
import t from 'tap';
import { seededRandom } from '../../../lib/rng.ts';
import { planStop } from '../../../scheduler/core/reconcile/stop_place.ts';
import { deployment, Harness } from './harness.ts';

const SEEDS = 6;
const STEPS = 40;
const NODES = ['n1', 'n2', 'n3', 'n4'];
const DEPLOYMENTS = ['a', 'b', 'c'];
const ENGINES = ['a', 'p'];

/** For ten seconds, so that some end by themselves. */
const holdOf = (node: string, more: { readonly gpu?: number }) => ({
  spec: { node, reason: 'test', until: 10_000, ...more },
  labels: {},
});

async function live(seed: number): Promise<Harness> {
  const random = seededRandom(seed);
  const below = (n: number): number => Math.floor(random.next() * n);
  const pick = <Item>(items: readonly Item[]): Item => items[below(items.length)] as Item;
  const fleet = new Harness();
  for (const name of NODES) fleet.addNode(name, { gpus: 1 + below(3) });
  for (const id of ['x', 'y']) fleet.start(id);
  let pausedId: string | undefined;
  let lives = 0;
  const moves: Record<string, () => Promise<void> | void> = {
    declare: () =>
      fleet.declare(
        'Deployment',
        pick(DEPLOYMENTS),
        deployment(below(4), {
          priority: pick([10, 50, 90]),
          extraFlags: pick([[], ['--seed', '1']]),
          gpusPerHost: pick([0, 1, 1, 2]),
          placement: pick(['pack', 'spread']),
          ...pick([{}, {}, { sharing: 'shared' as const, gpuMemoryBytes: 30 * 2 ** 30 }]),
        }),
      ),
    remove: async () => {
      const name = pick(DEPLOYMENTS);
      if (fleet.memory.projection.get('desired', 'Deployment', name) !== undefined)
        await fleet.undeclare('Deployment', name);
    },
    pin: async () => {
      const spec = { ...deployment(1, { extraFlags: pick([[], ['--seed', '1']]) }), node: pick(NODES) };
      await fleet.declare('Engine', pick(ENGINES), spec);
    },
    unpin: async () => {
      const name = pick(ENGINES);
      if (fleet.memory.projection.get('desired', 'Engine', name) !== undefined) await fleet.undeclare('Engine', name);
    },
    stop: async () => {
      const place = pick(fleet.memory.projection.list('placement'));
      const origin = { actor: 'key:test', reason: '', correlationId: 'c' };
      const planned = place && planStop({ kind: 'Engine', name: 'x' }, place, origin);
      if (planned?.kindOfPlan === 'planned' && planned.item !== undefined) await fleet.append(planned.item);
    },
    hold: async () => {
      const resource = { kind: 'Quarantine', name: pick(NODES) };
      const isThere = fleet.memory.projection.get('quarantine', resource.kind, resource.name) !== undefined;
      if (isThere) await fleet.append({ kind: 'quarantine.lifted', resource, after: null });
      else
        await fleet.append({ kind: 'quarantine.set', resource, after: holdOf(resource.name, pick([{}, { gpu: 0 }])) });
    },
    node: () => fleet.declare('Node', pick(NODES), { draining: random.next() < 0.4, cordoned: random.next() < 0.2 }),
    cut: () => {
      const name = pick(NODES);
      if (fleet.nodes.get(name)?.connected === true) fleet.cut(name, random.next() < 0.5);
      else fleet.reconnect(name);
    },
    quarantine: () => fleet.nodes.get(pick(NODES))?.gpuEvent(0, random.next() < 0.5),
    pause: () => {
      if (pausedId !== undefined) fleet.resume(pausedId);
      pausedId = pausedId === undefined ? pick([...fleet.schedulers.keys()]) : undefined;
      const scheduler = fleet.schedulers.get(pausedId ?? '');
      if (scheduler !== undefined) scheduler.paused = true;
    },
    kill: () => {
      const id = pick([...fleet.schedulers.keys()]);
      if (id === pausedId) return;
      fleet.kill(id);
      lives += 1;
      fleet.start(`${id[0]}${lives}`);
    },
    fail: () => {
      const failure = new Error('The store is away.');
      fleet.memory.failures.push(...Array.from({ length: below(4) }, () => failure));
    },
  };
  for (let step = 0; step < STEPS; step++) {
    await moves[pick(Object.keys(moves))]?.();
    await fleet.run(50 * below(60));
    if (fleet.leaders().length > 1) throw new Error(`two lead: ${fleet.leaders().join()}`);
  }
  if (pausedId !== undefined) fleet.resume(pausedId);
  for (const name of NODES) {
    await fleet.declare('Node', name, {});
    fleet.nodes.get(name)?.gpuEvent(0, false);
    if (fleet.nodes.get(name)?.connected === false) fleet.reconnect(name);
  }
  return fleet;
}

/** What agents run is what the log says, and nothing is left on its way. */
function isQuiet(fleet: Harness): boolean {
  const places = fleet.memory.projection.list('placement').map(({ value }) => value as Record<string, unknown>);
  if (places.some(({ phase }) => phase !== 'placed')) return false;
  const wanted = places.flatMap(({ engine, parts }) =>
    (parts as { node: string }[]).map(({ node }) => `${node}/${String(engine)}`),
  );
  const running = [...fleet.nodes.values()].flatMap(({ name, engines }) =>
    [...engines].flatMap(([engine, { state }]) => (state === 'ENGINE_STATE_READY' ? [`${name}/${engine}`] : [])),
  );
  return wanted.sort().join() === running.sort().join();
}

t.test('no history starts anything twice, and each comes to rest', async (t) => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const fleet = await live(seed);
    await fleet.until(`rest, seed ${seed}`, () => isQuiet(fleet), 120_000);
    await fleet.run(5000);
    t.ok(isQuiet(fleet), `seed ${seed} stays at rest`);
    t.same(fleet.doubles, [], `seed ${seed}`);
    for (const name of DEPLOYMENTS) {
      const status = fleet.memory.projection.get('desired', 'Deployment', name) && fleet.status(name);
      if (status === undefined) continue;
      const pending = status.replicas.filter(({ state }) => state === 'pending').length;
      t.equal(status.ready + pending, status.wanted, `seed ${seed}, ${name}`);
    }
  }
});
