/** A step is whole when each running answer has had its token; a wait that was given up begins a new count. */
import fc from 'fast-check';
import t from 'tap';
import { stepHoldMs } from '../../../agent/core/coalescing.ts';
import { EngineSteps, StepGather } from '../../../agent/core/step_gather.ts';

const joined = (streams: number): StepGather => {
  const step = new StepGather();
  for (let i = 0; i < streams; i++) step.join();
  return step;
};

t.test('an answer that is alone waits for nothing', async (t) => {
  const step = joined(1);
  t.same([step.arrive(0), step.arrive(0), step.arrive(5)], [true, true, true]);
});

t.test('the last token of a step makes it whole, and the next step begins anew', async (t) => {
  const step = joined(3);
  t.same(
    Array.from({ length: 6 }, () => step.arrive(0)),
    [false, false, true, false, false, true],
  );
});

t.test('who has left is not waited for', async (t) => {
  const step = joined(3);
  step.arrive(0);
  step.leave();
  t.equal(step.arrive(0), true);
  step.leave();
  step.leave();
  t.equal(step.arrive(0), true, 'nobody is left: the last token goes at once');
});

t.test('a wait that was given up is not counted on', async (t) => {
  const step = joined(3);
  step.arrive(0);
  step.arrive(0);
  t.same([step.arrive(1), step.arrive(1), step.arrive(1)], [false, false, true]);
});

t.test('with n answers, of n tokens in one count exactly one makes the step whole', async () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 5 }), (streams, rounds) => {
      const step = joined(streams);
      for (let round = 0; round < rounds; round++) {
        const whole = Array.from({ length: streams }, () => step.arrive(7)).filter(Boolean).length;
        if (whole !== 1) return false;
      }
      return true;
    }),
  );
});

t.test('each way out of an engine has a step of its own', async (t) => {
  const steps = new EngineSteps();
  const [one, other] = [{}, {}];
  t.equal(steps.on(one), steps.on(one));
  t.not(steps.on(one), steps.on(other));
});

t.test('the wait is short, and none where holds are turned off', async (t) => {
  t.equal(stepHoldMs(40), 4);
  t.equal(stepHoldMs(2), 2);
  t.equal(stepHoldMs(0), 0);
});
