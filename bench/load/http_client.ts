/**
 * One streamed request to any OpenAI-compatible server over HTTP or HTTPS, timed by its arrivals. It ends in all cases:
 * with the answer, an error, or its own time limit.
 */
import { Agent as HttpAgent, type ClientRequest, type IncomingMessage, request as httpRequest } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { createSseSplitter } from '../../lib/sse.ts';
import { Answer, errorWord } from './answer.ts';
import { type LoadSink, OK } from './figures.ts';

const MAX_EVENT_BYTES = 4 << 20;
const MAX_ERROR_BYTES = 64 << 10;
const SUCCESS = 200;
const DONE = Buffer.from('[DONE]');

export interface LoadClient {
  /** Sends one request and records it, whatever becomes of it. Never rejects. */
  send(body: string, intendedMs: number): Promise<void>;
  close(): void;
}

export interface HttpClientOptions {
  /** Of the endpoint, such as `http://127.0.0.1:8000/v1/chat/completions`. */
  readonly url: URL;
  readonly key?: string;
  readonly timeoutMs: number;
  /** Whether connections are used again, as a client library does; else each request pays for its own. */
  readonly keepAlive: boolean;
}

export function createHttpClient(options: HttpClientOptions, sink: LoadSink): LoadClient {
  const secure = options.url.protocol === 'https:';
  const agentOptions = { keepAlive: options.keepAlive, maxSockets: Number.POSITIVE_INFINITY, noDelay: true };
  const agent = secure ? new HttpsAgent(agentOptions) : new HttpAgent(agentOptions);
  const headers = {
    'content-type': 'application/json',
    accept: 'text/event-stream',
    ...(options.key === undefined ? {} : { authorization: `Bearer ${options.key}` }),
  };
  return {
    async send(body, intendedMs) {
      const sentMs = performance.now();
      const answer = new Answer(sink);
      const code = await new Promise<string>((resolve) => {
        const request = (secure ? httpsRequest : httpRequest)(options.url, {
          method: 'POST',
          agent,
          headers: { ...headers, 'content-length': Buffer.byteLength(body) },
        });
        const end = settleOnce(request, options.timeoutMs, resolve);
        request.on('error', (error: NodeJS.ErrnoException) => end(transportWord(error)));
        request.on('response', (response) => readResponse(response, answer, end));
        request.end(body);
      });
      const { firstMs, tokens } = answer;
      const first = firstMs === undefined ? {} : { firstMs };
      sink.end({ intendedMs, sentMs, ...first, endMs: performance.now(), code, tokens });
    },
    close: () => agent.destroy(),
  };
}

/** The first verdict counts; a verdict that is none of the server's end cuts the connection. */
function settleOnce(request: ClientRequest, timeoutMs: number, resolve: (code: string) => void) {
  let settled = false;
  const timer = setTimeout(() => end('timeout'), timeoutMs);
  const end = (code: string): void => {
    if (settled) return;
    settled = true;
    clearTimeout(timer);
    if (code !== OK) request.destroy();
    resolve(code);
  };
  return end;
}

function transportWord(error: NodeJS.ErrnoException): string {
  return (error.code ?? 'transport').toLowerCase();
}

function readResponse(response: IncomingMessage, answer: Answer, end: (code: string) => void): void {
  response.on('error', (error: NodeJS.ErrnoException) => end(`cut_${transportWord(error)}`));
  if (response.statusCode !== SUCCESS) {
    readError(response, end);
    return;
  }
  const splitter = createSseSplitter({ maxEventBytes: MAX_EVENT_BYTES });
  let done = false;
  response.on('data', (bytes: Buffer) => {
    try {
      for (const event of splitter.push(bytes)) {
        if (DONE.equals(event)) done = true;
        else answer.take(event);
      }
    } catch {
      // The only thing that the splitter refuses is an event without an end.
      answer.fault ??= 'event_too_long';
      end(answer.fault);
    }
    answer.readEnd(performance.now());
  });
  response.on('end', () => end(answer.fault ?? (done ? OK : 'cut')));
  response.on('close', () => end(answer.fault ?? 'cut'));
}

/** `http_429_queue_full`: the status, and the server's own word where it gives one. */
function readError(response: IncomingMessage, end: (code: string) => void): void {
  const parts: Buffer[] = [];
  let bytes = 0;
  const status = `http_${response.statusCode ?? 0}`;
  response.on('data', (part: Buffer) => {
    bytes += part.length;
    if (bytes <= MAX_ERROR_BYTES) parts.push(part);
  });
  response.on('close', () => end(status));
  response.on('end', () => {
    const word = wordOfBody(Buffer.concat(parts).toString('utf8'));
    end(word === undefined || word === String(response.statusCode) ? status : `${status}_${word}`);
  });
}

function wordOfBody(text: string): string | undefined {
  try {
    const { error } = JSON.parse(text) as { error?: unknown };
    return typeof error === 'object' && error !== null ? errorWord(error) : undefined;
  } catch {
    // A proxy's page of HTML has no word for it.
    return undefined;
  }
}
