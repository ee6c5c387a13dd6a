/** The last look at a plan: nobody waits who has room, nobody is displaced for nothing. */
import t from 'tap';
import { lift, put, type Unit } from '../../../../scheduler/core/placement/board.ts';
import { createEligibility } from '../../../../scheduler/core/placement/eligible.ts';
import { settleLeftovers } from '../../../../scheduler/core/placement/leftovers.ts';
import { createSituation, type Situation } from '../../../../scheduler/core/placement/units.ts';
import { deployment, node, placement, snapshot } from './support.ts';

const STATE = snapshot(
  [node('a', 1), node('b', 1)],
  [deployment('low', { priority: 10 }), deployment('top', { priority: 60, replicas: 2 })],
  [placement('low', 'a', [0], { priority: 10 })],
);

function begin(): Situation & { readonly low: Unit; readonly top: Unit; readonly settle: () => void } {
  const situation = createSituation(STATE);
  const { board, units } = situation;
  const low = units.find((unit) => unit.deployment === 'low') as Unit;
  const top = units.find((unit) => unit.deployment === 'top') as Unit;
  return { ...situation, low, top, settle: () => settleLeftovers(situation, createEligibility(board, STATE)) };
}

t.test('whoever waits and has room is placed, and its twin waits on', async (t) => {
  const { units, settle } = begin();
  settle();
  t.same(
    units.map(({ deployment: name, state }) => [name, state]),
    [
      ['low', 'kept'],
      ['top', 'placed'],
      ['top', 'waiting'],
    ],
  );
});

t.test('whoever was displaced for nothing goes home, from elsewhere too', async (t) => {
  for (const isElsewhere of [false, true]) {
    const { board, low, top, settle } = begin();
    lift(board, low);
    low.preemptedBy = top;
    if (isElsewhere) put(board, low, [{ ...(low.home[0] as Unit['home'][number]), node: 1, gpus: [1] }], 'placed');
    settle();
    t.match(low, { state: 'kept', preemptedBy: undefined, parts: low.home });
  }
});

t.test('whoever cannot go home stays where it was put', async (t) => {
  const { board, low, top, settle } = begin();
  lift(board, low);
  low.preemptedBy = top;
  put(board, top, low.home, 'placed');
  put(board, low, [{ ...(low.home[0] as Unit['home'][number]), node: 1, gpus: [1] }], 'placed');
  settle();
  t.match(low, { state: 'placed', preemptedBy: top });
});
