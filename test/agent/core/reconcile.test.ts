/** Orders are obeyed once, in their order, and only from the newest scheduler. */
import fc from 'fast-check';
import t from 'tap';
import { beginLife } from '../../../agent/core/lifecycle/change.ts';
import type { EngineLife } from '../../../agent/core/lifecycle/life.ts';
import { step } from '../../../agent/core/lifecycle/step.ts';
import type { AcceptedSpec } from '../../../agent/core/engine_spec.ts';
import { judgeOrder, observeTerm, type OrderState, reconcile } from '../../../agent/core/reconcile.ts';
import { seededRandom } from '../../../lib/rng.ts';

const spec = (name: string, hash: string): AcceptedSpec => ({
  name,
  kind: 'sim',
  model: 'm',
  servedModelName: 'm',
  gpuIds: [],
  extraFlags: [],
  environment: {},
  limits: { startTimeoutMs: 1, drainTimeoutMs: 1, stopTimeoutMs: 1, maxRestarts: 1 },
  hash,
});

t.test('an order of an older term is not obeyed', async (t) => {
  const first = judgeOrder({}, 5, 10);
  t.match(first, { kind: 'obey', orders: { term: 5, generation: 10 } });
  t.match(judgeOrder({ term: 5, generation: 10 }, 4, 99), { kind: 'ignore', code: 'stale_term' });
  t.match(judgeOrder({ term: 5, generation: 10, orderedInTerm: 5 }, 5, 9), {
    kind: 'ignore',
    code: 'stale_generation',
  });
  t.match(judgeOrder({ term: 5, generation: 10 }, 5, 10), { kind: 'obey' });
  t.match(judgeOrder({ term: 5, generation: 10 }, 6, 1), { kind: 'obey', orders: { term: 6, generation: 1 } });
});

t.test('a term is learned from a welcome too', async (t) => {
  t.same(observeTerm({}, 3), { term: 3 });
  t.same(observeTerm({ term: 4, generation: 1 }, 3), { term: 4, generation: 1 });
  t.same(observeTerm({ term: 2, generation: 1 }, 3), { term: 3, generation: 1 });
});

t.test('a newer term learned without an order does not block its first order', async (t) => {
  const orders: OrderState = observeTerm({ term: 2, generation: 50, orderedInTerm: 2 }, 3);
  t.equal(judgeOrder(orders, 3, 1).kind, 'obey', 'generations are counted within a term');
});

t.test('what is not wanted goes first, what is missing begins', async (t) => {
  const lives = new Map([['old', beginLife(spec('old', 'a'), 1, 0)]]);
  t.match(reconcile([spec('new', 'b')], 2, lives), [
    { kind: 'event', engine: 'old', event: { kind: 'unwanted' } },
    { kind: 'begin', spec: { name: 'new' } },
  ]);
});

t.test('the same desired state twice changes nothing the second time', async (t) => {
  const context = {
    nowMs: 0,
    random: seededRandom(1),
    restartBackoff: { baseMs: 1, capMs: 1 },
    restartWindowMs: 1000,
    hostRestartDelayMs: 0,
    stableAfterMs: 1,
  };
  const word = fc.constantFrom('a', 'b', 'c');
  fc.assert(
    fc.property(fc.uniqueArray(word), fc.uniqueArray(word), fc.constantFrom('x', 'y'), (before, after, hash) => {
      const lives = new Map<string, EngineLife>(before.map((name) => [name, beginLife(spec(name, 'x'), 1, 0)]));
      const apply = (): boolean => {
        let changed = false;
        for (const action of reconcile(
          after.map((name) => spec(name, hash)),
          2,
          lives,
        )) {
          if (action.kind === 'begin') {
            lives.set(action.spec.name, beginLife(action.spec, 2, 0));
            changed = true;
            continue;
          }
          const life = lives.get(action.engine) as EngineLife;
          const result = step(life, action.event, context);
          if (result.effects.length > 0 || JSON.stringify(result.life) !== JSON.stringify(life)) changed = true;
          lives.set(action.engine, result.life);
        }
        return changed;
      };
      apply();
      return !apply();
    }),
  );
  t.pass();
});
