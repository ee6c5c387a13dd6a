/** Which nodes are told of which others that have a model. */
import t from 'tap';
import type { NodeId } from '../../../../lib/ids.ts';
import type { ModelReading__Output } from '../../../../proto/gen/fleet/v1/ModelReading.ts';
import { MAX_PEERS_PER_MODEL, planModelPeers } from '../../../../scheduler/core/fleet/model_peers.ts';
import { telemetry } from '../../fakes.ts';

const SOURCE = 'hf://maker/model@main';

const model = (state: string, change: Partial<ModelReading__Output> = {}): ModelReading__Output => ({
  ...{
    source: SOURCE,
    state,
    message: '',
    resolved: state === 'ready' ? 'c1' : '',
    wanted: true,
    facts: null,
    peers: '',
  },
  ...change,
});
const node = (name: string, models: readonly ModelReading__Output[], connected = true) => ({
  ...{ name: name as NodeId, connected, telemetry: { ...telemetry([]), models: [...models] } },
});
const doorOf = (name: NodeId): string | undefined => (name.startsWith('closed') ? undefined : `https://${name}`);

t.test('who wants a model and has it not is told of those that have it and a door', (t) => {
  const plans = planModelPeers(
    [
      node('a', [model('ready')]),
      node('b', [model('fetching')]),
      node('c', [model('waiting')]),
      node('d', [model('failed')]),
      node('e', [model('fetching', { wanted: false })]),
      node('f', [model('checking')]),
      node('g', [model('waiting', { source: 'hf://maker/other' })]),
      node('closed-h', [model('ready')]),
      node('i', [model('ready')], false),
      node('j', [model('waiting')], false),
      { name: 'k' as NodeId, connected: true, telemetry: undefined },
    ],
    doorOf,
  );
  t.same([...plans.keys()], ['b', 'c', 'd']);
  t.same(plans.get('b' as NodeId), [{ source: SOURCE, peers: [{ node: 'a', url: 'https://a', resolved: 'c1' }] }]);
  t.same(planModelPeers([node('b', [model('waiting')])], doorOf), new Map(), 'nobody has it');
  t.end();
});

t.test('what lies on a share is not passed on', (t) => {
  const source = 'file:///srv/models/m';
  const fleet = [node('a', [model('ready', { source })]), node('b', [model('waiting', { source })])];
  t.equal(planModelPeers(fleet, doorOf).size, 0);
  t.end();
});

t.test('each is named a few, always the same ones, and not all the same', (t) => {
  const holders = Array.from({ length: 20 }, (_, i) => node(`has-${i}`, [model('ready', { resolved: `c${i % 2}` })]));
  const takers = Array.from({ length: 40 }, (_, i) => node(`takes-${i}`, [model('waiting')]));
  const plans = planModelPeers([...takers, ...holders], doorOf);
  const named = new Map<string, number>();
  for (const { name } of takers) {
    const [{ peers } = { peers: [] }] = plans.get(name) ?? [];
    t.equal(peers.length, MAX_PEERS_PER_MODEL);
    for (const peer of peers) named.set(peer.node, (named.get(peer.node) ?? 0) + 1);
  }
  t.ok(named.size >= 15 && Math.max(...named.values()) < 30, `${named.size} of 20 are named`);
  t.same(planModelPeers([...takers, ...holders.toReversed()], doorOf), plans);
  t.end();
});
