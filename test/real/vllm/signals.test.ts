/**
 * What vLLM does when one of its processes is stopped, killed or asked to leave. The agent's watch over an engine and
 * the simulated engine are built on exactly these outcomes.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { groupProcesses, healthStatus, processOfRole, type Vllm } from './engine.ts';
import { chunksOf, longCompletion, withTwoEngines } from './engine_view.ts';
import { eventData, exchange, type OpenExchange, open, parseResponse } from './wire_capture.ts';

t.setTimeout(1_200_000);

/** A stream that is under way; long enough that nothing here sees its natural end unless it waits for it. */
async function stream(engine: Vllm, tokens: number): Promise<OpenExchange> {
  const opened = open(engine.address, { ...longCompletion('Count: one, two,', tokens), limitMs: 120_000 });
  await opened.until('"token_ids":[');
  await sleep(300);
  return opened;
}

async function silentFor(opened: OpenExchange, milliseconds: number): Promise<boolean> {
  const before = opened.received().length;
  await sleep(milliseconds);
  return opened.received().length === before;
}

async function until(what: string, holds: () => boolean, limitMs = 30_000): Promise<void> {
  const deadline = Date.now() + limitMs;
  while (!holds()) {
    if (Date.now() > deadline) throw new Error(`${what} did not happen in ${limitMs} ms`);
    await sleep(50);
  }
}

/** Why the engine said the answer ended; undefined when it said nothing. */
const finishReason = (raw: Buffer) =>
  chunksOf(raw)
    .flatMap((chunk) => (chunk.choices ?? []).map((choice) => choice.finish_reason))
    .find((reason) => reason);

t.test('stopped and killed children, and a termination without grace', async (t) => {
  await withTwoEngines([[], ['--shutdown-timeout', '0']], async (onSocket, onPort) => {
    for (const role of ['EngineCore', 'Worker'] as const) {
      await t.test(
        `${role} stopped: health and metrics stay 200 while streams are silent; SIGCONT resumes`,
        async (t) => {
          const running = await stream(onSocket, 1500);
          const { pid } = processOfRole(onSocket, role);
          process.kill(pid, 'SIGSTOP');
          await sleep(500);
          t.ok(await silentFor(running, 2_000));
          t.equal(await healthStatus(onSocket.address), 200);
          const metrics = await exchange(onSocket.address, { method: 'GET', path: '/metrics' });
          t.equal(parseResponse(metrics.raw).status, 200);
          const before = running.received().length;
          process.kill(pid, 'SIGCONT');
          await until('the stream going on', () => running.received().length > before);
          running.drop();
        },
      );
    }

    await t.test('EngineCore killed: an error chunk and [DONE] inside HTTP 200, then every process ends', async (t) => {
      const running = await stream(onSocket, 1500);
      process.kill(processOfRole(onSocket, 'EngineCore').pid, 'SIGKILL');
      const { raw, end } = await running.done;
      t.equal(end, 'complete', 'the framing ends as if all were well');
      t.equal(parseResponse(raw).status, 200);
      t.match(chunksOf(raw).at(-1)?.error, { code: 500, type: 'InternalServerError' });
      t.equal(eventData(parseResponse(raw).body).at(-1), '[DONE]');
      t.equal(finishReason(raw), undefined);
      t.not(await healthStatus(onSocket.address), 200);
      await until('the end of the tree', () => groupProcesses(onSocket.pid).length === 0);
    });

    await t.test('SIGTERM without grace: no stream ends as if it were whole', async (t) => {
      const running = await stream(onPort, 1500);
      process.kill(onPort.pid, 'SIGTERM');
      // Three endings were seen: an error chunk, finish_reason "abort", and silence on an open connection.
      const ended = await Promise.race([running.done.catch(() => undefined), sleep(15_000, 'silent' as const)]);
      const reason = finishReason(running.received());
      t.comment(`ended: ${ended === 'silent' ? 'silent' : (ended?.end ?? 'socket error')}, finish_reason ${reason}`);
      t.ok(reason === undefined || reason === 'abort', `finish_reason ${reason}`);
    });
  });
});

t.test('a killed API server, and a termination with grace', async (t) => {
  await withTwoEngines([[], ['--shutdown-timeout', '40']], async (onSocket, onPort) => {
    await t.test('API server killed: the stream is cut mid-answer, its children live on as orphans', async (t) => {
      const running = await stream(onSocket, 1500);
      const core = processOfRole(onSocket, 'EngineCore').pid;
      process.kill(onSocket.pid, 'SIGKILL');
      const cut = await running.done.catch(() => undefined);
      t.not(cut?.end, 'complete');
      t.notOk(running.received().includes('[DONE]'));
      await sleep(5_000);
      const orphans = groupProcesses(onSocket.pid);
      const orphan = orphans.find((process) => process.pid === core);
      t.ok(orphan, 'EngineCore lives on');
      t.not(orphan?.parent, onSocket.pid, 'init, or a subreaper before it, is its parent now');
      t.ok(orphans.some((process) => process.name.startsWith('VLLM::Worker')));
      await onSocket.kill();
      t.same(groupProcesses(onSocket.pid), [], 'killing the group leaves nothing');
    });

    await t.test('SIGTERM with grace: streams finish, health stays 200, new requests get 500', async (t) => {
      const running = await stream(onPort, 80);
      process.kill(onPort.pid, 'SIGTERM');
      await sleep(300);
      t.equal(await healthStatus(onPort.address), 200);
      const late = parseResponse((await exchange(onPort.address, longCompletion('Hello', 4))).raw);
      t.equal(late.status, 500);
      t.match(late.body.toString('utf8'), /after shutdown/);
      const { raw } = await running.done;
      t.equal(finishReason(raw), 'length');
      await until('the end of the tree', () => groupProcesses(onPort.pid).length === 0, 60_000);
    });
  });
});
