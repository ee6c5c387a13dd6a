/** Orders for rollouts: refused as the rollout stands, laid before the leader one at a time, and shown. */
import t from 'tap';
import type { JsonValue } from '../../../scheduler/core/events/json.ts';
import { revisionOf } from '../../../scheduler/core/rollout/revision.ts';
import { CALLER, deployment, openControl, VIEW } from './control_fixture.ts';

const OLD = revisionOf({ extraFlags: ['old'] } as never);
const NEW = revisionOf({ extraFlags: ['new'] } as never);
const STATE = { seen: NEW.id, current: NEW, running: null, history: [{ revision: OLD, outcome: 'done' }] };

t.test('an order waits for the leader, and a second one is refused meanwhile', async (t) => {
  const { operations, store, control, use } = openControl(t);
  await operations.apply({ resources: [deployment('chat')], dryRun: false, reason: '' }, CALLER);
  await t.rejects(operations.rollout('chat'), { code: 'reconcile_unavailable' });
  use(VIEW);
  t.match(await operations.rollout('chat'), { phase: 'replacing', lines: ['half way'] });
  await t.rejects(operations.rollout('other'), { code: 'not_found', param: 'deployment/other' });
  const order = (verb: 'pause' | 'undo', reason = 'slow') =>
    operations.orderRollout({ name: 'chat', verb, reason }, CALLER);
  await t.rejects(order('undo'), { code: 'rollout_conflict', message: /no earlier revision/ });
  const after = STATE as unknown as JsonValue;
  const resource = { kind: 'Rollout', name: 'chat' };
  await store.append({
    idempotencyId: 'state',
    items: [{ kind: 'lifecycle.changed', resource, ...CALLER, reason: '', after }],
  });
  await t.rejects(order('pause'), { code: 'rollout_conflict', message: /No rollout is under way/ });
  await t.rejects(order('undo', 'x'.repeat(5000)), { code: 'invalid_value', param: 'reason' });
  t.match(await order('undo'), { name: 'chat' });
  t.match(control.projection().get('lifecycle', 'RolloutOrder', 'chat'), {
    value: { verb: 'undo', reason: 'slow' },
    actor: CALLER.actor,
  });
  await t.rejects(order('undo'), { code: 'rollout_conflict', message: /came first/ });
});
