/**
 * The wire between the simulated engine's processes: length-prefixed binary frames over an inherited socket, one
 * message per engine step for all its sequences, because a message per token would cost more than the tokens.
 */

export const FRAME = {
  add: 1,
  abort: 2,
  control: 3,
  ack: 4,
  step: 16,
  kvEvents: 17,
  ready: 18,
  work: 32,
  workDone: 33,
} as const;

const HEADER_BYTES = 5;
const MAX_FRAME_BYTES = 64 * 1024 * 1024;

/** A frame: u32 payload length, u8 type, payload. */
export function frame(type: number, payload: Uint8Array): Buffer {
  const out = Buffer.allocUnsafe(HEADER_BYTES + payload.length);
  out.writeUInt32LE(payload.length, 0);
  out[4] = type;
  out.set(payload, HEADER_BYTES);
  return out;
}

export function jsonFrame(type: number, value: unknown): Buffer {
  return frame(type, Buffer.from(JSON.stringify(value)));
}

/** Cuts a byte stream into frames, whatever the borders of its reads. Throws on a length beyond MAX_FRAME_BYTES. */
export function frameReader(onFrame: (type: number, payload: Buffer) => void): (data: Buffer) => void {
  let parts: Buffer[] = [];
  let bytes = 0;
  let need = HEADER_BYTES;
  return (data) => {
    parts.push(data);
    bytes += data.length;
    if (bytes < need) return;
    const all = parts.length === 1 ? data : Buffer.concat(parts);
    let at = 0;
    need = HEADER_BYTES;
    while (all.length - at >= HEADER_BYTES) {
      const length = all.readUInt32LE(at);
      if (length > MAX_FRAME_BYTES) throw new Error(`frame of ${length} bytes is over the limit`);
      if (all.length - at - HEADER_BYTES < length) {
        need = HEADER_BYTES + length;
        break;
      }
      const start = at + HEADER_BYTES;
      onFrame(all[at + 4] as number, all.subarray(start, start + length));
      at = start + length;
    }
    parts = at === all.length ? [] : [all.subarray(at)];
    bytes = all.length - at;
  };
}

/** One new sequence, as the API process asks the engine core for it. */
export interface AddMessage {
  readonly handle: number;
  readonly maxTokens: number;
  readonly minTokens: number;
  readonly ignoreEos: boolean;
  /** Present only for sampling that starts over from a seed. */
  readonly seed: number | undefined;
  readonly stopIds: readonly number[];
  readonly promptIds: readonly number[];
  /** Ids to emit instead of the engine's own text. */
  readonly script: readonly number[];
}

const ADD_WORDS = 8;

export function encodeAdd(message: AddMessage): Buffer {
  const { stopIds, promptIds, script } = message;
  const words = new Int32Array(ADD_WORDS + stopIds.length + promptIds.length + script.length);
  const flags = (message.ignoreEos ? 1 : 0) | (message.seed === undefined ? 0 : 2);
  words.set([
    message.handle,
    message.maxTokens,
    message.minTokens,
    flags,
    (message.seed ?? 0) | 0,
    stopIds.length,
    promptIds.length,
    script.length,
  ]);
  words.set(stopIds, ADD_WORDS);
  words.set(promptIds, ADD_WORDS + stopIds.length);
  words.set(script, ADD_WORDS + stopIds.length + promptIds.length);
  return frame(FRAME.add, new Uint8Array(words.buffer));
}

export function decodeAdd(payload: Buffer): AddMessage {
  const word = (at: number): number => payload.readInt32LE(at * 4);
  const list = (from: number, length: number): number[] => Array.from({ length }, (_, at) => word(from + at));
  const stops = word(5);
  const prompt = word(6);
  return {
    handle: word(0),
    maxTokens: word(1),
    minTokens: word(2),
    ignoreEos: (word(3) & 1) !== 0,
    seed: (word(3) & 2) !== 0 ? word(4) : undefined,
    stopIds: list(ADD_WORDS, stops),
    promptIds: list(ADD_WORDS + stops, prompt),
    script: list(ADD_WORDS + stops + prompt, word(7)),
  };
}

/** What one step made of one sequence. */
export interface StepEntry {
  readonly handle: number;
  /** Told with the first entry of a sequence: prompt tokens that were in the prefix cache. */
  readonly cachedTokens: number | undefined;
  readonly ids: readonly number[];
  readonly end: 'stop' | 'length' | 'abort' | undefined;
}

/** Figures of the engine core after a step. */
export interface CoreLoad {
  readonly running: number;
  readonly waiting: number;
  readonly kvCacheUsage: number;
  readonly iterations: number;
  readonly prefixCacheQueries: number;
  readonly prefixCacheHits: number;
  readonly preemptions: number;
}

const ENDS = [undefined, 'stop', 'length', 'abort'] as const;
const LOAD_NUMBERS = 7;

export function encodeStep(load: CoreLoad, entries: readonly StepEntry[]): Buffer {
  let words = 1;
  for (const entry of entries) words += 3 + entry.ids.length;
  const out = Buffer.allocUnsafe(HEADER_BYTES + LOAD_NUMBERS * 8 + words * 4);
  out.writeUInt32LE(out.length - HEADER_BYTES, 0);
  out[4] = FRAME.step;
  let at = HEADER_BYTES;
  for (const figure of [
    load.running,
    load.waiting,
    load.kvCacheUsage,
    load.iterations,
    load.prefixCacheQueries,
    load.prefixCacheHits,
    load.preemptions,
  ]) {
    at = out.writeDoubleLE(figure, at);
  }
  at = out.writeUInt32LE(entries.length, at);
  for (const entry of entries) {
    at = out.writeUInt32LE(entry.handle, at);
    at = out.writeInt32LE(entry.cachedTokens ?? -1, at);
    at = out.writeUInt32LE(entry.ids.length | (ENDS.indexOf(entry.end) << 24), at);
    for (const id of entry.ids) at = out.writeUInt32LE(id, at);
  }
  return out;
}

/** Reads a step frame; `onEntry` is called per sequence in order. */
export function decodeStep(payload: Buffer, onEntry: (entry: StepEntry) => void): CoreLoad {
  const figure = (at: number): number => payload.readDoubleLE(at * 8);
  let at = LOAD_NUMBERS * 8;
  const count = payload.readUInt32LE(at);
  at += 4;
  for (let entry = 0; entry < count; entry += 1) {
    const handle = payload.readUInt32LE(at);
    const cached = payload.readInt32LE(at + 4);
    const word = payload.readUInt32LE(at + 8);
    const length = word & 0xffffff;
    at += 12;
    const ids: number[] = [];
    for (let index = 0; index < length; index += 1) {
      ids.push(payload.readUInt32LE(at));
      at += 4;
    }
    onEntry({ handle, cachedTokens: cached < 0 ? undefined : cached, ids, end: ENDS[word >>> 24] });
  }
  return {
    running: figure(0),
    waiting: figure(1),
    kvCacheUsage: figure(2),
    iterations: figure(3),
    prefixCacheQueries: figure(4),
    prefixCacheHits: figure(5),
    preemptions: figure(6),
  };
}
