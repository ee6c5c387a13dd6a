/** Clients that go away: one for each door, each begins a request and leaves in the way that is natural at its door. */
import * as grpc from '@grpc/grpc-js';
import { WebSocket } from 'ws';
import { LOOPBACK } from '../../lib/io/local_fleet.ts';
import { inferenceService } from '../../proto/load.ts';
import { BENCH_MODEL, type BenchFleet } from '../bench_fleet.ts';
import { streamOnce } from '../clients/http_stream.ts';
import { openMany } from '../clients/many.ts';

export interface Begun {
  /** Resolves with the first token; never for a door that gives none. */
  readonly firstToken: Promise<void>;
  /** The client goes away. */
  leave(): void;
}

export interface ClientDoor {
  readonly name: string;
  /** Whether its client sees tokens as they come. */
  readonly streams: boolean;
  begin(): Promise<Begun>;
  close(): void;
}

const PATH = '/v1/completions';
/** More than any phase lets it make. */
const MAX_TOKENS = 4000;

const bodyOf = (stream: boolean, chat = false): string =>
  JSON.stringify({
    model: BENCH_MODEL,
    ...(chat ? { messages: [{ role: 'user', content: 'Count for as long as you are let.' }] } : {}),
    ...(chat ? {} : { prompt: 'Count for as long as you are let.' }),
    max_tokens: MAX_TOKENS,
    ignore_eos: true,
    stream,
  });

function signal(): { readonly promise: Promise<void>; fire(): void } {
  let fire = (): void => undefined;
  const promise = new Promise<void>((resolve) => {
    fire = resolve;
  });
  return { promise, fire };
}

function httpDoor(fleet: BenchFleet, stream: boolean): ClientDoor {
  const target = { host: LOOPBACK, port: fleet.httpPort };
  return {
    name: stream ? 'http' : 'http_plain',
    streams: stream,
    begin() {
      const first = signal();
      return new Promise((resolve) => {
        const request = { path: PATH, host: LOOPBACK, body: bodyOf(stream), key: fleet.key };
        void streamOnce(target, request, {
          onEvents: first.fire,
          onSocket: (socket) => resolve({ firstToken: first.promise, leave: () => void socket.destroy() }),
        });
      });
    },
    close: () => undefined,
  };
}

function wsDoor(fleet: BenchFleet): ClientDoor {
  return {
    name: 'ws',
    streams: true,
    begin() {
      const first = signal();
      const socket = new WebSocket(`ws://${LOOPBACK}:${fleet.httpPort}/ws/chat`, {
        headers: { authorization: `Bearer ${fleet.key}` },
      });
      return new Promise((resolve, reject) => {
        socket.on('error', reject);
        socket.on('message', (data: Buffer) => {
          const text = data.toString('utf8');
          if (text.startsWith('{"type":"ready"')) {
            socket.send(`{"type":"chat","id":"c","body":${bodyOf(true, true)}}`);
            resolve({ firstToken: first.promise, leave: () => socket.terminate() });
          } else if (text.startsWith('{"type":"chunk"')) first.fire();
        });
      });
    },
    close: () => undefined,
  };
}

function grpcDoor(fleet: BenchFleet): ClientDoor {
  const Client = grpc.makeClientConstructor(inferenceService, 'inference.v1.Inference');
  const client = new Client(fleet.grpcAddress, grpc.credentials.createInsecure());
  const metadata = new grpc.Metadata();
  metadata.set('authorization', `Bearer ${fleet.key}`);
  const generate = client['Generate'] as unknown as (
    request: object,
    metadata: grpc.Metadata,
  ) => grpc.ClientReadableStream<unknown>;
  return {
    name: 'grpc',
    streams: true,
    begin() {
      const first = signal();
      const request = { envelope: { endpoint: 'ENDPOINT_COMPLETIONS' }, body: Buffer.from(bodyOf(true)) };
      const call = generate.call(client, request, metadata);
      call.on('data', first.fire);
      // The end of a call that this client cancelled is told as an error.
      call.on('error', () => undefined);
      return Promise.resolve({ firstToken: first.promise, leave: () => call.cancel() });
    },
    close: () => client.close(),
  };
}

/** Leaves one request; the stream goes on. */
function manyDoor(fleet: BenchFleet): ClientDoor {
  const client = openMany(fleet.grpcAddress, fleet.key);
  return {
    name: 'grpc_many',
    streams: true,
    begin() {
      const before = client.events;
      const running = client.run({ body: bodyOf(true), endpoint: 'ENDPOINT_COMPLETIONS' });
      const firstToken = new Promise<void>((resolve) => {
        const look = setInterval(() => {
          if (client.events === before) return;
          clearInterval(look);
          resolve();
        }, 2);
        void running.done.then(() => clearInterval(look));
      });
      return Promise.resolve({ firstToken, leave: () => running.cancel() });
    },
    close: () => client.close(),
  };
}

export function openDoors(fleet: BenchFleet): ClientDoor[] {
  return [httpDoor(fleet, true), httpDoor(fleet, false), wsDoor(fleet), grpcDoor(fleet), manyDoor(fleet)];
}

/** Keeps an engine that takes one request at a time busy until it is let go. */
export async function occupy(fleet: BenchFleet): Promise<Begun> {
  const begun = await httpDoor(fleet, true).begin();
  await begun.firstToken;
  return begun;
}
