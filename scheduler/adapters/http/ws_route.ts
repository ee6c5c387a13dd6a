/**
 * The route /ws/chat: who may open a socket from where, and what a chat on it means to the fleet.
 */
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { CodedError, toCodedError } from '../../../lib/errors.ts';
import { newRequestId } from '../../../lib/ids.ts';
import { prepareRequest } from '../../../lib/request/prepare.ts';
import type { Identity } from '../../ports.ts';
import { recordEnd } from './active.ts';
import { rawErrorResponse } from '../../../lib/io/http_client_error.ts';
import type { Gate } from './gate.ts';
import { admit, soundTraceparent, type GenerateContext } from './generate_route.ts';
import type { HttpDoorDeps, HttpDoorOptions } from './options.ts';
import type { WsChat } from './ws_chat.ts';
import { openWsSession, type WsSession, type WsSessionHost } from './ws_session.ts';

/** Every socket of the door, so that it can be drained and closed. */
export interface WsChats {
  readonly sessions: Set<WsSession>;
  started(): void;
  ended(): void;
  drain(): void;
  idle(): Promise<void>;
  close(): void;
}

export function createWsChats(): WsChats {
  const sessions = new Set<WsSession>();
  let running = 0;
  let waiting: (() => void)[] = [];
  return {
    sessions,
    started() {
      running += 1;
    },
    ended() {
      running -= 1;
      if (running > 0) return;
      for (const resolve of waiting) resolve();
      waiting = [];
    },
    drain() {
      for (const session of [...sessions]) session.drain();
    },
    idle() {
      if (running === 0) return Promise.resolve();
      return new Promise((resolve) => waiting.push(resolve));
    },
    close() {
      for (const session of [...sessions]) session.terminate();
    },
  };
}

export interface WsContext {
  readonly generation: GenerateContext;
  readonly gate: Gate;
  readonly deps: HttpDoorDeps;
  readonly options: HttpDoorOptions;
  readonly chats: WsChats;
}

/** Sockets that have not said who they are, at a time: each may hold a message and a timer. */
const MAX_STRANGERS = 256;

/**
 * A browser names the page that opens the socket. Pages of this server itself and of the configured origins may; a
 * client that is no browser sends no origin.
 */
function checkOrigin(request: FastifyRequest, corsOrigins: readonly string[]): void {
  const { origin, host } = request.headers;
  if (origin === undefined || corsOrigins.includes(origin)) return;
  if (origin === `http://${host}` || origin === `https://${host}`) return;
  throw new CodedError('permission_denied', 'Pages of this origin may not open a socket here.');
}

function sessionHost(context: WsContext, request: FastifyRequest, closed: (session: WsSession) => void): WsSessionHost {
  const { generation, gate, deps, options, chats } = context;
  const gauge = deps.metrics.gauge('chat_requests_active');
  const traceparent = soundTraceparent(request.headers['traceparent']);
  return {
    clock: deps.clock,
    windowBytes: options.clientWindowBytes,
    maxRequests: options.wsMaxRequests,
    maxMessageBytes: options.wsMaxMessageBytes,
    maxBodyDepth: options.maxJsonDepth,
    authTimeoutMs: options.wsAuthTimeoutMs,
    idleTimeoutMs: options.wsIdleTimeoutMs,
    isDraining: generation.isDraining,
    authenticate: (key) => gate.authenticate(`Bearer ${key}`, request.ip),
    start(identity: Identity, body, make) {
      const prepared = prepareRequest({ bytes: body, endpoint: 'chat', limits: generation.limits });
      const id = newRequestId(deps.random);
      const admitted = admit({ id, identity, door: 'ws', endpoint: 'chat', traceparent }, prepared);
      const chat = make(id, prepared.model);
      try {
        chat.attach(generation.generator.start(admitted, chat, options.clientWindowBytes));
      } catch (thrown) {
        chat.onError(toCodedError(thrown));
      }
    },
    chatStarted() {
      chats.started();
      gauge.inc({ door: 'ws' });
    },
    chatEnded(chat: WsChat, model, end) {
      chats.ended();
      gauge.dec({ door: 'ws' });
      const { startedAtMs, firstTokenAtMs } = chat;
      const times = { startedAtMs, firstTokenAtMs, endedAtMs: deps.clock.monotonicMs() };
      recordEnd(deps.metrics, { model, door: 'ws', ...times }, end);
    },
    closed,
  };
}

/** The handshake is answered by `ws`, past fastify: its answers get the request id, and its refusals a code, here. */
function answerHandshakes(app: FastifyInstance): (request: FastifyRequest) => void {
  const ids = new WeakMap<IncomingMessage, string>();
  app.websocketServer.on('headers', (headers: string[], request: IncomingMessage) => {
    headers.push(`x-request-id: ${ids.get(request)}`);
  });
  app.websocketServer.on('wsClientError', (refusal: Error, socket: Duplex, request: IncomingMessage) => {
    const error = new CodedError('malformed_request', `The WebSocket handshake is not valid: ${refusal.message}.`);
    socket.end(rawErrorResponse(error, ids.get(request) as string));
  });
  return (request) => void ids.set(request.raw, request.id);
}

export function registerWsChat(app: FastifyInstance, context: WsContext): void {
  const { chats, options } = context;
  const remember = answerHandshakes(app);
  let strangers = 0;
  app.route({
    method: 'GET',
    url: '/ws/chat',
    schema: { hide: true },
    preValidation: (request, _reply, done) => {
      remember(request);
      checkOrigin(request, options.corsOrigins);
      if (context.generation.isDraining()) throw new CodedError('draining', 'This scheduler is stopping.');
      if (request.identity === undefined && strangers >= MAX_STRANGERS) {
        throw new CodedError('overloaded', 'Too many sockets without a key are open.', { retryAfterMs: 1000 });
      }
      done();
    },
    handler: () => {
      throw new CodedError('malformed_request', 'This path takes only WebSocket upgrades.');
    },
    wsHandler: (socket, request) => {
      const isStranger = request.identity === undefined;
      if (isStranger) strangers += 1;
      const host = sessionHost(context, request, (session) => {
        chats.sessions.delete(session);
        if (isStranger) strangers -= 1;
      });
      chats.sessions.add(openWsSession(socket, request.identity, host));
    },
  });
}
