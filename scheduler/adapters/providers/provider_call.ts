/**
 * One request at a provider over HTTP: the body goes out, its events or its whole answer come back at the pace of the
 * client. Redirects are not followed, because they would carry prompts and the key where nobody allowed it. The key goes
 * into the one header and nowhere else.
 */
import http from 'node:http';
import https from 'node:https';
import type { Clock } from '../../../lib/clock.ts';
import { toCodedError } from '../../../lib/errors.ts';
import { ENDPOINT_PATHS, type Endpoint } from '../../../lib/openai.ts';
import { createSseSplitter } from '../../../lib/sse.ts';
import type { LaneUsage } from '../../../proto/codec.ts';
import { parseJson, readPlain } from '../../core/providers/answer.ts';
import { failureOf, faultOf, type ProviderFailure } from '../../core/providers/dialect.ts';
import { createStreamReader, type StreamNews } from '../../core/providers/stream.ts';

/** Where a provider is and how it is spoken to. */
export interface ProviderAddress {
  /** What SDKs call the base URL: it ends before `/chat/completions`. */
  readonly url: URL;
  readonly apiKey: string | undefined;
  readonly agent: http.Agent | https.Agent;
  readonly connectTimeoutMs: number;
  /** Longest silence, before the answer and in it. */
  readonly idleTimeoutMs: number;
}

export interface CallOrder {
  readonly endpoint: Endpoint;
  /** The client's name of the model. */
  readonly model: string;
  readonly stream: boolean;
  readonly wantUsage: boolean;
  readonly body: Uint8Array;
  readonly creditBytes: number;
}

/** Exactly one of onDone and onFailed comes last; nothing comes after cancel(). */
export interface CallReader {
  /** @param says there is more in it than a role */
  onEvents(sse: string, says: boolean): void;
  onBody(body: string): void;
  onDone(usage: LaneUsage | undefined): void;
  onFailed(failure: ProviderFailure): void;
}

export interface ProviderCall {
  grant(bytes: number): void;
  cancel(): void;
}

const MAX_EVENT_BYTES = 8 * 1024 * 1024;
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;
const MAX_ERROR_BYTES = 64 * 1024;
/** For the end of the body after the last event. */
const LINGER_MS = 1000;
const decoder = new TextDecoder();

/** Opens an agent for one provider; connections are kept, because a handshake costs more than a first token may. */
export function openAgent(url: URL, maxSockets: number): http.Agent | https.Agent {
  const options = { keepAlive: true, maxSockets, maxFreeSockets: Math.min(maxSockets, 16) };
  return url.protocol === 'https:' ? new https.Agent(options) : new http.Agent(options);
}

class HttpCall implements ProviderCall {
  readonly #clock: Clock;
  readonly #address: ProviderAddress;
  readonly #order: CallOrder;
  readonly #reader: CallReader;
  #request: http.ClientRequest | undefined;
  #response: http.IncomingMessage | undefined;
  #credit: number;
  #heardAtMs: number;
  #stopIdle: (() => void) | undefined;
  #stopConnect: (() => void) | undefined;
  #over = false;

  constructor(clock: Clock, address: ProviderAddress, order: CallOrder, reader: CallReader) {
    this.#clock = clock;
    this.#address = address;
    this.#order = order;
    this.#reader = reader;
    this.#credit = order.creditBytes;
    this.#heardAtMs = clock.monotonicMs();
    this.#watch();
    this.#send(true);
  }

  grant(bytes: number): void {
    this.#credit += bytes;
    if (this.#over || this.#credit <= 0 || this.#response?.isPaused() !== true) return;
    this.#heardAtMs = this.#clock.monotonicMs();
    this.#response.resume();
  }

  cancel(): void {
    if (!this.#over) this.#close();
  }

  #send(mayRepeat: boolean): void {
    const { url, apiKey, agent, connectTimeoutMs } = this.#address;
    const { body, stream, endpoint } = this.#order;
    const path = `${url.pathname.replace(/\/$/, '')}${ENDPOINT_PATHS[endpoint].slice('/v1'.length)}${url.search}`;
    const request = (url.protocol === 'https:' ? https : http).request(url, {
      method: 'POST',
      path,
      agent,
      headers: {
        'content-type': 'application/json',
        'content-length': body.length,
        accept: stream ? 'text/event-stream' : 'application/json',
        'accept-encoding': 'identity',
        ...(apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` }),
      },
    });
    this.#request = request;
    request.on('socket', (socket) => {
      if (!socket.connecting) return;
      const onTime = this.#clock.after(connectTimeoutMs, () =>
        this.#fail(faultOf('provider_unreachable', 'The connection to the provider took too long.')),
      );
      this.#stopConnect = onTime;
      socket.once(url.protocol === 'https:' ? 'secureConnect' : 'connect', onTime);
    });
    request.on('response', (response) => this.#answered(response));
    request.on('error', (cause) => {
      if (this.#over) return;
      // A kept connection may have been closed from the other side at the moment of use: then nothing was read of it.
      if (mayRepeat && request.reusedSocket && this.#response === undefined) this.#send(false);
      else this.#fail(faultOf('provider_unreachable', 'The connection to the provider was lost.', cause));
    });
    request.end(body);
  }

  #answered(response: http.IncomingMessage): void {
    if (this.#over) return;
    this.#response = response;
    this.#heard();
    const { stream } = this.#order;
    const isEvents = String(response.headers['content-type']).startsWith('text/event-stream');
    response.on('error', (cause) => this.#fail(faultOf('provider_failed', 'The provider cut its answer.', cause)));
    if (response.statusCode !== 200)
      this.#readWhole(response, MAX_ERROR_BYTES, (text) => this.#refused(response, text));
    else if (stream && isEvents) this.#readEvents(response);
    else this.#readWhole(response, MAX_ANSWER_BYTES, (text) => this.#readAnswer(text));
  }

  #refused({ statusCode = 502, headers }: http.IncomingMessage, text: string): void {
    this.#fail(failureOf(statusCode, parseJson(text), headers['retry-after']));
  }

  #readAnswer(text: string): void {
    const answer = readPlain(text, this.#order.model);
    if ('verdict' in answer) this.#fail(answer);
    else if (this.#order.stream) this.#fail(faultOf('provider_failed', 'The provider did not send a stream.'));
    else {
      this.#close(false);
      this.#reader.onBody(answer.body);
      this.#reader.onDone(answer.usage);
    }
  }

  #readWhole(response: http.IncomingMessage, maxBytes: number, read: (text: string) => void): void {
    const parts: Buffer[] = [];
    let bytes = 0;
    response.on('data', (part: Buffer) => {
      this.#heard();
      bytes += part.length;
      if (bytes <= maxBytes) parts.push(part);
      else this.#fail(faultOf('provider_failed', `The provider's answer exceeds ${maxBytes} bytes.`));
    });
    response.on('end', () => {
      if (!this.#over) read(decoder.decode(Buffer.concat(parts)));
    });
  }

  #readEvents(response: http.IncomingMessage): void {
    const splitter = createSseSplitter({ maxEventBytes: MAX_EVENT_BYTES });
    const reader = createStreamReader(this.#order.model, this.#order.wantUsage);
    response.on('data', (part: Buffer) => {
      this.#heard();
      try {
        for (const payload of splitter.push(part)) if (!this.#over) this.#take(reader.event(decoder.decode(payload)));
      } catch (thrown) {
        this.#fail(faultOf('provider_failed', toCodedError(thrown).message, thrown));
      }
      if (!this.#over && this.#credit <= 0) response.pause();
    });
    response.on('end', () => {
      if (!this.#over) this.#take(reader.end());
    });
  }

  #take(news: StreamNews): void {
    if (news.kind === 'failed') {
      this.#fail(news.failure);
      return;
    }
    if (news.kind === 'done') this.#close(false);
    if (news.sse !== '') {
      this.#credit -= Buffer.byteLength(news.sse);
      this.#reader.onEvents(news.sse, news.kind === 'done' || news.says);
    }
    if (news.kind === 'done') this.#reader.onDone(news.usage);
  }

  #heard(): void {
    this.#heardAtMs = this.#clock.monotonicMs();
  }

  /** Looks after the silence of the provider; the time in which we do not read is not its own. */
  #watch(): void {
    const { idleTimeoutMs } = this.#address;
    const silentMs = this.#response?.isPaused() === true ? 0 : this.#clock.monotonicMs() - this.#heardAtMs;
    if (silentMs >= idleTimeoutMs) {
      this.#fail(faultOf('provider_unreachable', 'The provider fell silent.'));
      return;
    }
    this.#stopIdle = this.#clock.after(idleTimeoutMs - Math.max(0, silentMs), () => this.#watch());
  }

  #fail(failure: ProviderFailure): void {
    if (this.#over) return;
    this.#close();
    this.#reader.onFailed(failure);
  }

  /** @param cut the connection is of no more use: what is on it still belongs to this answer */
  #close(cut = true): void {
    this.#over = true;
    this.#stopIdle?.();
    this.#stopConnect?.();
    if (cut) this.#request?.destroy();
    else this.#settle();
  }

  /** Lets the connection be used again once the provider has ended its answer; one that does not is closed. */
  #settle(): void {
    const response = this.#response;
    if (response === undefined || response.complete) return;
    const stop = this.#clock.after(LINGER_MS, () => this.#request?.destroy());
    response.once('close', stop);
    response.resume();
  }
}

export function callProvider(
  clock: Clock,
  address: ProviderAddress,
  order: CallOrder,
  reader: CallReader,
): ProviderCall {
  return new HttpCall(clock, address, order, reader);
}
