/** The requests of a load over one GenerateMany stream, as a gateway sends them. */
import { openMany } from '../clients/many.ts';
import { Answer } from './answer.ts';
import { type LoadSink, OK } from './figures.ts';
import type { LoadClient } from './http_client.ts';

export interface ManyClientOptions {
  /** `HOST:PORT` of the scheduler's gRPC door. */
  readonly address: string;
  readonly key: string;
  readonly endpoint: 'chat' | 'completions';
  readonly timeoutMs: number;
}

const ENDPOINTS = { chat: 'ENDPOINT_CHAT_COMPLETIONS', completions: 'ENDPOINT_COMPLETIONS' } as const;

export function createManyClient(options: ManyClientOptions, sink: LoadSink): LoadClient {
  const client = openMany(options.address, options.key);
  return {
    async send(body, intendedMs) {
      const sentMs = performance.now();
      const answer = new Answer(sink);
      let timedOut = false;
      let reading = false;
      const running = client.run({
        body,
        endpoint: ENDPOINTS[options.endpoint],
        onChunk(json) {
          answer.take(json);
          if (reading) return;
          reading = true;
          // One message may hold several chunks of a stream; they came together.
          queueMicrotask(() => {
            reading = false;
            answer.readEnd(performance.now());
          });
        },
      });
      const timer = setTimeout(() => {
        timedOut = true;
        running.cancel();
      }, options.timeoutMs);
      const outcome = await running.done;
      clearTimeout(timer);
      const failed = timedOut ? 'timeout' : (outcome.code ?? 'cut');
      const code = outcome.ok ? (answer.fault ?? OK) : failed;
      const { firstMs, tokens } = answer;
      const first = firstMs === undefined ? {} : { firstMs };
      sink.end({ intendedMs, sentMs, ...first, endMs: performance.now(), code, tokens });
    },
    close: () => client.close(),
  };
}
