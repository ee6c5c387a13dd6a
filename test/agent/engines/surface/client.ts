/**
 * A small HTTP client for the engine tests: whole answers, SSE frames, and raw bytes over a Unix socket, so that the
 * tests see what a client sees.
 */
import { request, type ClientRequest, type IncomingHttpHeaders } from 'node:http';
import { connect } from 'node:net';

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** Ended by a clean end of the body, as opposed to a dropped connection. */
  readonly complete: boolean;
}

/** An SSE frame's JSON, loosely typed: tests read what they assert. */
// oxlint-disable-next-line typescript/no-explicit-any -- the shapes under test are asserted, not typed.
export type Json = any;

export interface Stream {
  readonly status: Promise<number>;
  /** Every `data:` frame so far, parsed; '[DONE]' as a string. */
  readonly frames: (Json | '[DONE]')[];
  readonly ended: Promise<'clean' | 'dropped'>;
  /** Resolves when at least `count` frames are there; rejects after 10 s. */
  until(count: number): Promise<void>;
  leave(): void;
}

export function get(uds: string, path: string): Promise<Answer> {
  return exchange(uds, 'GET', path, undefined, {});
}

export function fetchDelete(uds: string, path: string): Promise<Answer> {
  return exchange(uds, 'DELETE', path, undefined, {});
}

export function post(uds: string, path: string, body: unknown, headers: Record<string, string> = {}): Promise<Answer> {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  return exchange(uds, 'POST', path, text, { 'content-type': 'application/json', ...headers });
}

function exchange(
  uds: string,
  method: string,
  path: string,
  body: string | undefined,
  headers: Record<string, string>,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const req = request({ socketPath: uds, method, path, headers, agent: false }, (res) => {
      let text = '';
      res.setEncoding('utf8');
      res.on('data', (part: string) => {
        text += part;
      });
      res.on('error', () => undefined);
      res.on('close', () =>
        resolve({ status: res.statusCode ?? 0, headers: res.headers, text, complete: res.complete }),
      );
    });
    req.on('error', reject);
    req.end(body);
  });
}

/** POSTs with `stream: true` and gathers the frames as they come. */
export function stream(uds: string, path: string, body: object, headers: Record<string, string> = {}): Stream {
  const frames: (Json | '[DONE]')[] = [];
  let rest = '';
  const waiters: { count: number; resolve: () => void }[] = [];
  let req: ClientRequest | undefined;
  let settleStatus: (status: number) => void = () => undefined;
  const status = new Promise<number>((resolve) => {
    settleStatus = resolve;
  });
  const ended = new Promise<'clean' | 'dropped'>((resolve) => {
    req = request(
      {
        socketPath: uds,
        method: 'POST',
        path,
        headers: { 'content-type': 'application/json', ...headers },
        agent: false,
      },
      (res) => {
        settleStatus(res.statusCode ?? 0);
        res.setEncoding('utf8');
        res.on('data', (part: string) => {
          rest += part;
          const texts = rest.split('\n\n');
          rest = texts.pop() ?? '';
          for (const text of texts) {
            const data = text.replace(/^data: /, '');
            frames.push(data === '[DONE]' ? data : JSON.parse(data));
          }
          for (const waiter of waiters) if (frames.length >= waiter.count) waiter.resolve();
        });
        res.on('error', () => undefined);
        res.on('close', () => resolve(res.complete ? 'clean' : 'dropped'));
      },
    );
    req.on('error', () => resolve('dropped'));
    req.end(JSON.stringify({ stream: true, ...body }));
  });
  return {
    status,
    frames,
    ended,
    until: (count) =>
      new Promise((resolve, reject) => {
        if (frames.length >= count) {
          resolve();
          return;
        }
        const timer = setTimeout(() => reject(new Error(`only ${frames.length} of ${count} frames came`)), 10_000);
        waiters.push({
          count,
          resolve: () => {
            clearTimeout(timer);
            resolve();
          },
        });
      }),
    leave: () => req?.destroy(),
  };
}

/** Sends raw bytes and returns what came back until the server closed (or 2 s). */
export function raw(uds: string, bytes: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(uds);
    let text = '';
    socket.setTimeout(2_000, () => socket.destroy());
    socket.on('data', (part) => {
      text += part.toString('latin1');
    });
    socket.on('error', () => undefined);
    socket.on('close', () => resolve(text));
    socket.write(bytes);
  });
}

/** Token frames of a stream: those with a choice. */
export function choices(frames: readonly Json[]): Json[] {
  return frames.filter((frame) => frame !== '[DONE]' && frame.choices?.length > 0).map((frame) => frame.choices[0]);
}

/** The text of a chat or completions stream. */
export function textOf(frames: readonly Json[]): string {
  return choices(frames)
    .map((choice) => choice.text ?? choice.delta?.content ?? '')
    .join('');
}

/** The token ids of a stream that asked for them. */
export function idsOf(frames: readonly Json[]): number[] {
  return choices(frames).flatMap((choice) => choice.token_ids ?? []);
}
