/**
 * Prometheus metrics under vLLM's names and labels, counted by the surface and read from the backend's load.
 * Written out by hand: a few counters and histograms with fixed labels, observed on the hottest path there is.
 */
import type { BackendLoad, EndReason } from './backend.ts';

const TTFT_S = [
  0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560,
];
const ITL_S = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80];
const REQUEST_S = [0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680];

interface Histogram {
  observe(value: number, times?: number): void;
  render(labels: string): string;
}

/** Everything the generation code reports, and the text that GET /metrics answers. Durations in milliseconds. */
export interface Metrics {
  promptTokens(tokens: number, cached: number): void;
  firstToken(waitMs: number): void;
  /** `tokens` more tokens of one sequence, the last chunk of which came `gapMs` ago; 0 tokens of a first chunk. */
  moreTokens(tokens: number, gapMs: number): void;
  generated(tokens: number): void;
  finished(reason: EndReason, timing: { totalMs: number; firstTokenMs: number; tokens: number }): void;
  render(load: BackendLoad): string;
}

function histogram(name: string, help: string, bounds: readonly number[]): Histogram {
  const counts = new Float64Array(bounds.length + 1);
  let sum = 0;
  let total = 0;
  return {
    observe(value, times = 1) {
      let at = 0;
      while (at < bounds.length && value > (bounds[at] as number)) at += 1;
      counts[at] = (counts[at] ?? 0) + times;
      sum += value * times;
      total += times;
    },
    render(labels) {
      let text = `# HELP ${name} ${help}\n# TYPE ${name} histogram\n`;
      let running = 0;
      for (let at = 0; at < bounds.length; at += 1) {
        running += counts[at] ?? 0;
        text += `${name}_bucket{${labels},le="${bounds[at]}"} ${running}\n`;
      }
      return `${text}${name}_bucket{${labels},le="+Inf"} ${total}\n${name}_count{${labels}} ${total}\n${name}_sum{${labels}} ${sum}\n`;
    },
  };
}

interface Counters {
  promptTokens: number;
  cachedTokens: number;
  generationTokens: number;
  readonly success: Record<EndReason, number>;
}

/** One set per server; `model` becomes the label model_name. */
export function createMetrics(model: string): Metrics {
  const escaped = model.replace(/\\/g, '\\\\').replace(/"/g, '\\"').replace(/\n/g, '\\n');
  const labels = `engine="0",model_name="${escaped}"`;
  const counters: Counters = {
    promptTokens: 0,
    cachedTokens: 0,
    generationTokens: 0,
    success: { stop: 0, length: 0, abort: 0, error: 0 },
  };
  const ttft = histogram('vllm:time_to_first_token_seconds', 'Time to first token in seconds.', TTFT_S);
  const itl = histogram('vllm:inter_token_latency_seconds', 'Inter-token latency in seconds.', ITL_S);
  const tpot = histogram('vllm:request_time_per_output_token_seconds', 'Seconds per output token of a request.', ITL_S);
  const e2e = histogram('vllm:e2e_request_latency_seconds', 'Seconds from arrival to the last token.', REQUEST_S);
  const decode = histogram('vllm:request_decode_time_seconds', 'Seconds in the decode phase of a request.', REQUEST_S);
  return {
    promptTokens(tokens, cached) {
      counters.promptTokens += tokens;
      counters.cachedTokens += cached;
    },
    firstToken: (waitMs) => ttft.observe(waitMs / 1000),
    moreTokens: (tokens, gapMs) => itl.observe(gapMs / 1000 / tokens, tokens),
    generated(tokens) {
      counters.generationTokens += tokens;
    },
    finished(reason, timing) {
      counters.success[reason] += 1;
      e2e.observe(timing.totalMs / 1000);
      const decodeMs = timing.totalMs - timing.firstTokenMs;
      decode.observe(decodeMs / 1000);
      if (timing.tokens > 1) tpot.observe(decodeMs / 1000 / (timing.tokens - 1));
    },
    render: (load) =>
      renderFigures(labels, counters, load) +
      [ttft, itl, tpot, e2e, decode].map((each) => each.render(labels)).join(''),
  };
}

/** The gauges and counters; a figure that the backend does not know is left out. */
function renderFigures(labels: string, counters: Counters, load: BackendLoad): string {
  const { promptTokens, cachedTokens, generationTokens, success } = counters;
  const rows: readonly (readonly ['gauge' | 'counter', string, string, number | undefined])[] = [
    ['gauge', 'num_requests_running', 'Number of requests in model execution batches.', load.running],
    ['gauge', 'num_requests_waiting', 'Number of requests waiting to be processed.', load.waiting],
    ['gauge', 'kv_cache_usage_perc', 'KV-cache usage. 1 means 100 percent usage.', load.kvCacheUsage],
    ['counter', 'prefix_cache_queries_total', 'Tokens looked up in the prefix cache.', load.prefixCacheQueries],
    ['counter', 'prefix_cache_hits_total', 'Tokens found in the prefix cache.', load.prefixCacheHits],
    ['counter', 'num_preemptions_total', 'Cumulative number of preemptions.', load.preemptions],
    ['counter', 'prompt_tokens_total', 'Number of prefill tokens processed.', promptTokens],
    ['counter', 'prompt_tokens_cached_total', 'Number of prompt tokens found in the cache.', cachedTokens],
    ['counter', 'generation_tokens_total', 'Number of generation tokens processed.', generationTokens],
  ];
  let text = '';
  for (const [type, name, help, value] of rows) {
    if (value === undefined) continue;
    text += `# HELP vllm:${name} ${help}\n# TYPE vllm:${name} ${type}\nvllm:${name}{${labels}} ${value}\n`;
  }
  text += '# HELP vllm:request_success_total Count of successfully processed requests.\n';
  text += '# TYPE vllm:request_success_total counter\n';
  for (const [reason, value] of Object.entries(success)) {
    text += `vllm:request_success_total{${labels},finished_reason="${reason}"} ${value}\n`;
  }
  if (load.kvBlocks !== undefined) {
    const { blockTokens, blocks } = load.kvBlocks;
    text +=
      '# HELP vllm:cache_config_info Information of the LLMEngine CacheConfig\n# TYPE vllm:cache_config_info gauge\n';
    text += `vllm:cache_config_info{${labels},block_size="${blockTokens}",num_gpu_blocks="${blocks}"} 1\n`;
  }
  if (load.iterations === undefined) return text;
  const name = 'vllm:iteration_tokens_total';
  text += `# HELP ${name} Number of tokens per engine step.\n# TYPE ${name} histogram\n`;
  text += `${name}_bucket{${labels},le="+Inf"} ${load.iterations}\n${name}_count{${labels}} ${load.iterations}\n`;
  return `${text}${name}_sum{${labels}} ${promptTokens - cachedTokens + generationTokens}\n`;
}
