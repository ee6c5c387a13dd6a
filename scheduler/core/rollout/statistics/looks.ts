/**
 * When a gate may test, and how strictly. A rollout is looked at again and again, and a test that is asked often enough
 * rejects anything: so looks come only when the sample has grown by a quarter, and look k may be wrong with the chance
 * ALPHA * 6 / (pi * k)^2 only. The sum over all looks is ALPHA (the sum of 1 / k^2 is pi^2 / 6), so by Boole's inequality
 * a revision that is as good as the old one is rolled back by a test with the chance ALPHA at most, however long it runs.
 * It is a spending function in the sense of K. K. G. Lan and D. L. DeMets, Biometrika 70 (1983).
 */

/** Chance that one test rolls back a revision that is no worse. */
export const ALPHA = 0.01;
const GROWTH = 1.25;

/** What one test has used up so far. */
export interface Looks {
  readonly taken: number;
  /** Size of the fresh sample from which on the next look comes. */
  readonly nextAt: number;
}

export const firstLook = (nextAt: number): Looks => ({ taken: 0, nextAt });

export const isDue = (looks: Looks, sample: number): boolean => sample >= looks.nextAt;

/** The chance that the next look may be wrong with. */
export const alphaOf = (looks: Looks): number => (ALPHA * 6) / (Math.PI * (looks.taken + 1)) ** 2;

export function afterLook(looks: Looks, sample: number): Looks {
  return { taken: looks.taken + 1, nextAt: Math.max(sample + 1, Math.ceil(sample * GROWTH)) };
}
