/**
 * The token ids of one answer so far: what another engine needs to go on where the first was cut. Appending is the only
 * work that failover costs per token.
 */

const FIRST_IDS = 64;

export class EmissionJournal {
  readonly #maxIds: number;
  #ids = new Uint32Array(0);
  #length = 0;
  /** The answer outgrew the bound: it goes on, but can no more be continued elsewhere. */
  overflowed = false;

  /** @param maxIds most ids that are kept; 0: none */
  constructor(maxIds: number) {
    this.#maxIds = maxIds;
  }

  /** Tokens of the answer so far, whether their ids are kept or not. */
  get length(): number {
    return this.#length;
  }

  /** A view of the ids, valid until the next change; empty after an overflow. */
  get ids(): Uint32Array {
    return this.overflowed ? this.#ids : this.#ids.subarray(0, this.#length);
  }

  /** Adds ids as they stand in a frame: 4 bytes each, little endian. */
  append(idBytes: Uint8Array): void {
    const count = idBytes.length >>> 2;
    const end = this.#length + count;
    if (end > this.#ids.length && !this.overflowed) this.#grow(end);
    if (!this.overflowed) {
      const ids = this.#ids;
      for (let i = 0, at = this.#length; at < end; i += 4, at++) {
        ids[at] =
          (idBytes[i] as number) |
          ((idBytes[i + 1] as number) << 8) |
          ((idBytes[i + 2] as number) << 16) |
          ((idBytes[i + 3] as number) << 24);
      }
    }
    this.#length = end;
  }

  #grow(needed: number): void {
    if (needed > this.#maxIds) {
      this.overflowed = true;
      this.#ids = new Uint32Array(0);
      return;
    }
    const size = Math.min(this.#maxIds, Math.max(FIRST_IDS, needed, this.#ids.length * 2));
    const grown = new Uint32Array(size);
    grown.set(this.#ids.subarray(0, this.#length));
    this.#ids = grown;
  }

  /** The answer goes on after its first `length` tokens; those behind come again. */
  truncate(length: number): void {
    this.#length = Math.min(this.#length, length);
  }
}
