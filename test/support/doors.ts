/**
 * One chat through each door of the scheduler, told in the same words: what came, under which id, what it cost, and a
 * way to go away in the middle as a client does whose process ends.
 */
import http from 'node:http';
import * as grpc from '@grpc/grpc-js';
import WebSocket from 'ws';
import { inferenceMessages, inferenceService } from '../../proto/load.ts';
import { ENTRY, type ManyResponse } from '../../proto/many_codec.ts';
import { decodeStatus } from '../../proto/status.ts';

/** Where the doors are and who knocks. */
export interface Doors {
  readonly url: string;
  readonly grpcAddress: string;
  readonly key: string;
}

/** An OpenAI chunk or whole answer, as far as it is looked at. */
export interface ChatObject {
  readonly id: string;
  readonly object: string;
  readonly created: number;
  readonly model: string;
  readonly choices: readonly {
    readonly finish_reason: string | null;
    readonly delta?: { readonly content?: string | null };
    readonly message?: { readonly content?: string | null };
  }[];
  readonly usage?: { readonly prompt_tokens: number; readonly completion_tokens: number } | null;
}

export interface DoorAnswer {
  readonly objects: readonly ChatObject[];
  readonly requestId: string;
  /** Numbers that the door gives beside the chunks (gRPC, WebSocket), else those of the objects. */
  readonly usage: { readonly promptTokens: number; readonly completionTokens: number };
}

export interface OpenChat {
  /** Rejects when the chat fails; for one that was left it may stay open for ever. */
  readonly answer: Promise<DoorAnswer>;
  /** Objects with text that have come so far. */
  pieces(): number;
  /** Goes away without a word. */
  leave(): void;
  /** Says that the answer is no longer wanted and stays; absent where the door has no word for it. */
  cancel?(): void;
}

export interface Door {
  readonly name: string;
  /** False where the answer comes in one piece, so that there is no middle to see. */
  readonly streams: boolean;
  open(doors: Doors, body: object): OpenChat;
}

export const contentOf = (object: ChatObject): string =>
  object.choices.map((choice) => choice.delta?.content ?? choice.message?.content ?? '').join('');

export const textOf = (objects: readonly ChatObject[]): string => objects.map(contentOf).join('');

const countPieces = (objects: readonly ChatObject[]): number =>
  objects.filter((object) => contentOf(object) !== '').length;

/** The objects of a stream of server-sent events, [DONE] left out. @throws Error when the stream does not end with it */
export function objectsOfSse(stream: string): ChatObject[] {
  const data = stream
    .split('\n\n')
    .filter((event) => event.startsWith('data: '))
    .map((event) => event.slice('data: '.length));
  if (data.at(-1) !== '[DONE]') throw new Error(`the stream ends without [DONE]: ${stream.slice(-300)}`);
  return data.slice(0, -1).map((text) => JSON.parse(text) as ChatObject);
}

export function usageOfObjects(objects: readonly ChatObject[]): DoorAnswer['usage'] {
  const told = objects.map((object) => object.usage).filter((usage) => usage != null);
  if (told.length !== 1 || told[0] === undefined) throw new Error(`usage was told ${told.length} times`);
  return { promptTokens: told[0].prompt_tokens, completionTokens: told[0].completion_tokens };
}

function openHttp(doors: Doors, body: object, stream: boolean): OpenChat {
  let pieces = 0;
  const full = stream ? { ...body, stream: true, stream_options: { include_usage: true } } : body;
  const request = http.request(`${doors.url}/v1/chat/completions`, {
    method: 'POST',
    agent: false,
    headers: { authorization: `Bearer ${doors.key}`, 'content-type': 'application/json' },
  });
  const answer = new Promise<DoorAnswer>((resolve, reject) => {
    request.once('error', reject);
    request.once('response', (response) => {
      const parts: Buffer[] = [];
      response.on('data', (part: Buffer) => {
        parts.push(part);
        pieces += part.toString('latin1').split('"content":"').length - 1;
      });
      response.once('error', reject);
      response.once('end', () => {
        const text = Buffer.concat(parts).toString('utf8');
        if (response.statusCode !== 200) reject(new Error(`${response.statusCode}: ${text}`));
        else {
          const objects = stream ? objectsOfSse(text) : [JSON.parse(text) as ChatObject];
          resolve({ objects, requestId: String(response.headers['x-request-id']), usage: usageOfObjects(objects) });
        }
      });
    });
  });
  request.end(JSON.stringify(full));
  return { answer, pieces: () => pieces, leave: () => request.destroy() };
}

interface WsMessage {
  readonly type: string;
  readonly request_id?: string;
  readonly data?: ChatObject;
  readonly usage?: { readonly prompt_tokens: number; readonly completion_tokens: number };
  readonly error?: { readonly message: string };
}

function openWebSocket(doors: Doors, body: object): OpenChat {
  const objects: ChatObject[] = [];
  let requestId = '';
  const socket = new WebSocket(`${doors.url.replace('http', 'ws')}/ws/chat`, {
    headers: { authorization: `Bearer ${doors.key}` },
  });
  const answer = new Promise<DoorAnswer>((resolve, reject) => {
    socket.once('error', reject);
    socket.once('close', (code) => reject(new Error(`the socket closed with ${code}`)));
    socket.on('message', (data: Buffer) => {
      const message = JSON.parse(data.toString('utf8')) as WsMessage;
      if (message.type === 'ready')
        socket.send(JSON.stringify({ type: 'chat', id: 'a', body: { ...body, stream: true } }));
      if (message.type === 'start') requestId = message.request_id ?? '';
      if (message.type === 'chunk' && message.data !== undefined) objects.push(message.data);
      if (message.type === 'error') reject(new Error(message.error?.message));
      if (message.type === 'done') {
        const usage = {
          promptTokens: message.usage?.prompt_tokens ?? -1,
          completionTokens: message.usage?.completion_tokens ?? -1,
        };
        resolve({ objects, requestId, usage });
        socket.close();
      }
    });
  });
  return {
    answer,
    pieces: () => countPieces(objects),
    leave: () => socket.terminate(),
    cancel: () => socket.send('{"type":"cancel","id":"a"}'),
  };
}

function grpcClient(doors: Doors): { readonly client: grpc.Client; readonly metadata: grpc.Metadata } {
  const Client = grpc.makeClientConstructor(inferenceService, 'inference.v1.Inference');
  const metadata = new grpc.Metadata();
  metadata.set('authorization', `Bearer ${doors.key}`);
  return { client: new Client(doors.grpcAddress, grpc.credentials.createInsecure()), metadata };
}

interface GrpcUsage {
  readonly promptTokens?: number;
  readonly completionTokens?: number;
}

const usageOf = (usage: GrpcUsage | null | undefined): DoorAnswer['usage'] => ({
  promptTokens: usage?.promptTokens ?? -1,
  completionTokens: usage?.completionTokens ?? -1,
});

interface GenerateMessage {
  readonly chunk: Buffer;
  readonly requestId: string;
  readonly usage: GrpcUsage | null;
}

/** The call of its own by which a gateway ends a request that may run on another connection. */
function cancelById(client: grpc.Client, metadata: grpc.Metadata, requestId: string): void {
  type Cancel = (request: object, metadata: grpc.Metadata, done: () => void) => void;
  const { Cancel: cancel } = client as unknown as { readonly Cancel: Cancel };
  cancel.call(client, { requestId }, metadata, () => undefined);
}

function openGenerate(doors: Doors, body: object): OpenChat {
  const { client, metadata } = grpcClient(doors);
  const run = (
    client as unknown as Record<
      string,
      (request: object, metadata: grpc.Metadata) => grpc.ClientReadableStream<GenerateMessage>
    >
  )['Generate'];
  const call = (run as NonNullable<typeof run>).call(
    client,
    { body: Buffer.from(JSON.stringify({ ...body, stream: true })) },
    metadata,
  );
  const objects: ChatObject[] = [];
  let requestId = '';
  let usage: GrpcUsage | null = null;
  const answer = new Promise<DoorAnswer>((resolve, reject) => {
    call.on('data', (message: GenerateMessage) => {
      if (message.requestId !== '') requestId = message.requestId;
      if (message.chunk.length > 0) objects.push(JSON.parse(message.chunk.toString('utf8')) as ChatObject);
      usage ??= message.usage;
    });
    call.once('error', reject);
    call.once('end', () => resolve({ objects, requestId, usage: usageOf(usage) }));
  }).finally(() => client.close());
  return {
    answer,
    pieces: () => countPieces(objects),
    leave: () => call.cancel(),
    cancel: () => cancelById(client, metadata, requestId),
  };
}

function openGenerateMany(doors: Doors, body: object): OpenChat {
  const { client, metadata } = grpcClient(doors);
  const run = (
    client as unknown as Record<string, (metadata: grpc.Metadata) => grpc.ClientDuplexStream<object, ManyResponse>>
  )['GenerateMany'];
  const call = (run as NonNullable<typeof run>).call(client, metadata);
  const objects: ChatObject[] = [];
  let requestId = '';
  let usage: GrpcUsage | undefined;
  const answer = new Promise<DoorAnswer>((resolve, reject) => {
    const take = (kind: number, data: Buffer): void => {
      if (kind === ENTRY.REQUEST_ID) requestId = data.toString('utf8');
      else if (kind === ENTRY.CHUNK) objects.push(JSON.parse(data.toString('utf8')) as ChatObject);
      else if (kind === ENTRY.USAGE) usage = inferenceMessages.Usage.deserialize(data) as GrpcUsage;
      else if (kind === ENTRY.ERROR) reject(decodeStatus(data).error);
      else if (kind === ENTRY.END) {
        resolve({ objects, requestId, usage: usageOf(usage) });
        call.end();
      }
    };
    call.on('data', (batch: ManyResponse) => {
      let at = 0;
      batch.kind.forEach((kind, index) => {
        const end = at + (batch.size[index] as number);
        take(kind, batch.data.subarray(at, end));
        at = end;
      });
    });
    call.once('error', reject);
    call.once('end', () => reject(new Error('the stream ended before the request did')));
  }).finally(() => client.close());
  call.write({ start: [{ stream: 7, body: Buffer.from(JSON.stringify({ ...body, stream: true })) }] });
  return {
    answer,
    pieces: () => countPieces(objects),
    leave: () => call.cancel(),
    cancel: () => call.write({ cancel: [7] }),
  };
}

/** Every way in which a client may ask for a chat. */
export const DOORS: readonly Door[] = [
  { name: 'HTTP stream', streams: true, open: (doors, body) => openHttp(doors, body, true) },
  { name: 'HTTP plain', streams: false, open: (doors, body) => openHttp(doors, body, false) },
  { name: 'WebSocket', streams: true, open: openWebSocket },
  { name: 'Generate', streams: true, open: openGenerate },
  { name: 'GenerateMany', streams: true, open: openGenerateMany },
];
