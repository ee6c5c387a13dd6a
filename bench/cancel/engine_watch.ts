/**
 * What a simulated engine itself says of its work, asked again and again over one kept connection: the moment at which
 * it has stopped is its word, not that of scheduler or agent.
 */
import http from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

export interface EngineWork {
  /** Requests that run or wait inside of the engine. */
  readonly requests: number;
  readonly promptTokens: number;
  readonly generatedTokens: number;
}

export interface EngineWatch {
  read(): Promise<EngineWork>;
  /** Reads until the condition holds. @throws Error when it does not in 10 s */
  until(condition: (work: EngineWork) => boolean, what: string): Promise<EngineWork>;
  close(): void;
}

const LIMIT_MS = 10_000;
const PAUSE_MS = 1;

function valueOf(text: string, name: string): number {
  const line = text.split('\n').find((each) => each.startsWith(`vllm:${name}`));
  if (line === undefined) throw new Error(`the engine does not tell its ${name}`);
  return Number(line.slice(line.lastIndexOf(' ') + 1));
}

export function watchEngine(socketPath: string): EngineWatch {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const text = (): Promise<string> =>
    new Promise((resolve, reject) => {
      const request = http.get({ socketPath, path: '/metrics', agent }, (response) => {
        const parts: Buffer[] = [];
        response.on('data', (part: Buffer) => parts.push(part));
        response.on('end', () => resolve(Buffer.concat(parts).toString('utf8')));
        response.on('error', reject);
      });
      request.on('error', reject);
    });
  const read = async (): Promise<EngineWork> => {
    const page = await text();
    return {
      requests: valueOf(page, 'num_requests_running') + valueOf(page, 'num_requests_waiting{'),
      promptTokens: valueOf(page, 'prompt_tokens_total'),
      generatedTokens: valueOf(page, 'generation_tokens_total'),
    };
  };
  return {
    read,
    async until(condition, what) {
      const endMs = performance.now() + LIMIT_MS;
      for (;;) {
        const work = await read();
        if (condition(work)) return work;
        if (performance.now() > endMs) throw new Error(`waited ${LIMIT_MS} ms for ${what}`);
        await sleep(PAUSE_MS);
      }
    },
    close: () => agent.destroy(),
  };
}
