/**
 * One GET over HTTP/1.1 with what a fetch of model files needs: redirects that carry no secret to another host, time
 * limits, and failures by kind. The body is the caller's to read; Node's own client gives it without a copy.
 */
import http from 'node:http';
import https from 'node:https';
import { isLoopbackHost } from '../../core/model_files/source.ts';
import { failureOfStatus, retryAfterMs } from '../../core/model_files/retry.ts';
import { parseS3Error } from '../../core/model_files/s3_listing.ts';
import { FetchFailure, fetchFailure, toFetchFailure } from './fetch_failure.ts';

/** Headers for one address; it is asked again for each hop of a redirect. */
export type Authorize = (
  url: URL,
  headers: Readonly<Record<string, string>>,
) => Promise<Readonly<Record<string, string>>>;

export interface HttpTimes {
  /** From the request to the head of the answer. */
  readonly answerTimeoutMs: number;
  /** Time in which a body must bring a few bytes. */
  readonly stallTimeoutMs: number;
}

export interface HttpClient {
  readonly times: HttpTimes;
  readonly agents: { readonly http: http.Agent; readonly https: https.Agent };
}

export interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: http.IncomingMessage;
}

const MAX_HOPS = 5;
const MAX_REASON_CHARS = 4096;
const MAX_TEXT_BYTES = 32 * 1024 * 1024;
const REDIRECTS = new Set([301, 302, 303, 307, 308]);

export function createHttpClient(times: HttpTimes, connections: number): HttpClient & { close(): void } {
  const options = { keepAlive: true, maxSockets: connections + 2, maxFreeSockets: connections };
  const agents = { http: new http.Agent(options), https: new https.Agent(options) };
  return {
    times,
    agents,
    close() {
      agents.http.destroy();
      agents.https.destroy();
    },
  };
}

/** An address for people: a query may be a signature, which is a secret. */
export const shown = (url: URL): string => `${url.host}${url.pathname}`.slice(0, 300);

function once(
  client: HttpClient,
  url: URL,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<http.IncomingMessage> {
  const isTls = url.protocol === 'https:';
  const options = { headers, signal, agent: isTls ? client.agents.https : client.agents.http };
  return new Promise((resolve, reject) => {
    const request = (isTls ? https : http).get(url, options, resolve);
    const timer = setTimeout(() => {
      request.destroy(fetchFailure('stalled', `${shown(url)} does not answer.`));
    }, client.times.answerTimeoutMs);
    request.once('response', () => clearTimeout(timer));
    request.once('close', () => clearTimeout(timer));
    request.on('error', (error) => reject(signal.aborted ? error : toFetchFailure(error)));
  });
}

function nextHop(url: URL, location: string | undefined): URL {
  if (location === undefined || !URL.canParse(location, url.href))
    throw fetchFailure('bad_listing', `${shown(url)} redirects to nowhere.`);
  const next = new URL(location, url);
  const plain = next.protocol === 'http:' && (url.protocol === 'http:' || isLoopbackHost(next.hostname));
  if (next.protocol !== 'https:' && !(plain && isLoopbackHost(next.hostname)))
    throw fetchFailure('bad_listing', `${shown(url)} redirects to an address that is not https.`);
  return next;
}

/** A failure of this status, with the time that the source asked for. The body is thrown away. */
export function refused(url: URL, { status, headers, body }: Answer, reason = ''): FetchFailure {
  body.resume();
  const waitMs = retryAfterMs(headers['retry-after'], Date.now());
  return new FetchFailure({
    kind: failureOfStatus(status),
    message: `${shown(url)} answered ${status}${reason}.`,
    ...(waitMs === undefined ? {} : { retryAfterMs: waitMs }),
  });
}

/** @throws FetchFailure; the reason of `signal` when it fires */
export async function get(
  client: HttpClient,
  address: URL,
  headers: Readonly<Record<string, string>>,
  authorize: Authorize,
  signal: AbortSignal,
): Promise<Answer> {
  let url = address;
  for (let hop = 0; hop <= MAX_HOPS; hop++) {
    const plain = { 'accept-encoding': 'identity', 'user-agent': 'sophia-agent', ...headers };
    const body = await once(client, url, { ...plain, ...(await authorize(url, plain)) }, signal);
    const status = body.statusCode ?? 0;
    if (!REDIRECTS.has(status)) return { status, headers: body.headers, body };
    body.resume();
    url = nextHop(url, body.headers.location);
  }
  throw fetchFailure('bad_listing', `${shown(address)} redirects in a circle.`);
}

/** What S3 says of a refusal, such as AccessDenied or SignatureDoesNotMatch; empty: the body says nothing. */
async function reasonOf(body: AsyncIterable<Buffer>): Promise<string> {
  let text = '';
  for await (const part of body) {
    text += part.toString('latin1');
    if (text.length > MAX_REASON_CHARS) break;
  }
  const code = parseS3Error(text);
  return code === undefined ? '' : ` (${code})`;
}

/** A whole small answer, such as a listing. @throws FetchFailure */
export async function getText(
  client: HttpClient,
  url: URL,
  authorize: Authorize,
  signal: AbortSignal,
): Promise<{ readonly text: string; readonly headers: http.IncomingHttpHeaders }> {
  const answer = await get(client, url, {}, authorize, signal);
  if (answer.status !== 200) throw refused(url, answer, await reasonOf(answer.body).catch(() => ''));
  const parts: Buffer[] = [];
  let bytes = 0;
  const timer = setTimeout(() => {
    answer.body.destroy(fetchFailure('stalled', `${shown(url)} does not come to an end.`));
  }, client.times.answerTimeoutMs);
  try {
    for await (const part of answer.body as AsyncIterable<Buffer>) {
      bytes += part.length;
      if (bytes > MAX_TEXT_BYTES) throw fetchFailure('bad_listing', `${shown(url)} has a listing without an end.`);
      parts.push(part);
    }
  } catch (thrown) {
    signal.throwIfAborted();
    throw toFetchFailure(thrown);
  } finally {
    clearTimeout(timer);
  }
  return { text: Buffer.concat(parts).toString('utf8'), headers: answer.headers };
}
