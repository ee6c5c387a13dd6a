/** Ids, beats and seeded chance: the small pure parts that everything else leans on. */
import t from 'tap';
import { untilNextBeatMs } from '../../lib/clock.ts';
import { newRequestId, randomToken, REQUEST_ID_PATTERN } from '../../lib/ids.ts';
import { seededRandom } from '../../lib/rng.ts';

t.test('a seed gives the same chance again, and another seed another', async (t) => {
  const draw = (seed: number) => Array.from({ length: 5 }, seededRandom(seed).next);
  t.same(draw(1), draw(1));
  t.notSame(draw(1), draw(2));
  for (const value of draw(3)) t.ok(value >= 0 && value < 1);
  const bytes = seededRandom(4).bytes(2_000);
  t.equal(bytes.length, 2_000);
  t.ok(new Set(bytes).size > 200, 'all byte values come up');
  const mean = Array.from({ length: 10_000 }, seededRandom(5).next).reduce((sum, value) => sum + value, 0) / 10_000;
  t.ok(Math.abs(mean - 0.5) < 0.02, `mean ${mean}`);
});

t.test('request ids are unique and acceptable as request ids', async (t) => {
  const random = seededRandom(1);
  const ids = Array.from({ length: 1_000 }, () => newRequestId(random));
  t.equal(new Set(ids).size, 1_000);
  for (const id of ids.slice(0, 20)) t.match(id, REQUEST_ID_PATTERN);
  t.match(ids[0], /^req_[a-z2-7]{24}$/);
  t.equal(randomToken(random, 0), '');
});

t.test('a request id of a caller can break neither a header, nor a log line, nor a path', async (t) => {
  for (const bad of ['', 'a b', 'a\nb', 'a/b', 'é', 'a\u0000', '"', 'x'.repeat(129)])
    t.notMatch(bad, REQUEST_ID_PATTERN);
});

t.test('tasks of one period meet at the same beats, and none plays a beat twice', async (t) => {
  t.equal(untilNextBeatMs(0, 250), 250);
  t.equal(untilNextBeatMs(1010, 250), 240, 'the beat at 1250');
  t.equal(untilNextBeatMs(1100, 250), 150, 'the same beat, for one that came later');
  t.equal(
    Math.round(1249.4 + untilNextBeatMs(1249.4, 250)),
    1500,
    'its timer rang a moment early, so the next is that at 1500',
  );
});
