/**
 * Whether a model has room on the disk, and what must go for it. What a wanted engine uses never goes; of the rest, what
 * was wanted least recently goes first, and no more of it than needed.
 */

export interface StoredModel {
  readonly folder: string;
  readonly bytes: number;
  /** Wall-clock milliseconds, because it outlives the agent. */
  readonly lastWantedAtMs: number;
  readonly wanted: boolean;
}

export interface RoomQuestion {
  /** All bytes of the model, and those of them that are not on the disk yet. */
  readonly totalBytes: number;
  readonly missingBytes: number;
  /** Room that other fetches have been promised: in all, and not yet written. */
  readonly promisedBytes: number;
  readonly promisedMissingBytes: number;
  /** Most bytes of models on this host; absent: as many as fit. */
  readonly budgetBytes?: number;
  readonly diskFreeBytes: number;
  /** What is to stay free on the disk. */
  readonly reserveBytes: number;
  readonly stored: readonly StoredModel[];
}

export type RoomVerdict =
  | { readonly kind: 'fits'; readonly evict: readonly string[] }
  /** There will never be room. */
  | { readonly kind: 'too_large'; readonly message: string }
  /** Not now: wanted models are in the way, or other data. */
  | { readonly kind: 'no_room'; readonly message: string };

const GIB = 1024 ** 3;
const gib = (bytes: number): string => `${(bytes / GIB).toFixed(1)} GiB`;

export function planRoom(question: RoomQuestion): RoomVerdict {
  const { totalBytes, missingBytes, budgetBytes, diskFreeBytes, reserveBytes, stored } = question;
  if (budgetBytes !== undefined && totalBytes > budgetBytes) {
    const message = `The model has ${gib(totalBytes)}, more than the whole budget of ${gib(budgetBytes)} (modelsBudgetBytes).`;
    return { kind: 'too_large', message };
  }
  let used = stored.reduce((sum, { bytes }) => sum + bytes, 0) + question.promisedBytes;
  let free = diskFreeBytes - reserveBytes - question.promisedMissingBytes;
  const overBudget = (): number => (budgetBytes === undefined ? 0 : Math.max(0, used + totalBytes - budgetBytes));
  const short = (): number => Math.max(overBudget(), missingBytes - free);
  const evict: string[] = [];
  const idle = stored.filter(({ wanted }) => !wanted).toSorted((a, b) => a.lastWantedAtMs - b.lastWantedAtMs);
  for (const model of idle) {
    if (short() <= 0) break;
    evict.push(model.folder);
    used -= model.bytes;
    free += model.bytes;
  }
  if (short() <= 0) return { kind: 'fits', evict };
  const what = overBudget() > 0 ? 'the budget of models (modelsBudgetBytes)' : 'the disk';
  return { kind: 'no_room', message: `${gib(short())} are missing on ${what}; every model that is there is wanted.` };
}
