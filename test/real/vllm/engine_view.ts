/** What the tests of this folder read from a running vLLM: events, gauges, and a pair of engines to read them from. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startVllm, type Vllm, type VllmOptions } from './engine.ts';
import { type Address, eventData, exchange, parseResponse, type Request } from './wire_capture.ts';

export type Choice = {
  readonly index: number;
  readonly text?: string;
  readonly delta?: { readonly role?: string; readonly content?: string };
  readonly finish_reason: string | null;
  readonly token_ids?: readonly number[] | null;
  readonly prompt_token_ids?: readonly number[] | null;
};

export type Chunk = {
  readonly id: string;
  readonly choices: readonly Choice[];
  readonly prompt_token_ids?: readonly number[] | null;
  readonly usage?: { readonly prompt_tokens: number; readonly completion_tokens: number };
  readonly error?: { readonly message: string; readonly type: string; readonly code: number };
};

/** The parsed chunks of a streamed response, without the closing `[DONE]`. */
export function chunksOf(raw: Buffer): Chunk[] {
  return eventData(parseResponse(raw).body)
    .filter((data) => data !== '[DONE]')
    .map((data) => JSON.parse(data) as Chunk);
}

/** All token ids of choice 0, in order. */
export function tokenIdsOf(chunks: readonly Chunk[]): number[] {
  return chunks.flatMap((chunk) => [...(chunk.choices[0]?.token_ids ?? [])]);
}

/** All text of choice 0, in order, of a chat or a completion. */
export function textOf(chunks: readonly Chunk[]): string {
  return chunks.map((chunk) => chunk.choices[0]?.text ?? chunk.choices[0]?.delta?.content ?? '').join('');
}

/** POSTs and returns the status and the parsed body; for answers that are not streams. */
export async function askJson(address: Address, path: string, body: unknown): Promise<{ status: number; body: never }> {
  const response = parseResponse((await exchange(address, { method: 'POST', path, body })).raw);
  return { status: response.status, body: JSON.parse(response.body.toString('utf8')) as never };
}

/** A greedy streamed completion that does not end before `maxTokens` tokens. */
export function longCompletion(prompt: string | readonly number[], maxTokens: number): Request {
  const sampling = { max_tokens: maxTokens, temperature: 0, ignore_eos: true };
  return {
    method: 'POST',
    path: '/v1/completions',
    body: { model: 'smollm2', prompt, stream: true, return_token_ids: true, ...sampling },
  };
}

/** The value of a series of /metrics whose label block contains `label`; undefined when there is none. */
export async function metric(address: Address, name: string, label = ''): Promise<number | undefined> {
  const { body } = parseResponse((await exchange(address, { method: 'GET', path: '/metrics' })).raw);
  const line = body
    .toString('utf8')
    .split('\n')
    .find((text) => text.startsWith(`${name}{`) && text.includes(label));
  return line === undefined ? undefined : Number(line.slice(line.lastIndexOf(' ') + 1));
}

/**
 * Starts two engines at once, on one core each, the first on a Unix socket and the second on a port, gives them to
 * `use`, and leaves no process or file behind however that ends.
 */
export async function withTwoEngines(
  extra: readonly [readonly string[], readonly string[]],
  use: (onSocket: Vllm, onPort: Vllm) => Promise<void>,
): Promise<void> {
  const { SOPHIA_VLLM_VENV: venv, SOPHIA_VLLM_MODEL: model } = process.env;
  if (venv === undefined || model === undefined)
    throw new Error('run by `npm run test:real:vllm`, which prepares vLLM');
  const folder = mkdtempSync(join(tmpdir(), 'real-vllm-'));
  const options = (core: 0 | 1): VllmOptions => ({
    venv,
    model,
    core,
    logFile: join(folder, `${core}.log`),
    extraArgs: extra[core],
    ...(core === 0 ? { socketPath: join(folder, 'engine.sock') } : {}),
  });
  const started = await Promise.allSettled([startVllm(options(0)), startVllm(options(1))]);
  try {
    const [onSocket, onPort] = started.map((outcome) => {
      if (outcome.status === 'rejected') throw outcome.reason;
      return outcome.value;
    });
    if (onSocket === undefined || onPort === undefined) throw new Error('two engines were asked for');
    await use(onSocket, onPort);
  } finally {
    await Promise.all(started.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value.kill()] : [])));
    rmSync(folder, { recursive: true, force: true });
  }
}
