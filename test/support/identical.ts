/**
 * What must hold for every kind of engine: an answer through the scheduler is the engine's own answer, by whichever
 * door it was asked for, and a client that goes away leaves no work behind. Written once, run for the simulated engine,
 * the embedded one and real vLLM.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Test } from 'tap';
import type { Engine__Output } from '../../proto/gen/admin/v1/Engine.ts';
import { type ChatObject, type DoorAnswer, DOORS, textOf, usageOfObjects, objectsOfSse } from './doors.ts';
import { askEngine, engineLoad } from './engine_client.ts';
import type { FleetEngine, TestFleet } from './fleet.ts';

export interface Subject {
  readonly fleet: TestFleet;
  readonly model: string;
  /** Asked for the identical answers; greedy. */
  readonly maxTokens: number;
  /** A model and a prompt whose prefill takes long enough to go away in it. */
  readonly prefill: { readonly model: string; readonly prompt: string };
  /** Within this time of a client's end its engine has nothing running and generates nothing. */
  readonly quietWithinMs: number;
}

/** Plain words, several scripts, pictures outside the basic plane with joiners, code with its white space, a dialogue. */
export const PROMPTS: readonly (readonly { readonly role: string; readonly content: string }[])[] = [
  [{ role: 'user', content: 'What is the capital of France, and why is it known?' }],
  [{ role: 'user', content: 'Übersetze: „Grüße aus Köln“ — Привет, 東京の天気は？ Ελληνικά, العربية' }],
  [{ role: 'user', content: 'Explain these: 🚀🎉 👩‍👩‍👧‍👦 🇫🇷 🏳️‍🌈 and repeat them.' }],
  [{ role: 'user', content: 'Fix this:\n```python\ndef f(x):\n\treturn {"a": [x, "\\n\\u00e9"], \'b\': x**2}\n```\n' }],
  [
    { role: 'system', content: 'You are terse. Answer in one line.' },
    { role: 'user', content: 'Name three rivers.' },
    { role: 'assistant', content: 'Rhine, Nile, Amazon.' },
    { role: 'user', content: 'And a fourth, with naïve café spelling?' },
  ],
];

interface Own {
  readonly text: string;
  readonly finish: string | null | undefined;
  readonly usage: DoorAnswer['usage'];
}

const finishOf = (objects: readonly ChatObject[]): string | null | undefined =>
  objects.flatMap((object) => object.choices.map((choice) => choice.finish_reason)).find((reason) => reason != null);

async function askDirectly(engine: FleetEngine, body: object, stream: boolean): Promise<Own> {
  const full = stream ? { ...body, stream, stream_options: { include_usage: true } } : body;
  const answer = await askEngine(engine.address, 'POST', '/v1/chat/completions', full);
  if (answer.status !== 200) throw new Error(`${engine.name} answered ${answer.status}: ${answer.body}`);
  const objects = stream ? objectsOfSse(answer.body) : [JSON.parse(answer.body) as ChatObject];
  return { text: textOf(objects), finish: finishOf(objects), usage: usageOfObjects(objects) };
}

function checkAnswer(t: Test, answer: DoorAnswer, own: Own, subject: Subject): void {
  const { objects, requestId, usage } = answer;
  t.equal(textOf(objects), own.text, 'the text is the engine’s own');
  t.equal(finishOf(objects), own.finish, 'so is the reason of its end');
  t.same(usage, own.usage, 'so are the counts of tokens');
  t.match(requestId, /^[A-Za-z0-9._:-]{1,128}$/, 'the request has an id');
  const [first] = objects;
  t.equal(first?.id, `chatcmpl-${requestId}`, 'and its objects carry it');
  t.same(new Set(objects.map((object) => object.id)).size, 1, 'one id in all objects');
  t.same(new Set(objects.map((object) => object.created)).size, 1, 'one time of creation');
  t.ok(Math.abs((first?.created ?? 0) - Date.now() / 1000) < 600, 'of these minutes, in seconds');
  t.same(new Set(objects.map((object) => object.model)), new Set([subject.model]), 'the model that was asked for');
}

/** Greedy answers of PROMPTS through every door, against each engine asked directly. */
export async function testIdentical(t: Test, subject: Subject): Promise<void> {
  const { fleet, model, maxTokens } = subject;
  const engines = fleet.engines.filter((engine) => engine.model === model);
  t.ok(engines.length > 0, 'an engine serves the model');
  for (const [index, messages] of PROMPTS.entries()) {
    await t.test(`prompt ${index + 1} is answered alike by the engine and through every door`, async (t) => {
      const body = { model, messages, max_tokens: maxTokens, temperature: 0 };
      const own = await askDirectly(engines[0] as FleetEngine, body, false);
      t.ok(own.text.length > 0, `the engine says ${JSON.stringify(own.text.slice(0, 80))}`);
      for (const engine of engines) {
        t.same(await askDirectly(engine, body, true), own, `${engine.name} says the same, streamed`);
      }
      for (const door of DOORS) {
        await t.test(door.name, async (t) => checkAnswer(t, await door.open(fleet, body).answer, own, subject));
      }
      const together = await Promise.all(DOORS.map((door) => door.open(fleet, body).answer));
      t.same(
        together.map(({ objects }) => textOf(objects)),
        DOORS.map(() => own.text),
        'also all doors at once',
      );
    });
  }
}

const POLL_MS = 20;
const SETTLE_MS = 600;
const SOON_MS = 20_000;

async function reached(what: string, limitMs: number, holds: () => boolean | Promise<boolean>): Promise<number> {
  const startMs = performance.now();
  while (!(await holds())) {
    if (performance.now() - startMs > limitMs) throw new Error(`not within ${limitMs} ms: ${what}`);
    await sleep(POLL_MS);
  }
  return performance.now() - startMs;
}

async function runningIn(fleet: TestFleet, names: ReadonlySet<string>): Promise<number> {
  const { engines } = await fleet.admin<{ engines: Engine__Output[] }>('ListEngines');
  return engines
    .filter((engine) => names.has(engine.event?.engine ?? ''))
    .reduce((sum, engine) => sum + engine.runningRequests, 0);
}

interface Leaving {
  readonly door: (typeof DOORS)[number];
  readonly phase: 'in prefill' | 'in the middle';
  readonly way: 'leave' | 'cancel';
}

async function checkLeaving(t: Test, subject: Subject, { door, phase, way }: Leaving): Promise<void> {
  const { fleet, prefill, quietWithinMs } = subject;
  const model = phase === 'in prefill' ? prefill.model : subject.model;
  const content =
    phase === 'in prefill' ? `${door.name}. ${prefill.prompt}` : 'Count from one to a thousand, in words.';
  // The door's name stands first, so that no prompt's beginning is in a prefix cache already.
  const engines = fleet.engines.filter((engine) => engine.model === model);
  const names = new Set(engines.map((engine) => engine.name));
  const loads = () => Promise.all(engines.map((engine) => engineLoad(engine.address)));
  const sum = async (field: 'running' | 'waiting' | 'generatedTokens'): Promise<number> =>
    (await loads()).reduce((total, load) => total + load[field], 0);
  const before = await sum('generatedTokens');
  // An answer that does not end by itself: the end-of-sequence token is ignored, and the count is beyond this test.
  const maxTokens = phase === 'in prefill' ? 300 : 1500;
  const body = {
    model,
    messages: [{ role: 'user', content }],
    max_tokens: maxTokens,
    temperature: 0,
    ignore_eos: true,
  };
  const chat = door.open(fleet, body);
  let failed: unknown;
  chat.answer.catch((error: unknown) => {
    failed = error;
  });
  const engineWorks = async (): Promise<boolean> => {
    if (failed !== undefined) throw failed;
    return (await runningIn(fleet, names)) === 1 && (await sum('running')) + (await sum('waiting')) >= 1;
  };
  await reached('the engine works on the request', SOON_MS, engineWorks);
  if (phase === 'in the middle') {
    if (door.streams) await reached('three pieces of the answer', SOON_MS, () => chat.pieces() >= 3);
    else await reached('three tokens of the answer', SOON_MS, async () => (await sum('generatedTokens')) >= before + 3);
  } else {
    t.equal(chat.pieces(), 0, 'nothing has been generated yet');
    t.equal(await sum('generatedTokens'), before, 'by the engine’s own count');
  }
  const left = chat[way];
  if (left === undefined) throw new Error(`${door.name} has no way to ${way}`);
  left();
  const idle = async (): Promise<boolean> => (await sum('running')) + (await sum('waiting')) === 0;
  const quietMs = await reached('the engine has nothing to do', quietWithinMs, idle);
  t.comment(`${door.name}, ${phase}, ${way}: nothing running after ${Math.round(quietMs)} ms`);
  const atRest = await sum('generatedTokens');
  await sleep(SETTLE_MS);
  t.equal(await sum('generatedTokens'), atRest, 'no token is generated any more');
  t.ok(atRest - before < maxTokens, 'the answer was cut, it did not end');
  if (phase === 'in prefill') t.ok(atRest - before <= 1, 'no answer was begun');
  await reached('the scheduler has let go of it too', SOON_MS, async () => (await runningIn(fleet, names)) === 0);
  // docs/API.md: on a WebSocket nothing comes after `cancel`; the gRPC calls end with CANCELLED.
  if (way === 'cancel' && door.name === 'WebSocket') t.equal(failed, undefined, 'nothing more is said of it');
  else if (way === 'cancel') t.match(failed, { message: /cancel/i }, 'its client is told');
  chat.leave();
}

/** A client's end at every door, before and after the first token. */
export async function testLeaving(t: Test, subject: Subject): Promise<void> {
  for (const phase of ['in the middle', 'in prefill'] as const) {
    for (const door of DOORS) {
      await t.test(`a client of ${door.name} that goes away ${phase} leaves no work`, (t) =>
        checkLeaving(t, subject, { door, phase, way: 'leave' }),
      );
    }
  }
  for (const door of DOORS.filter(({ name }) => ['WebSocket', 'Generate', 'GenerateMany'].includes(name))) {
    await t.test(`a client of ${door.name} that cancels by word leaves no work`, (t) =>
      checkLeaving(t, subject, { door, phase: 'in the middle', way: 'cancel' }),
    );
  }
}
