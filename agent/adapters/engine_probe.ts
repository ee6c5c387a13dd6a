/**
 * Asks an engine over its HTTP API how it is, what it serves and how busy it is; every answer is bounded in time and
 * size, and checked before it is believed.
 */
import http from 'node:http';
import { z } from 'zod';
import type {
  AskEngine,
  EngineAddress,
  EngineAnswer,
  EngineLoad,
  EngineProbe,
  EngineVerb,
  GenerationVerdict,
  ProbedModel,
  VerbAnswer,
} from '../ports.ts';

const MAX_ANSWER_BYTES = 4 * 1024 * 1024;

interface Order {
  readonly path: string;
  /** Sent as JSON. */
  readonly body: object;
}

/** One POST on a connection of its own: these are rare. */
function post(address: EngineAddress, order: Order, timeoutMs: number): Promise<EngineAnswer> {
  return new Promise((resolve) => {
    const target = address.kind === 'unix' ? { socketPath: address.path } : { host: address.host, port: address.port };
    const key = address.kind === 'tcp' ? address.apiKey : undefined;
    const body = JSON.stringify(order.body);
    const headers = {
      host: 'engine',
      ...(key === undefined ? {} : { authorization: `Bearer ${key}` }),
      'content-type': 'application/json',
      'content-length': String(Buffer.byteLength(body)),
    };
    const request = http.request({ ...target, method: 'POST', path: order.path, agent: false, headers }, (response) => {
      const pieces: Buffer[] = [];
      let size = 0;
      response.on('data', (piece: Buffer) => {
        size += piece.length;
        if (size > MAX_ANSWER_BYTES) request.destroy(new Error('the answer is too long'));
        else pieces.push(piece);
      });
      response.on('end', () =>
        settle({ status: response.statusCode ?? 0, text: Buffer.concat(pieces).toString('utf8') }),
      );
      // The connection was cut in the middle of the answer.
      response.on('close', () => settle('refused'));
    });
    const timer = setTimeout(() => {
      settle('timeout');
      request.destroy();
    }, timeoutMs);
    const settle = (answer: EngineAnswer): void => {
      clearTimeout(timer);
      resolve(answer);
    };
    // Whatever the reason: the engine did not answer; a time-out has settled before it destroys the request.
    request.on('error', () => settle('refused'));
    request.end(body);
  });
}

const modelsSchema = z.object({
  data: z
    .array(
      z.object({
        id: z.string().min(1).max(512),
        created: z.number().optional().catch(undefined),
        owned_by: z.string().max(256).optional().catch(undefined),
        max_model_len: z.number().int().positive().nullish().catch(undefined),
        simulated: z.boolean().optional().catch(undefined),
      }),
    )
    .max(1024),
});

const SAMPLE = /^([a-zA-Z_:][\w:]*)(\{.*\})?\s+(\S+)(?:\s+-?\d+)?$/;

/** Sums the samples of each metric over its labels; lines that are no samples are skipped, values that are no numbers too. */
export function parsePrometheus(text: string): ReadonlyMap<string, number> {
  const sums = new Map<string, number>();
  for (const line of text.split('\n')) {
    if (line.startsWith('#') || line === '') continue;
    const match = SAMPLE.exec(line.trimEnd());
    if (match === null) continue;
    const value = Number(match[3]);
    if (!Number.isFinite(value)) continue;
    const name = match[1] as string;
    sums.set(name, (sums.get(name) ?? 0) + value);
  }
  return sums;
}

const CACHE_CONFIG = /^vllm:cache_config_info\{(.*)\}/m;

/**
 * Tokens that fit into the KV cache, from the labels in which vLLM tells its configuration; undefined: not told. With
 * several engine cores behind one server each has a cache of its own, and the first line speaks for one of them.
 */
function cacheTokens(text: string): number | undefined {
  const labels = CACHE_CONFIG.exec(text)?.[1] ?? '';
  const figure = (name: string): number => Number(new RegExp(`(?:^|,)${name}="(\\d+)"`).exec(labels)?.[1]);
  const tokens = figure('num_gpu_blocks') * figure('block_size');
  return Number.isSafeInteger(tokens) && tokens > 0 ? tokens : undefined;
}

/** What the fleet uses of an engine's metrics; older names of vLLM are known too. */
export function loadFromMetrics(text: string): EngineLoad {
  const metrics = parsePrometheus(text);
  const first = (...names: string[]): number | undefined => {
    for (const name of names) {
      const value = metrics.get(name);
      if (value !== undefined && value >= 0) return value;
    }
    return undefined;
  };
  const running = first('vllm:num_requests_running');
  const waiting = first('vllm:num_requests_waiting');
  const usage = first('vllm:kv_cache_usage_perc', 'vllm:gpu_cache_usage_perc');
  const tokens = first('vllm:generation_tokens_total', 'vllm:generation_tokens');
  const prompts = first('vllm:prompt_tokens_total', 'vllm:prompt_tokens');
  const iterations = first('vllm:iteration_tokens_total_count');
  const capacity = cacheTokens(text);
  return {
    ...(running === undefined ? {} : { runningRequests: Math.round(running) }),
    ...(waiting === undefined ? {} : { waitingRequests: Math.round(waiting) }),
    ...(usage === undefined ? {} : { kvCacheUsageRatio: Math.min(1, usage) }),
    ...(capacity === undefined ? {} : { kvCacheTokens: capacity }),
    ...(tokens === undefined ? {} : { generationTokensTotal: Math.round(tokens) }),
    ...(prompts === undefined ? {} : { promptTokensTotal: Math.round(prompts) }),
    ...(iterations === undefined ? {} : { iterationsTotal: Math.round(iterations) }),
  };
}

function parseModels(text: string): readonly ProbedModel[] | undefined {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    // Not JSON: the engine does not answer this question yet.
    return undefined;
  }
  const parsed = modelsSchema.safeParse(body);
  if (!parsed.success) return undefined;
  return parsed.data.data.map((model) => ({
    id: model.id,
    ...(model.max_model_len == null ? {} : { contextTokens: model.max_model_len }),
    ...(model.created === undefined ? {} : { createdS: Math.max(0, Math.round(model.created)) }),
    ...(model.owned_by === undefined ? {} : { ownedBy: model.owned_by }),
    simulated: model.simulated ?? model.owned_by === 'simulated',
  }));
}

const completionSchema = z.object({ choices: z.array(z.object({ finish_reason: z.string().nullish() })).min(1) });
const errorSchema = z.object({ error: z.object({ message: z.string() }) });

/** The engine's own words about its refusal, cut to a line. */
function refusalOf(text: string): string {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    // Not JSON: the text itself is the refusal.
    return text.slice(0, 200);
  }
  const parsed = errorSchema.safeParse(body);
  return (parsed.success ? parsed.data.error.message : text).slice(0, 200);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Not JSON, so it is no completion, as the caller finds.
    return undefined;
  }
}

/** One greedy token of a prompt that every tokenizer knows. */
async function generateOne(address: EngineAddress, model: string, timeoutMs: number): Promise<GenerationVerdict> {
  const startedAt = performance.now();
  const body = { model, prompt: 'Hello', max_tokens: 1, temperature: 0, stream: false };
  const answer = await post(address, { path: '/v1/completions', body }, timeoutMs);
  if (answer === 'timeout') return { kind: 'failed', message: `No token came within ${timeoutMs} ms.` };
  if (answer === 'refused') return { kind: 'failed', message: 'The connection was refused or cut.' };
  const { status, text } = answer;
  // vLLM answers 404 where a model has no such task and 400 where a task is not supported; 501 is its word since 0.11.
  if (status === 400 || status === 404 || status === 405 || status === 501) return { kind: 'not_generative' };
  if (status !== 200) return { kind: 'failed', message: `It answered ${status}: ${refusalOf(text)}` };
  const parsed = completionSchema.safeParse(parseJson(text));
  if (!parsed.success) return { kind: 'failed', message: 'Its answer is no completion.' };
  if (parsed.data.choices[0]?.finish_reason === 'abort')
    return { kind: 'failed', message: 'It aborted the request without being asked.' };
  return { kind: 'ok', ms: performance.now() - startedAt };
}

/** vLLM's routes: sleep and wake need its development mode, LoRA its run-time updating (api_server.py). */
function verbOrder(verb: EngineVerb): Order {
  switch (verb.kind) {
    case 'sleep':
      return { path: `/sleep?level=${verb.level}`, body: {} };
    case 'wake':
      return { path: '/wake_up', body: {} };
    case 'lora_load':
      return { path: '/v1/load_lora_adapter', body: { lora_name: verb.name, lora_path: verb.path } };
    case 'lora_unload':
      return { path: '/v1/unload_lora_adapter', body: { lora_name: verb.name } };
    case 'prefix_cache_reset':
      return { path: '/reset_prefix_cache', body: {} };
  }
}

async function askVerb(address: EngineAddress, verb: EngineVerb, timeoutMs: number): Promise<VerbAnswer> {
  const answer = await post(address, verbOrder(verb), timeoutMs);
  if (answer === 'timeout') return { kind: 'failed', message: `The engine did not answer within ${timeoutMs} ms.` };
  if (answer === 'refused') return { kind: 'failed', message: 'The engine does not take connections.' };
  const { status, text } = answer;
  if (status >= 200 && status < 300) return { kind: 'done' };
  const isRoute = (status === 404 && !verb.kind.startsWith('lora')) || status === 405 || status === 501;
  // A LoRA that is not there is 404 too; a route that is not there has FastAPI's own body.
  if (isRoute || (status === 404 && text.includes('"detail"')) || status === 403)
    return { kind: 'unsupported', message: `The engine has no route for ${verb.kind}.` };
  return { kind: 'failed', message: `The engine answered ${status}: ${refusalOf(text)}` };
}

/** @param ask carries the questions that come again and again */
export function createEngineProbe(ask: AskEngine): EngineProbe {
  return {
    async health(address, timeoutMs, connection = 'anew') {
      const answer = await ask(address, '/health', timeoutMs, connection);
      if (answer === 'refused' || answer === 'timeout') return answer;
      return answer.status === 200 ? 'ok' : 'unhealthy';
    },
    async models(address, timeoutMs) {
      const answer = await ask(address, '/v1/models', timeoutMs);
      return typeof answer === 'object' && answer.status === 200 ? parseModels(answer.text) : undefined;
    },
    generateOne,
    verb: askVerb,
    async load(address, timeoutMs) {
      const answer = await ask(address, '/metrics', timeoutMs);
      return typeof answer === 'object' && answer.status === 200 ? loadFromMetrics(answer.text) : undefined;
    },
  };
}
