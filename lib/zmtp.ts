/**
 * The wire of ZeroMQ, as far as engines' cache events need it: ZMTP 3.0 with the NULL mechanism
 * (https://rfc.zeromq.org/spec/23/). The bytes of one connection go in, whole messages come out; what is to be sent is
 * made here too. No sockets and no queues: who has the connection has those.
 */

export type ZmtpSocket = 'SUB' | 'DEALER' | 'PUB' | 'XPUB' | 'ROUTER';

export interface ZmtpLimits {
  /** Bytes of one message, all its frames together. */
  readonly maxMessageBytes: number;
}

export type ZmtpEvent =
  /** Both sides have said who they are: messages may be sent. */
  | { readonly kind: 'ready'; readonly peer: string }
  /** Its frames; views that are valid only until more bytes are pushed. */
  | { readonly kind: 'message'; readonly frames: readonly Uint8Array[] }
  /** The peer speaks something else; nothing more comes. */
  | { readonly kind: 'malformed'; readonly reason: string };

const GREETING_BYTES = 64;
const MORE = 1;
const LONG = 2;
const COMMAND = 4;
const MAX_COMMAND_BYTES = 4096;
const MAX_FRAMES = 16;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function frame(flags: number, body: Uint8Array): Uint8Array {
  if (body.length < 256) return concat([Uint8Array.of(flags, body.length), body]);
  const head = new Uint8Array(9);
  head[0] = flags | LONG;
  new DataView(head.buffer).setBigUint64(1, BigInt(body.length));
  return concat([head, body]);
}

function text(word: string, lengthBytes: 1 | 4): Uint8Array {
  const bytes = encoder.encode(word);
  return lengthBytes === 1
    ? concat([Uint8Array.of(bytes.length), bytes])
    : concat([Uint8Array.of(0, 0, 0, bytes.length), bytes]);
}

/** What a side sends as soon as the connection stands, before it has heard anything. */
export function zmtpOpening(socket: ZmtpSocket): Uint8Array {
  const greeting = new Uint8Array(GREETING_BYTES);
  greeting[0] = 0xff;
  greeting[9] = 0x7f;
  greeting[10] = 3;
  greeting.set(encoder.encode('NULL'), 12);
  const ready = concat([text('READY', 1), text('Socket-Type', 1), text(socket, 4), text('Identity', 1), text('', 4)]);
  return concat([greeting, frame(COMMAND, ready)]);
}

/** A message of several frames. */
export function zmtpMessage(frames: readonly Uint8Array[]): Uint8Array {
  return concat(frames.map((body, i) => frame(i < frames.length - 1 ? MORE : 0, body)));
}

/** What a subscriber sends to get all messages. */
export function zmtpSubscribe(): Uint8Array {
  return zmtpMessage([Uint8Array.of(1)]);
}

/** Reads one direction of one connection. */
export class ZmtpReader {
  readonly #limits: ZmtpLimits;
  #bytes: Uint8Array = new Uint8Array(0);
  #greeted = false;
  #peer: string | undefined;
  #broken = false;
  #frames: Uint8Array[] = [];
  #frameBytes = 0;

  constructor(limits: ZmtpLimits) {
    this.#limits = limits;
  }

  push(chunk: Uint8Array): ZmtpEvent[] {
    if (this.#broken) return [];
    this.#bytes = this.#bytes.length === 0 ? Uint8Array.from(chunk) : concat([this.#bytes, chunk]);
    const events: ZmtpEvent[] = [];
    let at = 0;
    for (;;) {
      const used = this.#greeted ? this.#frame(at, events) : this.#greeting(events);
      if (this.#broken || used === 0) break;
      at += used;
    }
    this.#bytes = this.#bytes.subarray(at);
    return events;
  }

  #malformed(events: ZmtpEvent[], reason: string): number {
    this.#broken = true;
    this.#frames = [];
    this.#bytes = new Uint8Array(0);
    events.push({ kind: 'malformed', reason });
    return 0;
  }

  #greeting(events: ZmtpEvent[]): number {
    const bytes = this.#bytes;
    if (bytes.length > 0 && bytes[0] !== 0xff) return this.#malformed(events, 'this is not ZMTP');
    if (bytes.length < GREETING_BYTES) return 0;
    const mechanism = decoder.decode(bytes.subarray(12, 32)).replace(/\0+$/, '');
    if (bytes[9] !== 0x7f || (bytes[10] as number) < 3) return this.#malformed(events, 'the peer is older than ZMTP 3');
    if (mechanism !== 'NULL') return this.#malformed(events, 'the peer wants another mechanism');
    this.#greeted = true;
    return GREETING_BYTES;
  }

  /** @returns the bytes of the frame at `at`, 0 when it is not whole yet */
  #frame(at: number, events: ZmtpEvent[]): number {
    const bytes = this.#bytes;
    const flags = bytes[at];
    if (flags === undefined) return 0;
    if (flags > 7 || (flags & (COMMAND | MORE)) === (COMMAND | MORE))
      return this.#malformed(events, 'a frame has unknown flags');
    const headBytes = (flags & LONG) === 0 ? 2 : 9;
    if (bytes.length < at + headBytes) return 0;
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const length = headBytes === 2 ? (bytes[at + 1] as number) : Number(view.getBigUint64(at + 1));
    const isCommand = (flags & COMMAND) !== 0;
    const most = isCommand ? MAX_COMMAND_BYTES : this.#limits.maxMessageBytes - this.#frameBytes;
    if (length > most) return this.#malformed(events, `a message has more than ${this.#limits.maxMessageBytes} bytes`);
    if (bytes.length < at + headBytes + length) return 0;
    const body = bytes.subarray(at + headBytes, at + headBytes + length);
    if (isCommand) this.#command(body, events);
    else this.#part(body, (flags & MORE) !== 0, events);
    return headBytes + length;
  }

  #command(body: Uint8Array, events: ZmtpEvent[]): void {
    const name = decoder.decode(body.subarray(1, 1 + (body[0] ?? 0)));
    if (this.#peer !== undefined) return;
    if (name !== 'READY') {
      this.#malformed(events, 'the peer did not say that it is ready');
      return;
    }
    this.#peer = socketTypeOf(body.subarray(6));
    events.push({ kind: 'ready', peer: this.#peer });
  }

  #part(body: Uint8Array, more: boolean, events: ZmtpEvent[]): void {
    if (this.#peer === undefined || this.#frames.length >= MAX_FRAMES) {
      this.#malformed(
        events,
        this.#peer === undefined ? 'a message came before READY' : 'a message has too many frames',
      );
      return;
    }
    // Frames of a message may come in several chunks, and the bytes of a chunk are not kept.
    this.#frames.push(Uint8Array.from(body));
    this.#frameBytes += body.length;
    if (more) return;
    events.push({ kind: 'message', frames: this.#frames });
    this.#frames = [];
    this.#frameBytes = 0;
  }
}

/** The value of Socket-Type among the properties of READY; empty when it is not told. */
function socketTypeOf(properties: Uint8Array): string {
  const view = new DataView(properties.buffer, properties.byteOffset, properties.byteLength);
  for (let at = 0; at < properties.length; ) {
    const nameEnd = at + 1 + (properties[at] as number);
    if (nameEnd + 4 > properties.length) return '';
    const valueEnd = nameEnd + 4 + view.getUint32(nameEnd);
    const name = decoder.decode(properties.subarray(at + 1, nameEnd));
    if (name.toLowerCase() === 'socket-type') return decoder.decode(properties.subarray(nameEnd + 4, valueEnd));
    at = valueEnd;
  }
  return '';
}
