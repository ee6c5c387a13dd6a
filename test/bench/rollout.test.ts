/** The bench's own replicas: as many of each revision as are wanted, and none forgotten before its engine has stopped. */
import t from 'tap';
import { Replicas } from '../../bench/rollout/replicas.ts';
import type { NodeId } from '../../lib/ids.ts';
import type { FleetState, NodeState } from '../../scheduler/core/fleet/state.ts';
import { revisionOf } from '../../scheduler/core/rollout/revision.ts';

const SPEC = {
  engine: 'sim',
  model: 'm',
  servedModelName: 'm',
  replicas: 2,
  gpusPerHost: 0,
  extraFlags: ['--sim-unpaced'],
  environment: {},
} as const;
const OLD = revisionOf(SPEC);
const NEW = revisionOf({ ...SPEC, extraFlags: [] });
const KNOWN = new Map([OLD, NEW].map((revision) => [revision.id, revision]));
const NODES = ['a', 'b'] as NodeId[];

/** A fleet with these engines, as `node/engine` and state. */
function fleetOf(engines: Readonly<Record<string, string>>, refused: readonly string[] = []): FleetState {
  const nodes = NODES.map((node): readonly [NodeId, NodeState] => {
    const own = Object.entries(engines).filter(([id]) => id.startsWith(`${node}/`));
    const records = own.map(([id, state]) => [
      id.slice(2),
      { event: { state: `ENGINE_STATE_${state}`, incarnation: 1, reason: 'r', message: 'm' } },
    ]);
    const rejections = refused.map((engine) => ({ engine, message: 'a bad flag' }));
    return [node, { engines: new Map(records as never), rejections } as unknown as NodeState];
  });
  return { nodes: new Map(nodes) };
}

t.test('replicas are spread, and those that do not serve go first', async (t) => {
  const replicas = new Replicas('d');
  const none = fleetOf({});
  t.ok(replicas.settle({ [OLD.id]: 3 }, KNOWN, { nodes: NODES, fleet: none, nowMs: 0 }));
  t.notOk(replicas.settle({ [OLD.id]: 3 }, KNOWN, { nodes: NODES, fleet: none, nowMs: 0 }), 'nothing is left to do');
  t.same(
    replicas.list.map(({ node, name }) => `${node}/${name}`),
    [`a/d-1-${OLD.id}`, `b/d-2-${OLD.id}`, `a/d-3-${OLD.id}`],
  );
  t.match(replicas.ordersFor('a' as NodeId), [{ name: `d-1-${OLD.id}`, extraFlags: ['--sim-unpaced'] }, {}]);
  const fleet = fleetOf({
    [`a/d-1-${OLD.id}`]: 'READY',
    [`b/d-2-${OLD.id}`]: 'STARTING',
    [`a/d-3-${OLD.id}`]: 'READY',
  });
  t.same(
    replicas.look(fleet, 0).map(({ state }) => state),
    ['ready', 'starting', 'ready'],
  );
  t.ok(replicas.settle({ [OLD.id]: 2, [NEW.id]: 1 }, KNOWN, { nodes: NODES, fleet, nowMs: 0 }));
  t.same(
    replicas.list.map(({ leaving }) => leaving),
    [false, true, false, false],
  );
  t.equal(replicas.list[3]?.node, 'b');
  t.equal(replicas.look(fleet, 60_000)[1]?.state, 'stopping', 'it holds its place until it has stopped');
  t.equal(replicas.look(fleetOf({ ...{}, [`b/d-2-${OLD.id}`]: 'STOPPED' }), 60_000).length, 3);
});

t.test('a specification that an agent refuses has failed, and an order taken back early is forgotten', async (t) => {
  const replicas = new Replicas('d');
  const none = fleetOf({});
  replicas.settle({ [NEW.id]: 1 }, KNOWN, { nodes: NODES, fleet: none, nowMs: 0 });
  t.match(replicas.look(none, 0), [{ state: 'placed' }]);
  t.match(replicas.look(fleetOf({}, [`d-1-${NEW.id}`]), 0), [{ state: 'failed', reason: 'a bad flag' }]);
  replicas.settle({}, KNOWN, { nodes: NODES, fleet: none, nowMs: 0 });
  t.equal(replicas.look(none, 4000).length, 1, 'its agent may still be about to start it');
  t.equal(replicas.look(none, 6000).length, 0);
});
