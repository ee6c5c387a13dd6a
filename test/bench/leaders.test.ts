/** What the bench of leaders reads out of logs: starts, refusals, and GPUs with two owners. */
import t from 'tap';
import { overlapsIn, staleRefused, startsIn } from '../../bench/leaders/starts.ts';
import { encodeEvent, type EventRow, type FleetEvent } from '../../scheduler/core/events/event.ts';

const line = (engine: string, msg: string): string => JSON.stringify({ engine, incarnation: 1, msg });

t.test('an engine that two agents, or one agent twice, started', async (t) => {
  const first = [line('a-0', 'engine starting'), line('a-0', 'engine ready'), line('b-0', 'engine starting')].join(
    '\n',
  );
  const second = [line('a-0', 'engine starting'), line('c-0', 'engine starting'), 'no line of ours'].join('\n');
  t.strictSame(Object.fromEntries(startsIn([first, second])), { 'a-0': 2, 'b-0': 1, 'c-0': 1 });
  t.strictSame(Object.fromEntries(startsIn([`${first}\n${first}`])), { 'a-0': 2, 'b-0': 2 });
});

t.test('refused orders of one term', async (t) => {
  const refusal = (term: number, code: string): string =>
    JSON.stringify({ scheduler: 's', term, code, msg: 'ignored' });
  const log = [refusal(3, 'stale_term'), refusal(4, 'stale_term'), refusal(3, 'stale_generation')].join('\n');
  t.equal(staleRefused(log, 3), 1);
  t.equal(staleRefused(log, 33), 0);
});

function row(seq: number, effect: FleetEvent['effect'], name: string, after: unknown): EventRow {
  const event = { seq, atMs: 1, kind: 'placement.x', area: 'placement', effect, resource: { kind: 'Replica', name } };
  const words = { actor: 'a', reason: '', correlationId: '', base: 0, before: null, after };
  const body = encodeEvent({ ...event, ...words } as FleetEvent);
  return { seq, atMs: 1, kind: event.kind, resourceKind: 'Replica', resourceName: name, prevHash: '', hash: '', body };
}

t.test('GPUs that two replicas held at once', async (t) => {
  const on = (node: string, gpu: number, phase = 'ordered') => ({ phase, parts: [{ node, gpus: [gpu] }] });
  const rows = [
    row(1, 'put', 'a/0', on('n1', 0)),
    row(2, 'put', 'b/0', on('n2', 0)),
    row(3, 'put', 'c/0', on('n1', 0, 'waiting')),
    row(4, 'put', 'a/0', on('n1', 1)),
    row(5, 'put', 'c/0', on('n1', 0)),
  ];
  t.strictSame(overlapsIn(rows), []);
  t.strictSame(overlapsIn([...rows, row(6, 'put', 'd/0', on('n2', 0))]), ['n2/0: b/0 and d/0']);
  t.strictSame(overlapsIn([...rows, row(6, 'remove', 'b/0', null), row(7, 'put', 'd/0', on('n2', 0))]), []);
});
