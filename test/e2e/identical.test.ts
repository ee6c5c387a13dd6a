/** Answers through the fleet against the simulated engine's own, and clients that go away; through every door. */
import t from 'tap';
import { simEngine, startFleet } from '../support/fleet.ts';
import { testIdentical, testLeaving } from '../support/identical.ts';

const MODEL = 'sim/model-a';
const SLOW = 'sim/slow-prefill';

const fleet = await startFleet(t, {
  engines: [
    simEngine({ name: 'sim-0', model: MODEL }),
    simEngine({ name: 'sim-1', model: MODEL }),
    simEngine({
      name: 'slow',
      model: SLOW,
      flags: ['--sim-ttft-ms', '60000', '--sim-ttft-after', '1', '--sim-itl-ms', '5'],
    }),
  ],
});
const subject = { fleet, model: MODEL, maxTokens: 48, prefill: { model: SLOW, prompt: 'Wait' }, quietWithinMs: 3_000 };

await t.test('identical answers', (t) => testIdentical(t, subject));
await t.test('clients that go away', (t) => testLeaving(t, subject));
await t.test('the fleet stops and leaves no process behind', async (t) => {
  await fleet.stop();
  t.pass('nothing is left');
});
