/** Who may be on a GPU together: engines that each say what share of its memory they take, and no more than all of it. */

/** Shares are said with three digits; what adding them up as binary fractions leaves over is no memory. */
const ROUNDING = 1e-6;

/** @param shares of all that would be on one GPU; undefined: it wants the GPU for itself */
export function mayShare(shares: readonly (number | undefined)[]): boolean {
  if (shares.length < 2) return true;
  let sum = 0;
  for (const share of shares) {
    if (share === undefined) return false;
    sum += share;
  }
  return sum <= 1 + ROUNDING;
}
