/** Random strategies, faults, orders and changes of mind: whatever comes, the promises hold and every rollout comes to an end. */
import fc from 'fast-check';
import t from 'tap';
import type { OrderVerb, RolloutOrder } from '../../../../scheduler/core/rollout/contract.ts';
import { canonicalJson } from '../../../../scheduler/core/events/json.ts';
import { type Fault, World } from './world.ts';

const FAULTS: readonly Fault[] = [
  'none',
  'none',
  'none',
  'never_ready',
  'fails',
  'crashes',
  'wrong_answer',
  'errors',
  'rejects',
  'slow',
  'silent',
  'bad_gpu',
];
const NAMES = ['bbbbbbbbbb', 'cccccccccc', 'dddddddddd', 'eeeeeeeeee'];

const strategy = fc.record({
  kind: fc.constantFrom('rolling', 'blue_green', 'canary'),
  maxSurge: fc.nat(3),
  maxUnavailable: fc.nat(2),
  stepMs: fc.constantFrom(0, 1000, 5000),
  deadlineMs: fc.constantFrom(40_000, 400_000),
  steps: fc.constantFrom([5, 25, 50], [50], [10, 90]),
} as const);

const change = fc.record({
  atTick: fc.nat(120),
  what: fc.constantFrom('revision', 'revision', 'back', 'scale', 'pause', 'resume', 'undo'),
  fault: fc.constantFrom(...FAULTS),
  replicas: fc.nat(6),
} as const);

const story = fc.record({
  strategy,
  replicas: fc.integer({ min: 1, max: 6 }),
  seed: fc.nat(1000),
  load: fc.constantFrom(0, 5, 40),
  changes: fc.array(change, { maxLength: 6 }),
});

const ORDERS: ReadonlySet<string> = new Set<OrderVerb>(['pause', 'resume', 'undo']);

/** @returns what was broken at a decision */
function look(world: World, serving: number): string | undefined {
  const { out, state } = world;
  const { shares, admitted } = out.traffic;
  if (shares.some(({ weight }) => !(weight >= 0 && weight <= 100.001))) return `weights ${JSON.stringify(shares)}`;
  const sum = shares.reduce((total, { weight }) => total + weight, 0);
  if (Math.abs(sum - 100) > 1e-6) return `the weights make ${sum}`;
  for (const key of admitted) {
    const replica = world.replicas.find((each) => each.key === key);
    if (replica === undefined || replica.attempts === 0) return `${key} is admitted unasked`;
    if (['wrong_answer', 'no_answer'].includes(world.faultOf(replica.revision)))
      return `${key} answers wrong and is admitted`;
  }
  const kept = world.replicas.filter(({ key, revision, state: now }) => {
    const share = shares.find((each) => each.revision === revision);
    return now === 'ready' && (out.wanted[revision] ?? 0) > 0 && (share?.proven === true || admitted.includes(key));
  });
  // Whatever is decided, some of what serves goes on serving.
  if (serving > 0 && kept.length === 0 && world.wantedReplicas > (world.desired.rules.maxUnavailable ?? 0))
    return 'nothing that serves is kept';
  const json = canonicalJson(state);
  if (!json.ok) return `the state is no JSON at ${json.path}`;
  return Object.values(out.wanted).every((count) => Number.isInteger(count) && count >= 0)
    ? undefined
    : `wanted ${JSON.stringify(out.wanted)}`;
}

type Story = typeof story extends fc.Arbitrary<infer Told> ? Told : never;

function tell(told: Story): string[] {
  const world = new World(told.strategy, told.replicas, told.seed).begin();
  world.load = told.load;
  const wrong: string[] = [];
  let serving = 0;
  world.watch = () => {
    const what = look(world, serving);
    if (what !== undefined) wrong.push(`at ${world.nowMs}: ${what}`);
    const { shares, admitted } = world.out.traffic;
    serving = world.replicas.filter(
      ({ key, revision, state }) =>
        state === 'ready' &&
        (shares.some((each) => each.revision === revision && each.proven) || admitted.includes(key)),
    ).length;
  };
  let name = 0;
  for (let tick = 0; tick < 125; tick++) {
    const orders: RolloutOrder[] = [];
    for (const { atTick, what, fault, replicas } of told.changes) {
      if (atTick !== tick) continue;
      if (ORDERS.has(what)) orders.push({ verb: what as OrderVerb, actor: 'eve', reason: 'a test' });
      else if (what === 'scale') world.wantedReplicas = replicas;
      else if (what === 'back') world.revision = world.state?.current?.id ?? world.revision;
      else {
        world.revision = NAMES[name % NAMES.length] as string;
        if (!world.faults.has(world.revision)) world.faults.set(world.revision, fault);
        name += 1;
      }
    }
    world.tick(orders);
  }
  world.tick([{ verb: 'resume', actor: 'eve', reason: '' }]);
  const took = world.until((now) => now.state?.running === null && now.isWhole, 3000);
  if (took === undefined)
    wrong.push(`it does not end: ${JSON.stringify(world.out.waiting)} ${JSON.stringify(world.state?.running)}`);
  const current = world.state?.current?.id ?? '';
  if (world.count(current, 'ready') !== world.wantedReplicas) wrong.push('the proven revision is not whole');
  const bad = world.faultOf(current);
  if (
    ['never_ready', 'fails', 'crashes', 'wrong_answer'].includes(bad) &&
    world.wantedReplicas > 0 &&
    (world.tallies.get(current)?.ended ?? 0) > 0
  )
    wrong.push(`${current} with ${bad} took over`);
  if (world.decide().changed) wrong.push('it never comes to rest');
  return wrong.slice(0, 3);
}

t.test('random stories', async (t) => {
  let stories = 0;
  fc.assert(
    fc.property(story, (told) => {
      stories += 1;
      const wrong = tell(told);
      if (wrong.length > 0) throw new Error(wrong.join('\n'));
    }),
    { numRuns: 150, seed: 7 },
  );
  t.ok(stories >= 100);
});
