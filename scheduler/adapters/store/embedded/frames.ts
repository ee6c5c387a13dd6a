/**
 * What the embedded database's process and its clients say to each other: JSON, each message behind its length in four
 * bytes, big endian. Both sides are of one version or of neighbours.
 */

/** The first message on a connection, from the process. */
export interface HostHello {
  readonly pid: number;
  readonly protocol: number;
}

export interface HostRequest {
  readonly id: number;
  readonly sql: string;
  readonly params: readonly string[];
}

export interface HostResponse {
  readonly id: number;
  readonly rows?: readonly Readonly<Record<string, string | null>>[];
  readonly error?: { readonly state: string; readonly message: string };
}

export const PROTOCOL = 1;
/** Longest message; a page of the largest events stays below. */
const MAX_FRAME_BYTES = 256 * 1024 * 1024;
const HEADER_BYTES = 4;

export function encodeFrame(message: object): Buffer {
  const body = Buffer.from(JSON.stringify(message));
  const frame = Buffer.allocUnsafe(HEADER_BYTES + body.length);
  frame.writeUInt32BE(body.length, 0);
  body.copy(frame, HEADER_BYTES);
  return frame;
}

/**
 * Cuts a byte stream into messages.
 * @throws RangeError for a message above the limit, SyntaxError for one that is no JSON
 */
export function createFrameReader(onMessage: (message: unknown) => void): (chunk: Buffer) => void {
  let chunks: Buffer[] = [];
  let bytes = 0;
  let wanted: number | undefined;
  const take = (count: number): Buffer => {
    const all = chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks);
    chunks = [all.subarray(count)];
    bytes -= count;
    return all.subarray(0, count);
  };
  return (chunk) => {
    chunks.push(chunk);
    bytes += chunk.length;
    for (;;) {
      if (wanted === undefined) {
        if (bytes < HEADER_BYTES) return;
        wanted = take(HEADER_BYTES).readUInt32BE(0);
        if (wanted > MAX_FRAME_BYTES) throw new RangeError(`A message of ${wanted} bytes is above the limit.`);
      }
      if (bytes < wanted) return;
      const body = take(wanted);
      wanted = undefined;
      onMessage(JSON.parse(body.toString('utf8')));
    }
  };
}
