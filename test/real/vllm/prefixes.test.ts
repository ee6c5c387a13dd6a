/**
 * Real vLLM, started by the agent, publishes what its prefix cache holds; the scheduler tokenises each prompt with the
 * model's own files and foretells how many tokens the engine will find cached. The error must stay under one block, for
 * prompts that share their beginnings, come again, or are new.
 */
import { join } from 'node:path';
import t from 'tap';
import { startFleet } from '../../support/fleet.ts';
import { until } from '../../support/waits.ts';

t.setTimeout(1_200_000);

const MODEL = 'smollm2';
/** The smallest that works on a CPU. */
const BLOCK = 32;

/** A variable that `.ci/real` sets from what prepare.sh printed. */
function given(name: string): string {
  const value = process.env[name];
  if (value === undefined || value === '') throw new Error(`${name} is not set; run this by .ci/real vllm`);
  return value;
}

const fleet = await startFleet(t, {
  engines: [
    {
      name: 'vllm-0',
      kind: 'vllm',
      model: given('SOPHIA_VLLM_MODEL'),
      servedModelName: MODEL,
      extraFlags: ['--max-model-len', '2048', '--dtype', 'float32', '--enforce-eager', '--block-size', String(BLOCK)],
      environment: {
        HF_HUB_OFFLINE: '1',
        TRANSFORMERS_OFFLINE: '1',
        VLLM_CPU_KVCACHE_SPACE: '1',
        VLLM_CPU_OMP_THREADS_BIND: '0',
      },
    },
  ],
  agent: { vllmCommand: join(given('SOPHIA_VLLM_VENV'), 'bin/vllm') },
  scheduler: { tokenizers: { [MODEL]: given('SOPHIA_VLLM_MODEL') }, tokenizeWaitMs: 1000 },
  readyTimeoutMs: 600_000,
});

/** The value of one series of the scheduler; 0 while there is none. */
async function metric(series: string): Promise<number> {
  const headers = { authorization: `Bearer ${fleet.key}` };
  const text = await (await fetch(`${fleet.url}/metrics`, { headers })).text();
  const line = text.split('\n').find((each) => each.startsWith(`${series} `));
  return Number(line?.slice(series.length + 1) ?? 0);
}

interface Compared {
  readonly foretold: number;
  readonly cached: number;
}

async function figures(): Promise<Compared> {
  const [foretold, cached] = await Promise.all(
    ['foretold', 'cached'].map((kind) => metric(`prefix_tokens_total{kind="${kind}"}`)),
  );
  return { foretold: foretold ?? 0, cached: cached ?? 0 };
}

/** Asks, and says what was foretold and what the engine reported. */
async function ask(
  path: string,
  body: object,
): Promise<Compared & { readonly reported: number; readonly prompt: number }> {
  const before = await figures();
  const answer = await fetch(`${fleet.url}${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${fleet.key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: MODEL, max_tokens: 4, temperature: 0, ...body }),
  });
  const json = (await answer.json()) as {
    usage: { prompt_tokens: number; prompt_tokens_details?: { cached_tokens?: number } | null };
  };
  const after = await figures();
  return {
    foretold: after.foretold - before.foretold,
    cached: after.cached - before.cached,
    reported: json.usage.prompt_tokens_details?.cached_tokens ?? 0,
    prompt: json.usage.prompt_tokens,
  };
}

const SYSTEM = 'You are a careful assistant of a railway company. Answer in one sentence. '.repeat(14);
const STORY =
  'The quick brown fox jumps over the lazy dog while seven wizards mix potent brews. 北京 🙂 naïve. '.repeat(8);
const chat = (...turns: readonly string[]) => ({
  messages: [SYSTEM, ...turns].map((content, i) => ({
    role: i === 0 ? 'system' : i % 2 === 1 ? 'user' : 'assistant',
    content,
  })),
});

await t.test('what is foretold to be cached is what the engine finds, within one block', async (t) => {
  await until(
    async () => {
      await ask('/v1/completions', { prompt: 'warm' });
      return (await metric('prompt_shapes_total{how="tokens"}')) > 0;
    },
    'the tokeniser is loaded',
    60_000,
  );
  const asked: readonly [string, string, object][] = [
    ['new', '/v1/chat/completions', chat('When does the first train leave?')],
    ['the same again', '/v1/chat/completions', chat('When does the first train leave?')],
    ['another question', '/v1/chat/completions', chat('Where can I leave my bicycle?')],
    ['the next turn', '/v1/chat/completions', chat('Where can I leave my bicycle?', STORY, 'And when it rains?')],
    ['that again', '/v1/chat/completions', chat('Where can I leave my bicycle?', STORY, 'And when it rains?')],
    ['a plain prompt', '/v1/completions', { prompt: STORY }],
    ['a longer one', '/v1/completions', { prompt: `${STORY}${STORY} The end` }],
    ['token ids', '/v1/completions', { prompt: Array.from({ length: 160 }, (_, i) => 1000 + i) }],
    ['token ids again', '/v1/completions', { prompt: Array.from({ length: 160 }, (_, i) => 1000 + i) }],
    ['another system', '/v1/chat/completions', { messages: [{ role: 'user', content: STORY }] }],
  ];
  let found = 0;
  for (const [name, path, body] of asked) {
    const { foretold, cached, reported, prompt } = await ask(path, body);
    t.equal(cached, reported, `${name}: the answer reached the index`);
    t.ok(Math.abs(foretold - reported) < BLOCK, `${name}: foretold ${foretold}, found ${reported} of ${prompt}`);
    found += reported;
    // The engine says what it stored a moment later.
    await new Promise((resolve) => setTimeout(resolve, 600));
  }
  t.ok(found > 1000, `prompts shared ${found} tokens`);
  const told = await metric('prefix_blocks_told_total{kind="stored"}');
  // 41 blocks of its own are new among these prompts, each two of 16 tokens.
  t.ok(told >= 80, `the engine told of ${told} blocks by itself`);
});

await t.test('the fleet stops and leaves no process behind', async (t) => {
  await fleet.stop();
  t.pass('nothing is left');
});
