/** The log over HTTP as it grows: what comes, where it goes on, who is let in, and how it ends. */
import type { IncomingMessage } from 'node:http';
import t, { type Test } from 'tap';
import type { FleetEvent } from '../../../scheduler/core/events/event.ts';
import type { ResourceOperations } from '../../../scheduler/core/resources/operations.ts';
import { beginCall, call, KEYS, startDoor } from '../../support/http_door.ts';
import { until } from '../../support/waits.ts';
import { CALLER, deployment, openControl } from './control_fixture.ts';

const PATH = '/admin/v1/events?follow';

interface Seen {
  readonly id: string;
  readonly event: string;
  readonly data: string;
}

/** What an EventSource would have seen of a text. */
function parse(text: string): Seen[] {
  return text
    .split('\n\n')
    .slice(0, -1)
    .map((block) => {
      const field = (name: string): string =>
        block
          .split('\n')
          .filter((line) => line.startsWith(`${name}: `))
          .map((line) => line.slice(name.length + 2))
          .join('\n');
      return { id: field('id'), event: field('event'), data: field('data') };
    })
    .filter(({ data }) => data !== '');
}

const nameIn = ({ data }: Seen): string => (JSON.parse(data) as FleetEvent).resource.name;

async function open(t: Test, options: Parameters<typeof startDoor>[0] = {}) {
  const fixture = openControl(t);
  const door = await startDoor(options, undefined, { resources: fixture.operations });
  t.teardown(() => door.close());
  const apply = (...names: string[]) =>
    fixture.operations.apply({ resources: names.map((name) => deployment(name)), dryRun: false, reason: '' }, CALLER);
  const follow = async (path: string, headers: Record<string, string> = {}, key = KEYS.operator) => {
    const running = beginCall(door.port, { path, key, headers });
    const response = await running.head;
    let text = '';
    let ended = false;
    response.on('data', (part: Buffer) => (text += part.toString()));
    response.on('error', () => undefined);
    response.on('close', () => (ended = true));
    return {
      response: response as IncomingMessage,
      seen: () => parse(text),
      text: () => text,
      ended: () => ended,
      stop: () => running.request.destroy(),
    };
  };
  return { ...fixture, door, apply, follow };
}

t.test('events come with their numbers, and who comes back goes on behind the last one', async (t) => {
  const { apply, follow } = await open(t);
  await apply('a', 'b', 'c');
  const first = await follow(`${PATH}&limit=2`);
  t.match(first.response, {
    statusCode: 200,
    headers: { 'content-type': 'text/event-stream', 'cache-control': 'no-store' },
  });
  t.ok(first.response.headers['x-request-id']);
  await until(() => first.seen().length === 2, 'the newest two');
  await apply('d');
  await until(() => first.seen().length === 3, 'the next');
  t.same(first.seen().map(nameIn), ['b', 'c', 'd']);
  t.same(
    first.seen().map(({ id }) => id),
    ['2', '3', '4'],
  );
  first.stop();
  const again = await follow(`${PATH}&after=1`, { 'last-event-id': '3' });
  await apply('e');
  await until(() => again.seen().length === 2, 'what was missed and what is new');
  t.same(again.seen().map(nameIn), ['d', 'e']);
  again.stop();
  const one = await follow('/admin/v1/events?follow=true&kind=deployment&name=late&after=0');
  await apply('f', 'late');
  await until(() => one.seen().length === 1, 'the one that is asked for');
  t.equal(nameIn(one.seen()[0] as Seen), 'late');
  one.stop();
});

t.test('what is wrong is said before the stream begins, and only staff may follow', async (t) => {
  const { door, apply } = await open(t);
  await apply('a');
  const ask = async (path: string, more: { key?: string; headers?: Record<string, string>; method?: string } = {}) => {
    const { status, text } = await call(door.port, { path, key: KEYS.operator, ...more });
    return [status, (JSON.parse(text) as { error?: { code: string; param: string } }).error?.code];
  };
  t.same(await ask(`${PATH}&limit=5000`), [400, 'invalid_value']);
  t.same(await ask(`${PATH}&kind=cat`), [400, 'invalid_value']);
  t.same(await ask(`${PATH}&after=x`), [400, 'invalid_value']);
  t.same(await ask('/admin/v1/events?follow=perhaps'), [400, 'invalid_value']);
  t.same(await ask(PATH, { headers: { 'last-event-id': '-1' } }), [400, 'invalid_value']);
  t.same(await ask(PATH, { key: KEYS.user }), [403, 'permission_denied']);
  t.same(await ask(PATH, { key: 'sk-none' }), [401, 'unauthenticated']);
  t.same(await ask('/admin/v1/events?follow=false'), [200, undefined]);
  const head = await call(door.port, { path: PATH, key: KEYS.operator, method: 'HEAD' });
  t.equal(head.status, 200, 'HEAD has an end');
  const off = await startDoor();
  t.teardown(() => off.close());
  t.match((await call(off.port, { path: PATH, key: KEYS.operator })).text, /store_off/);
});

t.test('a silent stream is kept alive, and one caller has only so many', async (t) => {
  const { follow, door } = await open(t, { pingIntervalMs: 30 });
  const many = await Promise.all(Array.from({ length: 8 }, () => follow(PATH)));
  await until(() => many.every((one) => one.text().includes(': ping')), 'pings');
  const ninth = await call(door.port, { path: PATH, key: KEYS.operator });
  t.match(ninth.text, /overloaded/);
  const other = await follow(PATH, {}, KEYS.admin);
  t.equal(other.response.statusCode, 200, 'another caller is let in');
  for (const one of [...many, other]) one.stop();
  await until(async () => {
    const again = beginCall(door.port, { path: PATH, key: KEYS.operator });
    const { statusCode } = await again.head;
    again.request.destroy();
    return statusCode === 200;
  }, 'room again');
});

t.test('it ends when the scheduler stops, and says so', async (t) => {
  const { follow, control, door } = await open(t);
  const one = await follow(PATH);
  control.drain();
  await until(() => one.ended(), 'its end');
  t.match(one.seen().at(-1), { event: 'error', id: '' });
  t.match(JSON.parse(one.seen().at(-1)?.data ?? '{}'), { error: { code: 'draining' } });
  door.door.drain();
  t.match((await call(door.port, { path: PATH, key: KEYS.operator })).text, /draining/);
});

t.test('a client that takes nothing holds nothing back but itself, and is cut', async (t) => {
  let given = 0;
  const event = { seq: 1, padding: 'x'.repeat(200_000) } as unknown as FleetEvent;
  let ended = false;
  const resources = {
    async *follow(_request: unknown, signal: AbortSignal) {
      try {
        while (!signal.aborted) {
          given += 1;
          yield [event];
          await new Promise((resolve) => setImmediate(resolve));
        }
      } finally {
        ended = true;
      }
    },
  } as unknown as ResourceOperations;
  const door = await startDoor({ stallTimeoutMs: 300 }, undefined, { resources });
  t.teardown(() => door.close());
  const running = beginCall(door.port, { path: PATH, key: KEYS.operator });
  const response = await running.head;
  response.on('error', () => undefined);
  response.pause();
  let before = -1;
  await until(async () => {
    const same = given === before;
    before = given;
    await new Promise((resolve) => setTimeout(resolve, 50));
    return same && given > 0;
  }, 'it to stop');
  t.ok(given < 200, `${given} events of 200 kB were read`);
  await until(() => ended, 'the end of its patience');
  response.resume();
  await until(() => response.closed || response.destroyed, 'the cut');
});
