/**
 * The frames of a lane. A lane is one long-lived gRPC stream per agent worker thread and scheduler; each message is a
 * batch of frames, each frame a fixed 32-byte little-endian header and its payload. Nothing is allocated per token
 * that can be allocated per batch: measured, one object per token costs more than the bytes.
 *
 * offset size field
 *      0    4 payloadBytes
 *      4    1 kind          (FRAME)
 *      5    1 flags         (FLAG)
 *      6    2 attempt       which try of the request, from 0
 *      8    4 stream        number of the request on this lane; the scheduler chooses it and never reuses it on a lane
 *     12    4 index         index of the first token in the frame, counted from the request's first token
 *     16    4 incarnation   life of the engine that the frame speaks of
 *     20    4 credit        bytes granted (SUBMIT, CREDIT)
 *     24    4 tokens        number of token ids, 4 bytes each, at the head of the payload
 *     28    4 aux           HTTP status (HEAD, FAILED), bytes had (ATTACH), 0 elsewhere
 *
 * The scheduler sends SUBMIT, CREDIT, CANCEL, ATTACH. The agent sends HELLO once, then for each stream HEAD when the
 * engine has answered 200, TOKENS (or BODY, where the answer is not a stream), and last DONE or FAILED; after CANCEL it
 * sends nothing more for the stream. Credit counts the payload bytes of TOKENS and BODY without the ids: at or below
 * zero the agent stops reading from that engine socket; a frame is never split, so one may overdraw.
 */

export const LANE_PROTOCOL_VERSION = 1;

export const FRAME = {
  /** Scheduler: start a request. Payload: see encodeSubmit. `index` and the ids: resume after these emitted tokens. */
  SUBMIT: 1,
  /** Scheduler: `credit` more bytes may come. */
  CREDIT: 2,
  /** Scheduler: stop; the engine's work is aborted. */
  CANCEL: 3,
  /**
   * Scheduler: continue a request that ran on a lost lane, from token `index`. Payload: the request id. `stream` is a new
   * number of this lane, `credit` what may come, `attempt` at least that of the request; the lane must be one of the
   * worker that runs it (LaneHello). `aux`: how many bytes of TOKENS and BODY the scheduler has had of the answer, which
   * says the place exactly where frames without a token stand; 0: not known, then these are sent again. An answer that is
   * no stream comes again from its first byte, whatever is said. The agent sends HEAD again, and goes on; or FAILED.
   */
  ATTACH: 4,
  /** Agent: first frame of a lane. Payload: JSON LaneHello. */
  HELLO: 16,
  /**
   * Agent: the engine accepted the request and has begun its answer. `index`: where a continuation begins; below that of
   * its SUBMIT when the last tokens there were parts of a character, whose text was never sent.
   */
  HEAD: 17,
  /** Agent: token ids, then whole SSE events as the client gets them. */
  TOKENS: 18,
  /** Agent: bytes of an answer that is not a stream; the last has FLAG.LAST. */
  BODY: 19,
  /** Agent: the end. Payload: JSON LaneDone. */
  DONE: 20,
  /** Agent: the end, failed. Payload: JSON LaneFailure. */
  FAILED: 21,
  /** Agent: requests that run on without a scheduler. Payload: JSON LaneDetached; `stream` is 0. */
  DETACHED: 22,
} as const;

export const FLAG = {
  /** The last BODY frame. */
  LAST: 1,
  /** ATTACH: the ids of the tokens before `index` are wanted too; they come first, in a TOKENS frame at 0 without bytes. */
  WITH_IDS: 2,
  /** TOKENS: the client has the finish reason with these bytes; what may follow is usage. */
  FINISHED: 4,
} as const;

export interface LaneHello {
  readonly protocolVersion: number;
  readonly sessionId: string;
  readonly nodeName: string;
  /** Number of the worker thread on its agent. */
  readonly worker: number;
}

export interface SubmitMeta {
  readonly requestId: string;
  /** Name of the engine on the node. */
  readonly engine: string;
  /** Path of the engine's HTTP API, e.g. /v1/chat/completions. */
  readonly path: string;
  readonly stream: boolean;
  /** The client asked for the usage chunk: it stays in the bytes; else the agent cuts it out. */
  readonly wantUsage: boolean;
  /** The client asked for token ids in its chunks. */
  readonly wantTokenIds: boolean;
  /** Milliseconds left when the frame was made; absent: no deadline. */
  readonly deadlineMs?: number;
  readonly traceparent?: string;
  /** With SUBMIT of a continuation: the ids of the frame are the answer so far, whose bytes the client has. */
  readonly resume?: ResumeMeta;
  /** The client may come back over another scheduler: the whole answer is kept for as long as there is room. */
  readonly repeat?: RepeatMeta;
}

/** A request that may be come back for by another scheduler. */
export interface RepeatMeta {
  /** Hash of tenant and subject, and of endpoint and body: who may come back, and with what. */
  readonly identity: string;
  readonly body: string;
}

/** A request with RepeatMeta that runs on a worker without a scheduler, or has ended so. */
export interface DetachedRequest extends RepeatMeta {
  readonly id: string;
  readonly engine: string;
  readonly incarnation: number;
  readonly attempt: number;
  /** Events of the answer before the first that is here: above 0 when it continues an earlier attempt's. */
  readonly eventsBefore: number;
}

export interface LaneDetached {
  readonly requests: readonly DetachedRequest[];
}

/** What makes the chunks of a continuation look like those that the client has had. */
export interface ResumeMeta {
  readonly id: string;
  readonly created: number;
  readonly model: string;
  /** Tokens whose ids the client has had: at least those of the frame. */
  readonly shownIds: number;
  /** Events that the client has had; told with `repeat` only. */
  readonly events?: number;
  /** The client has the finish reason: only usage and the end are missing. */
  readonly finished?: true;
  /** With stop strings, where an engine holds text back: UTF-16 units of text that the client has, and their last ones. */
  readonly text?: { readonly units: number; readonly tail: string };
}

export interface LaneUsage {
  readonly promptTokens?: number;
  readonly completionTokens?: number;
  readonly cachedPromptTokens?: number;
}

export interface LaneDone {
  readonly usage?: LaneUsage;
  readonly finishReason?: string;
}

export interface LaneFailure {
  /** A code of lib/errors.ts. */
  readonly code: string;
  readonly message: string;
  readonly param?: string;
  readonly retryAfterMs?: number;
}

export const HEADER_BYTES = 32;
/** One field tag and a length varint padded to five bytes, so that a batch is built in place. */
const ENVELOPE_BYTES = 6;
const MIN_CAPACITY_BYTES = 4096;
const EMPTY = new Uint8Array(0);

/** What the header of a frame says; fields that do not apply to a kind are 0. */
export interface FrameHeader {
  kind: number;
  stream: number;
  flags?: number;
  attempt?: number;
  index?: number;
  incarnation?: number;
  credit?: number;
  aux?: number;
}

/** As writeUInt32LE, without its checks of a value that is ours: seven of them a frame are felt. */
function putUint32(buffer: Uint8Array, at: number, value: number): void {
  buffer[at] = value;
  buffer[at + 1] = value >>> 8;
  buffer[at + 2] = value >>> 16;
  buffer[at + 3] = value >>> 24;
}

/** Collects frames and gives them as one LaneBatch message. Bounded by its caller: check `bytes` and flush. */
export class FrameBatch {
  #buffer = Buffer.allocUnsafe(MIN_CAPACITY_BYTES);
  #end = ENVELOPE_BYTES;
  #lastSize = MIN_CAPACITY_BYTES;

  /** Bytes of frames collected since the last take(). */
  get bytes(): number {
    return this.#end - ENVELOPE_BYTES;
  }

  /** Appends a frame; `ids` are written before `payload`. */
  append(header: FrameHeader, payload: Uint8Array = EMPTY, ids: ArrayLike<number> = EMPTY): void {
    const idBytes = ids.length * 4;
    const at = this.#reserve(HEADER_BYTES + idBytes + payload.length);
    const buffer = this.#buffer;
    putUint32(buffer, at, idBytes + payload.length);
    buffer[at + 4] = header.kind;
    buffer[at + 5] = header.flags ?? 0;
    const attempt = header.attempt ?? 0;
    buffer[at + 6] = attempt;
    buffer[at + 7] = attempt >>> 8;
    putUint32(buffer, at + 8, header.stream);
    putUint32(buffer, at + 12, header.index ?? 0);
    putUint32(buffer, at + 16, header.incarnation ?? 0);
    putUint32(buffer, at + 20, header.credit ?? 0);
    putUint32(buffer, at + 24, ids.length);
    putUint32(buffer, at + 28, header.aux ?? 0);
    const offset = at + HEADER_BYTES + idBytes;
    for (let i = 0; i < ids.length; i++) putUint32(buffer, at + HEADER_BYTES + i * 4, ids[i] as number);
    buffer.set(payload, offset);
  }

  /** The collected frames as the wire bytes of one LaneBatch; the batch is empty afterwards. */
  take(): Buffer {
    const size = this.#end - ENVELOPE_BYTES;
    const out = this.#buffer.subarray(0, this.#end);
    out[0] = 0x0a;
    let rest = size;
    for (let i = 1; i < 5; i++) {
      out[i] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    out[5] = rest;
    this.#lastSize = this.#end;
    this.#buffer = Buffer.allocUnsafe(Math.max(MIN_CAPACITY_BYTES, this.#lastSize));
    this.#end = ENVELOPE_BYTES;
    return out;
  }

  #reserve(size: number): number {
    const at = this.#end;
    const needed = at + size;
    if (needed > this.#buffer.length) {
      const grown = Buffer.allocUnsafe(Math.max(needed, this.#buffer.length * 2));
      grown.set(this.#buffer.subarray(0, at));
      this.#buffer = grown;
    }
    this.#end = needed;
    return at;
  }
}

/** A frame as read; one object is reused for a whole batch, so a reader keeps fields, not the frame. */
export interface Frame {
  kind: number;
  flags: number;
  attempt: number;
  stream: number;
  index: number;
  incarnation: number;
  credit: number;
  tokens: number;
  aux: number;
  /** The bytes after the token ids: a view into the batch. */
  payload: Buffer;
  /** The token ids as bytes: a view into the batch, 4 bytes each. */
  idBytes: Buffer;
}

/** The frames were cut short or their lengths contradict each other. */
export class FrameError extends Error {
  override name = 'FrameError';
}

/**
 * Calls `visit` for each frame of a batch, in order. The Frame object is the same each time.
 * @throws FrameError when the bytes are not whole frames.
 */
export function visitFrames(bytes: Uint8Array, visit: (frame: Frame) => void): void {
  const buffer = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const frame = {} as Frame;
  let at = 0;
  while (at < buffer.length) {
    if (buffer.length - at < HEADER_BYTES) throw new FrameError(`frame header cut at byte ${at}`);
    const payloadBytes = buffer.readUInt32LE(at);
    const tokens = buffer.readUInt32LE(at + 24);
    const start = at + HEADER_BYTES;
    const end = start + payloadBytes;
    if (end > buffer.length || tokens * 4 > payloadBytes) throw new FrameError(`frame payload cut at byte ${at}`);
    frame.kind = buffer[at + 4] as number;
    frame.flags = buffer[at + 5] as number;
    frame.attempt = buffer.readUInt16LE(at + 6);
    frame.stream = buffer.readUInt32LE(at + 8);
    frame.index = buffer.readUInt32LE(at + 12);
    frame.incarnation = buffer.readUInt32LE(at + 16);
    frame.credit = buffer.readUInt32LE(at + 20);
    frame.tokens = tokens;
    frame.aux = buffer.readUInt32LE(at + 28);
    frame.idBytes = buffer.subarray(start, start + tokens * 4);
    frame.payload = buffer.subarray(start + tokens * 4, end);
    visit(frame);
    at = end;
  }
}

/** Payload of SUBMIT after the resume ids: length of the JSON meta, the meta, the request body for the engine. */
export function encodeSubmit(meta: SubmitMeta, body: Uint8Array): Buffer {
  const json = Buffer.from(JSON.stringify(meta));
  const out = Buffer.allocUnsafe(4 + json.length + body.length);
  out.writeUInt32LE(json.length, 0);
  json.copy(out, 4);
  out.set(body, 4 + json.length);
  return out;
}

/** @throws FrameError when the payload was not made by encodeSubmit. */
export function decodeSubmit(payload: Buffer): { meta: SubmitMeta; body: Buffer } {
  if (payload.length < 4) throw new FrameError('submit payload is too short');
  const end = 4 + payload.readUInt32LE(0);
  if (end > payload.length) throw new FrameError('submit meta is cut');
  return { meta: decodeJson<SubmitMeta>(payload.subarray(4, end)), body: payload.subarray(end) };
}

export function encodeJson(value: LaneHello | LaneDone | LaneFailure | LaneDetached): Buffer {
  return Buffer.from(JSON.stringify(value));
}

/** @throws FrameError when the payload is not JSON. Both ends are ours and authenticated, so the shape is trusted. */
export function decodeJson<Shape extends LaneHello | LaneDone | LaneFailure | LaneDetached | SubmitMeta>(
  payload: Buffer,
): Shape {
  try {
    return JSON.parse(payload.toString('utf8')) as Shape;
  } catch (cause) {
    throw new FrameError('frame payload is not JSON', { cause });
  }
}

/** Copies token ids out of a frame, for a journal that outlives the batch. */
export function readIds(idBytes: Buffer): Uint32Array {
  const ids = new Uint32Array(idBytes.length / 4);
  for (let i = 0; i < ids.length; i++) ids[i] = idBytes.readUInt32LE(i * 4);
  return ids;
}

/**
 * The `frames` field out of the wire bytes of a LaneBatch, without copying.
 * @throws FrameError when the message has another shape.
 */
export function decodeLaneBatch(message: Buffer): Buffer {
  if (message.length === 0) return message;
  if (message[0] !== 0x0a) throw new FrameError('not a LaneBatch');
  let size = 0;
  let at = 1;
  for (let shift = 0; ; shift += 7) {
    const byte = message[at++];
    if (byte === undefined || shift > 28) throw new FrameError('LaneBatch length is malformed');
    size += (byte & 0x7f) * 2 ** shift;
    if (byte < 0x80) break;
  }
  if (at + size !== message.length) throw new FrameError('LaneBatch length differs from the message');
  return message.subarray(at);
}
