/**
 * The simulated fleet: every request ends exactly once whatever happens, one seed gives one run, and the scripted faults
 * strike as written.
 */
import fc from 'fast-check';
import t from 'tap';
import { atLoad, capacityPerS } from '../../../bench/sim/fleet/capacity.ts';
import { createEventQueue, type SimEvent } from '../../../bench/sim/fleet/event_queue.ts';
import { parseFaults } from '../../../bench/sim/fleet/faults.ts';
import { figuresOf, intervalOf } from '../../../bench/sim/fleet/figures.ts';
import { runFleet, type FleetRun } from '../../../bench/sim/fleet/fleet.ts';
import { SIM_POLICIES } from '../../../bench/sim/policies.ts';
import type { Workload } from '../../../bench/sim/traces/workload.ts';
import { randomWorkload, SILENT, SPEC, toFirst } from './support.ts';

const ENGINES = 3;
const SLO = { ttftS: 5, tpotMs: 100 };
const create = (name: string) => SIM_POLICIES.find((policy) => policy.name === name)!.create;

function runOf(policy: string, workload: Workload, seed: number, script = '', queue = true): FleetRun {
  const faults = parseFaults(script, ENGINES);
  return runFleet({ workload, spec: SPEC, engines: ENGINES, seed, createDispatcher: create(policy), faults, queue });
}

t.test('every request ends exactly once, under every policy and through deaths, hangs and restarts', async (t) => {
  const faultyRun = fc.record({
    policy: fc.constantFrom(...SIM_POLICIES.map(({ name }) => name)),
    seed: fc.integer({ min: 1, max: 1e6 }),
    faults: fc.array(
      fc.tuple(
        fc.constantFrom('kill', 'restart', 'hang'),
        fc.integer({ min: 0, max: ENGINES - 1 }),
        fc.integer({ min: 0, max: 12 }),
      ),
      { maxLength: 6 },
    ),
  });
  fc.assert(
    fc.property(faultyRun, ({ policy, seed, faults }) => {
      const script = faults
        .map(([kind, engine, at]) => `${kind}:${engine}@${at}${kind === 'hang' ? '+7' : ''}`)
        .join(',');
      const run = runOf(policy, randomWorkload(seed, 60, 10_000, 4000), seed, script);
      return run.ends.every((ends) => ends === 1) && run.outcome.every((outcome) => outcome === 1 || outcome === 2);
    }),
    {
      numRuns: 60,
      // An engine that dies, comes back and dies again before its first death is known.
      examples: [
        [
          {
            policy: 'cost',
            seed: 1,
            faults: [
              ['kill', 1, 2],
              ['restart', 1, 2],
              ['kill', 1, 2],
            ],
          },
        ],
      ],
    },
  );
  t.pass('60 runs');
});

t.test('one seed gives one run, another seed another', async (t) => {
  const workload = randomWorkload(1, 300, 20_000, 4000);
  for (const { name } of SIM_POLICIES) t.same(runOf(name, workload, 1).endMs, runOf(name, workload, 1).endMs, name);
  t.notSame(runOf('random', workload, 1).endMs, runOf('random', workload, 2).endMs);
});

t.test('a request whose engine dies goes on elsewhere and keeps its first token', async (t) => {
  const workload = randomWorkload(3, 90, 3000, 2000);
  const whole = runOf('least_requests', workload, 1);
  const cut = runOf('least_requests', workload, 1, 'kill:1@2');
  t.ok(cut.moved > 0, `${cut.moved} moved`);
  t.ok(cut.outcome.every((outcome) => outcome === 1));
  const before = [...whole.firstTokenMs.keys()].filter((r) => (whole.firstTokenMs[r] as number) < 2000);
  t.ok(before.length > 0);
  for (const r of before) t.equal(cut.firstTokenMs[r], whole.firstTokenMs[r]);
  t.ok(cut.lengthMs > whole.lengthMs, 'two engines take longer than three');
});

t.test('requests of a stopped engine go on elsewhere once it has been silent for too long', async (t) => {
  const workload = randomWorkload(4, 60, 2000, 2000);
  const run = runOf('least_requests', workload, 1, 'hang:0@1+60');
  t.ok(run.moved > 0);
  t.ok(run.lengthMs < 30_000, `nobody waits for the minute: ${run.lengthMs} ms`);
  const short = runOf('least_requests', workload, 1, 'hang:0@1+2');
  t.equal(short.moved, 0, 'a short stop is waited for');
});

t.test('with no engine left requests wait, those of the dead engines before all others', async (t) => {
  const workload = randomWorkload(5, 100, 20_000, 1000);
  const script = 'kill:0@1,kill:1@1,kill:2@1,restart:0@10';
  const run = runOf('cost', workload, 1, script);
  t.ok(
    run.outcome.every((outcome) => outcome === 1),
    'all are served',
  );
  t.ok(run.moved > 0);
  const came = (from: number, to: number): number[] =>
    [...workload.arrivalMs.keys()].filter((r) => {
      const atMs = workload.arrivalMs[r] as number;
      return atMs >= from && atMs < to && (run.firstTokenMs[r] as number) > 1000;
    });
  const first = (requests: readonly number[]): number[] => requests.map((r) => run.firstTokenMs[r] as number);
  const waited = first(came(1100, 10_000));
  t.ok(waited.length > 0 && Math.min(...waited) > 10_000);
  for (const atMs of first(came(0, 1000))) t.ok(atMs <= Math.min(...waited), 'a moved one has its token first');
  const never = runOf('cost', workload, 1, 'kill:0@1,kill:1@1,kill:2@1');
  t.ok(figuresOf(never, SLO).refused > 80, 'a wait has an end');
});

t.test('without a queue and without an engine requests are refused, and after a restart served again', async (t) => {
  const workload = randomWorkload(5, 100, 20_000, 1000);
  const script = 'kill:0@1,kill:1@1,kill:2@1,restart:0@10';
  const run = runOf('cost', workload, 1, script, false);
  const figures = figuresOf(run, SLO);
  t.ok(figures.refused > 0 && figures.refused < 100, `${figures.refused} refused`);
  t.ok(figures.goodput <= 1 - figures.refused / 100, 'a refused request counts against goodput');
  t.equal(run.outcome[99], 1);
});

t.test('a dispatcher that forgets a request is found out', async (t) => {
  const workload = randomWorkload(6, 5, 100, 100);
  const forgets = () => ({ ...SILENT });
  const options = { workload, spec: SPEC, engines: 1, seed: 1 };
  t.throws(() => runFleet({ ...options, createDispatcher: forgets }), /5 requests/);
  t.doesNotThrow(() => runFleet({ ...options, createDispatcher: toFirst }));
});

t.test('capacity is what the engines work through, and a load is a part of it', async (t) => {
  const workload = randomWorkload(7, 600, 60_000, 3000);
  const one = capacityPerS(workload, SPEC, 1);
  const four = capacityPerS(workload, SPEC, 4);
  t.ok(four > 3 * one && four < 5 * one, `one engine ${one}/s, four ${four}/s`);
  const half = atLoad(workload, four, 0.5);
  t.ok(Math.abs(600_000 / (half.arrivalMs[599] as number) / (four / 2) - 1) < 1e-9);
});

t.test('events leave in the order of their times, equal ones as they came', async (t) => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 20 }), { maxLength: 3000 }), (times) => {
      const queue = createEventQueue();
      for (const [at, time] of times.entries()) queue.push(time, 1, at, 0);
      const order = times.map((time, at) => ({ time, at })).sort((l, r) => l.time - r.time || l.at - r.at);
      const event: SimEvent = { atMs: 0, kind: 0, a: 0, b: 0 };
      return (
        order.every(({ time, at }) => queue.pop(event) && event.atMs === time && event.a === at) && !queue.pop(event)
      );
    }),
    { numRuns: 40 },
  );
  t.pass('40 orders');
});

t.test('a script of faults is read, or refused with the part that is wrong', async (t) => {
  t.same(parseFaults('hang:2@5+1.5,kill:0@1', 3), [
    { kind: 'kill', engine: 0, atMs: 1000, forMs: 0 },
    { kind: 'hang', engine: 2, atMs: 5000, forMs: 1500 },
  ]);
  t.throws(() => parseFaults('kill:3@1', 3), /engines 0 to 2/);
  for (const wrong of ['kill:0', 'hang:0@1', 'kill:0@1+2', 'burn:0@1', 'kill:-1@1', 'kill:0@1e9'])
    t.throws(() => parseFaults(wrong, 3), wrong);
  t.throws(() => parseFaults(Array.from({ length: 1001 }, () => 'kill:0@1').join(','), 3), /1000/);
});

t.test('intervals are Student’s', async (t) => {
  t.same(intervalOf([3]), { mean: 3, plusMinus: 0 });
  const { mean, plusMinus } = intervalOf([1, 2, 3, 4]);
  t.equal(mean, 2.5);
  t.ok(Math.abs(plusMinus - 3.182 * Math.sqrt(5 / 3 / 4)) < 1e-9);
});
