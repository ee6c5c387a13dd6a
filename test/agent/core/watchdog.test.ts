/** The watchdog tells busy from wedged: by tokens, by the engine's own counters, and never by queues alone. */
import t from 'tap';
import {
  beginWatch,
  countFaults,
  noFaults,
  silenceBoundMs,
  tickWatch,
  WATCHDOG,
  type Watch,
  type WatchVerdict,
  withRunDelays,
  withWitness,
} from '../../../agent/core/watchdog.ts';
import type { EngineProgress } from '../../../agent/ports.ts';

const PERIOD_MS = 250;

const busy = (change: Partial<EngineProgress> = {}): EngineProgress => ({
  incarnation: 1,
  open: 4,
  waitingFirst: 0,
  waitingBytes: 0,
  lastProgressAtMs: 1000,
  stalled: 0,
  interTokenP50Ms: 20,
  faults: 0,
  ...change,
});

/** Ticks as the loop does, until the first verdict of this kind; gives its time, or undefined. */
function runUntil(
  kind: WatchVerdict['kind'],
  at: (nowMs: number, watch: Watch) => { progress: EngineProgress | undefined; watch?: Watch; askingSinceMs?: number },
  untilMs: number,
): number | undefined {
  let watch = beginWatch(1, 0);
  for (let nowMs = 0; nowMs <= untilMs; nowMs += PERIOD_MS) {
    const { progress, watch: changed = watch, askingSinceMs } = at(nowMs, watch);
    const input = { nowMs, progress, ...(askingSinceMs === undefined ? {} : { askingSinceMs }) };
    const result = tickWatch(changed, input);
    watch = result.watch;
    if (result.verdict.kind === kind) return nowMs;
  }
  return undefined;
}

t.test('streams that stop are a wedge after the bound, and the engine is asked before', async (t) => {
  const stopped = () => ({ progress: busy() });
  t.equal(runUntil('wedged', stopped, 10_000), 3250, '2 s after the last token, at the next look');
  t.equal(runUntil('ask', stopped, 10_000), 1750);
});

t.test('a slow engine gets 20 of its own inter-token times', async (t) => {
  t.equal(silenceBoundMs(beginWatch(1, 0), busy({ interTokenP50Ms: 500 }), WATCHDOG), 10_000);
  t.equal(silenceBoundMs(beginWatch(1, 0), busy({ interTokenP50Ms: 5 }), WATCHDOG), 2000);
  const { interTokenP50Ms: _unknown, ...fresh } = busy();
  t.equal(silenceBoundMs(beginWatch(1, 0), fresh, WATCHDOG), 5000, 'before its first tokens');
});

t.test('a queue is no wedge while anything moves, for ten minutes at overload', async (t) => {
  const overloaded = (nowMs: number) => ({
    progress: busy({
      open: 300,
      waitingFirst: 200,
      waitingBytes: 400_000,
      oldestWaitingSinceMs: Math.max(0, nowMs - 60_000),
      lastProgressAtMs: nowMs - 400,
    }),
  });
  t.equal(runUntil('wedged', overloaded, 600_000), undefined);
});

t.test('requests that are held back by their clients never count', async (t) => {
  const held = () => ({ progress: busy({ open: 3, stalled: 3 }) });
  t.equal(runUntil('wedged', held, 120_000), undefined);
  t.ok(
    runUntil('wedged', () => ({ progress: busy({ open: 4, stalled: 3 }) }), 10_000),
    'but the fourth does',
  );
});

t.test('an idle engine, another life or no figures at all are fine', async (t) => {
  t.equal(
    runUntil('wedged', () => ({ progress: busy({ open: 0 }) }), 60_000),
    undefined,
  );
  t.equal(
    runUntil('wedged', () => ({ progress: busy({ incarnation: 2 }) }), 60_000),
    undefined,
  );
  t.equal(
    runUntil('wedged', () => ({ progress: undefined }), 60_000),
    undefined,
  );
});

const waiting = (bytes: number): EngineProgress => {
  const { lastProgressAtMs: _none, ...rest } = busy({
    open: 1,
    waitingFirst: 1,
    waitingBytes: bytes,
    oldestWaitingSinceMs: 0,
  });
  return rest;
};

t.test('a prefill gets time by its size, at a safe speed before the engine has shown its own', async (t) => {
  const known = { count: 5, movedAtMs: 0 };
  const first = (bytes: number) => (nowMs: number, watch: Watch) => ({
    progress: waiting(bytes),
    watch: { ...watch, witness: { ...known, readAtMs: nowMs } },
  });
  t.equal(runUntil('wedged', first(0), 60_000), 2250);
  t.equal(runUntil('wedged', first(10_000), 60_000), 7250);
  const bound = (prefillMsPerByte: number): number =>
    silenceBoundMs(beginWatch(1, 0), { ...waiting(100_000), prefillMsPerByte }, WATCHDOG);
  t.equal(bound(0.5), 2000 + 4 * 50_000, 'four times what it has shown');
  t.equal(bound(0.001), 2000 + 8000, 'a cache made it fast: that is not relied on');
});

t.test('plain requests are judged by the counters of the engine alone', async (t) => {
  const { lastProgressAtMs: _none, ...rest } = busy({ open: 1, waitingFirst: 0 });
  const plain: EngineProgress = { ...rest, plain: 1 };
  const told = (count: (nowMs: number) => number) => (nowMs: number, watch: Watch) => ({
    progress: nowMs < 60_000 ? busy({ open: 0 }) : plain,
    watch: withWitness(watch, { generationTokensTotal: count(nowMs) }, nowMs),
  });
  t.equal(
    runUntil(
      'wedged',
      told((nowMs) => Math.floor(nowMs / 1000)),
      300_000,
    ),
    undefined,
    'a long answer while the counters move',
  );
  const still = runUntil(
    'wedged',
    told(() => 7),
    300_000,
  ) as number;
  t.ok(still > 75_000 && still < 76_000, 'a prefill of unknown size gets its time, counted from the request on');
  const moved = runUntil(
    'wedged',
    told((nowMs) => Math.min(Math.floor(nowMs / 1000), 70)),
    300_000,
  ) as number;
  t.ok(moved > 72_000 && moved < 73_000, 'once it has moved, silence is as telling as that of a stream');
  const unheard = (nowMs: number, watch: Watch) => ({
    progress: nowMs < 60_000 ? busy({ open: 0 }) : plain,
    watch: nowMs === 0 ? withWitness(watch, { generationTokensTotal: 1 }, nowMs) : watch,
  });
  t.equal(runUntil('wedged', unheard, 300_000), undefined, 'nobody asked it, so nobody knows');
  const silent = (nowMs: number, watch: Watch) => {
    const { progress, watch: known } = unheard(nowMs, watch);
    return { progress, watch: nowMs === 70_000 ? withWitness(known, undefined, nowMs) : known };
  };
  t.ok(runUntil('wedged', silent, 300_000), 'asked, it gave no answer');
});

t.test('an answer that is not streamed is no wedge while the counters of the engine move', async (t) => {
  const plain = (nowMs: number, watch: Watch) => ({
    progress: waiting(0),
    watch: withWitness(watch, { generationTokensTotal: Math.floor(nowMs / 500) }, nowMs),
  });
  t.equal(runUntil('wedged', plain, 120_000), undefined);
  const frozen = (nowMs: number, watch: Watch) => ({
    progress: waiting(0),
    watch: withWitness(watch, { generationTokensTotal: Math.min(20, Math.floor(nowMs / 500)) }, nowMs),
  });
  t.equal(runUntil('wedged', frozen, 120_000), 12_250);
});

t.test('what the counters moved by tokens that the relay has seen gives a stopped engine no more time', async (t) => {
  const read = (watch: Watch, count: number, nowMs: number, progressAtMs?: number) =>
    withWitness(watch, { generationTokensTotal: count }, nowMs, progressAtMs);
  const well = read(beginWatch(1, 0), 100, 1000, 990);
  t.match(well.witness, { count: 100, movedAtMs: 0, readAtMs: 1000 });
  // The engine stops at 60,000; it is asked a little later, and again.
  const asked = read(well, 3000, 60_600, 60_000);
  t.match(asked.witness, { count: 3000, movedAtMs: 60_000 });
  const again = read(asked, 3000, 60_850, 60_000);
  t.match(again.witness, { movedAtMs: 60_000, readAtMs: 60_850 });
  t.match(
    read(again, 3001, 61_100, 60_000).witness,
    { movedAtMs: 61_100 },
    'movement that only the counters show is new',
  );
  t.match(read(asked, 3001, 60_850).witness, { movedAtMs: 60_850 });
});

t.test('without any witness an engine that streams nothing is asked, not judged', async (t) => {
  t.equal(
    runUntil('wedged', () => ({ progress: waiting(0) }), 60_000),
    undefined,
  );
  t.equal(withWitness(beginWatch(1, 0), {}, 5).witness, undefined);
  t.equal(withWitness(beginWatch(1, 0), undefined, 5).witness, undefined);
});

t.test('an answer of the metrics that is under way puts a verdict off, but not for ever', async (t) => {
  const asking = (_now: number, watch: Watch) => ({
    progress: waiting(0),
    watch: { ...watch, witness: { count: 1, movedAtMs: 0, readAtMs: 0 } },
    askingSinceMs: 600,
  });
  t.equal(runUntil('wedged', asking, 60_000), 5750);
});

t.test('time without a CPU is not held against an engine, up to three quarters of its silence', async (t) => {
  /** Two threads; the second waits for a CPU for this share of the time. */
  const starvedAt = (share: number) => (nowMs: number, watch: Watch) => ({
    progress: busy(),
    watch:
      nowMs < 1500
        ? watch
        : withRunDelays(
            watch,
            new Map([
              [7, 40],
              [8, 100 + share * (nowMs - 1500)],
            ]),
          ),
  });
  t.equal(runUntil('wedged', starvedAt(0), 60_000), 3250, 'a stopped engine waits for no CPU');
  t.equal(runUntil('wedged', starvedAt(0.5), 60_000), 4500, 'half a CPU, from the first look on');
  t.equal(
    runUntil('wedged', starvedAt(0.9), 60_000),
    9250,
    'next to nothing: found out all the same, after four times as long',
  );
});

t.test('waits for a CPU count from the first look of a silence, and of threads that were there then', async (t) => {
  const first = withRunDelays(beginWatch(1, 0), new Map([[1, 5000]]));
  t.equal(first.starved?.ms, 0);
  const later = withRunDelays(
    first,
    new Map([
      [1, 5700],
      [2, 9000],
    ]),
  );
  t.equal(later.starved?.ms, 700);
  const moving = tickWatch({ ...later, busySinceMs: 0 }, { nowMs: 1100, progress: busy() });
  t.equal(moving.watch.starved, undefined, 'tokens end the silence');
  const silent = tickWatch({ ...later, busySinceMs: 0 }, { nowMs: 4200, progress: busy() });
  t.match(silent.verdict, {
    kind: 'wedged',
    silentMs: 2500,
    message: /No progress for 2500 ms, .* beside 700 ms without a CPU/,
  });
});

t.test('a wait for a CPU that is told late ends no look: the silence goes on', async (t) => {
  const first = withRunDelays(beginWatch(1, 0), new Map([[1, 0]]));
  // The kernel counts a wait when it is over, so more may come at once than has passed since the first look.
  const late = withRunDelays({ ...first, busySinceMs: 0 }, new Map([[1, 1900]]));
  const looked = tickWatch(late, { nowMs: 2800, progress: busy() });
  t.equal(looked.verdict.kind, 'ask');
  t.equal(looked.watch.starved?.ms, 1900, 'what is known of it is kept');
  const later = tickWatch(withRunDelays(looked.watch, new Map([[1, 2500]])), { nowMs: 4200, progress: busy() });
  t.equal(later.verdict.kind, 'ask', '3.2 s of silence, most of them without a CPU');
});

t.test('an agent that stood still does not blame the engine', async (t) => {
  const watch = { ...beginWatch(1, 0), tickedAtMs: 1000 };
  const { verdict } = tickWatch(watch, { nowMs: 61_000, progress: busy({ lastProgressAtMs: 900 }) });
  t.equal(verdict.kind, 'fine');
});

t.test('several faults in a minute are suspicious, and a restarted relay counts anew', async (t) => {
  const first = countFaults(noFaults, 2, 0);
  t.match(first, { fresh: 2, suspicious: false });
  t.match(countFaults(first.record, 2, 10), { fresh: 0, suspicious: false });
  t.match(countFaults(first.record, 3, 10), { fresh: 1, suspicious: true });
  t.match(countFaults(first.record, 3, 70_000), { fresh: 1, suspicious: false });
  t.match(countFaults(first.record, 1, 10), { fresh: 1, suspicious: true });
});
