/**
 * Builds the fastify application of the HTTP door: plug-ins, hooks, error handling, routes. It does not listen; the door
 * does, and tests may look at the application without a socket.
 */
import type { IncomingMessage } from 'node:http';
import cors from '@fastify/cors';
import helmet from '@fastify/helmet';
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import websocket from '@fastify/websocket';
import fastify, { type FastifyError, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { CodedError, toCodedError } from '../../../lib/errors.ts';
import { newRequestId, REQUEST_ID_PATTERN } from '../../../lib/ids.ts';
import { packageVersion } from '../../../lib/io/package_root.ts';
import { DEGRADED_HEADER } from '../../core/providers/modes.ts';
import { methodsOf } from '../../core/access/doors.ts';
import type { ActiveAnswers } from './active.ts';
import { withKinds } from './admin_openapi.ts';
import { registerAdminRoutes } from './admin_routes.ts';
import { errorHeaders, errorJson } from '../../../lib/http_errors.ts';
import { answerClientError } from '../../../lib/io/http_client_error.ts';
import { checkForm, takeUnusual } from './framing.ts';
import { createGate, installGate, WS_PROTOCOL } from './gate.ts';
import { generateHandler, type GenerateContext } from './generate_route.ts';
import { SCHEMAS } from './openapi.ts';
import type { HttpDoorDeps, HttpDoorOptions } from './options.ts';
import { registerReadRoutes } from './read_routes.ts';
import { registerUsageRoute } from './usage_route.ts';
import { registerWsChat, type WsChats } from './ws_route.ts';

export interface AppContext {
  readonly deps: HttpDoorDeps;
  readonly options: HttpDoorOptions;
  readonly active: ActiveAnswers;
  readonly wsChats: WsChats;
  isDraining(): boolean;
}

/** Bodies up to this many times the limit are read to their end, so that the client gets to see the 413. */
const DISCARD_FACTOR = 4;

/** Time for a WebSocket client to answer a close. */
const MAX_CLOSE_MS = 2_000;

/** What fastify reports, in the words of the registry. */
function fromFastify(error: FastifyError | CodedError, maxBodyBytes: number): CodedError {
  if (error instanceof CodedError) return error;
  if (error.code === 'FST_ERR_CTP_BODY_TOO_LARGE') {
    return new CodedError('body_too_large', `The body exceeds ${maxBodyBytes} bytes.`);
  }
  if (error.code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE') {
    return new CodedError('unsupported_media_type', 'The content type must be application/json.');
  }
  const status = error.statusCode ?? 500;
  if (status >= 400 && status < 500) {
    return new CodedError('malformed_request', 'The request cannot be understood.', { cause: error });
  }
  return toCodedError(error);
}

function sendCoded(request: FastifyRequest, reply: FastifyReply, error: CodedError, maxBodyBytes: number): void {
  if (!request.raw.complete) {
    const announced = Number(request.headers['content-length'] ?? Infinity);
    // Node discards the rest of a body after the answer; without a bound on it, closing is the only end.
    if (announced > maxBodyBytes * DISCARD_FACTOR) reply.header('connection', 'close');
    else if (error.code === 'body_too_large') {
      // Also for a client that asked to close: closing while it still sends would reset what it is to read.
      reply.removeHeader('connection');
      reply.raw.shouldKeepAlive = true;
    }
  }
  reply.code(error.spec.http).headers(errorHeaders(error)).send(errorJson(error));
}

function handleErrors(app: FastifyInstance, context: AppContext): void {
  const { maxBodyBytes } = context.options;
  const { logger } = context.deps;
  app.setErrorHandler((thrown: FastifyError, request, reply) => {
    const error = fromFastify(thrown, maxBodyBytes);
    if (error.spec.http >= 500 && error.code !== 'draining') {
      logger.error({ requestId: request.id, code: error.code, err: error.cause ?? error }, 'request failed');
    } else {
      logger.debug({ requestId: request.id, code: error.code }, 'request refused');
    }
    sendCoded(request, reply, error, maxBodyBytes);
  });
  app.setNotFoundHandler((request, reply) => {
    const [path = ''] = request.url.split('?', 1);
    const methods = methodsOf('http', path);
    // A path that the docs' file server does not know is under a listed prefix, and takes the method all the same.
    if (methods.length === 0 || methods.includes(request.method)) {
      sendCoded(request, reply, new CodedError('route_not_found', 'No route has this path.'), maxBodyBytes);
      return;
    }
    const allow = [...methods, ...(methods.includes('GET') ? ['HEAD'] : []), 'OPTIONS'].join(', ');
    reply.header('allow', allow);
    if (request.method === 'OPTIONS') reply.code(204).send();
    else sendCoded(request, reply, new CodedError('method_not_allowed', `This path takes ${allow}.`), maxBodyBytes);
  });
}

/** JSON has no charset parameter; clients that send one mean the encoding of the body. */
const CHARSET = /;\s*charset\s*=\s*"?([^\s";]*)/i;

/** Only JSON comes in, as bytes: it is read once, by core/request. */
function takeJsonAsBytes(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    const encoding = request.headers['content-encoding'];
    const charset = CHARSET.exec(request.headers['content-type'] ?? '')?.[1];
    if (encoding !== undefined && encoding !== 'identity') {
      done(new CodedError('unsupported_media_type', 'Compressed bodies are not accepted.'));
    } else if (charset !== undefined && charset.toLowerCase() !== 'utf-8') {
      done(new CodedError('unsupported_media_type', 'The only charset is utf-8.'));
    } else {
      done(null, body);
    }
  });
}

function countRequests(app: FastifyInstance, context: AppContext): void {
  const { metrics, clock } = context.deps;
  const total = metrics.counter('http_requests_total');
  const duration = metrics.histogram('http_request_duration_seconds');
  app.addHook('onRequest', (request, reply, done) => {
    const startedAtMs = clock.monotonicMs();
    reply.header('x-request-id', request.id);
    reply.raw.once('close', () => {
      const route = request.routeOptions.url ?? 'none';
      const { method } = request;
      const isKnown = method === 'GET' || method === 'POST' || method === 'HEAD' || method === 'OPTIONS';
      const label = isKnown ? method : 'other';
      const status = reply.raw.headersSent ? String(reply.raw.statusCode) : 'none';
      total.inc({ route, method: label, status });
      duration.observe({ route, method: label }, (clock.monotonicMs() - startedAtMs) / 1000);
    });
    done();
  });
}

/**
 * The headers that helmet sets with our options. They are the same for every answer, so helmet is asked once, on an
 * application that never listens: per request it would cost 40 us, a twelfth of all that a request costs.
 */
async function securityHeaders(options: HttpDoorOptions): Promise<Readonly<Record<string, string>>> {
  const sample = fastify();
  await sample.register(helmet, {
    contentSecurityPolicy: { directives: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] }, useDefaults: false },
    crossOriginResourcePolicy: { policy: options.corsOrigins.length === 0 ? 'same-origin' : 'cross-origin' },
  });
  let headers: Record<string, string> = {};
  sample.get('/', (_request, reply) => {
    headers = reply.raw.getHeaders() as Record<string, string>;
    return '';
  });
  await sample.inject('/');
  await sample.close();
  return { ...headers };
}

/** Before everything that may answer: refusals carry these headers too. */
async function registerHeaders(app: FastifyInstance, options: HttpDoorOptions): Promise<void> {
  const security = await securityHeaders(options);
  app.addHook('onRequest', (_request, reply, done) => {
    reply.headers(security);
    done();
  });
  if (options.corsOrigins.length > 0) {
    await app.register(cors, {
      origin: [...options.corsOrigins],
      methods: ['GET', 'POST'],
      allowedHeaders: ['authorization', 'content-type', 'x-request-id', 'traceparent'],
      exposedHeaders: ['x-request-id', 'x-should-retry', 'retry-after', 'retry-after-ms', DEGRADED_HEADER],
      credentials: false,
      maxAge: 600,
      hideOptionsRoute: true,
    });
  }
}

/** Before the gate, which asks whether a request is an upgrade. */
async function registerWebSockets(app: FastifyInstance, options: HttpDoorOptions): Promise<void> {
  const limits = {
    maxPayload: options.wsMaxMessageBytes,
    perMessageDeflate: false,
    // A client that was told to go and does not answer is cut; the types of `ws` do not know this option yet.
    closeTimeout: Math.min(MAX_CLOSE_MS, options.wsAuthTimeoutMs),
  };
  await app.register(websocket, {
    options: { ...limits, handleProtocols: (offered) => (offered.has(WS_PROTOCOL) ? WS_PROTOCOL : false) },
  });
}

async function registerDocs(app: FastifyInstance, kinds: HttpDoorDeps['resourceSchemas']): Promise<void> {
  let shapes: Readonly<Record<string, object>> = {};
  await app.register(swagger, {
    transform: ({ schema, url }) => ({ schema: withKinds(schema, url, shapes), url }),
    openapi: {
      info: {
        title: 'SOPHIA Fleet',
        description: 'OpenAI-compatible inference over a fleet.',
        version: packageVersion(),
      },
      components: { securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } } },
    },
  });
  await app.register(async (docs) => {
    // The document is made when it is asked for the first time, and only then needs the shapes of resources.
    docs.addHook('onRequest', async () => {
      shapes = (await kinds?.()) ?? {};
    });
    await docs.register(swaggerUi, { routePrefix: '/docs', staticCSP: true });
  });
}

function createFastify(context: AppContext): FastifyInstance {
  const { options, deps } = context;
  const newId = (): string => newRequestId(deps.random);
  const refusals = deps.metrics.counter('http_requests_total');
  const refused = (coded: CodedError, requestId: string): void => {
    refusals.inc({ route: 'none', method: 'other', status: String(coded.spec.http) });
    deps.logger.debug({ requestId, code: coded.code }, 'malformed request refused');
  };
  const app = fastify({
    logger: false,
    bodyLimit: options.maxBodyBytes,
    trustProxy: options.trustedProxies.length === 0 ? false : [...options.trustedProxies],
    requestIdHeader: false,
    genReqId: (request) => chooseId(request, newId),
    keepAliveTimeout: options.keepAliveTimeoutMs,
    requestTimeout: options.requestTimeoutMs,
    forceCloseConnections: false,
    return503OnClosing: false,
    http: {
      maxHeaderSize: options.maxHeaderBytes,
      headersTimeout: options.headersTimeoutMs,
      connectionsCheckingInterval: Math.max(100, Math.min(5000, options.headersTimeoutMs / 2)),
      noDelay: true,
      insecureHTTPParser: false,
      // checkForm does it, with an answer of ours.
      requireHostHeader: false,
    },
    clientErrorHandler: (error, socket) => answerClientError(error, socket, newId, refused),
    frameworkErrors: (error, request, reply) => {
      // The path could not be read, so no hook has run.
      reply.headers({ 'x-request-id': request.id, 'x-content-type-options': 'nosniff' });
      sendCoded(request, reply, fromFastify(error, options.maxBodyBytes), options.maxBodyBytes);
    },
  });
  takeUnusual(app.server, newId, refused);
  return app;
}

/** The client's id when it is safe in headers, logs and paths; else a new one. */
function chooseId(request: IncomingMessage, newId: () => string): string {
  const given = request.headers['x-request-id'];
  return typeof given === 'string' && REQUEST_ID_PATTERN.test(given) ? given : newId();
}

/** Builds the application, ready to listen; `onRoute` is told of every route that exists in the end. */
export async function buildApp(
  context: AppContext,
  onRoute?: (method: string, url: string) => void,
): Promise<FastifyInstance> {
  const { deps, options } = context;
  const app = createFastify(context);
  // Schemas only describe; a compiled validator would read bodies a second time.
  app.setValidatorCompiler(() => () => true);
  app.setSerializerCompiler(() => (value) => JSON.stringify(value));
  takeJsonAsBytes(app);
  countRequests(app, context);
  await registerHeaders(app, options);
  handleErrors(app, context);
  app.addHook('onRequest', (request, reply, done) => {
    try {
      checkForm(request.raw);
      done();
    } catch (thrown) {
      reply.header('connection', 'close');
      done(thrown as CodedError);
    }
  });
  await registerWebSockets(app, options);
  const gate = createGate(deps.authenticator, deps.metrics);
  installGate(app, gate, onRoute);
  await registerDocs(app, deps.resourceSchemas);
  const generation: GenerateContext = {
    generator: deps.generator,
    active: context.active,
    limits: {
      maxBodyBytes: options.maxBodyBytes,
      maxDepth: options.maxJsonDepth,
      allowedEngineFields: new Set(options.allowedEngineFields),
      allowRemoteMedia: options.allowRemoteMedia,
    },
    windowBytes: options.clientWindowBytes,
    nowMs: () => deps.clock.monotonicMs(),
    isDraining: context.isDraining,
  };
  app.post('/v1/chat/completions', { schema: SCHEMAS.chat }, generateHandler(generation, 'chat'));
  app.post('/v1/completions', { schema: SCHEMAS.completions }, generateHandler(generation, 'completions'));
  app.post('/v1/embeddings', { schema: SCHEMAS.embeddings }, generateHandler(generation, 'embeddings'));
  registerReadRoutes(app, { fleet: deps.fleet, metrics: deps.metrics, isDraining: context.isDraining });
  registerAdminRoutes(app, {
    resources: deps.resources,
    maxJsonDepth: options.maxJsonDepth,
    follow: { pingIntervalMs: options.pingIntervalMs, stallTimeoutMs: options.stallTimeoutMs },
    isDraining: context.isDraining,
  });
  registerUsageRoute(app, deps.usage);
  registerWsChat(app, { generation, gate, deps, options, chats: context.wsChats });
  await app.ready();
  return app;
}
