/**
 * A chat over the scheduler's WebSocket door, for `sophia chat` and the benchmarks: one socket, one running question at
 * a time, text as it comes. The messages are those of docs/API.md.
 */
import { WebSocket } from 'ws';
import { CodedError, ERRORS, type ErrorCode } from '../../lib/errors.ts';

export interface ChatMessage {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: string;
}

export interface ChatAnswer {
  readonly text: string;
  readonly finishReason: string | undefined;
}

export interface ChatClient {
  /**
   * Asks, and gives each piece of text to `onText` as it comes.
   * @throws CodedError of the scheduler, or `unreachable` when the socket breaks
   */
  ask(model: string, messages: readonly ChatMessage[], onText: (text: string) => void): Promise<ChatAnswer>;
  /** Stops the running answer; `ask` then gives what came so far. */
  cancel(): void;
  close(): void;
}

const OPEN_TIMEOUT_MS = 10_000;

interface Incoming {
  readonly type: 'ready' | 'start' | 'chunk' | 'done' | 'error';
  readonly id?: string;
  readonly data?: { choices?: { delta?: { content?: string | null }; finish_reason?: string | null }[] };
  readonly error?: { code?: string; message?: string; param?: string | null };
}

interface Running {
  readonly id: string;
  readonly onText: (text: string) => void;
  text: string;
  finishReason: string | undefined;
  resolve(answer: ChatAnswer): void;
  reject(error: CodedError): void;
}

function toCoded(error: Incoming['error']): CodedError {
  const code = error?.code !== undefined && error.code in ERRORS ? (error.code as ErrorCode) : 'internal';
  return new CodedError(code, error?.message ?? 'The scheduler reported an error.');
}

/** Opens the socket. @param baseUrl HTTP base of the scheduler, such as http://127.0.0.1:8080 */
export async function openChat(baseUrl: string, key: string | undefined): Promise<ChatClient> {
  const url = `${baseUrl.replace(/^http/, 'ws').replace(/\/+$/, '')}/ws/chat`;
  // The key travels as a subprotocol, never in the address, which proxies and logs keep.
  const socket = new WebSocket(url, ['sophia.v1', ...(key === undefined ? [] : [`sophia.key.${key}`])], {
    handshakeTimeout: OPEN_TIMEOUT_MS,
    maxPayload: 16 << 20,
  });
  let running: Running | undefined;
  let count = 0;
  await new Promise<void>((resolve, reject) => {
    socket.once('open', resolve);
    socket.once('unexpected-response', (_request, response) => {
      const code = response.statusCode === 401 ? 'unauthenticated' : 'unreachable';
      reject(new CodedError(code, `The scheduler at ${baseUrl} refused the chat (HTTP ${response.statusCode}).`));
      socket.terminate();
    });
    socket.once('error', (cause) =>
      reject(new CodedError('unreachable', `The scheduler at ${baseUrl} cannot be reached.`, { cause })),
    );
  });
  const end = (finish: (ended: Running) => void): void => {
    const ended = running;
    running = undefined;
    if (ended !== undefined) finish(ended);
  };
  socket.on('error', () => socket.terminate());
  socket.on('close', (code, reason) => {
    end((ended) => ended.reject(new CodedError('unreachable', `The chat was closed (${code} ${reason.toString()}).`)));
  });
  socket.on('message', (data: Buffer) => {
    const message = JSON.parse(data.toString('utf8')) as Incoming;
    if (running === undefined || message.id !== running.id) return;
    if (message.type === 'chunk') takeChunk(running, message);
    else if (message.type === 'done')
      end((ended) => ended.resolve({ text: ended.text, finishReason: ended.finishReason }));
    else if (message.type === 'error') end((ended) => ended.reject(toCoded(message.error)));
  });
  return {
    ask(model, messages, onText) {
      return new Promise((resolve, reject) => {
        running = { id: `chat-${++count}`, onText, text: '', finishReason: undefined, resolve, reject };
        socket.send(JSON.stringify({ type: 'chat', id: running.id, body: { model, messages, stream: true } }));
      });
    },
    cancel() {
      end((ended) => {
        socket.send(JSON.stringify({ type: 'cancel', id: ended.id }));
        ended.resolve({ text: ended.text, finishReason: 'cancelled' });
      });
    },
    close: () => socket.close(1000),
  };
}

function takeChunk(running: Running, message: Incoming): void {
  const choice = message.data?.choices?.[0];
  const text = choice?.delta?.content ?? '';
  if (text !== '') {
    running.text += text;
    running.onText(text);
  }
  running.finishReason = choice?.finish_reason ?? running.finishReason;
}
