/**
 * Names for clients whose requests are divided among models by weight. An alias is resolved once, before the request is
 * placed, so that all of its attempts ask for one model; a model that no engine serves now gives its part to the others.
 */
import type { RandomSource } from '../../../lib/rng.ts';

export interface AliasTarget {
  /** As clients and engines call it. */
  readonly model: string;
  /** Only the ratio to the others counts; what is no number above 0 is none. */
  readonly weight: number;
}

export type Aliases = ReadonlyMap<string, readonly AliasTarget[]>;

const weightOf = ({ weight }: AliasTarget): number => (weight > 0 && weight < Infinity ? weight : 0);

/**
 * @param serves whether an engine takes requests for a model now
 * @returns undefined when the name is no alias, or one without a target
 */
export function resolveAlias(
  aliases: Aliases,
  name: string,
  serves: (model: string) => boolean,
  random: RandomSource,
): string | undefined {
  const targets = aliases.get(name);
  if (targets === undefined) return undefined;
  // Where none serves, the weights alone decide: the request waits there, or is told why not.
  const serving = targets.filter((target) => weightOf(target) > 0 && serves(target.model));
  return draw(serving, random) ?? draw(targets, random) ?? targets[0]?.model;
}

function draw(targets: readonly AliasTarget[], random: RandomSource): string | undefined {
  const total = targets.reduce((sum, target) => sum + weightOf(target), 0);
  if (total === 0) return undefined;
  let left = random.next() * total;
  let last: string | undefined;
  for (const target of targets) {
    if (weightOf(target) === 0) continue;
    last = target.model;
    left -= weightOf(target);
    if (left < 0) return last;
  }
  return last;
}
