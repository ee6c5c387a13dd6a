/**
 * Failure injection, aborts and the simulator's own doors, through real processes and their HTTP.
 */
import t from 'tap';
import { setTimeout as sleep } from 'node:timers/promises';
import { choices, fetchDelete, get, post, raw, stream, textOf, type Json } from '../surface/client.ts';
import { eventually, groupMembers, launchSim, metric } from './launch.ts';

const CHAT = '/v1/chat/completions';
const ASK = { messages: [{ role: 'user', content: 'hi' }], max_tokens: 20, ignore_eos: true };
const asRaw = (body: object): string => {
  const text = JSON.stringify(body);
  return `POST ${CHAT} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${text.length}\r\n\r\n${text}`;
};

t.test('a client that goes away aborts its sequence, while it streams, while it waits, and in prefill', async (t) => {
  const sim = await launchSim(t, ['--sim-itl-ms', '10', '--sim-ttft-ms', '400', '--max-num-seqs', '2']);
  const figures = async () => {
    const { text } = await get(sim.uds, '/metrics');
    return [metric(text, 'vllm:num_requests_running'), metric(text, 'vllm:num_requests_waiting')].join(' ');
  };
  const opens = [1, 2, 3].map(() => stream(sim.uds, CHAT, { ...ASK, max_tokens: 5_000 }));
  await eventually(async () => (await figures()) === '2 1', 2_000);
  opens[2]?.leave();
  await eventually(async () => (await figures()) === '2 0', 1_000);
  opens[1]?.leave();
  await eventually(async () => (await figures()) === '1 0', 1_000);
  await opens[0]?.until(5);
  opens[0]?.leave();
  await eventually(async () => (await figures()) === '0 0', 1_000);
  const generated = metric((await get(sim.uds, '/metrics')).text, 'vllm:generation_tokens_total');
  await sleep(200);
  t.equal(metric((await get(sim.uds, '/metrics')).text, 'vllm:generation_tokens_total'), generated, 'its tokens stop');
  t.match((await get(sim.uds, '/metrics')).text, /finished_reason="abort"} 0/, 'the abort counter does not count it');
});

t.test('faults armed at run time strike once each, in turn', async (t) => {
  const sim = await launchSim(t, ['--sim-itl-ms', '2']);
  const arm = async (fault: object) => t.equal((await post(sim.uds, '/sim/faults', fault)).status, 200);
  const run = async (): Promise<{ frames: Json[]; how: string; status: number }> => {
    const open = stream(sim.uds, CHAT, ASK);
    const how = await open.ended;
    return { frames: open.frames, how, status: how === 'clean' ? await open.status : 0 };
  };

  await arm({ kind: 'error', after_tokens: 5 });
  const error = await run();
  t.equal(error.how, 'clean');
  t.equal(error.frames.at(-2).error.code, 500);
  t.equal(choices(error.frames).length, 6, 'the role and five tokens came through');

  await arm({ kind: 'abort', after_tokens: 3 });
  const abort = await run();
  t.equal(choices(abort.frames).at(-1).finish_reason, 'abort');
  t.equal(abort.frames.at(-1), '[DONE]');

  await arm({ kind: 'drop', after_tokens: 3 });
  t.equal((await run()).how, 'dropped');

  for (const status of [503, 500]) {
    await arm({ kind: 'refuse', status });
    const refused = await post(sim.uds, CHAT, ASK);
    t.equal(refused.status, status);
    t.equal(JSON.parse(refused.text).error.code, status);
  }

  await arm({ kind: 'garbage', shape: 'not-http' });
  t.notMatch(await raw(sim.uds, asRaw(ASK)), /^HTTP/);
  await arm({ kind: 'garbage', shape: 'bad-chunk' });
  t.match(await raw(sim.uds, asRaw(ASK)), /\r\n\r\nzz\r\n/);
  await arm({ kind: 'garbage', shape: 'endless-header' });
  const endless = await raw(sim.uds, asRaw(ASK));
  t.ok(endless.length > 1_000_000 && !endless.includes('\r\n\r\n'), 'the head does not end');
  await arm({ kind: 'garbage', shape: 'bad-json', after_tokens: 4 });
  t.match(await raw(sim.uds, asRaw({ ...ASK, stream: true })), /data: \{"id": broken/);

  t.equal(choices((await run()).frames).at(-1).finish_reason, 'length', 'each struck once; the engine is well again');
  t.equal(JSON.parse((await get(sim.uds, '/sim/faults')).text).faults.length, 9);
  t.equal((await post(sim.uds, '/sim/faults', { kind: 'no such' })).status, 400);
});

t.test('a fault with a probability strikes its share, the same share for the same seed', async (t) => {
  const sim = await launchSim(t, ['--sim-unpaced', '--sim-fault', 'kind=refuse,probability=0.3,count=0,seed=1']);
  const pattern = async (): Promise<string> => {
    let marks = '';
    for (let at = 0; at < 40; at += 1)
      marks += (await post(sim.uds, CHAT, { ...ASK, max_tokens: 1 })).status === 503 ? 'x' : '.';
    return marks;
  };
  const strikes = async (seed: number): Promise<string> => {
    await fetchDelete(sim.uds, '/sim/faults');
    await post(sim.uds, '/sim/faults', { kind: 'refuse', probability: 0.3, count: 0, seed });
    return pattern();
  };
  const [one, again, other] = [await pattern(), await strikes(1), await strikes(2)];
  t.equal(one, again);
  t.not(one, other);
  const share = [...one].filter((mark) => mark === 'x').length;
  t.ok(share > 3 && share < 24, one);
});

t.test(
  'a hang of the engine core stays silent for its time, then goes on; a crash takes the engine down',
  async (t) => {
    const sim = await launchSim(t, ['--sim-itl-ms', '5', '--sim-death-exit-code', '7']);
    const open = stream(sim.uds, CHAT, { ...ASK, max_tokens: 5_000 });
    await open.until(4);
    await post(sim.uds, '/sim/faults', { kind: 'hang', now: true, duration_ms: 600 });
    await sleep(100);
    const before = open.frames.length;
    await sleep(250);
    t.equal(open.frames.length, before);
    t.equal((await get(sim.uds, '/health')).status, 200);
    await open.until(before + 5);
    await post(sim.uds, '/sim/faults', { kind: 'crash', now: true, signal: 'SIGSEGV' });
    t.equal(await open.ended, 'clean');
    t.equal(open.frames.at(-2).error.code, 500);
    t.same(await sim.exited, [7, null]);
    await eventually(() => groupMembers(sim.apiPid).length === 0, 6_000);
  },
);

t.test('a crash after N tokens lets exactly those through', async (t) => {
  const sim = await launchSim(t, ['--sim-itl-ms', '20', '--sim-fault', 'kind=crash,signal=SIGKILL,after_tokens=4']);
  const open = stream(sim.uds, CHAT, ASK);
  t.equal(await open.ended, 'clean');
  t.ok(textOf(open.frames).startsWith('[simulated]'));
  t.equal(open.frames.at(-2).error.code, 500);
  t.equal(choices(open.frames).length, 5);
});
