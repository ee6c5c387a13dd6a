/**
 * The two small decisions of the embedded engine: which idle sequence serves a new prompt, and which queued tokens go
 * into the next native batch. Pure, so that they can be tested without weights.
 */

/** What is known of one sequence when a request looks for a place. */
export interface SlotView {
  readonly busy: boolean;
  /** Token ids whose keys and values are in the cache, oldest first. */
  readonly cached: readonly number[];
  /** Grows with every use; the smallest was used longest ago. */
  readonly lastUse: number;
}

/** Length of the common prefix, at most one less than the prompt: its last token must be evaluated to get logits. */
export function reusablePrefix(cached: readonly number[], prompt: readonly number[]): number {
  const most = Math.min(cached.length, prompt.length - 1);
  let length = 0;
  while (length < most && cached[length] === prompt[length]) length++;
  return length;
}

/**
 * The idle slot that already holds the longest prefix of `prompt`; among equals the one used longest ago, so that warm
 * prefixes of others live on. `undefined` when all are busy.
 */
export function chooseSlot(
  slots: readonly SlotView[],
  prompt: readonly number[],
): { index: number; reused: number } | undefined {
  let best: { index: number; reused: number } | undefined;
  let bestUse = 0;
  slots.forEach((slot, index) => {
    if (slot.busy) return;
    const reused = reusablePrefix(slot.cached, prompt);
    if (best !== undefined && (reused < best.reused || (reused === best.reused && slot.lastUse >= bestUse))) return;
    best = { index, reused };
    bestUse = slot.lastUse;
  });
  return best;
}

/** Tokens that one sequence wants evaluated. */
export interface BatchWish {
  readonly tokens: readonly unknown[];
}

/**
 * Fills a batch of `size` tokens: first every sequence that decodes (one token each), then prompts in the order in which
 * they came, the last one cut where the batch is full. A long prompt thus never holds up the streams beside it.
 */
export function planBatch<Wish extends BatchWish>(
  wishes: readonly Wish[],
  size: number,
): { item: Wish; processAmount: number }[] {
  const plan: { item: Wish; processAmount: number }[] = [];
  let left = size;
  const ordered = [
    ...wishes.filter((wish) => wish.tokens.length === 1),
    ...wishes.filter((wish) => wish.tokens.length > 1),
  ];
  for (const item of ordered) {
    if (left === 0) break;
    const processAmount = Math.min(item.tokens.length, left);
    if (processAmount === 0) continue;
    plan.push({ item, processAmount });
    left -= processAmount;
  }
  return plan;
}
