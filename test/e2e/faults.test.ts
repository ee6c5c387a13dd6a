/** A whole fleet whose engine is killed in the middle of streams, and whose scheduler is told to stop while it streams. */
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { eventually } from '../support/child.ts';
import { simEngine, startFleet, type TestFleet } from '../support/fleet.ts';

const MODEL = 'sim/model-a';
const FLAGS = ['--sim-itl-ms', '10'];

function ask(fleet: TestFleet, maxTokens: number): Promise<Response> {
  return fetch(`${fleet.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${fleet.key}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      model: MODEL,
      stream: true,
      max_tokens: maxTokens,
      ignore_eos: true,
      messages: [{ role: 'user', content: 'Go on' }],
    }),
  });
}

interface EngineView {
  readonly routable: boolean;
  readonly runningRequests: number;
  readonly event: { readonly engine: string; readonly incarnation: number; readonly pid: number };
}

async function engines(fleet: TestFleet): Promise<readonly EngineView[]> {
  return (await fleet.admin<{ engines: EngineView[] }>('ListEngines')).engines;
}

await t.test('killing an engine costs no stream; the fleet goes on and the engine comes back', async (t) => {
  const fleet = await startFleet(t, {
    engines: [
      simEngine({ name: 'sim-0', model: MODEL, flags: FLAGS }),
      simEngine({ name: 'sim-1', model: MODEL, flags: FLAGS }),
    ],
    agent: { restartBaseMs: 100 },
  });
  const answers = await Promise.all(Array.from({ length: 8 }, () => ask(fleet, 150)));
  t.ok(answers.every((answer) => answer.status === 200));
  const texts = answers.map((answer) => answer.text());
  await eventually('the streams are spread', async () =>
    (await engines(fleet)).every((engine) => engine.runningRequests === 4),
  );
  const victim = (await engines(fleet)).find((engine) => engine.event.engine === 'sim-0');
  process.kill(-(victim?.event.pid ?? 0), 'SIGKILL');
  const endings = (await Promise.all(texts)).map((text) =>
    text.endsWith('data: [DONE]\n\n') ? 'done' : text.includes('"code":"engine_died"') ? 'died' : text.slice(-300),
  );
  t.same(
    endings,
    Array.from({ length: 8 }, () => 'done'),
  );
  const next = await ask(fleet, 5);
  t.equal(next.status, 200, 'the other engine takes what comes');
  t.match(await next.text(), /\[DONE\]\n\n$/);
  const back = async (): Promise<boolean> =>
    (await engines(fleet)).some(
      (engine) =>
        engine.event.engine === 'sim-0' &&
        engine.routable &&
        engine.event.incarnation > (victim?.event.incarnation ?? 0),
    );
  await eventually('the engine lives again', back, 15_000);
  await eventually('no place stays taken', async () =>
    (await engines(fleet)).every((engine) => engine.runningRequests === 0),
  );
  await fleet.stop();
});

await t.test('a scheduler that is told to stop refuses new requests and loses no stream', async (t) => {
  const fleet = await startFleet(t, { engines: [simEngine({ name: 'sim-0', model: MODEL, flags: FLAGS })] });
  const answers = await Promise.all(Array.from({ length: 10 }, () => ask(fleet, 150)));
  const texts = answers.map((answer) => answer.text());
  process.kill(fleet.scheduler.pid, 'SIGTERM');
  await sleep(100);
  const ready = await fetch(`${fleet.url}/health/ready`).catch((error: unknown) => error);
  t.ok(!(ready instanceof Response) || ready.status === 503, 'no balancer sends more');
  const late = await ask(fleet, 5).catch((error: unknown) => error);
  t.ok(!(late instanceof Response) || late.status === 503, 'a new request is refused');
  for (const text of await Promise.all(texts)) t.match(text, /data: \[DONE\]\n\n$/);
  t.equal(await fleet.scheduler.exited, 0);
});
