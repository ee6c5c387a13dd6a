/** What a rollout says of traffic, as routing understands it. */
import t from 'tap';
import type { EngineId } from '../../../../lib/ids.ts';
import { trafficRules } from '../../../../scheduler/core/rollout/traffic_rules.ts';

const replicaOf = (engine: EngineId) => {
  const [, deployment, revision] = /^n\/(\w)-(\w+)/.exec(engine) ?? [];
  return deployment === 'd' && revision !== undefined ? { key: engine, revision } : undefined;
};

t.test('engines are marked by their revision; unproven ones are closed until they are admitted', async (t) => {
  const shares = [
    { revision: 'new', weight: 10, standby: false, proven: false },
    { revision: 'old', weight: 90, standby: true, proven: true },
  ];
  const traffic = { shares, admitted: ['n/d-new1'] };
  const { markOf } = trafficRules([
    { deployment: 'x', traffic: { shares: [], admitted: [] }, replicaOf: () => undefined },
    {
      deployment: 'd',
      traffic,
      replicaOf: (engine) =>
        replicaOf(engine.replace(/\d$/, '') as EngineId) && { key: engine, revision: engine.slice(4, 7) },
    },
  ]);
  const mark = (engine: string) => markOf(engine as EngineId);
  t.same(mark('n/d-old1'), { label: 'd.old', closed: false, share: { split: 'd', weight: 90, standby: true } });
  t.same(mark('n/d-new1'), { label: 'd.new', closed: false, share: { split: 'd', weight: 10, standby: false } });
  t.match(mark('n/d-new2'), { label: 'd.new', closed: true });
  t.match(mark('n/d-bad1'), { label: 'd.bad', closed: true, share: { weight: 0, standby: false } });
  t.equal(mark('n/hand'), undefined);
});

t.test('one revision alone is divided from nothing', async (t) => {
  const traffic = { shares: [{ revision: 'old', weight: 100, standby: false, proven: true }], admitted: [] };
  const { markOf } = trafficRules([{ deployment: 'd', traffic, replicaOf }]);
  t.same(markOf('n/d-old' as EngineId), { label: 'd.old', closed: false });
  t.match(markOf('n/d-gone' as EngineId), { closed: true });
});
