/**
 * A provider on loopback for tests: it answers as its script says, in OpenAI's or OpenRouter's dialect, and writes down
 * what it was asked. Scripts are used one after another; the last one stays.
 */
import http from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Asked {
  readonly path: string;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Record<string, unknown>;
  /** The other side went away before the answer was whole. */
  gone: boolean;
}

export type Script = (response: http.ServerResponse, asked: Asked) => void | Promise<void>;

export interface ProviderServer {
  /** What a configuration calls its url. */
  readonly url: string;
  readonly asked: Asked[];
  /** Connections that were made to it. */
  connections: number;
  scripts: Script[];
  close(): Promise<void>;
}

export async function startProvider(...scripts: Script[]): Promise<ProviderServer> {
  const server = http.createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      const body = JSON.parse(Buffer.concat(parts).toString()) as Record<string, unknown>;
      const asked: Asked = { path: request.url ?? '', headers: request.headers, body, gone: false };
      provider.asked.push(asked);
      response.on('close', () => void (asked.gone = !response.writableFinished));
      const script = provider.scripts.length > 1 ? provider.scripts.shift() : provider.scripts[0];
      void script?.(response, asked);
    });
  });
  server.on('connection', () => void (provider.connections += 1));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const provider: ProviderServer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/api/v1`,
    asked: [],
    connections: 0,
    scripts,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return provider;
}

export const sse = (...events: (object | string)[]): string =>
  events.map((event) => `data: ${typeof event === 'string' ? event : JSON.stringify(event)}\n\n`).join('');

export const usage = { prompt_tokens: 9, completion_tokens: 2, total_tokens: 11 };

export const chunk = (choice: object | undefined, more: object = {}): object => ({
  id: 'gen-1',
  object: 'chat.completion.chunk',
  created: 5,
  model: 'far/model',
  choices: choice === undefined ? [] : [{ index: 0, finish_reason: null, ...choice }],
  ...more,
});

export const events: Readonly<Record<'openai' | 'openrouter', string>> = {
  openai: sse(
    chunk({ delta: { role: 'assistant', content: '' } }, { usage: null }),
    chunk({ delta: { content: 'far ' } }, { usage: null }),
    chunk({ delta: { content: 'away' } }, { usage: null }),
    chunk({ delta: {}, finish_reason: 'stop' }, { usage: null }),
    chunk(undefined, { usage }),
    '[DONE]',
  ),
  openrouter: `: OPENROUTER PROCESSING\n\n${sse(
    chunk({ delta: { role: 'assistant', content: '' } }, { provider: 'Far' }),
    chunk({ delta: { role: 'assistant', content: 'far ' } }, { provider: 'Far' }),
    chunk({ delta: { role: 'assistant', content: 'away' } }, { provider: 'Far' }),
    chunk({ delta: { role: 'assistant', content: '' }, finish_reason: 'stop', native_finish_reason: 'stop' }),
    chunk({ delta: { role: 'assistant', content: '' }, finish_reason: 'stop' }, { usage }),
    '[DONE]',
  )}`,
};

export const streaming =
  (text: string): Script =>
  (response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.end(text);
  };

export const answering =
  (status: number, body: unknown, headers: http.OutgoingHttpHeaders = {}): Script =>
  (response) => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers });
    response.end(typeof body === 'string' ? body : JSON.stringify(body));
  };
