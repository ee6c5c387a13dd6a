/**
 * Baseline: the agent's half of "one gRPC stream per request": a gRPC server that opens one server stream per request
 * and sends one message per event of the engine. Run as a process: grpc_agent.js SOCKET [SOCKET ...]
 */
import * as grpc from '@grpc/grpc-js';
import { Agent, request } from 'node:http';
import { inferenceService } from '../../proto/load.ts';
import { createSseSplitter } from '../../lib/sse.ts';
import type { GenerateRequest__Output } from '../../proto/gen/inference/v1/GenerateRequest.ts';
import type { GenerateResponse } from '../../proto/gen/inference/v1/GenerateResponse.ts';

const sockets = process.argv.slice(2);
const agents = sockets.map(() => new Agent({ keepAlive: true, timeout: 3000 }));
const MAX_EVENT_BYTES = 1 << 20;
let turn = 0;

function generate(call: grpc.ServerWritableStream<GenerateRequest__Output, GenerateResponse>): void {
  const index = turn++ % sockets.length;
  const splitter = createSseSplitter({ maxEventBytes: MAX_EVENT_BYTES });
  const upstream = request(
    {
      socketPath: sockets[index] as string,
      agent: agents[index] as Agent,
      method: 'POST',
      path: '/v1/completions',
      headers: { 'content-type': 'application/json' },
    },
    (answer) => {
      answer.on('data', (bytes: Buffer) => {
        for (const event of splitter.push(bytes)) call.write({ chunk: Buffer.from(event) });
      });
      answer.on('end', () => call.end());
    },
  );
  upstream.on('error', (error) => call.destroy(error));
  call.on('cancelled', () => upstream.destroy());
  upstream.end(call.request.body);
}

const server = new grpc.Server();
server.addService(inferenceService, { Generate: generate });
server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, port) => {
  if (error !== null) throw error;
  process.send?.({ type: 'ready', port });
});
process.on('disconnect', () => process.exit(0));
process.on('SIGTERM', () => process.exit(0));
