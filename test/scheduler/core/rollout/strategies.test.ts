/** Each strategy through good and bad revisions: what is promised holds at every step, and a bad one goes back by itself. */
import t from 'tap';
import type { RolloutStrategy } from '../../../../scheduler/core/resources/contract.ts';
import { stillServes } from '../../../../scheduler/core/rollout/counts.ts';
import { type Fault, World } from './world.ts';

const [OLD, NEW] = ['aaaaaaaaaa', 'bbbbbbbbbb'];

const STRATEGIES: Readonly<Record<string, RolloutStrategy>> = {
  rolling: { kind: 'rolling', stepMs: 3000 },
  'rolling without surge': { kind: 'rolling', stepMs: 3000, maxSurge: 0, maxUnavailable: 1 },
  'rolling, all at once': { kind: 'rolling', stepMs: 3000, maxSurge: 4, maxUnavailable: 2 },
  'blue-green': { kind: 'blue_green', stepMs: 10_000 },
  canary: { kind: 'canary', stepMs: 4000 },
  'canary with one step': { kind: 'canary', stepMs: 4000, steps: [50], maxSurge: 2 },
};

/** What must hold at each moment, whatever happens. @returns a sentence about what does not */
function broken(world: World, replicas: number): string | undefined {
  const { out, strategy } = world;
  const { traffic, wanted } = out;
  const surge =
    strategy.kind === 'blue_green' ? replicas : Math.max(strategy.maxSurge ?? 1, strategy.maxUnavailable ? 0 : 1);
  if (world.replicas.length > replicas + surge) return `${world.replicas.length} replicas hold a place`;
  const serves = (key: string, revision: string): boolean =>
    traffic.shares.some((share) => share.revision === revision && (share.proven || traffic.admitted.includes(key)));
  const serving = world.replicas.filter(({ key, revision, state }) => state === 'ready' && serves(key, revision));
  const kept = [...new Set(serving.map(({ revision }) => revision))].reduce(
    (sum, id) => sum + Math.min(wanted[id] ?? 0, serving.filter(({ revision }) => revision === id).length),
    0,
  );
  const least = replicas - (strategy.maxUnavailable ?? 0);
  if (kept < Math.min(least, serving.length)) return `only ${kept} of ${serving.length} serving replicas are kept`;
  const known = new Set(world.replicas.map(({ key }) => key));
  const stranger = traffic.admitted.find((key) => !known.has(key));
  if (stranger !== undefined) return `${stranger} is admitted and is not there`;
  const unproven = world.replicas.find(
    ({ key, revision, attempts }) => revision === NEW && attempts === 0 && traffic.admitted.includes(key),
  );
  return unproven === undefined ? undefined : `${unproven.key} is admitted and was never asked`;
}

function run(
  strategy: RolloutStrategy,
  fault: Fault,
  replicas = 4,
): { world: World; outcome: string; wrong: string[] } {
  const world = new World(strategy, replicas).begin();
  world.faults.set(NEW, fault);
  world.revision = NEW;
  const wrong: string[] = [];
  const history = world.state?.history.length ?? 0;
  world.watch = () => {
    const what = broken(world, replicas);
    if (what !== undefined) wrong.push(`at ${world.nowMs}: ${what}`);
  };
  for (let ticks = 0; ticks < 5000; ticks++) {
    world.tick();
    if (world.state?.running === null && world.state.history.length > history) break;
  }
  // Those that a rollback may do without for a while come back, too.
  world.until((now) => now.isWhole, 100);
  return { world, outcome: world.state?.history[0]?.outcome ?? '', wrong: wrong.slice(0, 3) };
}

for (const [name, strategy] of Object.entries(STRATEGIES)) {
  t.test(`${name}: a good revision takes over`, async (t) => {
    const { world, outcome, wrong } = run(strategy, 'none');
    t.same(wrong, []);
    t.equal(outcome, 'done');
    t.same([world.count(NEW, 'ready'), world.count(OLD)], [4, 0]);
    t.same(world.out.traffic, { shares: [{ revision: NEW, weight: 100, standby: false, proven: true }], admitted: [] });
    t.equal(world.decide().changed, false, 'nothing goes on afterwards');
  });

  const GATE_OF = {
    fails: 'readiness',
    crashes: 'readiness',
    wrong_answer: 'smoke',
    no_answer: 'smoke',
    errors: 'error_rate',
    rejects: 'rejections',
    slow: 'ttft',
    silent: 'silence',
    bad_gpu: 'gpu_health',
  } as const satisfies Partial<Record<Fault, string>>;
  for (const [fault, gate] of Object.entries(GATE_OF) as [keyof typeof GATE_OF, string][]) {
    t.test(`${name}: a revision with the fault ${fault} goes back, for ${gate}`, async (t) => {
      const { world, outcome, wrong } = run(strategy, fault);
      t.same(wrong, []);
      t.equal(outcome, 'rolled_back');
      t.match(world.state?.history[0], { revision: { id: NEW }, from: OLD, reason: { kind: 'gate', gate } });
      t.same([world.count(NEW), world.count(OLD, 'ready')], [0, 4]);
      t.equal(world.decide().changed, false, 'and is not tried again by itself');
    });
  }

  t.test(`${name}: a revision that never gets ready goes back when its time is over`, async (t) => {
    const { world, outcome, wrong } = run({ ...strategy, deadlineMs: 60_000 }, 'never_ready');
    t.same(wrong, []);
    t.equal(outcome, 'rolled_back');
    t.match(world.state?.history[0]?.reason, { kind: 'deadline', waitingFor: /^readiness: / });
  });
}

t.test('a canary gets its percentages one after another, and as many replicas as they need', async (t) => {
  const world = new World({ kind: 'canary', stepMs: 4000, steps: [10, 50] }, 4).begin();
  world.revision = NEW;
  const seen: string[] = [];
  world.until(({ out, state }) => {
    const share = out.traffic.shares.find(({ revision }) => revision === NEW)?.weight ?? 0;
    const line = `${Math.round(share)} % of ${out.wanted[NEW] ?? 0}`;
    if (seen.at(-1) !== line) seen.push(line);
    return state?.running === null && state.current?.id === NEW;
  });
  const shares = seen.map((line) => Number.parseInt(line, 10));
  t.same(
    shares,
    shares.toSorted((a, b) => a - b),
    'it never falls',
  );
  t.same(seen.slice(0, 2), ['0 % of 1', '10 % of 1']);
  t.ok(seen.includes('50 % of 2'));
  t.equal(seen.at(-1), '100 % of 4');
});

t.test('a blue-green switch is at once and keeps the old set until it has baked', async (t) => {
  const world = new World({ kind: 'blue_green', stepMs: 20_000 }, 3).begin();
  world.revision = NEW;
  let passedEarly = 0;
  world.watch = ({ out, state }) => {
    if (state?.running?.phase !== 'preparing') return;
    passedEarly = Math.max(passedEarly, state.running.passed.length);
    t.same(out.traffic.admitted, [], 'a set that is not whole gets nothing');
  };
  world.until(({ replicas }) => replicas.filter(({ revision }) => revision === NEW).length === 3);
  // One of the three comes up later than the others.
  const [late] = world.replicas.filter(({ revision }) => revision === NEW);
  if (late !== undefined) late.ageMs = -5000;
  t.ok(world.until(({ out }) => out.traffic.shares[0]?.weight === 100));
  t.ok(passedEarly >= 2);
  world.watch = undefined;
  t.match(world.out.traffic.shares, [
    { revision: NEW, weight: 100 },
    { revision: OLD, weight: 0, standby: true },
  ]);
  t.same(world.out.wanted, { [OLD]: 3, [NEW]: 3 });
  t.ok((world.until(({ out }) => out.wanted[OLD] === undefined) ?? 0) >= 20);
});

t.test('a canary that needs more replicas than there is room for gets there one by one', async (t) => {
  const world = new World({ kind: 'canary', stepMs: 2000, steps: [80] }, 5).begin();
  t.equal(world.rollOut(NEW), 'done');
});

/** The share of the new revision just after a rollback began with half of the replicas changed. */
function shareOnTheWayBack(fault: Fault): readonly [weight: number | undefined, wanted: number | undefined] {
  const world = new World({ kind: 'rolling', stepMs: 3000 }, 4).begin();
  world.revision = NEW;
  world.until((now) => now.count(NEW, 'ready') === 2 && now.count(OLD, 'ready') === 2 && now.replicas.length === 4);
  world.faults.set(NEW, fault);
  world.until(({ state }) => state?.running?.phase === 'rolling_back');
  return [world.out.traffic.shares[0]?.weight, world.out.wanted[NEW]];
}

t.test('on the way back a slow revision carries what the old one cannot, and a failing one nothing', async (t) => {
  const [slow, kept] = shareOnTheWayBack('slow');
  t.ok((slow ?? 0) > 0 && (kept ?? 0) > 0, `${slow} % on ${kept} replicas`);
  t.same(shareOnTheWayBack('silent'), [0, undefined]);
});

t.test('a revision of which few requests fail carries its part until the old one is back', async (t) => {
  const reason = (failed: number) => ({ kind: 'gate', gate: 'error_rate', facts: { failed, requests: 100 } }) as const;
  t.same([stillServes({ reason: reason(19) }), stillServes({ reason: reason(20) })], [true, false]);
  t.equal(stillServes({ reason: null }), true);
});

t.test('without requests a step is judged by what there is, after a while', async (t) => {
  const world = new World({ kind: 'canary', stepMs: 2000, steps: [50] }, 2);
  world.load = 0;
  world.begin();
  t.equal(world.rollOut(NEW), 'done');
});

t.test('a deadline that nobody set counts from the last replica that came up', async (t) => {
  const long = new World({ kind: 'rolling', stepMs: 60_000 }, 8);
  long.load = 0;
  const startedMs = long.begin().nowMs;
  t.equal(long.rollOut(NEW, 'none', 10_000), 'done');
  t.ok(long.nowMs - startedMs > 3_600_000, 'longer than an hour');
  const stuck = new World({ kind: 'rolling' }, 2).begin();
  t.equal(stuck.rollOut(NEW, 'never_ready', 5000), 'rolled_back');
  t.match(stuck.state?.history[0]?.reason, { kind: 'deadline', afterMs: 3_600_000 });
});

t.test('no replicas at all are rolled out at once', async (t) => {
  const world = new World({ kind: 'rolling', stepMs: 0 }, 0).begin();
  t.equal(world.rollOut(NEW), 'done');
  t.equal(world.state?.current?.id, NEW);
});

t.test('a fleet without a free GPU rolls out with one replica less, and waits where it may not', async (t) => {
  const tight = new World({ kind: 'rolling', stepMs: 1000, maxSurge: 0, maxUnavailable: 1 }, 3);
  tight.places = 3;
  t.equal(tight.begin().rollOut(NEW), 'done');
  const stuck = new World({ kind: 'rolling', stepMs: 1000, deadlineMs: 30_000 }, 3);
  stuck.places = 3;
  t.equal(stuck.begin().rollOut(NEW), 'rolled_back');
  t.match(stuck.state?.history[0]?.reason, { kind: 'deadline', waitingFor: /pending/ });
  t.equal(stuck.count(OLD, 'ready'), 3);
});

t.test('a bad first revision has nothing to go back to: it stays, gets no requests, and is told of', async (t) => {
  const world = new World({ kind: 'rolling', deadlineMs: 10_000 }, 2);
  world.faults.set(OLD, 'wrong_answer');
  t.equal(
    world.until(({ state }) => state?.running === null, 60),
    undefined,
  );
  t.match(world.out.waiting[0], { kind: 'fail', gate: 'smoke' });
  t.same(world.out.traffic.admitted, []);
  t.same(world.out.wanted, { [OLD]: 2 });
  t.equal(world.rollOut(NEW), 'done', 'a better one takes its place');
  t.match(world.state?.history, [{ outcome: 'done' }, { outcome: 'superseded', revision: { id: OLD } }]);
  t.same([world.count(NEW, 'ready'), world.count(OLD)], [2, 0]);
});
