/**
 * Failure injection. A fault is armed by a flag or at run time, strikes requests (or the process) with a chance drawn
 * from its own seed, after so many tokens, at most so many times. Every kind repeats something an engine was seen to do.
 */
import type { Socket } from 'node:net';
import { z } from 'zod';
import { ApiError, ENGINE_DEAD_MESSAGE, errorJson } from '../surface/api_error.ts';
import type { Backend, GenerateSink } from '../surface/backend.ts';
import { sendJson } from '../surface/http_io.ts';
import type { Exchange } from '../surface/server.ts';
import { UsageError } from './config.ts';
import type { CoreClient } from './core_client.ts';

const MAX_FAULTS = 64;
const MAX_TRACKED_SOCKETS = 65_536;
const ENDLESS_BYTES = 8 * 1024 * 1024;

const KINDS = ['crash', 'hang', 'error', 'abort', 'refuse', 'garbage', 'drop', 'stall'] as const;

const faultSchema = z.strictObject({
  kind: z.enum(KINDS),
  /** Which process a crash or hang strikes. */
  target: z.enum(['api', 'core', 'worker']).default('core'),
  signal: z.enum(['SIGKILL', 'SIGSEGV', 'SIGABRT']).optional(),
  code: z.coerce.number().int().min(0).max(255).default(1),
  status: z.coerce.number().int().min(400).max(599).default(503),
  shape: z.enum(['not-http', 'bad-chunk', 'bad-json', 'endless-header', 'half-frame']).default('bad-json'),
  /** Tokens of the request that come through before it strikes; absent: before the answer begins. */
  after_tokens: z.coerce.number().int().min(0).max(1_000_000).optional(),
  duration_ms: z.coerce.number().int().min(1).max(86_400_000).default(3_600_000),
  probability: z.coerce.number().min(0).max(1).default(1),
  seed: z.coerce.number().int().default(0),
  /** How often it may strike; 0 means without limit. */
  count: z.coerce.number().int().min(0).max(1_000_000).default(1),
  /** A crash or hang that does not wait for a request. */
  now: z.union([z.boolean(), z.enum(['true', 'false']).transform((word) => word === 'true')]).default(false),
});

type FaultSpec = z.infer<typeof faultSchema>;

interface Fault {
  readonly spec: FaultSpec;
  struck: number;
  draw: number;
}

export interface Faults {
  add(body: unknown): { armed: FaultSpec };
  list(): (FaultSpec & { struck: number })[];
  clear(): void;
  /** Strikes before the answer begins; true when the request was taken. */
  intercept(exchange: Exchange): boolean;
  /** A backend whose generations are struck after their tokens. */
  wrap(backend: Backend): Backend;
}

/** Arms the faults given as flags: `kind=error,after_tokens=3,probability=0.1,seed=7`. UsageError on a bad one. */
export function createFaults(options: { specs: readonly string[]; core: CoreClient }): Faults {
  const armed: Fault[] = [];
  const sockets = new Map<string, Socket>();
  const arm = (body: unknown): FaultSpec => {
    const parsed = faultSchema.safeParse(body);
    if (!parsed.success) {
      const issue = parsed.error.issues[0];
      throw new ApiError(400, `fault ${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'is not valid'}`);
    }
    if (armed.length >= MAX_FAULTS) throw new ApiError(400, `no more than ${MAX_FAULTS} faults can be armed`);
    if (parsed.data.now) strikeProcess(parsed.data, options.core);
    else armed.push({ spec: parsed.data, struck: 0, draw: parsed.data.seed | 0 });
    return parsed.data;
  };
  for (const text of options.specs) {
    try {
      arm(Object.fromEntries(text.split(',').map((pair) => pair.split('=', 2) as [string, string])));
    } catch (cause) {
      throw new UsageError(`argument --sim-fault: ${cause instanceof Error ? cause.message : String(cause)}`);
    }
  }
  return {
    add: (body) => ({ armed: arm(body) }),
    list: () => armed.map((fault) => ({ ...fault.spec, struck: fault.struck })),
    clear: () => {
      armed.length = 0;
    },
    intercept(exchange) {
      const { socket } = exchange.req;
      if (armed.length > 0 && sockets.size < MAX_TRACKED_SOCKETS) {
        sockets.set(exchange.requestId, socket);
        exchange.res.once('close', () => sockets.delete(exchange.requestId));
      }
      const fault = armed.find(
        (item) =>
          item.spec.after_tokens === undefined &&
          item.spec.kind !== 'error' &&
          item.spec.kind !== 'abort' &&
          strikes(item),
      );
      if (fault === undefined) return false;
      return strikeEarly(fault.spec, exchange, options.core);
    },
    wrap: (backend) => ({
      ...backend,
      generate(request, sink) {
        const fault = armed.find(
          (item) =>
            (item.spec.after_tokens !== undefined || item.spec.kind === 'error' || item.spec.kind === 'abort') &&
            strikes(item),
        );
        if (fault === undefined) return backend.generate(request, sink);
        return struckGeneration(
          { spec: fault.spec, backend, core: options.core, socket: sockets.get(request.requestId) },
          request,
          sink,
        );
      },
    }),
  };
}

/** One draw per request and fault, from the fault's own generator, so that a run can be repeated. */
function strikes(fault: Fault): boolean {
  if (fault.spec.count > 0 && fault.struck >= fault.spec.count) return false;
  fault.draw = (Math.imul(fault.draw, 1_664_525) + 1_013_904_223) | 0;
  if ((fault.draw >>> 0) / 0x1_0000_0000 >= fault.spec.probability) return false;
  fault.struck += 1;
  return true;
}

function strikeProcess(spec: FaultSpec, core: CoreClient): void {
  if (spec.kind === 'hang' && spec.target === 'core') core.control({ op: 'hang', ms: spec.duration_ms });
  else if (spec.kind === 'crash' && spec.target !== 'api') {
    core.control({ op: 'crash', signal: spec.signal ?? null, code: spec.code, worker: spec.target === 'worker' });
  } else if (spec.kind === 'crash') {
    // After the answer that armed it has left.
    setTimeout(
      () => (spec.signal === undefined ? process.exit(spec.code) : process.kill(process.pid, spec.signal)),
      20,
    );
  } else throw new ApiError(400, `a fault of kind ${spec.kind} on ${spec.target} cannot strike without a request`);
}

function strikeEarly(spec: FaultSpec, exchange: Exchange, core: CoreClient): boolean {
  const { res } = exchange;
  switch (spec.kind) {
    case 'refuse':
      sendJson(
        res,
        spec.status,
        errorJson(spec.status, spec.status === 503 ? 'The server is overloaded.' : ENGINE_DEAD_MESSAGE),
      );
      return true;
    case 'drop':
      exchange.req.socket.destroy();
      return true;
    case 'garbage':
      writeGarbage(spec, exchange.req.socket, false);
      return true;
    case 'stall':
      // The client's own time limit must end it.
      return true;
    default:
      strikeProcess(spec, core);
      return false;
  }
}

/** What no HTTP or SSE reader may trip over. Within a stream the head is already out, so only the body can be broken. */
function writeGarbage(spec: FaultSpec, socket: Socket | undefined, inStream: boolean): void {
  if (socket === undefined || socket.destroyed) return;
  const head = inStream
    ? ''
    : 'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n';
  switch (spec.shape) {
    case 'not-http':
      socket.end('\u0000\u0001\u0002 this is not HTTP \r\n\r\n\r\n');
      return;
    case 'bad-chunk':
      socket.end(`${head}zz\r\ndata: {}\r\n`);
      return;
    case 'half-frame':
      socket.end(`${head}10\r\ndata: {"id"`);
      return;
    case 'bad-json': {
      const frames = 'data: {"id": broken\n\ndata: [DONE]\n\n';
      socket.end(`${head}${frames.length.toString(16)}\r\n${frames}\r\n0\r\n\r\n`);
      return;
    }
    case 'endless-header':
      endlessHeader(socket);
      return;
  }
}

function endlessHeader(socket: Socket): void {
  const line = `x-filler: ${'a'.repeat(8_192)}\r\n`;
  let sentBytes = 0;
  socket.write('HTTP/1.1 200 OK\r\n');
  const push = (): void => {
    if (socket.destroyed) return;
    sentBytes += line.length;
    // Endless for any reader with a limit, and yet bounded here.
    if (sentBytes > ENDLESS_BYTES) socket.destroy();
    else if (socket.write(line)) setImmediate(push);
    else socket.once('drain', push);
  };
  push();
}

interface Strike {
  readonly spec: FaultSpec;
  readonly backend: Backend;
  readonly core: CoreClient;
  readonly socket: Socket | undefined;
}

/** Passes tokens through until the fault's place, then strikes; the sink hears one end. */
function struckGeneration(strike: Strike, request: Parameters<Backend['generate']>[0], sink: GenerateSink): () => void {
  const limit = strike.spec.after_tokens ?? 0;
  let left = limit;
  let over = false;
  let stop: () => void = () => undefined;
  const hit = (): void => {
    if (over) return;
    over = true;
    strikeStream(strike, sink, stop);
  };
  stop = strike.backend.generate(request, {
    onPrefill: (cached) => sink.onPrefill(cached),
    onTokens(ids) {
      if (over) return;
      const pass = ids.slice(0, left);
      left -= pass.length;
      if (pass.length > 0) sink.onTokens(pass);
      if (left === 0) setImmediate(hit);
    },
    onEnd(reason, error) {
      if (over) return;
      over = true;
      sink.onEnd(reason, error);
    },
  });
  return () => {
    if (over) return;
    stop();
  };
}

function strikeStream(strike: Strike, sink: GenerateSink, stop: () => void): void {
  const { spec } = strike;
  if (spec.kind === 'crash' || spec.kind === 'hang') {
    strikeProcess(spec, strike.core);
    return;
  }
  stop();
  switch (spec.kind) {
    case 'error':
      sink.onEnd('error', { message: ENGINE_DEAD_MESSAGE, code: spec.status === 503 ? 500 : spec.status });
      return;
    case 'abort':
      sink.onEnd('abort');
      return;
    case 'drop':
      strike.socket?.destroy();
      return;
    case 'garbage':
      writeGarbage(spec, strike.socket, true);
      return;
    default:
      return;
  }
}
