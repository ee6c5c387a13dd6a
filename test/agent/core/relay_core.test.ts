/** The relay's pure decisions: progress of an engine, holds, second sends, and the list that outlives a thread. */
import fc from 'fast-check';
import t from 'tap';
import { type HoldFacts, holdMs } from '../../../agent/core/coalescing.ts';
import {
  addFigures,
  ProgressTracker,
  shiftTimes,
  toEngineProgress,
  type TrackedRequest,
} from '../../../agent/core/engine_progress.ts';
import { OpenList, openListBytes, readOpenList } from '../../../agent/core/open_requests.ts';
import { CROSSED_CLOSE_MS, type LostExchange, mayResend } from '../../../agent/core/resend.ts';

t.test('what comes while an engine is silent is no reason for its silence', async (t) => {
  const tracker = new ProgressTracker();
  const moving = tracker.opened(100, true, 1000);
  t.equal(tracker.figures().waitingBytes, 100);
  tracker.opened(40, true, 1100);
  tracker.opened(70, true, 1101);
  t.equal(tracker.figures().waitingBytes, 140, 'the first step may have taken up what came within a moment');
  tracker.tokens(moving, 1, () => 1200);
  t.equal(tracker.figures().waitingBytes, 110, 'the next one has all that waited');
  tracker.opened(5000, true, 1290);
  t.equal(tracker.figures().waitingBytes, 5110);
  for (let at = 0; at < 10; at++) tracker.opened(9000, true, 1400 + at);
  t.match(
    tracker.figures(),
    { waitingFirst: 13, waitingBytes: 5110 },
    'these wait for the end of a step, which would be progress',
  );
  tracker.stalled(moving, true);
  t.equal(tracker.figures().waitingBytes, 5110, 'nothing moves: the step began with the token or the oldest of them');
});

t.test('an engine is followed from arrival over the first token to the end', async (t) => {
  const tracker = new ProgressTracker();
  t.same(tracker.figures(), {
    open: 0,
    plain: 0,
    waitingFirst: 0,
    waitingBytes: 0,
    stalled: 0,
    faults: 0,
  });
  const a = tracker.opened(100, true, 1000);
  const b = tracker.opened(50, true, 1010);
  const plain = tracker.opened(70, false, 1020);
  t.match(tracker.figures(), { open: 3, plain: 1, waitingFirst: 2, oldestWaitingSinceMs: 1000, waitingBytes: 150 });
  tracker.tokens(a, 0, () => 1100);
  t.equal(tracker.figures().waitingFirst, 2, 'a role chunk is no token');
  tracker.tokens(a, 1, () => 1200);
  t.match(tracker.figures(), {
    waitingFirst: 1,
    oldestWaitingSinceMs: 1010,
    waitingBytes: 50,
    lastTokenAtMs: 1200,
  });
  t.equal(tracker.figures().interTokenP50Ms, undefined, 'one token has no distance');
  tracker.tokens(a, 2, () => 1240);
  t.equal(tracker.figures().interTokenP50Ms, 20, 'two tokens at once share the time');
  tracker.ended(a);
  t.match(tracker.figures(), { open: 2, firstOpenAtMs: 1010 });
  tracker.ended(b);
  tracker.fault();
  t.match(toEngineProgress(3, tracker.figures()), {
    incarnation: 3,
    open: 1,
    plain: 1,
    waitingFirst: 0,
    faults: 1,
  });
  t.equal(
    toEngineProgress(3, tracker.figures()).lastProgressAtMs,
    undefined,
    'a plain request says nothing of progress',
  );
  tracker.ended(plain);
  t.match(tracker.figures(), { open: 0, plain: 0, waitingBytes: 0 });
});

t.test('the last progress is the newest token, or the arrival of the first open stream if that is later', async (t) => {
  const tracker = new ProgressTracker();
  const a = tracker.opened(1, true, 1000);
  t.equal(toEngineProgress(1, tracker.figures()).lastProgressAtMs, 1000);
  tracker.tokens(a, 1, () => 1500);
  t.equal(toEngineProgress(1, tracker.figures()).lastProgressAtMs, 1500);
  tracker.ended(a);
  tracker.opened(1, true, 9000);
  t.equal(toEngineProgress(1, tracker.figures()).lastProgressAtMs, 9000);
});

t.test('the median is over the newest tokens, and no stall counts as slowness', async (t) => {
  const tracker = new ProgressTracker();
  const one = tracker.opened(1, true, 0);
  let now = 100;
  const after = (ms: number) => {
    now += ms;
    return () => now;
  };
  for (let i = 0; i < 300; i++) tracker.tokens(one, 1, after(500));
  t.equal(tracker.figures().interTokenP50Ms, 500);
  for (let i = 0; i < 300; i++) tracker.tokens(one, 1, after(20));
  t.equal(tracker.figures().interTokenP50Ms, 20);
  tracker.stalled(one, true);
  tracker.stalled(one, true);
  t.equal(tracker.figures().stalled, 1);
  tracker.stalled(one, false);
  tracker.tokens(one, 1, after(60_000));
  t.equal(tracker.figures().interTokenP50Ms, 20);
  tracker.stalled(one, true);
  tracker.ended(one);
  t.equal(tracker.figures().stalled, 0);
});

t.test('while many streams move the clock is read for every eighth chunk, and for each while few do', async (t) => {
  const tracker = new ProgressTracker();
  let now = 100;
  let asked = 0;
  const clock = (): number => {
    asked += 1;
    return now;
  };
  const streams = Array.from({ length: 16 }, () => tracker.opened(1, true, 0));
  for (const one of streams) {
    now += 1;
    tracker.tokens(one, 1, clock);
  }
  t.equal(asked, 16, 'each first token');
  for (let round = 0; round < 300; round++) {
    now += 20;
    for (const one of streams) tracker.tokens(one, 2, clock);
  }
  t.equal(asked, 16 + 2 * 300);
  t.equal(tracker.tokensTotal, 16 + 2 * 16 * 300);
  t.same([tracker.figures().lastTokenAtMs, tracker.figures().interTokenP50Ms], [now, 10]);
  tracker.stalled(streams[0] as TrackedRequest, true);
  for (const one of streams.slice(1, 4)) {
    now += 5;
    tracker.tokens(one, 1, clock);
    t.equal(tracker.figures().lastTokenAtMs, now, 'with fifteen each is measured');
  }
});

t.test('figures of threads are put on one clock and added', async (t) => {
  const bare = { open: 1, plain: 0, waitingFirst: 0, waitingBytes: 5, stalled: 0, faults: 1 };
  const known = { oldestWaitingSinceMs: 10, lastTokenAtMs: 20, firstOpenAtMs: 5 };
  const full = { ...bare, ...known, interTokenP50Ms: 7, prefillMsPerByte: 0.2 };
  t.same(shiftTimes(bare, 100), bare);
  t.same(shiftTimes(full, 100), { ...full, oldestWaitingSinceMs: 110, lastTokenAtMs: 120, firstOpenAtMs: 105 });
  t.same(addFigures(bare, bare), { ...bare, open: 2, waitingBytes: 10, faults: 2 });
  const sum = { ...full, open: 2, waitingBytes: 10, faults: 2 };
  t.same(addFigures(full, bare), sum);
  t.same(addFigures(bare, full), sum);
  t.match(
    addFigures(full, {
      ...full,
      oldestWaitingSinceMs: 3,
      lastTokenAtMs: 30,
      interTokenP50Ms: 9,
      prefillMsPerByte: 0.1,
    }),
    {
      oldestWaitingSinceMs: 3,
      lastTokenAtMs: 30,
      firstOpenAtMs: 5,
      interTokenP50Ms: 9,
      prefillMsPerByte: 0.2,
    },
  );
});

t.test(
  "an engine's prefill speed is the silence before first tokens over the bytes that were read in it",
  async (t) => {
    const tracker = new ProgressTracker();
    const speed = (): number | undefined => tracker.figures().prefillMsPerByte;
    const tiny = tracker.opened(100, true, 0);
    tracker.tokens(tiny, 1, () => 5000);
    t.equal(speed(), undefined, 'a tiny prompt teaches nothing');
    tracker.tokens(tiny, 1, () => 6000);
    const first = tracker.opened(1000, true, 6010);
    tracker.opened(1000, true, 6050);
    tracker.tokens(tiny, 1, () => 6400);
    tracker.tokens(first, 1, () => 6410);
    t.equal(speed(), 0.2, 'both prompts were read, and a stream went on just before the first token');
    for (let nowMs = 6420; nowMs <= 7000; nowMs += 20) tracker.tokens(first, 1, () => nowMs);
    t.equal(speed(), 0.2, 'waiting without a silence is waiting for a place');
    const late = tracker.opened(1000, true, 7010);
    tracker.tokens(first, 1, () => 7020);
    tracker.tokens(late, 1, () => 7030);
    const fast = speed() as number;
    t.ok(fast < 0.15, 'a fast one soon counts more');
    tracker.ended(tracker.opened(1000, true, 7040));
    t.equal(speed(), fast, 'one that was given up after any time says nothing');
  },
);

t.test(
  'tokens are held only on a busy thread or for a receiver that lags, and never longer than the bound',
  async (t) => {
    const facts: HoldFacts = {
      urgent: false,
      maxHoldMs: 40,
      utilization: 1,
      unsentBytes: 0,
      sinceLastSendMs: 0,
    };
    t.equal(holdMs(facts), 40);
    t.equal(holdMs({ ...facts, urgent: true }), 0, 'a first token');
    t.equal(holdMs({ ...facts, urgent: true, unsentBytes: 1e9 }), 0);
    t.equal(holdMs({ ...facts, maxHoldMs: 0, unsentBytes: 1e9 }), 0, 'turned off');
    t.equal(holdMs({ ...facts, utilization: 0.3 }), 0, 'an idle thread');
    t.equal(holdMs({ ...facts, utilization: 0, unsentBytes: 1e6 }), 40, 'a receiver that lags');
    t.equal(holdMs({ ...facts, sinceLastSendMs: 15 }), 25, 'what was sent lately counts');
    t.equal(holdMs({ ...facts, sinceLastSendMs: 100 }), 0);
    const middle = holdMs({ ...facts, utilization: 0.675 });
    t.ok(middle > 19 && middle < 21, 'between idle and busy it grows evenly');
    fc.assert(
      fc.property(
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.nat(1000),
        fc.nat(1e7),
        fc.nat(5000),
        (utilization, maxHoldMs, unsentBytes, sinceLastSendMs) => {
          const hold = holdMs({ urgent: false, utilization, maxHoldMs, unsentBytes, sinceLastSendMs });
          return hold >= 0 && hold <= maxHoldMs;
        },
      ),
    );
  },
);

t.test('a request is sent again only where the engine cannot have begun it', async (t) => {
  const lost: LostExchange = {
    reused: true,
    retried: false,
    answered: false,
    sent: true,
    errorCode: undefined,
    sinceSentMs: 1,
  };
  const verdicts: readonly (readonly [Partial<LostExchange>, boolean, string])[] = [
    [{}, true, 'crossed_close'],
    [{ sinceSentMs: CROSSED_CLOSE_MS }, true, 'crossed_close'],
    [{ sinceSentMs: CROSSED_CLOSE_MS + 1 }, false, 'may_have_begun'],
    [{ sinceSentMs: 5000, errorCode: 'ECONNRESET' }, true, 'reset'],
    [{ sinceSentMs: 5000, errorCode: 'EPIPE' }, true, 'reset'],
    [{ errorCode: 'ETIMEDOUT' }, false, 'may_have_begun'],
    [{ sinceSentMs: 5000, sent: false }, true, 'not_sent'],
    [{ answered: true }, false, 'answered'],
    [{ retried: true }, false, 'retried'],
    [{ reused: false }, false, 'fresh'],
    [{ reused: false, errorCode: 'ECONNRESET' }, false, 'fresh'],
  ];
  for (const [more, resend, because] of verdicts) t.same(mayResend({ ...lost, ...more }), { resend, because });
});

t.test('the list of open requests is what a model of it says, also past its end', async (t) => {
  const slots = 4;
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.boolean(), fc.nat(9)), { maxLength: 60 }), (steps) => {
      const memory = new Uint8Array(new SharedArrayBuffer(openListBytes(slots)));
      const list = new OpenList(memory);
      const open: { id: string; slot: number }[] = [];
      let next = 0;
      for (const [opens, which] of steps) {
        if (opens) {
          const id = `req-${next++}`;
          open.push({ id, slot: list.open(id, 'engine-a') });
        } else if (open.length > 0) {
          const [closed] = open.splice(which % open.length, 1);
          list.close(closed?.slot as number);
        }
      }
      const read = readOpenList(memory);
      const listed = open.filter(({ slot }) => slot !== 0).map(({ id }) => id);
      return (
        JSON.stringify(read.listed.map(({ requestId }) => requestId).sort()) === JSON.stringify(listed.sort()) &&
        read.listed.every(({ engine }) => engine === 'engine-a') &&
        read.unlisted === open.length - listed.length
      );
    }),
  );
  const one = new Uint8Array(openListBytes(1));
  const full = new OpenList(one);
  full.open('a', 'e');
  const unlisted = full.open('b', 'e');
  t.match(readOpenList(one), { listed: [{ requestId: 'a', engine: 'e' }], unlisted: 1 });
  full.close(unlisted);
  t.equal(readOpenList(one).unlisted, 0);
  const memory = new Uint8Array(openListBytes(1));
  new OpenList(memory).open('i'.repeat(128), 'e'.repeat(500));
  t.same(readOpenList(memory).listed, [{ requestId: 'i'.repeat(128), engine: 'e'.repeat(126) }]);
});
