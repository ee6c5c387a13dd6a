/**
 * Two real vLLM engines in float32, eight streams, six kills: every answer has the bytes of an uncut run, because at
 * temperature 0 this engine is deterministic. The next kill comes when both engines serve again, which takes a minute.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { eventually } from '../../support/child.ts';
import { essence, open, type SeenAnswer } from '../../support/cut_streams.ts';
import { startFleet } from '../../support/fleet.ts';
import { MODEL, READY_WITHIN_MS } from './supervised.ts';

const KILLS = 6;
const TOKENS = 200;
/** Eight prompts: plain text, emoji, other scripts, code; a chat with usage, one with ids, one with stop strings. */
const PROMPTS = [
  { content: 'Tell me a story about the sea.' },
  { content: 'Say 🚀 ten times, then 🎉.' },
  { content: 'Расскажи про море.' },
  { content: '请告诉我关于大海的事情。' },
  { content: 'Write a function in Rust that adds two numbers.', stream_options: { include_usage: true } },
  { content: 'Explain JSON with an example.', return_token_ids: true },
  { content: 'Count from one to fifty.', stop: ['forty nine', 'THE END'], ignore_eos: false },
  { content: 'Café, naïve, über: which languages are these?' },
] as const;

t.setTimeout(3_000_000);

const { SOPHIA_VLLM_VENV: venv, SOPHIA_VLLM_MODEL: model } = process.env;
if (venv === undefined || model === undefined) throw new Error('run by `npm run test:real:vllm`, which prepares vLLM');
const scratch = mkdtempSync(join(tmpdir(), 'vllm-scratch-'));
t.teardown(() => rmSync(scratch, { recursive: true, force: true }));

const fleet = await startFleet(t, {
  engines: [0, 1].map((core) => ({
    name: `vllm-${core}`,
    kind: 'vllm',
    model,
    servedModelName: MODEL,
    extraFlags: ['--max-model-len', '2048', '--dtype', 'float32', '--enforce-eager'],
    environment: { VLLM_CPU_KVCACHE_SPACE: '1', VLLM_CPU_OMP_THREADS_BIND: String(core) },
    limits: { maxRestarts: 100 },
  })),
  env: { HF_HUB_OFFLINE: '1', TRANSFORMERS_OFFLINE: '1', TMPDIR: scratch },
  agent: {
    vllmCommand: join(venv, 'bin/vllm'),
    gpuReader: 'none',
    startTimeoutMs: READY_WITHIN_MS,
    stopTimeoutMs: 15_000,
    restartBaseMs: 200,
    hostRestartBurst: 100,
  },
  readyTimeoutMs: READY_WITHIN_MS,
});

interface EngineView {
  readonly routable: boolean;
  readonly event: { readonly engine: string; readonly pid: number; readonly incarnation: number };
}

const engines = async (): Promise<readonly EngineView[]> =>
  (await fleet.admin<{ engines: EngineView[] }>('ListEngines')).engines;
const bothServe = (): Promise<void> =>
  eventually('both engines serve', async () => (await engines()).every((engine) => engine.routable), READY_WITHIN_MS);
const ask = ({ content, ...more }: (typeof PROMPTS)[number]) =>
  open(fleet, '/v1/chat/completions', {
    model: MODEL,
    stream: true,
    max_tokens: TOKENS,
    temperature: 0,
    ignore_eos: true,
    messages: [{ role: 'user', content }],
    ...more,
  });

const uncut = await Promise.all(PROMPTS.map((prompt) => ask(prompt).answer));
t.ok(
  uncut.every((answer) => answer.error === undefined && answer.endsWithDone),
  'the uncut answers are whole',
);

for (let kill = 0; kill < KILLS; kill++) {
  await t.test(`kill ${kill + 1} of ${KILLS}`, async (t) => {
    await bothServe();
    const streams = PROMPTS.map(ask);
    await eventually('all streams have begun', () => streams.every((stream) => stream.length() > 3000), 120_000);
    const [victim, other] = (await engines()).toSorted(({ event: { engine } }) =>
      engine === `vllm-${kill % 2}` ? -1 : 1,
    );
    process.kill(-(victim?.event.pid ?? 0), 'SIGKILL');
    const answers = await Promise.all(streams.map((stream) => stream.answer));
    answers.forEach((answer, at) => {
      t.ok(answer.endsWithDone && answer.heads.length === 1 && answer.roles === 1, 'its form is whole');
      t.same(essence(answer), essence(uncut[at] as SeenAnswer), `prompt ${at} is as uncut`);
    });
    const still = (await engines()).find((engine) => engine.event.engine === other?.event.engine);
    t.equal(
      still?.event.incarnation,
      other?.event.incarnation,
      'the engine that took all of them was not taken for wedged',
    );
  });
}
