/**
 * The list of a relay thread's open requests, in memory that the main thread shares: when the thread is gone, the main
 * thread still reads what was open on it, so that none is lost silently. It costs a few writes per request and nothing
 * per token. One thread writes, and the other reads after its end, so no write is atomic.
 *
 * A slot is 256 bytes: length of the request id (0: the slot is free), length of the engine's name, the id, the name.
 * The first slot is the header: how many requests are open that found no slot (32 bits).
 */

const SLOT_BYTES = 256;
const MAX_ID_BYTES = 128;
const MAX_ENGINE_BYTES = SLOT_BYTES - 2 - MAX_ID_BYTES;

export interface OpenRequest {
  readonly requestId: string;
  readonly engine: string;
}

export interface OpenRequests {
  readonly listed: readonly OpenRequest[];
  /** Open requests that the list had no place for. */
  readonly unlisted: number;
}

/** Bytes of memory for a list of `requests`. */
export const openListBytes = (requests: number): number => (requests + 1) * SLOT_BYTES;

function putText(memory: Uint8Array, at: number, text: string, maxBytes: number): number {
  const length = Math.min(text.length, maxBytes);
  // Ids and names of engines are ASCII by their patterns.
  for (let i = 0; i < length; i++) memory[at + i] = text.charCodeAt(i) & 0x7f;
  return length;
}

function textAt(memory: Uint8Array, at: number, length: number): string {
  let text = '';
  for (let i = 0; i < length; i++) text += String.fromCharCode(memory[at + i] as number);
  return text;
}

/** The writer's side, on the thread whose requests these are. */
export class OpenList {
  readonly #memory: Uint8Array;
  readonly #free: number[] = [];

  /** @param memory as large as openListBytes() says, all zero */
  constructor(memory: Uint8Array) {
    this.#memory = memory;
    for (let slot = memory.length / SLOT_BYTES - 1; slot > 0; slot--) this.#free.push(slot);
  }

  #addUnlisted(by: number): void {
    const view = new DataView(this.#memory.buffer, this.#memory.byteOffset);
    view.setUint32(0, view.getUint32(0) + by);
  }

  /** @returns what close() must be given: the slot, 0 when there was none */
  open(requestId: string, engine: string): number {
    const slot = this.#free.pop();
    if (slot === undefined) {
      this.#addUnlisted(1);
      return 0;
    }
    const at = slot * SLOT_BYTES;
    const memory = this.#memory;
    const idBytes = putText(memory, at + 2, requestId, MAX_ID_BYTES);
    memory[at + 1] = putText(memory, at + 2 + MAX_ID_BYTES, engine, MAX_ENGINE_BYTES);
    memory[at] = idBytes;
    return slot;
  }

  close(slot: number): void {
    if (slot === 0) {
      this.#addUnlisted(-1);
      return;
    }
    this.#memory[slot * SLOT_BYTES] = 0;
    this.#free.push(slot);
  }
}

/** What is open by the list, for whoever outlives its writer. */
export function readOpenList(memory: Uint8Array): OpenRequests {
  const listed: OpenRequest[] = [];
  for (let at = SLOT_BYTES; at < memory.length; at += SLOT_BYTES) {
    const idBytes = memory[at] as number;
    if (idBytes === 0) continue;
    const engine = textAt(memory, at + 2 + MAX_ID_BYTES, memory[at + 1] as number);
    listed.push({ requestId: textAt(memory, at + 2, idBytes), engine });
  }
  return { listed, unlisted: new DataView(memory.buffer, memory.byteOffset).getUint32(0) };
}
