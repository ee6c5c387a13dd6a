/**
 * vLLM's start-up log, line by line in its order, since the supervisor reads progress from it. The waits between the
 * lines are the shares that a small model's start was seen to spend, scaled to `--sim-start-ms`.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { SimConfig } from './config.ts';

/** Writes lines in vLLM's format: process and pid, level, date, source. */
export function engineLogger(processName: string): (line: string) => void {
  return (line) => {
    const now = new Date();
    const two = (value: number): string => String(value).padStart(2, '0');
    const stamp = `${two(now.getMonth() + 1)}-${two(now.getDate())} ${two(now.getHours())}:${two(now.getMinutes())}:${two(now.getSeconds())}`;
    const level = line.startsWith('ERROR ') ? 'ERROR' : 'INFO';
    process.stderr.write(
      `(${processName} pid=${process.pid}) ${level} ${stamp} [sophia-sim] ${line.replace(/^ERROR /, '')}\n`,
    );
  };
}

/** Logs the engine core's part of the start and takes `startMs` for it. */
export async function playStartup(config: SimConfig, log: (line: string) => void): Promise<void> {
  const seconds = (share: number): string => ((config.startMs * share) / 1000).toFixed(2);
  const concurrency = (config.kvTokens / config.contextTokens).toFixed(2);
  const lines: readonly (readonly [number, string])[] = [
    [
      0.1,
      `Initializing a V1 LLM engine (simulated) with config: model='${config.model}', served_model_name=${config.servedModelName}, max_seq_len=${config.contextTokens}, seed=${config.seed}`,
    ],
    [0.3, `Loading weights took ${seconds(0.3)} seconds`],
    [0.05, `Model loading took 0.00 GiB memory and ${seconds(0.35)} seconds`],
    [0.25, `torch.compile takes ${seconds(0.25)} s in total`],
    [0.05, `GPU KV cache size: ${config.kvTokens.toLocaleString('en-US')} tokens`],
    [0, `Maximum concurrency for ${config.contextTokens.toLocaleString('en-US')} tokens per request: ${concurrency}x`],
    [0.2, `Graph capturing finished in ${seconds(0.2)} secs, took 0.00 GiB`],
    [0.05, `init engine (profile, create kv cache, warmup model) took ${seconds(0.6)} seconds`],
  ];
  for (const [share, line] of lines) {
    const waitMs = config.startMs * share;
    if (waitMs > 0) await sleep(waitMs);
    log(line);
  }
}
