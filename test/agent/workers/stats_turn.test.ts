/** When a relay thread tells its figures: at once when something happened, at each tick while it is busy, seldom when idle. */
import t from 'tap';
import { StatsTurn } from '../../../agent/workers/stats_turn.ts';

t.test(
  'an idle thread adds its figures up only at the end of a period, and tells them only when they are new',
  async (t) => {
    const turn = new StatsTurn();
    t.equal(turn.isDue(0, false), true, 'the first time');
    t.equal(turn.isNews('a'), true);
    t.equal(turn.isDue(0, false), false);
    t.equal(turn.isDue(0, true), true);
    t.equal(turn.isNews('a'), false);
    t.equal(turn.isNews('b'), true);
  },
);

t.test(
  'a request is told of at the next tick, at each tick while it runs, and once more when it has ended',
  async (t) => {
    const turn = new StatsTurn();
    turn.isDue(0, false);
    turn.isNews('');
    turn.stir();
    t.equal(turn.isDue(0, false), true, 'one that began and ended between two ticks');
    t.equal(turn.isDue(1, false), true);
    t.equal(turn.isNews(''), true, 'silence would look like a stuck thread');
    t.equal(turn.isDue(1, false), true);
    t.equal(turn.isDue(0, false), true, 'it has ended');
    t.equal(turn.isDue(0, false), false);
  },
);
