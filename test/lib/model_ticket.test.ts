/** Tickets for files of models: what stands in one, and when it opens. */
import t from 'tap';
import { checkModelTicket, type ModelTicketClaims, readModelClaims } from '../../lib/model_ticket.ts';

const CLAIMS: ModelTicketClaims = {
  ...{ iss: 'first', aud: 'gpu-1', sub: 'gpu-2', iat: 1000, exp: 1060, src: 'hf://maker/model', res: 'c0ffee' },
};
const CHECK = { issuer: 'first', node: 'gpu-1', client: 'gpu-2', nowMs: 1_030_000, skewMs: 1000 };

t.test('claims are read only when each is there and sound', (t) => {
  t.same(readModelClaims({ ...CLAIMS }), CLAIMS);
  t.same(readModelClaims({ ...CLAIMS, res: '' }), { ...CLAIMS, res: '' });
  for (const odd of [undefined, null, [], 'text', 5]) t.throws(() => readModelClaims(odd), { code: 'ticket_invalid' });
  for (const [name, values] of Object.entries({
    ...{ iss: ['', 5, undefined, 'x'.repeat(513)], aud: [''], sub: [null], src: ['', 'x'.repeat(2561)] },
    ...{ res: [5, undefined, 'x'.repeat(513)], iat: [1.5, -1, '1', 2 ** 41], exp: [undefined, Number.NaN] },
  }))
    for (const value of values)
      t.throws(() => readModelClaims({ ...CLAIMS, [name]: value }), { code: 'ticket_invalid' }, `${name} ${value}`);
  t.end();
});

t.test('it opens for its two nodes within its time, and for nobody else', (t) => {
  t.doesNotThrow(() => checkModelTicket(CLAIMS, CHECK));
  t.doesNotThrow(() => checkModelTicket(CLAIMS, { ...CHECK, nowMs: 1_060_900 }), 'clocks may differ');
  for (const [change, code] of [
    [{ issuer: 'second' }, 'ticket_invalid'],
    [{ node: 'gpu-9' }, 'ticket_wrong_node'],
    [{ client: 'gpu-9' }, 'ticket_wrong_node'],
    [{ client: '' }, 'ticket_wrong_node'],
    [{ nowMs: 1_061_000 }, 'ticket_expired'],
    [{ nowMs: 998_000 }, 'ticket_expired'],
  ] as const)
    t.throws(() => checkModelTicket(CLAIMS, { ...CHECK, ...change }), { code }, JSON.stringify(change));
  t.throws(() => checkModelTicket({ ...CLAIMS, exp: 1000 + 601 }, CHECK), { code: 'ticket_invalid' }, 'a long life');
  t.end();
});
