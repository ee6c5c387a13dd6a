/** A request that waits for an engine, through a real socket: what its client is told, and what happens when it leaves. */
import t from 'tap';
import { CodedError } from '../../../lib/errors.ts';
import { beginCall, call, eventsOf, PLAIN_BODY, startDoor, STREAM_BODY, until } from '../../support/http_door.ts';

const CHAT = '/v1/chat/completions';

t.test('a stream that waits for an engine gets 200 and comments with its place, then its answer', async (t) => {
  const { port, generator, close } = await startDoor();
  t.teardown(close);
  generator.onStart = (run) => {
    t.ok(run.sink.onQueued?.({ position: 3, etaMs: 3200 }), 'the answer has begun by it');
    setImmediate(() => {
      run.sink.onQueued?.({ position: 1 });
      run.sink.onHead();
      run.tokens('Hello');
      run.sink.onDone(undefined);
      t.ok(run.sink.onQueued?.({ position: 1 }), 'too late, and passed over');
    });
  };
  const answer = await call(port, { path: CHAT, body: STREAM_BODY });
  t.equal(answer.status, 200);
  t.equal(answer.headers['content-type'], 'text/event-stream');
  t.match(answer.text, /^: queued position=3 eta=4s\n\n: queued position=1 eta=unknown\n\ndata: \{/);
  t.match(answer.text, /data: \[DONE\]\n\n$/);
});

t.test('a stream that was told its place gets its error as an event', async (t) => {
  const { port, generator, close } = await startDoor();
  t.teardown(close);
  generator.onStart = (run) => {
    run.sink.onQueued?.({ position: 9, etaMs: 60_000 });
    setImmediate(() => run.sink.onError(new CodedError('overloaded', 'No engine became free in time.')));
  };
  const answer = await call(port, { path: CHAT, body: STREAM_BODY });
  t.equal(answer.status, 200);
  const events = eventsOf(answer.text);
  t.match(JSON.parse(events.at(-1) as string), { error: { code: 'overloaded', type: 'rate_limit_error' } });
  t.notMatch(answer.text, /\[DONE\]/);
});

t.test('a client that goes away while it waits takes its request with it, stream or not', async (t) => {
  const { port, generator, close } = await startDoor();
  t.teardown(close);
  for (const [n, body] of [STREAM_BODY, STREAM_BODY, PLAIN_BODY].entries()) {
    const begun = beginCall(port, { path: CHAT, body });
    const run = await generator.run(n);
    if (n === 1) run.sink.onQueued?.({ position: 2 });
    begun.request.destroy();
    await until(() => run.cancels.length > 0, 'cancel');
    t.same(run.cancels, ['client_gone']);
  }
});
