/**
 * What declared quarantines keep everybody off, and their end. A quarantine counts from the event that sets it to the one that
 * lifts it; when its time is over the leader writes that one, so that all schedulers see the same at any place of the log.
 */
import type { NodeQuarantine } from '../placement/contract.ts';
import type { Declared, QuarantineResource } from './contract.ts';
import type { Draft } from './draft.ts';

type Quarantines = Declared['quarantines'];
type Held = ReadonlyMap<string, NodeQuarantine>;

const targetOf = (node: string, gpu: number | string | undefined): string =>
  gpu === undefined ? node : `${node}/${String(gpu).toLowerCase()}`;

/** Maps of quarantines are never changed, only replaced, so what follows from one is found once. */
const known = new WeakMap<Quarantines, Held>();

function heldBy(quarantines: Quarantines): Held {
  const before = known.get(quarantines);
  if (before !== undefined) return before;
  const held = new Map<string, NodeQuarantine>();
  for (const { name, spec } of [...quarantines.values()].sort((left, right) => (left.name < right.name ? -1 : 1))) {
    const target = targetOf(spec.node, spec.gpu);
    const { names, why } = held.get(target) ?? { names: [], why: '' };
    const words = `quarantine/${name}: ${spec.reason}`;
    held.set(target, { names: [...names, name], why: why === '' ? words : `${why}; ${words}` });
  }
  known.set(quarantines, held);
  return held;
}

/** Why nobody may use a node at all, or undefined. */
export const nodeHold = (quarantines: Quarantines, node: string): NodeQuarantine | undefined =>
  heldBy(quarantines).get(node);

/** Why nobody may use a GPU, by its index or its UUID, or undefined. */
export function gpuHold(
  quarantines: Quarantines,
  node: string,
  index: number,
  uuid: string | undefined,
): NodeQuarantine | undefined {
  // Asked for every GPU of the fleet in every plan, and most fleets have none.
  if (quarantines.size === 0) return undefined;
  const held = heldBy(quarantines);
  const byIndex = held.get(targetOf(node, index));
  const byUuid = uuid === undefined ? undefined : held.get(targetOf(node, uuid));
  if (byIndex === undefined || byUuid === undefined) return byIndex ?? byUuid;
  return { names: [...byIndex.names, ...byUuid.names], why: `${byIndex.why}; ${byUuid.why}` };
}

/** Whether its time is over. @param storeMs the store's clock, as well as it is known */
export const isOver = ({ endsAtMs }: QuarantineResource, storeMs: number): boolean =>
  endsAtMs !== undefined && endsAtMs <= storeMs;

/** Lifts what is over. */
export function liftOver(draft: Draft, { quarantines }: Declared, storeMs: number): void {
  for (const quarantine of quarantines.values()) if (isOver(quarantine, storeMs)) draft.lift(quarantine);
}
