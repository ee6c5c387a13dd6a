/** Each gate by itself: what it lets pass, holds up and fails, and with which numbers. */
import t from 'tap';
import { seededRandom } from '../../../../lib/rng.ts';
import { takeCensus } from '../../../../scheduler/core/rollout/census.ts';
import type { ReplicaFacts, RevisionTally, Running } from '../../../../scheduler/core/rollout/contract.ts';
import { askGates, FIRST_LOOKS } from '../../../../scheduler/core/rollout/gates.ts';
import type { GateAsk } from '../../../../scheduler/core/rollout/gates/gate.ts';
import { toAsk } from '../../../../scheduler/core/rollout/gates/smoke.ts';
import { rulesOf } from '../../../../scheduler/core/rollout/strategy.ts';
import { NO_COUNTS, NO_TALLY, since } from '../../../../scheduler/core/rollout/tallies.ts';

const RUNNING: Running = {
  phase: 'stepping',
  from: { id: 'old', spec: {} },
  to: { id: 'new', spec: {} },
  rules: rulesOf({ kind: 'canary', stepMs: 1000 }),
  startedAtMs: 0,
  deadlineAtMs: 1e9,
  step: { index: 0, sinceMs: 0, admitted: 1, before: NO_COUNTS },
  before: { from: NO_COUNTS, to: NO_COUNTS },
  proven: 0,
  passed: ['r'],
  looks: FIRST_LOOKS,
  pause: null,
  reason: null,
  wanted: {},
};
const READY: ReplicaFacts = { key: 'r', revision: 'new', state: 'ready' };

function ask(
  change: {
    fresh?: Partial<RevisionTally>;
    old?: Partial<RevisionTally>;
    replica?: Partial<ReplicaFacts>;
    running?: Partial<Running>;
    nowMs?: number;
  } = {},
) {
  const running = { ...RUNNING, ...change.running };
  const asked: GateAsk = {
    running,
    census: takeCensus([{ ...READY, ...change.replica }], running),
    fresh: { ...NO_TALLY, ...change.fresh },
    old: { ...NO_TALLY, ...change.old },
    nowMs: change.nowMs ?? 5000,
  };
  return askGates(asked);
}

t.test('with nothing to say against a revision all gates pass', async (t) => {
  t.same(ask(), { failure: undefined, waiting: [], looks: FIRST_LOOKS });
});

t.test('readiness waits for a start, and fails for what will not come up by itself', async (t) => {
  t.match(ask({ replica: { state: 'starting', reason: 'loads' } }).waiting, [
    { kind: 'wait', gate: 'readiness', facts: { state: 'starting', reason: 'loads' } },
  ]);
  t.match(ask({ replica: { state: 'failed', reason: 'no memory' } }).failure, {
    gate: 'readiness',
    facts: { reason: 'no memory' },
  });
  t.equal(ask({ replica: { state: 'starting', restarts: 2 } }).failure, undefined);
  t.match(ask({ replica: { state: 'starting', restarts: 3 } }).failure, { gate: 'readiness', facts: { restarts: 3 } });
  t.equal(ask({ replica: { restarts: 3 } }).failure, undefined, 'it is ready now');
});

t.test('the smoke test waits for an answer, asks again where there was none, and fails for a wrong one', async (t) => {
  const unasked = { running: { passed: [] } };
  t.match(ask(unasked).waiting, [{ gate: 'smoke' }]);
  const smoke = (ok: boolean, answered: boolean, attempts: number) => ({
    smoke: { ok, answered, attempts, detail: 'd' },
  });
  t.equal(ask({ ...unasked, replica: smoke(false, false, 2) }).failure, undefined);
  t.match(ask({ ...unasked, replica: smoke(false, false, 3) }).failure, {
    gate: 'smoke',
    facts: { attempts: 3, answer: 'd' },
  });
  t.match(ask({ ...unasked, replica: smoke(false, true, 1) }).failure, { gate: 'smoke', facts: { wanted: '' } });
  const asks = (change: Partial<ReplicaFacts>, passed: string[] = []): string[] =>
    toAsk([{ ...READY, ...change }], new Set(passed));
  t.same([asks({}), asks(smoke(false, false, 2))], [['r'], ['r']]);
  t.same(
    [
      asks({}, ['r']),
      asks({ state: 'starting' }),
      asks(smoke(true, true, 1)),
      asks(smoke(false, true, 1)),
      asks(smoke(false, false, 3)),
    ],
    [[], [], [], [], []],
  );
});

t.test('a failed GPU turns back, a degraded one holds up', async (t) => {
  t.match(ask({ replica: { gpu: 'failed', gpuReason: 'Xid 79' } }).failure, {
    gate: 'gpu_health',
    facts: { reason: 'Xid 79' },
  });
  const degraded = ask({ replica: { gpu: 'degraded' } });
  t.match([degraded.failure, degraded.waiting], [undefined, [{ gate: 'gpu_health', facts: { health: 'degraded' } }]]);
});

t.test('a replica on a failed GPU is none that serves', async (t) => {
  const census = takeCensus([READY, { ...READY, key: 'q', gpu: 'failed' }], { ...RUNNING, passed: ['r', 'q'] });
  t.same(census.of('new'), { existing: 2, ready: 1, admitted: 1 });
});

t.test('silence fails where the old revision speaks, after a while and some requests', async (t) => {
  const old = { started: 50, spoken: 40, ended: 30 };
  t.match(ask({ fresh: { started: 10 }, old }).failure, { gate: 'silence', facts: { started: 10, waitedMs: 5000 } });
  t.equal(ask({ fresh: { started: 9 }, old }).failure, undefined);
  t.equal(ask({ fresh: { started: 10, spoken: 1 }, old }).failure, undefined);
  t.equal(ask({ fresh: { started: 10 }, old, nowMs: 999 }).failure, undefined);
  t.equal(ask({ fresh: { started: 10 } }).failure, undefined, 'the old one is silent, too');
});

t.test('more failures than the old revision, or than are allowed, fail; a few by chance do not', async (t) => {
  const ended = (count: number, failures: number) => ({ started: count, spoken: count, ended: count, failures });
  t.match(ask({ fresh: ended(10, 5), old: ended(200, 0) }).failure, {
    gate: 'error_rate',
    facts: { test: 'Fisher exact, one-sided', requests: 10, failed: 5, oldRequests: 200, oldFailed: 0 },
  });
  t.equal(ask({ fresh: ended(9, 9), old: ended(200, 0) }).failure, undefined, 'too few to look at');
  t.equal(ask({ fresh: ended(100, 2), old: ended(1000, 10) }).failure, undefined);
  t.match(ask({ fresh: ended(100, 20) }).failure, {
    gate: 'error_rate',
    facts: { test: 'binomial, exact, one-sided', limit: 0.02 },
  });
  t.equal(ask({ fresh: ended(100, 20), old: ended(1000, 250) }).failure, undefined, 'the old one is worse');
  const many = { fresh: ended(1_000_000, 8000), old: ended(1_000_000, 5000) };
  t.equal(ask(many).failure, undefined, 'sure, and too small to matter');
  const { looks } = ask({ fresh: ended(40, 0), old: ended(40, 0) });
  t.same([looks.failures, looks.limit, looks.ttft.taken], [{ taken: 1, nextAt: 50 }, { taken: 1, nextAt: 50 }, 0]);
});

t.test('requests that only the new revision refuses fail it', async (t) => {
  const ended = (count: number, rejections: number) => ({ started: count, spoken: count, ended: count, rejections });
  t.match(ask({ fresh: ended(40, 10), old: ended(400, 4) }).failure, {
    gate: 'rejections',
    facts: { failed: 10, oldFailed: 4 },
  });
  t.equal(ask({ fresh: ended(40, 10), old: ended(400, 100) }).failure, undefined, 'what clients do wrong');
});

t.test('a first token that is later than allowed fails, however it is spread; ties and a little do not', async (t) => {
  const random = seededRandom(5);
  const times = (count: number, ms: number): Partial<RevisionTally> => {
    const ttftMs = Array.from({ length: count }, () => ms * Math.exp(random.next() - 0.5));
    return { ttftCount: count, ttftMs };
  };
  const old = times(256, 100);
  t.match(ask({ fresh: times(40, 250), old }).failure, {
    gate: 'ttft',
    facts: { limit: 1.25, times: 40, oldTimes: 256 },
  });
  t.equal(ask({ fresh: times(256, 115), old }).failure, undefined, 'slower, and within what is allowed');
  t.equal(ask({ fresh: times(256, 60), old }).failure, undefined);
  t.equal(ask({ fresh: times(11, 900), old }).failure, undefined, 'too few to look at');
  t.equal(ask({ fresh: times(40, 900), old: times(11, 100) }).failure, undefined, 'nothing to compare with');
  const ties = { ttftCount: 30, ttftMs: Array.from({ length: 30 }, () => 100) };
  t.equal(ask({ fresh: ties, old: ties }).failure, undefined);
});

t.test('good rollouts that are looked at all the time are turned back no more often than ALPHA allows', async (t) => {
  const random = seededRandom(11);
  let turned = 0;
  const ROLLOUTS = 400;
  for (let at = 0; at < ROLLOUTS; at++) {
    let { looks } = RUNNING;
    const fresh = { started: 0, spoken: 0, ended: 0, failures: 0, rejections: 0, ttftCount: 0, ttftMs: [] as number[] };
    const old = { ...fresh, ttftMs: [] as number[] };
    for (let round = 0; round < 40; round++) {
      for (const tally of [fresh, old])
        for (let i = 0; i < 5; i++) {
          tally.ended += 1;
          tally.spoken += 1;
          if (random.next() < 0.01) tally.failures += 1;
          tally.ttftMs[tally.ttftCount % 256] = random.next();
          tally.ttftCount += 1;
        }
      const result = ask({
        fresh,
        old,
        running: { looks, rules: { ...RUNNING.rules, maxTtftRatio: 1, maxErrorRate: 0.01 } },
      });
      ({ looks } = result);
      if (result.failure !== undefined) {
        turned += 1;
        break;
      }
    }
  }
  t.ok(turned <= 12, `${turned} of ${ROLLOUTS}; three tests of 1 % each`);
});

t.test('a tally that has begun anew is taken as it is', async (t) => {
  const before = { ...NO_COUNTS, started: 10, ended: 8, failures: 2 };
  t.match(since({ ...NO_TALLY, started: 15, ended: 12, failures: 3 }, before), { started: 5, ended: 4, failures: 1 });
  t.match(since({ ...NO_TALLY, started: 5, ended: 4 }, before), { started: 5, ended: 4 });
  t.match(since({ ...NO_TALLY, started: 12, ended: 4 }, before), { started: 12, ended: 4 });
  t.match(since({ ...NO_TALLY, started: 9, ended: 9 }, before), { started: 9, ended: 9 });
});
