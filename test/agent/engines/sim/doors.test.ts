/**
 * The doors beside the common ones: TCP, KV events, vLLM's development routes, LoRA names and forced JSON answers.
 */
import t from 'tap';
import { setTimeout as sleep } from 'node:timers/promises';
import { get, post, stream, type Json } from '../surface/client.ts';
import { launchSim } from './launch.ts';

const CHAT = '/v1/chat/completions';
const ASK = { messages: [{ role: 'user', content: 'hi' }], max_tokens: 20, ignore_eos: true };

t.test('it listens on TCP where it is told to, and says where in its log', async (t) => {
  const sim = await launchSim(t, ['--host', '127.0.0.1', '--port', '0', '--sim-unpaced']);
  const url = /http:\/\/127\.0\.0\.1:\d+/.exec(sim.log())?.[0];
  const answer = (await (await fetch(`${url}/v1/models`)).json()) as Json;
  t.equal(answer.data[0].id, 'sim');
});

t.test('a forced JSON answer is JSON that fits its schema', async (t) => {
  const sim = await launchSim(t, ['--sim-unpaced']);
  const schema = {
    type: 'object',
    properties: { name: { type: 'string' }, tags: { type: 'array', items: { enum: ['x', 'y'] } } },
    required: ['name', 'tags'],
  };
  const ask = { messages: ASK.messages, response_format: { type: 'json_schema', json_schema: { name: 'n', schema } } };
  const answer = JSON.parse((await post(sim.uds, CHAT, ask)).text);
  t.same(JSON.parse(answer.choices[0].message.content), { name: 'simulated name', tags: ['x'] });
  t.equal(answer.choices[0].finish_reason, 'stop');
  const object = JSON.parse((await post(sim.uds, CHAT, { ...ask, response_format: { type: 'json_object' } })).text);
  t.same(JSON.parse(object.choices[0].message.content), { simulated: true });
});

t.test("KV events are told on the simulator's own door, as vLLM shapes them", async (t) => {
  const sim = await launchSim(
    t,
    [
      '--sim-unpaced',
      '--kv-events-config',
      '{"enable_kv_cache_events":true}',
      '--sim-kv-tokens',
      '320',
      '--max-model-len',
      '256',
    ],
    {
      VLLM_SERVER_DEV_MODE: '1',
    },
  );
  const prompt = Array.from({ length: 40 }, (_, at) => 300 + at);
  await post(sim.uds, '/v1/completions', { prompt, max_tokens: 1 });
  for (let at = 0; at < 12; at += 1)
    await post(sim.uds, '/v1/completions', { prompt: prompt.map((id) => id + at + 1), max_tokens: 1 });
  t.equal((await post(sim.uds, '/reset_prefix_cache', {})).status, 200);
  await post(sim.uds, '/v1/completions', { prompt: [20, 21], max_tokens: 1 });
  const lines = (await get(sim.uds, '/sim/kv_events')).text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Json);
  t.same(
    lines.map((line) => line.seq),
    lines.map((_, at) => at),
  );
  const events = lines.flatMap((line) => line.events as Json[]);
  t.match(events[0], { type: 'BlockStored', parent_block_hash: null, token_ids: prompt.slice(0, 16), block_size: 16 });
  t.equal(events[1].parent_block_hash, events[0].block_hashes[0]);
  t.ok(
    events.some((event) => event.type === 'BlockRemoved'),
    'room had to be made',
  );
  t.ok(events.some((event) => event.type === 'AllBlocksCleared'));
});

t.test(
  'development routes only with the development mode: sleep holds requests, wake_up goes on; LoRA names are served',
  async (t) => {
    const plain = await launchSim(t, ['--sim-unpaced']);
    t.equal((await post(plain.uds, '/sleep?level=1', {})).status, 404);
    t.equal((await post(plain.uds, '/v1/load_lora_adapter', {})).status, 404);
    const sim = await launchSim(t, ['--sim-unpaced', '--enable-lora'], {
      VLLM_SERVER_DEV_MODE: '1',
      VLLM_ALLOW_RUNTIME_LORA_UPDATING: 'True',
    });
    await post(sim.uds, '/sleep?level=1', {});
    t.same(JSON.parse((await get(sim.uds, '/is_sleeping')).text), { is_sleeping: true });
    const open = stream(sim.uds, CHAT, ASK);
    await sleep(150);
    t.equal(open.frames.length, 0);
    await post(sim.uds, '/wake_up', {});
    t.equal(await open.ended, 'clean');

    t.equal((await post(sim.uds, CHAT, { ...ASK, model: 'ad' })).status, 404);
    t.equal((await post(sim.uds, '/v1/load_lora_adapter', { lora_name: 'ad', lora_path: '/x' })).status, 200);
    t.equal(JSON.parse((await post(sim.uds, CHAT, { ...ASK, model: 'ad' })).text).model, 'ad');
    t.equal(JSON.parse((await get(sim.uds, '/v1/models')).text).data[1].parent, 'sim');
    t.equal((await post(sim.uds, '/v1/unload_lora_adapter', { lora_name: 'ad' })).status, 200);
    t.equal((await post(sim.uds, CHAT, { ...ASK, model: 'ad' })).status, 404);
  },
);
