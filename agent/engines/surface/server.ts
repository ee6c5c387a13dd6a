/**
 * The HTTP server that looks like vLLM 0.32, over any backend. Built straight on node:http, because the simulated
 * engine is the load generator of the benchmarks and a framework's cost per request and per chunk would drown the
 * figures. Routes are a table; a generation is handed to generation.ts once its body is checked.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { ApiError, DRAINING_MESSAGE, ENGINE_DEAD_MESSAGE, errorJson } from './api_error.ts';
import type { Backend } from './backend.ts';
import { createGenerations, type Generations } from './generation.ts';
import { readJson, sendJson, sendText } from './http_io.ts';
import { listen, type Listen } from './listen.ts';
import { createMetrics } from './metrics.ts';
import { planChat, planCompletion, planDetokenize, planEmbedding, planTokenize, type PlanLimits } from './requests.ts';

/** One generation request, as given to `intercept` before it is looked at. */
export interface Exchange {
  readonly path: string;
  /** The id that the backend will be given as `GenerateRequest.requestId` (choice 0 of a request). */
  readonly requestId: string;
  readonly body: Record<string, unknown>;
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
}

export interface SurfaceOptions {
  readonly backend: Backend;
  readonly servedModelName: string;
  readonly listen: Listen;
  /** Path or name of the model, told as `root` in /v1/models. Default: the served name. */
  readonly model?: string;
  /** What GET /version says. */
  readonly version?: string;
  /** `owned_by` in /v1/models. */
  readonly ownedBy?: string;
  /** More members for the entry in /v1/models, such as `simulated: true`. */
  readonly modelFields?: Readonly<Record<string, unknown>>;
  /** Idle keep-alive of a connection; vLLM's own is 5 s. */
  readonly keepAliveTimeoutMs?: number;
  readonly maxBodyBytes?: number;
  /** n times prompts of one request; 1 refuses n > 1 and batches with a 400. */
  readonly maxChoices?: number;
  /** Extra routes, asked before the surface's own; true means that the request was taken. */
  readonly route?: (req: IncomingMessage, res: ServerResponse, url: URL) => boolean | Promise<boolean>;
  /** Called for each generation request after its body was read; true means that it was taken (fault injection). */
  readonly intercept?: (exchange: Exchange) => boolean;
  /** LoRA adapters may be loaded and unloaded at run time; each is served under a name of its own. */
  readonly runtimeLora?: boolean;
}

export interface Surface {
  /** `http://host:port` or the socket's path, as it is bound. */
  readonly address: string;
  readonly port: number | undefined;
  /** Generation requests that are not yet answered in full. */
  inFlight(): number;
  /** From now on new generation requests get 500 `cannot schedule new futures after shutdown`, as vLLM drains. */
  beginDrain(): void;
  /** Resolves when nothing is in flight. */
  drained(): Promise<void>;
  /** Ends every generation with finish_reason "abort" ('abort') or with an error chunk ('error'). */
  abortAll(how: 'abort' | 'error'): void;
  /** Stops listening; open connections live on. */
  closeListener(): void;
  /** Stops listening and drops what is still open. */
  close(): Promise<void>;
}

const DEFAULT_MAX_BODY_BYTES = 32 * 1024 * 1024;
const MAX_CONNECTIONS = 16_384;
const MAX_LOGPROBS = 20;
const MAX_ADAPTERS = 64;

type Handler = (req: IncomingMessage, res: ServerResponse) => void | Promise<void>;
type Routes = Readonly<Record<string, Readonly<Record<string, Handler>>>>;

interface Context {
  readonly options: SurfaceOptions;
  readonly generations: Generations;
  readonly adapters: Map<string, string>;
  readonly createdS: number;
  readonly maxBodyBytes: number;
  draining: boolean;
}

/** Starts the server and resolves once it listens. Rejects with the listen error (EADDRINUSE and its like). */
export async function startSurface(options: SurfaceOptions): Promise<Surface> {
  const metrics = createMetrics(options.servedModelName);
  const context: Context = {
    options,
    generations: createGenerations(options.backend, metrics),
    adapters: new Map(),
    createdS: Math.floor(Date.now() / 1000),
    maxBodyBytes: options.maxBodyBytes ?? DEFAULT_MAX_BODY_BYTES,
    draining: false,
  };
  const routes = routeTable(context, () => metrics.render(options.backend.load()));
  const server = createServer(
    { keepAliveTimeout: options.keepAliveTimeoutMs ?? 5_000, requestTimeout: 60_000 },
    (req, res) => {
      void dispatch(context, routes, req, res);
    },
  );
  server.on('clientError', (_error: Error, socket: Socket) => {
    if (socket.writable)
      socket.end(
        'HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain\r\n\r\nInvalid HTTP request received.',
      );
    else socket.destroy();
  });
  server.maxConnections = MAX_CONNECTIONS;
  await listen(server, options.listen);
  return surfaceOf(server, context);
}

function surfaceOf(server: Server, context: Context): Surface {
  const bound = server.address();
  const info: AddressInfo | undefined = typeof bound === 'object' && bound !== null ? bound : undefined;
  const host = info?.family === 'IPv6' ? `[${info.address}]` : info?.address;
  return {
    address: typeof bound === 'string' ? bound : `http://${host}:${info?.port}`,
    port: info?.port,
    inFlight: () => context.generations.inFlight(),
    beginDrain: () => {
      context.draining = true;
    },
    drained: () => context.generations.drained(),
    abortAll: (how) => context.generations.endAll(how),
    closeListener: () => {
      server.close();
      server.closeIdleConnections();
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function dispatch(context: Context, routes: Routes, req: IncomingMessage, res: ServerResponse): Promise<void> {
  try {
    const url = new URL(req.url ?? '/', 'http://engine');
    const extra = context.options.route?.(req, res, url);
    if (extra !== undefined && (await extra)) return;
    const byMethod = routes[url.pathname];
    if (byMethod === undefined) {
      sendJson(res, 404, '{"detail":"Not Found"}');
      return;
    }
    const handler = byMethod[req.method ?? ''];
    if (handler === undefined) {
      sendJson(res, 405, '{"detail":"Method Not Allowed"}');
      return;
    }
    await handler(req, res);
  } catch (error) {
    if (error instanceof ApiError) sendJson(res, error.status, errorJson(error.status, error.message, error.param));
    else if (!res.destroyed) sendJson(res, 500, errorJson(500, error instanceof Error ? error.message : String(error)));
    if (!req.complete) res.once('finish', () => req.destroy());
  }
}

function routeTable(context: Context, renderMetrics: () => string): Routes {
  const { options, generations } = context;
  const { backend } = options;
  const health: Handler = (_req, res) => sendText(res, backend.healthy() ? 200 : 503, 'text/plain', '');
  const body = (req: IncomingMessage) => readJson(req, context.maxBodyBytes);
  const generate =
    (kind: 'chat' | 'completion'): Handler =>
    (req, res) =>
      startGeneration(context, kind, req, res);
  return {
    '/health': { GET: health },
    '/ping': { GET: health, POST: health },
    '/version': { GET: (_req, res) => sendJson(res, 200, JSON.stringify({ version: options.version ?? '0.32.0' })) },
    '/load': { GET: (_req, res) => sendJson(res, 200, JSON.stringify({ server_load: generations.inFlight() })) },
    '/metrics': { GET: (_req, res) => sendText(res, 200, 'text/plain; version=0.0.4; charset=utf-8', renderMetrics()) },
    '/v1/models': {
      GET: (_req, res) => sendJson(res, 200, JSON.stringify({ object: 'list', data: modelEntries(context) })),
    },
    '/v1/chat/completions': { POST: generate('chat') },
    '/v1/completions': { POST: generate('completion') },
    '/v1/embeddings': { POST: async (req, res) => sendJson(res, 200, await embeddings(context, await body(req))) },
    '/tokenize': {
      POST: async (req, res) => {
        const ids = planTokenize(knownModel(context, await body(req)), backend);
        sendJson(
          res,
          200,
          JSON.stringify({ count: ids.length, max_model_len: backend.contextTokens, tokens: ids, token_strs: null }),
        );
      },
    },
    '/detokenize': {
      POST: async (req, res) => {
        const ids = planDetokenize(knownModel(context, await body(req)));
        const size = backend.vocabularySize ?? Number.POSITIVE_INFINITY;
        const bad = ids.find((id) => id >= size);
        if (bad !== undefined) throw new ApiError(400, `Token id ${bad} is out of vocabulary`, 'tokens');
        sendJson(res, 200, JSON.stringify({ prompt: Buffer.from(backend.detokenize(ids)).toString('utf8') }));
      },
    },
    ...(options.runtimeLora === true ? loraRoutes(context) : {}),
  };
}

/** Reads, checks and starts one generation. A client that leaves before the answer is complete aborts it, whatever the phase. */
async function startGeneration(
  context: Context,
  kind: 'chat' | 'completion',
  req: IncomingMessage,
  res: ServerResponse,
): Promise<void> {
  const { options, generations } = context;
  const body = knownModel(context, await readJson(req, context.maxBodyBytes));
  const requestId = generations.newId(kind, req.headers['x-request-id']);
  const path = kind === 'chat' ? '/v1/chat/completions' : '/v1/completions';
  if (options.intercept?.({ path, requestId, body, req, res }) === true) return;
  if (!options.backend.healthy()) throw new ApiError(500, ENGINE_DEAD_MESSAGE);
  if (context.draining) throw new ApiError(500, DRAINING_MESSAGE);
  const limits: PlanLimits = {
    backend: options.backend,
    maxChoices: options.maxChoices ?? 128,
    maxLogprobs: MAX_LOGPROBS,
  };
  const plan = kind === 'chat' ? planChat(body, limits) : planCompletion(body, limits);
  const model = typeof body['model'] === 'string' && body['model'] !== '' ? body['model'] : options.servedModelName;
  generations.run({ plan, id: requestId, model, req, res });
}

/** Refuses a model that is not served; an absent or empty name means the served one, as in vLLM. */
function knownModel(context: Context, body: Record<string, unknown>): Record<string, unknown> {
  const name = body['model'];
  if (name === undefined || name === null || name === '') return body;
  if (name === context.options.servedModelName || (typeof name === 'string' && context.adapters.has(name))) return body;
  if (typeof name !== 'string')
    throw new ApiError(400, "[{'loc': ('body', 'model'), 'msg': 'Input should be a valid string'}]", 'model');
  throw new ApiError(404, `The model \`${name}\` does not exist.`, 'model');
}

function modelEntries(context: Context): object[] {
  const { options } = context;
  const base = { object: 'model', created: context.createdS, owned_by: options.ownedBy ?? 'vllm' };
  const entries: object[] = [
    {
      id: options.servedModelName,
      ...base,
      root: options.model ?? options.servedModelName,
      parent: null,
      max_model_len: options.backend.contextTokens,
      permission: [],
      ...options.modelFields,
    },
  ];
  for (const [name, path] of context.adapters) {
    entries.push({
      id: name,
      ...base,
      root: path,
      parent: options.servedModelName,
      max_model_len: null,
      permission: [],
      ...options.modelFields,
    });
  }
  return entries;
}

async function embeddings(context: Context, body: Record<string, unknown>): Promise<string> {
  const { backend, servedModelName } = context.options;
  knownModel(context, body);
  if (backend.embed === undefined) throw new ApiError(400, 'The model does not support Embeddings API');
  if (!backend.healthy()) throw new ApiError(500, ENGINE_DEAD_MESSAGE);
  if (context.draining) throw new ApiError(500, DRAINING_MESSAGE);
  const { inputs, base64 } = planEmbedding(body, backend);
  const vectors = await backend.embed(inputs);
  const tokens = inputs.reduce((sum, ids) => sum + ids.length, 0);
  const data = vectors.map((vector, index) => ({
    index,
    object: 'embedding',
    embedding: base64
      ? Buffer.from(vector.buffer, vector.byteOffset, vector.byteLength).toString('base64')
      : [...vector],
  }));
  return JSON.stringify({
    id: context.generations.newId('embedding', undefined),
    object: 'list',
    created: Math.floor(Date.now() / 1000),
    model: typeof body['model'] === 'string' && body['model'] !== '' ? body['model'] : servedModelName,
    data,
    usage: { prompt_tokens: tokens, total_tokens: tokens, completion_tokens: 0, prompt_tokens_details: null },
  });
}

function loraRoutes(context: Context): Routes {
  const field = (body: Record<string, unknown>, name: string): string => {
    const value = body[name];
    if (typeof value !== 'string' || value === '')
      throw new ApiError(400, `[{'loc': ('body', '${name}'), 'msg': 'Field required'}]`, name);
    return value;
  };
  return {
    '/v1/load_lora_adapter': {
      POST: async (req, res) => {
        const body = await readJson(req, context.maxBodyBytes);
        const name = field(body, 'lora_name');
        const path = field(body, 'lora_path');
        if (context.adapters.has(name))
          throw new ApiError(400, `The lora adapter '${name}' has already been loaded.`, 'lora_name');
        if (context.adapters.size >= MAX_ADAPTERS)
          throw new ApiError(400, `No more than ${MAX_ADAPTERS} adapters can be loaded.`);
        context.adapters.set(name, path);
        sendText(res, 200, 'text/plain; charset=utf-8', `Success: LoRA adapter '${name}' added successfully.`);
      },
    },
    '/v1/unload_lora_adapter': {
      POST: async (req, res) => {
        const name = field(await readJson(req, context.maxBodyBytes), 'lora_name');
        if (!context.adapters.delete(name))
          throw new ApiError(404, `The lora adapter '${name}' cannot be found.`, 'lora_name');
        sendText(res, 200, 'text/plain; charset=utf-8', `Success: LoRA adapter '${name}' removed successfully.`);
      },
    },
  };
}
