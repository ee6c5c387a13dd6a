/**
 * Engines tell what their prefix caches hold, on the wire that vLLM uses; agent and scheduler carry it to the router, which
 * then foretells exactly what an engine will find, also after it has thrown everything away.
 */
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { askEngine } from '../support/engine_client.ts';
import { simEngine, startFleet } from '../support/fleet.ts';
import { removeFolder, until } from '../support/waits.ts';

const MODEL = 'sim';

const sockets = await mkdtemp(path.join(tmpdir(), 'kv-'));
t.teardown(() => removeFolder(sockets));

const kvConfig = (name: string): string =>
  JSON.stringify({
    enable_kv_cache_events: true,
    publisher: 'zmq',
    endpoint: `ipc://${sockets}/${name}.sock`,
    replay_endpoint: `ipc://${sockets}/${name}-replay.sock`,
  });

function engine(name: string): object {
  const spec = simEngine({ name, model: MODEL }) as { extraFlags: readonly string[] };
  const flags = ['--kv-events-config', kvConfig(name), '--sim-dev-mode', '--enable-prompt-tokens-details'];
  return { ...spec, extraFlags: [...spec.extraFlags, ...flags] };
}

const fleet = await startFleet(t, { engines: [engine('one')] });
const headers = { authorization: `Bearer ${fleet.key}`, 'content-type': 'application/json' };

async function metric(series: string): Promise<number> {
  const text = await (await fetch(`${fleet.url}/metrics`, { headers })).text();
  const line = text.split('\n').find((each) => each.startsWith(`${series} `));
  return Number(line?.slice(series.length + 1) ?? 0);
}

const foretold = (): Promise<number> => metric('prefix_tokens_total{kind="foretold"}');
const cached = (): Promise<number> => metric('prefix_tokens_total{kind="cached"}');

/** Ids that the simulated vocabulary has and that are no end of anything. */
const ids = (seed: number, count: number): number[] => Array.from({ length: count }, (_, i) => 300 + ((i * seed) % 97));

async function ask(prompt: readonly number[]): Promise<{ readonly foretold: number; readonly cached: number }> {
  const [foretoldBefore, cachedBefore] = [await foretold(), await cached()];
  const answer = await fetch(`${fleet.url}/v1/completions`, {
    method: 'POST',
    headers,
    body: JSON.stringify({ model: MODEL, prompt, max_tokens: 3 }),
  });
  await answer.text();
  return { foretold: (await foretold()) - foretoldBefore, cached: (await cached()) - cachedBefore };
}

t.test('what is foretold is what the engine finds', async (t) => {
  const first = ids(7, 200);
  t.strictSame(await ask(first), { foretold: 0, cached: 0 });
  // The first that a scheduler hears of an engine replaces what it guessed until then.
  await until(async () => (await metric('prefix_blocks_told_total{kind="stored"}')) >= 12, 'the first events');
  t.strictSame(await ask(first), { foretold: 192, cached: 192 });
  t.strictSame(await ask([...first.slice(0, 100), ...ids(11, 80)]), { foretold: 96, cached: 96 });
  t.strictSame(await ask(first.slice(0, 64)), { foretold: 48, cached: 48 }, 'the last token is computed anew');
});

t.test('an engine that throws its cache away is known to have nothing, as soon as it says so', async (t) => {
  const prompts = Array.from({ length: 40 }, (_, i) => ids(13 + i, 160));
  for (const prompt of prompts) await ask(prompt);
  for (const { address } of fleet.engines) {
    const answer = await askEngine(address, 'POST', '/reset_prefix_cache');
    t.equal(answer.status, 200);
  }
  // An engine says it with its next step, and that takes a moment to arrive.
  let found: { readonly foretold: number; readonly cached: number } | undefined;
  for (const prompt of prompts) {
    const answer = await ask(prompt);
    t.equal(answer.cached, 0);
    found = answer;
    if (answer.foretold === 0) break;
    await sleep(200);
  }
  t.strictSame(found, { foretold: 0, cached: 0 });
});
