/**
 * Takes what agents say of their engines' prefix caches into the index. A message that is missing, comes late or is not
 * what it should be costs the picture of one engine until its next snapshot, and is counted.
 */
import type { EngineId, NodeId } from '../../../lib/ids.ts';
import type { KvEvents__Output } from '../../../proto/gen/fleet/v1/KvEvents.ts';
import type { EngineLife } from '../routing/contract.ts';
import type { PrefixIndex } from './residency.ts';

export type KvRefusal = 'stale' | 'gap' | 'malformed' | 'unexpected';

export interface KvIntakeDeps {
  readonly index: Pick<PrefixIndex, 'stored' | 'removed' | 'cleared'>;
  /** Whether a life is the present one of its engine: what is said of others comes too late. */
  readonly isPresent: (node: NodeId, engine: string, incarnation: number) => boolean;
  readonly onRefused: (why: KvRefusal) => void;
  /** Blocks that a message named. */
  readonly onTaken?: (stored: number, removed: number) => void;
}

export interface KvIntake {
  take(node: NodeId, events: KvEvents__Output, nowMs: number): void;
}

const BYTES_PER_BLOCK = 8;
/** An agent sends 64 KiB at most. */
const MAX_BYTES = 1024 * 1024;

const MAX_NODES = 4096;

/** The words of packed hashes; undefined when they are no whole blocks or too many. */
function wordsOf(bytes: Uint8Array): Uint32Array | undefined {
  if (bytes.length % BYTES_PER_BLOCK !== 0 || bytes.length > MAX_BYTES) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const words = new Uint32Array(bytes.length / 4);
  for (let i = 0; i < words.length; i++) words[i] = view.getUint32(4 * i, true);
  return words;
}

export function createKvIntake({ index, isPresent, onRefused, onTaken }: KvIntakeDeps): KvIntake {
  /** For each node the number that its next message about an engine bears; an engine without one waits for a snapshot. */
  const expected = new Map<NodeId, Map<string, { readonly incarnation: number; seq: number }>>();

  const doubt = (node: NodeId, life: EngineLife, engine: string, why: KvRefusal): void => {
    onRefused(why);
    if (expected.get(node)?.delete(engine) === true) index.cleared(life);
  };

  return {
    take(node, { engine, incarnation, seq, snapshot, stored, removed }, nowMs) {
      if (!isPresent(node, engine, incarnation)) {
        onRefused('stale');
        return;
      }
      const life: EngineLife = { engine: `${node}/${engine}` as EngineId, incarnation };
      const [storedWords, removedWords] = [wordsOf(stored), wordsOf(removed)];
      if (storedWords === undefined || removedWords === undefined) {
        doubt(node, life, engine, 'malformed');
        return;
      }
      const engines = expected.get(node) ?? new Map<string, { readonly incarnation: number; seq: number }>();
      expected.delete(node);
      expected.set(node, engines);
      // Nodes that have gone are the ones that said nothing for longest.
      for (const gone of expected.keys()) {
        if (expected.size <= MAX_NODES) break;
        expected.delete(gone);
      }
      if (snapshot) {
        engines.set(engine, { incarnation, seq });
        index.cleared(life);
      }
      const next = engines.get(engine);
      if (next === undefined || next.incarnation !== incarnation || next.seq !== seq) {
        doubt(node, life, engine, next === undefined ? 'unexpected' : 'gap');
        return;
      }
      next.seq += 1;
      index.removed(life, removedWords);
      index.stored(life, storedWords, nowMs);
      onTaken?.(storedWords.length / 2, removedWords.length / 2);
    },
  };
}
