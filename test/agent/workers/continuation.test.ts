/** A continuation that asks an engine which never answers: it waits as long as the watchdog may need, and then gives up. */
import { mock } from 'node:test';
import t from 'tap';
import { WATCHDOG } from '../../../agent/core/watchdog.ts';
import { Continuation, type ContinuationOrder } from '../../../agent/workers/continuation.ts';
import type { ExchangeSink } from '../../../agent/workers/engine_connection.ts';
import type { CodedError } from '../../../lib/errors.ts';

const ORDER: ContinuationOrder = {
  meta: {
    requestId: 'req_a',
    engine: 'e0',
    path: '/v1/chat/completions',
    stream: true,
    wantUsage: false,
    wantTokenIds: false,
    resume: { id: 'chatcmpl-a', created: 1, model: 'm', shownIds: 2 },
  },
  body: Buffer.from('{"model":"m","messages":[{"role":"user","content":"Go on"}],"stream":true}'),
  ids: Uint32Array.of(5, 6),
};

t.test('a question that hangs outlasts the longest wait of the watchdog, and fails the attempt after it', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] });
  t.teardown(() => mock.timers.reset());
  const failures: CodedError[] = [];
  const paths: string[] = [];
  let aborted = 0;
  const sink: ExchangeSink = {
    onHead: () => t.fail('no answer was begun'),
    onBody: () => t.fail('no answer was begun'),
    onReadEnd: () => undefined,
    onComplete: () => t.fail('no answer was begun'),
    onFailed: (error) => failures.push(error),
  };
  const silent = (request: { readonly path: string }) => {
    paths.push(request.path);
    return { abort: () => (aborted += 1), pause: () => undefined, resume: () => undefined };
  };
  new Continuation(silent, ORDER, [], sink, () => t.fail('it was never started')).start();
  await turn();
  t.same(paths, ['/tokenize']);
  mock.timers.tick(WATCHDOG.plainFloorMs);
  await turn();
  t.same([failures.length, aborted], [0, 0], 'the watchdog comes first, so that the next attempt goes elsewhere');
  mock.timers.tick(60_000);
  await turn();
  t.match(failures, [{ code: 'engine_unreachable', message: /did not answer \/tokenize in time/ }]);
  t.equal(aborted, 1, 'the engine sees its client go away');
});

/** Lets promises settle without the clock that is held. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
