/**
 * The last look at a plan: whoever was preempted and need not have been goes home, and whoever waits and has room is placed. A
 * search that runs out of steps, or that never came by, leaves neither behind.
 */
import { lift, put, type Unit } from './board.ts';
import { fitsHome } from './choices.ts';
import type { Eligibility } from './eligible.ts';
import { pickPlace } from './pick.ts';
import type { Situation } from './units.ts';

export function settleLeftovers({ board, units }: Situation, eligibility: Eligibility): void {
  const important = (list: Unit[]): Unit[] => list.sort((a, b) => b.priority - a.priority || a.id - b.id);
  for (const unit of important(units.filter((each) => each.preemptedBy !== undefined))) {
    const { parts, state } = unit;
    if (state === 'placed') lift(board, unit);
    if (fitsHome(board, unit)) {
      put(board, unit, unit.home, 'kept');
      unit.preemptedBy = undefined;
    } else if (state === 'placed') put(board, unit, parts, 'placed');
  }
  const hopeless = new Set<Unit['demand']>();
  for (const unit of important(units.filter((each) => each.state === 'waiting'))) {
    if (unit.demand === undefined || hopeless.has(unit.demand)) continue;
    const parts = pickPlace(board, eligibility, unit.demand);
    if (parts === undefined) hopeless.add(unit.demand);
    else put(board, unit, parts, 'placed');
  }
}
