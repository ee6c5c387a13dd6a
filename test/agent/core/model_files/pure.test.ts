/** The pure parts of a fetch: parts and their resumption, retries, the bandwidth, room on the disk, progress in words. */
import fc from 'fast-check';
import t from 'tap';
import { planRoom, type RoomQuestion } from '../../../../agent/core/model_files/disk_budget.ts';
import {
  contiguousBytes,
  freshProgress,
  isWhole,
  nextPart,
  presentBytes,
  resumeFrom,
  wrote,
} from '../../../../agent/core/model_files/parts.ts';
import {
  etaMsOf,
  noRate,
  progressText,
  ratioOf,
  sizeText,
  stepRate,
} from '../../../../agent/core/model_files/progress.ts';
import { failureOfStatus, judgeFailure, retryAfterMs } from '../../../../agent/core/model_files/retry.ts';
import { fullBucket, takeBytes } from '../../../../agent/core/model_files/token_bucket.ts';
import { seededRandom } from '../../../../lib/rng.ts';

t.test('parts are given out once, and a file is whole when all of them are', async (t) => {
  let progress = freshProgress(250, 100);
  t.same(progress.done, [0, 0, 0]);
  t.same(nextPart(progress, new Set([0])), { index: 1, from: 100, to: 200 });
  progress = wrote(progress, 100, 60);
  t.same(nextPart(progress, new Set([0])), { index: 1, from: 160, to: 200 });
  t.equal(contiguousBytes(progress), 0);
  progress = wrote(progress, 0, 100);
  t.equal(contiguousBytes(progress), 160);
  progress = wrote(wrote(progress, 160, 40), 200, 50);
  t.equal(nextPart(progress, new Set()), undefined);
  t.ok(isWhole(progress));
  t.ok(isWhole(freshProgress(0, 100)), 'a file without bytes is whole');
});

t.test('whatever way the parts come, nothing is counted twice and nothing is missed', async () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 500 }),
      fc.integer({ min: 1, max: 64 }),
      fc.integer(),
      (bytes, partBytes, seed) => {
        const random = seededRandom(seed);
        let progress = freshProgress(bytes, partBytes);
        for (let turn = 0; turn < 2000 && !isWhole(progress); turn++) {
          const skipped = new Set(progress.done.flatMap((_, index) => (random.next() < 0.5 ? [index] : [])));
          const range = nextPart(progress, skipped);
          if (range === undefined) continue;
          const count = Math.max(1, Math.floor(random.next() * (range.to - range.from + 1)));
          const before = presentBytes(progress);
          progress = wrote(progress, range.from, count);
          if (presentBytes(progress) !== before + count) return false;
          if (contiguousBytes(progress) > presentBytes(progress)) return false;
        }
        return isWhole(progress) && contiguousBytes(progress) === bytes;
      },
    ),
    { numRuns: 100 },
  );
});

t.test('an earlier fetch is gone on with when it was of the same file, and not otherwise', async (t) => {
  const check = { kind: 'sha256', hex: 'a' } as const;
  const saved = { path: 'f', bytes: 10, partBytes: 4, done: [4, 1, 0], check };
  const entry = { path: 'f', bytes: 10, check, url: 'u' };
  t.same(resumeFrom(saved, entry), { bytes: 10, partBytes: 4, done: [4, 1, 0] });
  t.same(
    resumeFrom({ ...saved, etag: '1' }, { ...entry, etag: '2' })?.done,
    [4, 1, 0],
    'a checksum counts, an ETag does not',
  );
  t.equal(resumeFrom(saved, { ...entry, path: 'g' }), undefined);
  t.equal(resumeFrom(saved, { ...entry, bytes: 11 }), undefined);
  t.equal(resumeFrom(saved, { ...entry, check: { kind: 'sha256', hex: 'b' } }), undefined);
  t.equal(resumeFrom(saved, { ...entry, check: { kind: 'git', hex: 'a' } }), undefined);
  for (const done of [
    [4, 1],
    [5, 0, 0],
    [4, -1, 0],
    [4, 0.5, 0],
  ])
    t.equal(resumeFrom({ ...saved, done }, entry), undefined, String(done));
  t.equal(resumeFrom({ ...saved, partBytes: 0 }, entry), undefined);
  const { check: _check, ...bare } = entry;
  const { check: _saved, ...bareSaved } = saved;
  t.equal(resumeFrom(bareSaved, bare), undefined, 'nothing tells that it is the same');
  t.equal(resumeFrom({ ...bareSaved, etag: '1' }, { ...bare, etag: '2' }), undefined);
  t.same(resumeFrom({ ...bareSaved, etag: '1' }, { ...bare, etag: '1' })?.done, [4, 1, 0]);
});

t.test('each failure has its pause, its place to go on from, and its end', async (t) => {
  const random = { ...seededRandom(1), next: () => 1 };
  const judge = (kind: Parameters<typeof judgeFailure>[0]['kind'], tries: number, retryAfter?: number) =>
    judgeFailure(
      { kind, message: '', ...(retryAfter === undefined ? {} : { retryAfterMs: retryAfter }) },
      tries,
      random,
    );
  t.match(judge('cut', 0), { kind: 'again', from: 'resume', delayMs: 500 });
  t.match(judge('cut', 1000), { kind: 'again', delayMs: 30_000 }, 'a cut is never the end');
  t.match(judge('busy', 0, 7000), { kind: 'again', from: 'resume', delayMs: 7000 });
  t.match(judge('busy', 0, 86_400_000), { delayMs: 600_000 }, 'patience has an end');
  t.match(judge('wrong_bytes', 1), { kind: 'again', from: 'listing' });
  t.same(judge('wrong_bytes', 2), { kind: 'give_up' });
  t.same(judge('too_large', 0), { kind: 'give_up' });
  t.match(judge('denied', 50), { kind: 'again', from: 'listing', delayMs: 300_000 });
});

t.test('a status has a kind', async (t) => {
  const kinds = [401, 403, 404, 416, 412, 429, 503, 500, 400, 304].map(failureOfStatus);
  t.same(kinds, [
    'denied',
    'denied',
    'missing',
    'range',
    'changed',
    'busy',
    'busy',
    'server',
    'missing',
    'bad_listing',
  ]);
});

t.test('Retry-After is seconds or a date', async (t) => {
  t.equal(retryAfterMs('3', 0), 3000);
  t.equal(retryAfterMs('Thu, 01 Jan 1970 00:00:10 GMT', 4000), 6000);
  t.equal(retryAfterMs('Thu, 01 Jan 1970 00:00:10 GMT', 40_000), 0);
  t.equal(retryAfterMs('soon', 0), undefined);
  t.equal(retryAfterMs(undefined, 0), undefined);
});

t.test('the bandwidth holds over time, whatever the size of the chunks', async (t) => {
  for (const chunk of [100, 65_536, 5_000_000]) {
    let bucket = fullBucket(1_000_000, 0);
    let nowMs = 0;
    let sent = 0;
    while (nowMs < 20_000) {
      const taken = takeBytes(bucket, chunk, nowMs);
      bucket = taken.bucket;
      sent += chunk;
      nowMs += Math.max(taken.waitMs, 0.01);
    }
    t.ok(Math.abs(sent / (nowMs / 1000) - 1_000_000) < 60_000, `${sent} bytes in ${nowMs} ms`);
  }
  t.equal(takeBytes(fullBucket(1000, 50), 10, 0).waitMs, 0, 'a clock that goes back makes no debt');
});

const GIB = 1024 ** 3;
const room = (change: Partial<RoomQuestion>) =>
  planRoom({
    totalBytes: 10 * GIB,
    missingBytes: 10 * GIB,
    promisedBytes: 0,
    promisedMissingBytes: 0,
    diskFreeBytes: 100 * GIB,
    reserveBytes: GIB,
    stored: [],
    ...change,
  });
const shelf = (folder: string, gib: number, lastWantedAtMs: number, wanted = false) => ({
  folder,
  bytes: gib * GIB,
  lastWantedAtMs,
  wanted,
});

t.test('room is made from what nothing wants, least recently wanted first, and no more than needed', async (t) => {
  const stored = [shelf('new', 10, 30), shelf('old', 10, 10), shelf('used', 10, 1, true), shelf('middle', 10, 20)];
  t.same(room({ stored }), { kind: 'fits', evict: [] });
  t.same(room({ stored, budgetBytes: 40 * GIB }), { kind: 'fits', evict: ['old'] });
  t.same(room({ stored, budgetBytes: 25 * GIB }), { kind: 'fits', evict: ['old', 'middle', 'new'] });
  t.same(room({ stored, diskFreeBytes: 2 * GIB }), { kind: 'fits', evict: ['old'] });
  t.same(room({ stored, diskFreeBytes: 2 * GIB, promisedMissingBytes: 5 * GIB }), {
    kind: 'fits',
    evict: ['old', 'middle'],
  });
  t.same(room({ stored, budgetBytes: 40 * GIB, promisedBytes: 10 * GIB }), { kind: 'fits', evict: ['old', 'middle'] });
});

t.test('a model without room is refused with what is missing, and one that is too large for ever', async (t) => {
  const stored = [shelf('used', 10, 1, true), shelf('idle', 2, 1)];
  t.match(room({ stored, budgetBytes: 15 * GIB }), { kind: 'no_room', message: /5\.0 GiB are missing on the budget/ });
  t.match(room({ stored, diskFreeBytes: 4 * GIB }), { kind: 'no_room', message: /5\.0 GiB are missing on the disk/ });
  t.match(room({ budgetBytes: GIB }), {
    kind: 'too_large',
    message: /10\.0 GiB, more than the whole budget of 1\.0 GiB/,
  });
});

t.test('the rate follows the source, and words tell the rest', async (t) => {
  let rate = noRate(0);
  rate = stepRate(rate, 1_000_000, 1000);
  t.equal(rate.bytesPerSecond, 1_000_000, 'the first reading counts whole');
  rate = stepRate(rate, 1_000_000, 5000);
  t.ok(Math.abs(rate.bytesPerSecond - 500_000) < 1, 'after its half-life a reading counts half');
  t.equal(stepRate(rate, 9e9, 5000), rate, 'no time has passed');
  const progress = { presentBytes: 34 * GIB, totalBytes: 100 * GIB, bytesPerSecond: 2.1 * GIB };
  t.equal(progressText(progress), 'model 34 %, 2.1 GiB/s, ETA 31 s');
  t.equal(progressText({ ...progress, bytesPerSecond: 0.01 * GIB }), 'model 34 %, 10.2 MiB/s, ETA 110 min');
  t.equal(progressText({ presentBytes: 0, bytesPerSecond: 0 }), 'model 0 %, 0 B/s');
  t.equal(ratioOf({ presentBytes: 10, totalBytes: 10, bytesPerSecond: 0 }), 0.999, 'not complete before it is checked');
  t.equal(etaMsOf({ presentBytes: 10, totalBytes: 10, bytesPerSecond: 0 }), undefined);
  t.equal(sizeText(5 * 1024 ** 5), '5120.0 TiB');
});
