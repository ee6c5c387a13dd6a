/** Real vLLM, started by the agent: answers through the fleet are its own, and clients that go away leave no work. */
import { join } from 'node:path';
import t from 'tap';
import { startFleet } from '../../support/fleet.ts';
import { testIdentical, testLeaving } from '../../support/identical.ts';

t.setTimeout(1_200_000);

const MODEL = 'smollm2';
/** About 1,700 tokens, which the engine takes in portions of 64: some seconds of work, each portion well under one. */
const LONG = 'The quick brown fox jumps over the lazy dog while seven wizards mix potent brews. '.repeat(95);

/** A variable that `.ci/real` sets from what prepare.sh printed. */
function given(name: string): string {
  const value = process.env[name];
  if (value === undefined || value === '') throw new Error(`${name} is not set; run this by .ci/real vllm`);
  return value;
}

/** float32, because its greedy answers do not depend on what else is in the batch; one engine on each core. */
const engine = (core: number) => ({
  name: `vllm-${core}`,
  kind: 'vllm',
  model: given('SOPHIA_VLLM_MODEL'),
  servedModelName: MODEL,
  extraFlags: [
    '--max-model-len',
    '2048',
    '--dtype',
    'float32',
    '--enforce-eager',
    '--max-num-batched-tokens',
    '64',
    '--max-num-seqs',
    '16',
  ],
  environment: {
    HF_HUB_OFFLINE: '1',
    TRANSFORMERS_OFFLINE: '1',
    VLLM_CPU_KVCACHE_SPACE: '1',
    VLLM_CPU_OMP_THREADS_BIND: String(core),
  },
});

const fleet = await startFleet(t, {
  engines: [engine(0), engine(1)],
  agent: { vllmCommand: join(given('SOPHIA_VLLM_VENV'), 'bin/vllm') },
  readyTimeoutMs: 600_000,
});
const subject = { fleet, model: MODEL, maxTokens: 40, prefill: { model: MODEL, prompt: LONG }, quietWithinMs: 1_000 };

await t.test('identical answers', (t) => testIdentical(t, subject));
await t.test('clients that go away', (t) => testLeaving(t, subject));
await t.test('the fleet stops and leaves no process behind', async (t) => {
  await fleet.stop();
  t.pass('nothing is left');
});
