/**
 * Prompts and engines for the tests of the prefix index, and the plain index that it is compared with.
 */
import type { EngineId } from '../../../../lib/ids.ts';
import { seededRandom } from '../../../../lib/rng.ts';
import type { EngineLife, PromptBlocks } from '../../../../scheduler/core/routing/contract.ts';

export const life = (engine: string, incarnation = 1): EngineLife => ({ engine: engine as EngineId, incarnation });

/** The blocks of a made-up prompt: each path names a block and those before it, as a chain of hashes does. */
export function promptOf(path: readonly number[], blockTokens = 16): PromptBlocks {
  const hashes = new Uint32Array(path.length * 2);
  let state = 7;
  path.forEach((step, i) => {
    const random = seededRandom(Math.imul(state ^ (step + 1), 0x9e3779b1) + i);
    state = Math.floor(random.next() * 2 ** 32);
    hashes[2 * i] = state;
    hashes[2 * i + 1] = Math.floor(random.next() * 2 ** 32);
  });
  return { blockTokens, hashes };
}

/** The same step again and again: a prompt of its own of `length` blocks. */
export const ownPrompt = (name: number, length: number): PromptBlocks => promptOf(new Array<number>(length).fill(name));

const nameOf = ({ engine, incarnation }: EngineLife): string => `${engine}#${incarnation}`;

/** What the index must say as long as nothing had to go: a map of sets. */
export class PlainIndex {
  readonly #holders = new Map<string, Set<string>>();

  put(who: EngineLife, { hashes }: PromptBlocks): void {
    for (const key of keysOf(hashes)) {
      const holders = this.#holders.get(key) ?? new Set();
      holders.add(nameOf(who));
      this.#holders.set(key, holders);
    }
  }

  take(who: EngineLife, { hashes }: PromptBlocks): void {
    for (const key of keysOf(hashes)) this.#holders.get(key)?.delete(nameOf(who));
  }

  forget(who: EngineLife): void {
    for (const holders of this.#holders.values()) holders.delete(nameOf(who));
  }

  overlap(engines: readonly EngineLife[], { hashes }: PromptBlocks): number[] {
    const keys = keysOf(hashes);
    return engines.map((engine) => {
      const missing = keys.findIndex((key) => this.#holders.get(key)?.has(nameOf(engine)) !== true);
      return missing < 0 ? keys.length : missing;
    });
  }
}

function keysOf(hashes: Uint32Array): string[] {
  const keys: string[] = [];
  for (let i = 0; i < hashes.length; i += 2) keys.push(`${hashes[i]}:${hashes[i + 1]}`);
  return keys;
}
