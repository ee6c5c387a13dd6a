/**
 * Asks an engine directly, on its own socket or port, with nothing of the fleet between: what it answers is what the
 * fleet's answer is compared with, and its own metrics say what it works on.
 */
import http from 'node:http';
import type { EngineAddress } from './fleet.ts';

export interface EngineAnswer {
  readonly status: number;
  readonly body: string;
}

/** Counters under vLLM's names, as every engine of the fleet has them. */
export interface EngineLoad {
  readonly running: number;
  readonly waiting: number;
  readonly generatedTokens: number;
}

const LIMIT_MS = 120_000;

/** One request on a connection of its own. @throws Error when the engine cannot be reached or gives no whole answer */
export function askEngine(address: EngineAddress, method: string, path: string, body?: unknown): Promise<EngineAnswer> {
  return new Promise((resolve, reject) => {
    const request = http.request({ ...address, method, path, agent: false, timeout: LIMIT_MS }, (response) => {
      const parts: Buffer[] = [];
      response.on('data', (part: Buffer) => parts.push(part));
      response.once('error', reject);
      response.once('end', () =>
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(parts).toString('utf8') }),
      );
    });
    request.once('timeout', () => request.destroy(new Error(`the engine said nothing for ${LIMIT_MS} ms`)));
    request.once('error', reject);
    if (body !== undefined) request.setHeader('content-type', 'application/json');
    request.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

function metric(text: string, name: string): number {
  let sum = 0;
  let found = false;
  for (const line of text.split('\n')) {
    const match = /^([\w:]+)(?:\{.*\})? (\S+)$/.exec(line);
    if (match === null || match[1] !== name) continue;
    found = true;
    sum += Number(match[2]);
  }
  if (!found) throw new Error(`the engine has no metric ${name}`);
  return sum;
}

/** What the engine says of itself at this moment. */
export async function engineLoad(address: EngineAddress): Promise<EngineLoad> {
  const { status, body } = await askEngine(address, 'GET', '/metrics');
  if (status !== 200) throw new Error(`the engine's /metrics gave ${status}`);
  return {
    running: metric(body, 'vllm:num_requests_running'),
    waiting: metric(body, 'vllm:num_requests_waiting'),
    generatedTokens: metric(body, 'vllm:generation_tokens_total'),
  };
}

/** Arms a fault of a simulated engine; see agent/engines/sim/faults.ts for its fields. */
export async function armFault(address: EngineAddress, fault: object): Promise<void> {
  const { status, body } = await askEngine(address, 'POST', '/sim/faults', fault);
  if (status !== 200) throw new Error(`the fault was refused: ${body}`);
}

export async function clearFaults(address: EngineAddress): Promise<void> {
  const { status, body } = await askEngine(address, 'DELETE', '/sim/faults');
  if (status !== 200) throw new Error(`the faults were not cleared: ${body}`);
}
