/** Reserved places are counted per life of an engine and always come back to zero. */
import fc from 'fast-check';
import t from 'tap';
import type { EngineId } from '../../../../lib/ids.ts';
import { createReservations, type Place } from '../../../../scheduler/core/routing/reservations.ts';

const E0 = 'n/e0' as EngineId;

t.test('lives of one engine are counted apart', async (t) => {
  const reservations = createReservations();
  const old = reservations.reserve(E0, 1);
  const young = reservations.reserve(E0, 2);
  t.equal(reservations.count(E0, 1), 1);
  t.equal(reservations.count(E0, 2), 1);
  old.release();
  old.release();
  t.equal(reservations.count(E0, 1), 0, 'a second release takes nothing away');
  t.equal(reservations.count(E0, 2), 1, 'the successor is not touched');
  young.release();
  t.equal(reservations.total, 0);
  t.equal(reservations.lives, 0, 'nothing is kept for lives without places');
});

t.test('any history of reserving and releasing in any order ends at zero and never goes below', async (t) => {
  const history = fc.array(fc.tuple(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 1, max: 3 }), fc.nat(100)), {
    maxLength: 200,
  });
  fc.assert(
    fc.property(history, (steps) => {
      const reservations = createReservations();
      const held: Place[] = [];
      for (const [action, incarnation, which] of steps) {
        const engine = `n/e${which % 3}` as EngineId;
        if (action > 0) held.push(reservations.reserve(engine, incarnation));
        // Some are released twice, some late: what counts is that each place comes back once.
        else held[which % Math.max(1, held.length)]?.release();
        if (reservations.count(engine, incarnation) < 0) return false;
      }
      for (const lease of held) lease.release();
      return reservations.total === 0 && reservations.lives === 0;
    }),
  );
  t.pass('the property holds');
});
