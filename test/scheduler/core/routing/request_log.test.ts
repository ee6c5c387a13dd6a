/** The newest requests are kept, bounded by their number and by the verdicts in them. */
import t from 'tap';
import type { RequestId } from '../../../../lib/ids.ts';
import { createRequestLog, type RequestRecord } from '../../../../scheduler/core/routing/request_log.ts';
import { type DecisionTrace, type Verdict } from '../../../../scheduler/core/routing/decision.ts';
import { engineIdOf, TENANT } from '../../fakes.ts';

function record(id: string): RequestRecord {
  return {
    id: id as RequestId,
    tenant: TENANT,
    model: 'm',
    receivedAtMs: 1,
    firstTokenAtMs: undefined,
    endedAtMs: undefined,
    outcome: 'running',
    errorCode: '',
    policy: '',
    decisions: [],
    outputTokens: undefined,
  };
}

function decision(count: number): DecisionTrace {
  const verdicts = Array.from(
    { length: count },
    (_, i): Verdict => ({ kind: 'passed', engine: engineIdOf(`e${i}`), cost: i, parts: [] }),
  );
  const refused = new Map([['starting', 1]]);
  return { policy: 'least_requests', mode: undefined, engines: count, refused, verdicts, count };
}

t.test('the oldest request is forgotten first', async (t) => {
  const log = createRequestLog({ maxRequests: 2, maxVerdicts: 100 });
  for (const id of ['a', 'b', 'c']) log.add(record(id));
  t.equal(log.count, 2);
  t.equal(log.find('a'), undefined);
  t.equal(log.find('c')?.id, 'c');
});

t.test('verdicts of all tries are kept in order and bound the log too', async (t) => {
  const log = createRequestLog({ maxRequests: 100, maxVerdicts: 5 });
  const first = record('a');
  log.add(first);
  log.decided(first, decision(2));
  log.decided(first, decision(1));
  t.same(
    first.decisions.map(({ count }) => count),
    [2, 1],
  );
  t.equal(first.policy, 'least_requests');
  const second = record('b');
  log.add(second);
  log.decided(second, decision(3));
  t.equal(log.find('a'), undefined, 'six verdicts are one too many');
  t.equal(log.find('b'), second);
  log.decided(first, decision(4));
  t.equal(log.find('b'), second, 'a forgotten record counts no more');
});

t.test('a request id that comes again stands for the newer request', async (t) => {
  const log = createRequestLog({ maxRequests: 2, maxVerdicts: 100 });
  const again = record('a');
  log.add(record('a'));
  log.add(record('b'));
  log.add(again);
  t.equal(log.count, 2);
  t.equal(log.find('a'), again);
});
