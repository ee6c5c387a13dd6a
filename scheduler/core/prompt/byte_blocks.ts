/**
 * Blocks of a prompt whose model's tokeniser is not known here: its bytes as the client wrote them, 64 for 16 tokens. A
 * client writes the earlier messages of a conversation as it wrote them before, so the beginnings agree. Images and other
 * media in base64 are taken for what they cost an engine, not for their size: each stands for a fixed number of blocks
 * named by its content, at its place in the prompt.
 */
import {
  BLOCK_BYTES,
  BLOCK_TOKENS,
  type Chain,
  type ChainSeed,
  extendChain,
  MAX_BLOCKS,
  newChain,
} from '../../../lib/prefix_hash.ts';

/** Tokens that an image is taken for: between 256 and some thousands, by model and size. */
const MEDIA_TOKENS = 1024;
const MEDIA_BLOCKS = MEDIA_TOKENS / BLOCK_TOKENS;
/** Of media every n-th byte is looked at beyond its first and last 4 KiB: it is compressed, so any change shows. */
const MEDIA_STRIDE = 61;
const MEDIA_EDGE = 4096;
const MARK = new TextEncoder().encode(';base64,');
const QUOTE = 0x22;

export interface ByteBlocks {
  /** Estimated: a token for each four bytes, and the fixed number for each medium. */
  readonly promptTokens: number;
  /** As in PromptBlocks. */
  readonly hashes: Uint32Array;
}

/** Where the next medium's characters begin; the end of `bytes` when there is none. */
function nextMedia(bytes: Uint8Array, from: number): number {
  for (let at = bytes.indexOf(MARK[0] as number, from); at >= 0; at = bytes.indexOf(MARK[0] as number, at + 1)) {
    if (MARK.every((byte, i) => bytes[at + i] === byte)) return at + MARK.length;
  }
  return bytes.length;
}

class BlockWriter {
  readonly #chain: Chain;
  readonly #hashes: number[] = [];
  readonly #values = new Uint32Array(BLOCK_BYTES / 4);

  constructor(seed: ChainSeed) {
    this.#chain = newChain(seed);
  }

  get full(): boolean {
    return this.#hashes.length >= 2 * MAX_BLOCKS;
  }

  /** Four bytes make a value, so that a block of text costs what a block of tokens does. */
  block(bytes: Uint8Array, from: number, count: number): void {
    if (this.full) return;
    const values = this.#values;
    for (let at = from, i = 0; i < count; at += 4, i += 4) {
      // Beyond the end of a short block stand bytes of what follows; they are not looked at.
      const left = count - i;
      const low = (bytes[at] as number) | (left > 1 ? (bytes[at + 1] as number) << 8 : 0);
      values[i >>> 2] =
        low | (left > 2 ? (bytes[at + 2] as number) << 16 : 0) | (left > 3 ? (bytes[at + 3] as number) << 24 : 0);
    }
    extendChain(this.#chain, values, 0, Math.ceil(count / 4));
    this.#hashes.push(this.#chain.high, this.#chain.low);
  }

  /** Takes bytes into the chain without a block of their own. */
  name(bytes: Uint8Array, length: number): void {
    extendChain(this.#chain, bytes, 0, bytes.length);
    extendChain(this.#chain, [length], 0, 1);
  }

  take(): Uint32Array {
    return Uint32Array.from(this.#hashes);
  }
}

/** The chain gets all that is looked at of a medium, then as many blocks as it is taken for. */
function writeMedia(writer: BlockWriter, media: Uint8Array): void {
  const looked = new Uint8Array(2 * MEDIA_EDGE + Math.ceil(media.length / MEDIA_STRIDE));
  let count = 0;
  for (let i = 0; i < media.length; i += i < MEDIA_EDGE || i >= media.length - MEDIA_EDGE ? 1 : MEDIA_STRIDE) {
    looked[count++] = media[i] as number;
  }
  writer.name(looked.subarray(0, count), media.length);
  for (let i = 0; i < MEDIA_BLOCKS; i++) writer.block(looked, 0, 0);
}

/**
 * @param parts what the engine's prompt is made of, in an order that keeps common beginnings together
 */
export function byteBlocks(seed: ChainSeed, parts: readonly Uint8Array[]): ByteBlocks {
  const writer = new BlockWriter(seed);
  let textBytes = 0;
  let media = 0;
  for (const [index, part] of parts.entries()) {
    for (let at = 0; at < part.length; ) {
      const mediaFrom = nextMedia(part, at);
      textBytes += mediaFrom - at;
      const isMedia = mediaFrom < part.length;
      for (; at + BLOCK_BYTES <= mediaFrom && !writer.full; at += BLOCK_BYTES) writer.block(part, at, BLOCK_BYTES);
      // What is left before a medium or another part is a block of its own: a full one would reach into what follows.
      if (at < mediaFrom && (isMedia || index < parts.length - 1)) writer.block(part, at, mediaFrom - at);
      if (!isMedia) break;
      const quote = part.indexOf(QUOTE, mediaFrom);
      const mediaTo = quote < 0 ? part.length : quote;
      if (!writer.full) writeMedia(writer, part.subarray(mediaFrom, mediaTo));
      media++;
      at = mediaTo;
    }
  }
  return {
    promptTokens: Math.ceil((textBytes * BLOCK_TOKENS) / BLOCK_BYTES) + media * MEDIA_TOKENS,
    hashes: writer.take(),
  };
}
