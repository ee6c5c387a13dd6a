/**
 * Baseline: the scheduler's half of "one gRPC stream per request": an HTTP server that opens one gRPC server stream for
 * each request and writes each message as an SSE event. Run as a process: grpc_front.js PORT_OF_GRPC_AGENT
 */
import * as grpc from '@grpc/grpc-js';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { inferenceService } from '../../proto/load.ts';
import type { GenerateRequest } from '../../proto/gen/inference/v1/GenerateRequest.ts';
import type { GenerateResponse__Output } from '../../proto/gen/inference/v1/GenerateResponse.ts';

const Client = grpc.makeClientConstructor(inferenceService, 'inference.v1.Inference');
const client = new Client(`127.0.0.1:${process.argv[2]}`, grpc.credentials.createInsecure());
const generate = client['Generate'] as unknown as (
  request: GenerateRequest,
) => grpc.ClientReadableStream<GenerateResponse__Output>;

const server = createServer((incoming, outgoing) => {
  const parts: Buffer[] = [];
  incoming.on('data', (part: Buffer) => parts.push(part));
  incoming.on('end', () => {
    outgoing.writeHead(200, { 'content-type': 'text/event-stream' });
    const call = generate.call(client, { body: Buffer.concat(parts) });
    call.on('data', (message: GenerateResponse__Output) => outgoing.write(`data: ${message.chunk.toString()}\n\n`));
    call.on('error', () => outgoing.destroy());
    call.on('end', () => outgoing.end());
    outgoing.on('close', () => call.cancel());
  });
});

server.listen(0, '127.0.0.1', () => {
  process.send?.({ type: 'ready', port: (server.address() as AddressInfo).port });
});
process.on('disconnect', () => process.exit(0));
process.on('SIGTERM', () => process.exit(0));
