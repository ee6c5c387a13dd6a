/**
 * What a request has for its scheduler and the scheduler may not have: the frames that were cut from the engine's answer,
 * kept until credit says that they were taken, and the ids of all tokens so far. A scheduler that lost its lane goes on
 * from here by ATTACH. Bytes are copied once, into an area that is used again; nothing is allocated per token.
 */

const FIRST_BYTES = 2048;
const FIRST_IDS = 64;
const FIRST_FRAMES = 32;
/** Numbers per frame: index of its first token, and where its bytes end, counted from the first byte of the answer. */
const STRIDE = 2;

/** A frame as read; the object is reused, the views last until the next change of the outbox. */
export interface OutboxFrame {
  index: number;
  bytes: Uint8Array;
  ids: Uint32Array;
}

export class Outbox {
  #bytes = new Uint8Array(0);
  #bytesStart = 0;
  #bytesEnd = 0;
  /** Count of bytes before `#bytesStart`, from the first of the answer. */
  #droppedBytes = 0;
  #ids = new Uint32Array(0);
  #idCount = 0;
  #frames = new Float64Array(0);
  #framesStart = 0;
  #framesEnd = 0;
  #droppedFrames = 0;
  // Fields and no sums, because they are looked at for each frame.
  /** Memory that it holds, in bytes. */
  capacityBytes = 0;
  /** Number after that of the newest frame; the first of the answer is 0. */
  end = 0;

  /** Number of the oldest frame that is still here. */
  get begin(): number {
    return this.#droppedFrames;
  }

  get tokens(): number {
    return this.#idCount;
  }

  /** Bytes of the answer, from its first. */
  get totalBytes(): number {
    return this.#droppedBytes + this.#bytesEnd - this.#bytesStart;
  }

  /** Bytes of the answer before frame number `number`, which must be here or be the one after the newest. */
  bytesBefore(number: number): number {
    return this.#frameBegin(this.#framesStart + number - this.#droppedFrames);
  }

  /** All ids of the answer so far: the journal. A view, valid until the next append. */
  get journal(): Uint32Array {
    return this.#ids.subarray(0, this.#idCount);
  }

  /** The bytes that are here; a view, valid until the next change. */
  get held(): Uint8Array {
    return this.#bytes.subarray(this.#bytesStart, this.#bytesEnd);
  }

  /** Adds a frame. */
  append(payload: Uint8Array, ids: ArrayLike<number>): void {
    const size = payload.length;
    const first = this.#idCount;
    const idsEnd = first + ids.length;
    if ((this.#framesEnd + 1) * STRIDE > this.#frames.length) this.#roomForFrame();
    if (this.#bytesEnd + size > this.#bytes.length) this.#roomForBytes(size);
    if (idsEnd > this.#ids.length) this.#roomForIds(idsEnd);
    const at = this.#framesEnd * STRIDE;
    this.#frames[at] = first;
    this.#frames[at + 1] = this.totalBytes + size;
    this.#framesEnd += 1;
    this.end += 1;
    this.#bytes.set(payload, this.#bytesEnd);
    this.#bytesEnd += size;
    for (let i = 0; i < ids.length; i++) this.#ids[first + i] = ids[i] as number;
    this.#idCount = idsEnd;
  }

  /** Adds bytes to the newest frame; there must be one. */
  extend(payload: Uint8Array): void {
    if (this.#bytesEnd + payload.length > this.#bytes.length) this.#roomForBytes(payload.length);
    this.#bytes.set(payload, this.#bytesEnd);
    this.#bytesEnd += payload.length;
    this.#frames[this.#framesEnd * STRIDE - 1] = this.totalBytes;
  }

  /** Size of the newest frame in bytes; 0 when there is none. */
  get newestBytes(): number {
    if (this.#framesEnd === this.#framesStart) return 0;
    return this.totalBytes - this.#frameBegin(this.#framesEnd - 1);
  }

  #roomForFrame(): void {
    const kept = this.#frames.subarray(this.#framesStart * STRIDE, this.#framesEnd * STRIDE);
    const roomy = kept.length * 2 <= this.#frames.length && this.#framesStart > 0;
    const target = roomy ? this.#frames : new Float64Array(Math.max(FIRST_FRAMES * STRIDE, kept.length * 2));
    target.set(kept);
    this.capacityBytes += target.byteLength - this.#frames.byteLength;
    this.#frames = target;
    this.#framesEnd -= this.#framesStart;
    this.#framesStart = 0;
  }

  #roomForBytes(more: number): void {
    const kept = this.held;
    const size = kept.length + more;
    const roomy = size * 2 <= this.#bytes.length;
    const target = roomy ? this.#bytes : new Uint8Array(Math.max(FIRST_BYTES, size * 2));
    target.set(kept);
    this.capacityBytes += target.byteLength - this.#bytes.byteLength;
    this.#bytes = target;
    this.#bytesEnd = kept.length;
    this.#bytesStart = 0;
  }

  #roomForIds(needed: number): void {
    const grown = new Uint32Array(Math.max(FIRST_IDS, needed, this.#ids.length * 2));
    grown.set(this.#ids.subarray(0, this.#idCount));
    this.capacityBytes += grown.byteLength - this.#ids.byteLength;
    this.#ids = grown;
  }

  /** Where the bytes of the frame at place `at` of the table begin, from the first byte of the answer. */
  #frameBegin(at: number): number {
    return at === this.#framesStart ? this.#droppedBytes : (this.#frames[at * STRIDE - 1] as number);
  }

  /** Forgets whole frames among the first `takenBytes` of the answer, and before frame number `before`. */
  release(takenBytes: number, before: number): void {
    let at = this.#framesStart;
    const last = Math.min(this.#framesEnd, this.#framesStart + before - this.#droppedFrames);
    while (at < last && (this.#frames[at * STRIDE + 1] as number) <= takenBytes) at += 1;
    if (at === this.#framesStart) return;
    const droppedBytes = this.#frames[at * STRIDE - 1] as number;
    this.#bytesStart += droppedBytes - this.#droppedBytes;
    this.#droppedBytes = droppedBytes;
    this.#droppedFrames += at - this.#framesStart;
    this.#framesStart = at;
  }

  /** Fills `into` with frame number `number`, which must be here. */
  read(number: number, into: OutboxFrame): void {
    const at = this.#framesStart + number - this.#droppedFrames;
    const from = this.#bytesStart + this.#frameBegin(at) - this.#droppedBytes;
    const to = this.#bytesStart + (this.#frames[at * STRIDE + 1] as number) - this.#droppedBytes;
    const index = this.#frames[at * STRIDE] as number;
    const idsEnd = at + 1 < this.#framesEnd ? (this.#frames[(at + 1) * STRIDE] as number) : this.#idCount;
    into.index = index;
    into.bytes = this.#bytes.subarray(from, to);
    into.ids = this.#ids.subarray(index, idsEnd);
  }

  /**
   * The number of the frame to go on with for a scheduler that has the tokens before `index`, or -1 when that is no place
   * between two frames or is not here any more. `hadBytes` makes it exact where frames without a token stand there
   * (role, usage); 0: not known, then those are sent again rather than lost.
   */
  placeOf(index: number, hadBytes: number): number {
    for (let at = this.#framesStart; at <= this.#framesEnd; at++) {
      const here = at < this.#framesEnd ? (this.#frames[at * STRIDE] as number) : this.#idCount;
      if (here < index) continue;
      if (here > index) return -1;
      if (hadBytes === 0 || this.#frameBegin(at) === hadBytes) return this.#droppedFrames + at - this.#framesStart;
    }
    return -1;
  }
}
