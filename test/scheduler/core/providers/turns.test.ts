/** What `sophia explain request` is told of providers, with and without a record of the fleet's own. */
import t from 'tap';
import type { TenantId } from '../../../../lib/ids.ts';
import { createTurnNotes, type TurnOutcome } from '../../../../scheduler/core/providers/turns.ts';
import { closeRecord, createRequestLog, openRecord } from '../../../../scheduler/core/routing/request_log.ts';
import { request } from '../../fakes.ts';

function book() {
  const log = createRequestLog({ maxRequests: 10, maxVerdicts: 10 });
  const { note } = createTurnNotes(log, () => 7);
  const asked = request();
  return {
    log,
    tell: (provider: string, outcome: TurnOutcome, why = '', who = asked) => note(who, { provider, outcome, why }),
    record: () => log.find(asked.id),
    asked,
  };
}

t.test('a request that the fleet never began gets a record, which ends as the last provider ended', async (t) => {
  const { tell, record } = book();
  tell('a', 'passed_over', 'breaker');
  t.match(record(), { outcome: 'running', policy: 'none' });
  tell('b', 'asked', 'model_not_found');
  t.equal(record()?.outcome, 'running');
  tell('b', 'failed', 'provider_failed');
  t.match(record(), { outcome: 'failed', errorCode: 'provider_failed', endedAtMs: 7 });
  tell('c', 'asked', 'model_not_found');
  tell('c', 'answered');
  t.match(record(), { outcome: 'finished', errorCode: '' });
  t.same(record()?.providers, [
    { provider: 'a', outcome: 'passed_over', why: 'breaker' },
    { provider: 'b', outcome: 'failed', why: 'provider_failed' },
    { provider: 'c', outcome: 'answered', why: '' },
  ]);
});

t.test('the fleet closes its own record, unless a provider answered', async (t) => {
  const { log, tell, record, asked } = book();
  const own = openRecord(asked, 'cost', 1);
  log.add(own);
  tell('a', 'asked', 'queued');
  tell('a', 'failed', 'provider_failed');
  t.match(own, { outcome: 'running', errorCode: '' }, 'it waits on');
  tell('b', 'asked', 'queued');
  closeRecord(own, 'cancelled', 5);
  tell('b', 'answered');
  t.match(record(), { outcome: 'finished', policy: 'cost', endedAtMs: 7 });
});

t.test(
  'a call that was dropped is a cancelled request, and one of another tenant has a record of its own',
  async (t) => {
    const { tell, record, asked } = book();
    tell('a', 'asked', 'no_engine');
    tell('a', 'cancelled');
    t.match(record(), { outcome: 'cancelled', tenant: asked.tenant });
    tell('a', 'asked', 'no_engine', { ...asked, tenant: 'other' as TenantId });
    t.match(record(), { outcome: 'running', tenant: 'other', providers: [{ outcome: 'asked' }] });
  },
);

t.test('the list is bounded', async (t) => {
  const { tell, record } = book();
  for (let i = 0; i < 100; i++) tell(`p${i}`, 'passed_over', 'busy');
  t.equal(record()?.providers?.length, 64);
});
