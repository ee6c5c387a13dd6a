/**
 * The exact bytes of every token, read once from the vocabulary in the model's file. The library's own detokenizer
 * answers with JavaScript strings, in which a token that ends inside a multi-byte character has already become U+FFFD;
 * the surface needs the bytes, so that a character may arrive in two tokens.
 */

/** The part of a GGUF file's `tokenizer.ggml` metadata that tells the bytes of its tokens. */
export interface TokenizerMetadata {
  /** 'gpt2' spells bytes as printable characters; 'llama' spells a space as U+2581 and single bytes as <0xAB>. */
  readonly model: string;
  readonly tokens: readonly string[];
  /** GGUF's token types, one per token. */
  readonly token_type: readonly number[];
}

export interface Vocabulary {
  readonly size: number;
  /** False where the tokenizer is of a kind whose spelling is not known here and the library's text was taken instead. */
  readonly exact: boolean;
  /** The bytes of the tokens one after the other; unknown ids and, when skipped, special tokens give none. */
  bytes(ids: readonly number[], skipSpecialTokens: boolean): Uint8Array;
}

const TYPE_UNKNOWN = 2;
const TYPE_CONTROL = 3;
const TYPE_USER_DEFINED = 4;
const TYPE_UNUSED = 5;
const TYPE_BYTE = 6;

/** GPT-2's spelling: printable Latin-1 stands for itself, every other byte for the next free code point from 256 on. */
function byteOfCodePoint(): ReadonlyMap<number, number> {
  const map = new Map<number, number>();
  let next = 256;
  for (let byte = 0; byte < 256; byte++) {
    const printable =
      (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
    map.set(printable ? byte : next++, byte);
  }
  return map;
}

function isSpecial(type: number | undefined): boolean {
  return type === TYPE_UNKNOWN || type === TYPE_CONTROL || type === TYPE_UNUSED;
}

type Speller = (piece: string, type: number | undefined, id: number) => Uint8Array;

function byteLevelSpeller(): Speller {
  const byteOf = byteOfCodePoint();
  const utf8 = new TextEncoder();
  return (piece, type) => {
    if (type === TYPE_USER_DEFINED || isSpecial(type)) return utf8.encode(piece);
    const out: number[] = [];
    for (const character of piece) {
      const byte = byteOf.get(character.codePointAt(0) as number);
      // A character outside the spelling is a literal one, such as those of tokens that were added by hand.
      if (byte === undefined) out.push(...utf8.encode(character));
      else out.push(byte);
    }
    return Uint8Array.from(out);
  };
}

function sentencePieceSpeller(): Speller {
  const utf8 = new TextEncoder();
  return (piece, type) => {
    const byte = type === TYPE_BYTE ? /^<0x([0-9A-Fa-f]{2})>$/.exec(piece) : null;
    if (byte !== null) return Uint8Array.of(Number.parseInt(byte[1] as string, 16));
    return utf8.encode(piece.replaceAll('\u2581', ' '));
  };
}

/**
 * Builds the table. `textOf` is the library's own detokenizer for one token, asked only where the kind of tokenizer is
 * unknown here; such a vocabulary says `exact: false`.
 */
export function createVocabulary(tokenizer: TokenizerMetadata, textOf: (id: number) => string): Vocabulary {
  const { tokens, token_type: types } = tokenizer;
  const utf8 = new TextEncoder();
  const exact = tokenizer.model === 'gpt2' || tokenizer.model === 'llama';
  const spell: Speller =
    tokenizer.model === 'gpt2'
      ? byteLevelSpeller()
      : tokenizer.model === 'llama'
        ? sentencePieceSpeller()
        : (_piece, _type, id) => utf8.encode(textOf(id));
  const parts = tokens.map((piece, id) => spell(piece, types[id], id));
  const ends = new Uint32Array(parts.length);
  let total = 0;
  parts.forEach((part, id) => {
    total += part.length;
    ends[id] = total;
  });
  const table = new Uint8Array(total);
  parts.forEach((part, id) => table.set(part, (ends[id] as number) - part.length));
  const slice = (id: number): Uint8Array => table.subarray(id === 0 ? 0 : ends[id - 1], ends[id] ?? 0);
  return {
    size: tokens.length,
    exact,
    bytes(ids, skipSpecialTokens) {
      const found: Uint8Array[] = [];
      for (const id of ids) {
        if (!Number.isInteger(id) || id < 0 || id >= tokens.length) continue;
        if (skipSpecialTokens && isSpecial(types[id])) continue;
        found.push(slice(id));
      }
      return found.length === 1 ? (found[0] as Uint8Array) : Buffer.concat(found);
    },
  };
}
