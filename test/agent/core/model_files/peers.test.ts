/** Which peer gives the next range, how long one that failed is left alone, and what a range in a request means. */
import t from 'tap';
import {
  afterFailure,
  afterSuccess,
  choosePeer,
  NEW_PEER,
  type PeerOffer,
  type PeerStanding,
} from '../../../../agent/core/model_files/peers.ts';
import { parseRange } from '../../../../agent/core/model_files/serving.ts';

const offer = (node: string, change: Partial<PeerOffer> = {}): PeerOffer => ({
  ...{ node, url: `https://${node}`, resolved: 'c1', ticket: 't', untilMs: 1000 },
  ...change,
});
const standings =
  (known: Readonly<Record<string, Partial<PeerStanding>>>) =>
  (node: string): PeerStanding => ({ ...NEW_PEER, ...known[node] });

t.test('the least busy peer with the same state of the source and a good ticket is asked, the first of equals', (t) => {
  const offers = [offer('a'), offer('b'), offer('c', { resolved: 'c2' }), offer('d', { untilMs: 100 })];
  t.equal(choosePeer(offers, standings({}), 'c1', 500)?.node, 'a');
  t.equal(choosePeer(offers, standings({ a: { active: 2 }, b: { active: 1 } }), 'c1', 500)?.node, 'b');
  t.equal(choosePeer(offers, standings({ a: { benchedUntilMs: 501 }, b: { active: 9 } }), 'c1', 500)?.node, 'b');
  t.equal(choosePeer(offers, standings({ a: { benchedUntilMs: 500 } }), 'c1', 500)?.node, 'a');
  t.equal(choosePeer(offers, standings({}), 'c2', 500)?.node, 'c');
  t.equal(choosePeer(offers, standings({}), 'c3', 500), undefined);
  t.equal(choosePeer(offers, standings({}), 'c1', 1000), undefined, 'tickets end');
  t.equal(choosePeer([], standings({}), 'c1', 0), undefined);
  t.end();
});

t.test('a peer that is busy comes back soon, one that was cut later, one that lied not today', (t) => {
  const pause = (...kinds: Parameters<typeof afterFailure>[1][]): number => {
    const end = kinds.reduce((standing, kind) => afterFailure(standing, kind, 0), NEW_PEER);
    return end.benchedUntilMs;
  };
  t.same([pause('busy'), pause('busy', 'busy'), pause('busy', 'busy', 'busy')], [2000, 4000, 8000]);
  t.same([pause('cut'), pause('stalled'), pause('server')], [10_000, 10_000, 10_000]);
  t.same([pause('denied'), pause('missing'), pause('bad_listing')], [60_000, 60_000, 60_000]);
  t.equal(pause('wrong_bytes'), 86_400_000);
  t.equal(pause(...Array.from({ length: 30 }, () => 'busy' as const)), 60_000, 'with an end');
  t.equal(afterFailure(NEW_PEER, 'busy', 100, 9000).benchedUntilMs, 9100, 'as it asked');
  t.equal(afterFailure(NEW_PEER, 'busy', 100, 9_000_000).benchedUntilMs, 60_100, 'but not for hours');
  const after = afterSuccess(afterFailure(NEW_PEER, 'wrong_bytes', 0));
  t.match(after, { failures: 0, benchedUntilMs: 86_400_000 }, 'a range that came meanwhile forgives nothing');
  t.end();
});

t.test('one range of bytes is understood, and nothing else', (t) => {
  t.same(parseRange(undefined, 10), { from: 0, to: 10, part: false });
  t.same(parseRange(undefined, 0), { from: 0, to: 0, part: false });
  t.same(parseRange('bytes=2-4', 10), { from: 2, to: 5, part: true });
  t.same(parseRange('bytes=2-', 10), { from: 2, to: 10, part: true });
  t.same(parseRange('bytes=2-99', 10), { from: 2, to: 10, part: true });
  for (const header of ['bytes=10-', 'bytes=4-2', 'bytes=-3', 'bytes=1-2,4-5', 'bytes=a-b', 'items=0-1', '', 'bytes='])
    t.equal(parseRange(header, 10), 'bad', header);
  t.end();
});
