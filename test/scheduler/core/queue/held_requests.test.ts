/** Requests of clients as orders of the waiting room; what they do in a whole run loop is in test/scheduler/queue.test.ts. */
import t from 'tap';
import type { RequestShape } from '../../../../scheduler/core/routing/contract.ts';
import { HeldRequests, NO_QUEUE } from '../../../../scheduler/core/queue/held_requests.ts';
import type { RunningRequest } from '../../../../scheduler/core/relay/running_request.ts';
import { fakeClock, recordingDoor, request } from '../../fakes.ts';

t.test('a request whose engine was lost waits before all that have not run, at its size', async (t) => {
  const clock = fakeClock();
  let places = 0;
  const held = new HeldRequests({
    clock,
    options: {
      ...NO_QUEUE,
      maxRequests: 10,
      maxBytes: 1000,
      maxTotalRequests: 10,
      maxTotalBytes: 1000,
      maxWaitMs: 5000,
    },
    router: {
      room: () => (places-- > 0 ? { kind: 'room' } : { kind: 'full', waitMs: 5 }),
      typicalOutputTokens: () => 100,
    },
    shapeOf: ({ model, tenant }): RequestShape => ({ model, tenant, promptTokens: 40, maxOutputTokens: 8 }),
  });
  const aborted: string[] = [];
  const running = {
    request: request(),
    record: { decisions: [] },
    deadlineAtMs: 60_000,
    abort: (error: { code: string }) => void aborted.push(error.code),
  } as unknown as RunningRequest;
  held.start({ ...running, record: { decisions: [] } } as unknown as RunningRequest, recordingDoor());
  const placed: string[] = [];
  const ticket = held.wait(running, recordingDoor(), () => {
    placed.push('moved');
    return true;
  });
  t.equal(ticket.place?.position, 1);
  t.same(placed, [], 'in the queue of a full engine it would wait no shorter, and nowhere else');
  t.match(held.room.views(), [{ requests: 2, tokens: 2 * 48 }]);
  places = 1;
  held.room.changed('m');
  t.same(placed, ['moved']);
  const moved = held.wait(running, recordingDoor(), () => false);
  clock.advance(6000);
  t.same(aborted, ['overloaded'], 'how long one waits that ran already is its own affair');
  t.equal(held.room.requests, 1);
  moved.leave();
  held.ended(running, true, 5);
  t.equal(held.room.requests, 0);
});
