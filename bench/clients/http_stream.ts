/**
 * A load client for streamed completions that costs as little as it can: one raw socket, one request at a time, events
 * counted by their byte pattern. It shares two cores with what it measures, so it parses nothing that it does not need.
 */
import { connect, type NetConnectOpts, type Socket } from 'node:net';

export interface StreamRequest {
  readonly path: string;
  readonly host: string;
  readonly body: string;
  readonly key?: string;
}

export interface StreamOutcome {
  readonly ok: boolean;
  /** Milliseconds from sending to the first event of the body. */
  readonly ttftMs: number;
  readonly totalMs: number;
  /** Events before [DONE]. */
  readonly events: number;
  /** The status line, or why the stream broke. */
  readonly why: string;
}

export interface StreamHooks {
  /** Called with the number of new events. */
  readonly onEvents?: (count: number) => void;
  /** Called with the socket once connected: a slow reader pauses it. */
  readonly onSocket?: (socket: Socket) => void;
}

const EVENT_END = Buffer.from('\n\n');
const DONE = Buffer.from('data: [DONE]');
const EVENT = Buffer.from('data: ');

function requestBytes(request: StreamRequest): string {
  const authorization = request.key === undefined ? '' : `authorization: Bearer ${request.key}\r\n`;
  return (
    `POST ${request.path} HTTP/1.1\r\nhost: ${request.host}\r\ncontent-type: application/json\r\n${authorization}` +
    `content-length: ${Buffer.byteLength(request.body)}\r\nconnection: close\r\n\r\n${request.body}`
  );
}

/** Sends one request on a fresh connection and reads its stream to the end; never throws. */
export function streamOnce(
  target: NetConnectOpts,
  request: StreamRequest,
  hooks: StreamHooks = {},
): Promise<StreamOutcome> {
  return new Promise((resolve) => {
    const startedMs = performance.now();
    let ttftMs = Number.NaN;
    let events = 0;
    let head = '';
    let done = false;
    let tail: Buffer = Buffer.alloc(0);
    const socket = connect(target);
    socket.setNoDelay(true);
    const finish = (why: string): void => {
      if (done) return;
      done = true;
      socket.destroy();
      const ok = why === 'done';
      resolve({
        ok,
        ttftMs,
        totalMs: performance.now() - startedMs,
        events,
        why: ok ? head.slice(0, head.indexOf('\r\n')) : why,
      });
    };
    socket.on('connect', () => {
      hooks.onSocket?.(socket);
      socket.write(requestBytes(request));
    });
    socket.on('data', (chunk) => {
      if (head === '') {
        head = chunk.toString('latin1', 0, Math.min(chunk.length, 512));
        if (!head.startsWith('HTTP/1.1 200')) {
          finish(head.split('\r\n')[0] ?? 'no status line');
          return;
        }
      }
      const bytes = tail.length > 0 ? Buffer.concat([tail, chunk]) : chunk;
      if (Number.isNaN(ttftMs) && bytes.includes(EVENT)) ttftMs = performance.now() - startedMs;
      let count = 0;
      let at = bytes.indexOf(EVENT_END);
      let last = 0;
      while (at !== -1) {
        count++;
        last = at + 2;
        at = bytes.indexOf(EVENT_END, last);
      }
      const ended = bytes.includes(DONE);
      // What may be the beginning of a pattern is looked at again with the next bytes.
      tail = bytes.subarray(Math.max(last, bytes.length - DONE.length + 1));
      if (ended) count = Math.max(0, count - 1);
      if (count > 0) {
        events += count;
        hooks.onEvents?.(count);
      }
      if (ended) finish('done');
    });
    socket.on('error', (error) => finish(error.message));
    socket.on('close', () => finish('closed before [DONE]'));
  });
}
