/** The embedded engine with real weights: answers through the fleet are its own, and clients that go away leave no work. */
import { homedir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { ensureWeights } from '../../../cli/weights/weights.ts';
import { startFleet } from '../../support/fleet.ts';
import { testIdentical, testLeaving } from '../../support/identical.ts';

t.setTimeout(600_000);

const MODEL = 'smollm2-135m-instruct';
/** About 1,500 tokens: some seconds of work for one thread. */
const LONG = 'The quick brown fox jumps over the lazy dog while seven wizards mix potent brews. '.repeat(85);

const cacheDir = path.join(process.env['XDG_CACHE_HOME'] ?? path.join(homedir(), '.cache'), 'sophia-fleet');
const weights = await ensureWeights({ cacheDir });
if (!weights.ok) throw new Error(`could not run, because ${weights.message} ${weights.whatToDo}`);

const engine = (name: string) => ({
  name,
  kind: 'llama',
  model: weights.path,
  servedModelName: MODEL,
  extraFlags: ['--max-model-len', '2048', '--max-num-seqs', '6'],
});
const fleet = await startFleet(t, { engines: [engine('llama-0'), engine('llama-1')], readyTimeoutMs: 60_000 });
const subject = { fleet, model: MODEL, maxTokens: 40, prefill: { model: MODEL, prompt: LONG }, quietWithinMs: 1_000 };

await t.test('identical answers', (t) => testIdentical(t, subject));
await t.test('clients that go away', (t) => testLeaving(t, subject));
await t.test('the fleet stops and leaves no process behind', async (t) => {
  await fleet.stop();
  t.pass('nothing is left');
});
