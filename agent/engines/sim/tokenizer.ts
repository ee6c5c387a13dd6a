/**
 * Text to token ids and back, exact for any bytes: the longest known token at each place, and a byte token where
 * nothing longer fits. Special tokens are recognised in text, as vLLM does for a chat prompt.
 */
import { BOS, type Vocabulary } from './vocabulary.ts';

export interface Tokenizer {
  encode(text: string, addSpecialTokens: boolean): number[];
  decode(ids: readonly number[], skipSpecialTokens: boolean): Uint8Array;
}

/** A trie over the vocabulary's bytes: 256 next nodes per node, in one array. */
interface Trie {
  readonly next: Int32Array;
  readonly tokenAt: Int32Array;
}

function buildTrie(vocabulary: Vocabulary): Trie {
  const nodes = vocabulary.bytes.reduce((sum, bytes) => sum + bytes.length, 1);
  const next = new Int32Array(nodes * 256);
  const tokenAt = new Int32Array(nodes).fill(-1);
  let used = 1;
  vocabulary.bytes.forEach((bytes, id) => {
    let node = 0;
    for (const byte of bytes) {
      const slot = node * 256 + byte;
      if (next[slot] === 0) {
        next[slot] = used;
        used += 1;
      }
      node = next[slot] as number;
    }
    tokenAt[node] = id;
  });
  return { next, tokenAt };
}

export function createTokenizer(vocabulary: Vocabulary): Tokenizer {
  const trie = buildTrie(vocabulary);
  return {
    encode(text, addSpecialTokens) {
      const bytes = Buffer.from(text, 'utf8');
      const ids: number[] = addSpecialTokens ? [BOS] : [];
      let at = 0;
      while (at < bytes.length) {
        let node = 0;
        let best = -1;
        let bestEnd = at;
        for (let end = at; end < bytes.length; end += 1) {
          node = trie.next[node * 256 + (bytes[end] as number)] as number;
          if (node === 0) break;
          const token = trie.tokenAt[node] as number;
          if (token >= 0) {
            best = token;
            bestEnd = end + 1;
          }
        }
        ids.push(best);
        at = bestEnd;
      }
      return ids;
    },
    decode(ids, skipSpecialTokens) {
      const parts: Uint8Array[] = [];
      for (const id of ids) {
        const bytes = vocabulary.bytes[id];
        if (bytes !== undefined && !(skipSpecialTokens && vocabulary.isSpecial(id))) parts.push(bytes);
      }
      return parts.length === 1 ? (parts[0] as Uint8Array) : Buffer.concat(parts);
    },
  };
}
