/**
 * Asks an engine over its HTTP API how it is, what it serves and how busy it is. These questions are rare, so they use
 * Node's own client; every answer is bounded in time and size, and checked before it is believed.
 */
import http from 'node:http';
import { z } from 'zod';
import type { EngineAddress, EngineLoad, EngineProbe, ProbedModel } from '../ports.ts';

const MAX_ANSWER_BYTES = 4 * 1024 * 1024;

type Answer = { readonly status: number; readonly text: string } | 'refused' | 'timeout';

function ask(address: EngineAddress, path: string, timeoutMs: number): Promise<Answer> {
  return new Promise((resolve) => {
    const target = address.kind === 'unix' ? { socketPath: address.path } : { host: address.host, port: address.port };
    const request = http.get({ ...target, path, agent: false, headers: { host: 'engine' } }, (response) => {
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
    });
    const timer = setTimeout(() => {
      settle('timeout');
      request.destroy();
    }, timeoutMs);
    const settle = (answer: Answer): void => {
      clearTimeout(timer);
      resolve(answer);
    };
    // Whatever the reason: the engine did not answer; a time-out has settled before it destroys the request.
    request.on('error', () => settle('refused'));
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
  return {
    ...(running === undefined ? {} : { runningRequests: Math.round(running) }),
    ...(waiting === undefined ? {} : { waitingRequests: Math.round(waiting) }),
    ...(usage === undefined ? {} : { kvCacheUsageRatio: Math.min(1, usage) }),
    ...(tokens === undefined ? {} : { generationTokensTotal: Math.round(tokens) }),
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

export function createEngineProbe(): EngineProbe {
  return {
    async health(address, timeoutMs) {
      const answer = await ask(address, '/health', timeoutMs);
      if (answer === 'refused' || answer === 'timeout') return answer;
      return answer.status === 200 ? 'ok' : 'unhealthy';
    },
    async models(address, timeoutMs) {
      const answer = await ask(address, '/v1/models', timeoutMs);
      return typeof answer === 'object' && answer.status === 200 ? parseModels(answer.text) : undefined;
    },
    generateOne: () => Promise.resolve({ kind: 'not_generative' }),
    verb: () => Promise.resolve({ kind: 'unsupported', message: 'The engine has no such verb.' }),
    async load(address, timeoutMs) {
      const answer = await ask(address, '/metrics', timeoutMs);
      return typeof answer === 'object' && answer.status === 200 ? loadFromMetrics(answer.text) : undefined;
    },
  };
}
