/** Asks Route for a ticket and calls an agent with it, as a gateway does; every answer is a value, refusals too. */
import http, { type IncomingMessage } from 'node:http';
import https from 'node:https';
import * as grpc from '@grpc/grpc-js';
import type { RouteRequest } from '../../proto/gen/inference/v1/RouteRequest.ts';
import type { RouteResponse__Output } from '../../proto/gen/inference/v1/RouteResponse.ts';
import { inferenceService } from '../../proto/load.ts';
import { fromServiceError } from '../../proto/status.ts';

export interface Doors {
  readonly grpcAddress: string;
  readonly key: string;
}

/** @throws CodedError */
export async function route(doors: Doors, request: RouteRequest): Promise<RouteResponse__Output> {
  const Client = grpc.makeClientConstructor(inferenceService, 'inference.v1.Inference');
  const client = new Client(doors.grpcAddress, grpc.credentials.createInsecure());
  const metadata = new grpc.Metadata();
  metadata.set('authorization', `Bearer ${doors.key}`);
  const call = client['Route'] as unknown as (
    request: RouteRequest,
    metadata: grpc.Metadata,
    callback: (error: grpc.ServiceError | null, value?: RouteResponse__Output) => void,
  ) => void;
  try {
    return await new Promise((resolve, reject) => {
      call.call(client, request, metadata, (error, value) => {
        if (error === null) resolve(value as RouteResponse__Output);
        else reject(fromServiceError(error).error);
      });
    });
  } finally {
    client.close();
  }
}

export interface DirectCall {
  readonly url: string;
  readonly ticket?: string;
  readonly body: string | object;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly ca?: string;
}

export interface DirectAnswer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly text: string;
  /** The code of the error, where it is one. */
  readonly code: string | undefined;
}

export interface OpenCall {
  readonly answer: Promise<DirectAnswer>;
  /** Resolves with the first bytes of the body. */
  readonly begun: Promise<string>;
  readonly response: Promise<IncomingMessage>;
  leave(): void;
}

export function openDirect({ url, ticket, body, method = 'POST', headers = {}, ca }: DirectCall): OpenCall {
  const sent = typeof body === 'string' ? body : JSON.stringify(body);
  const request = (url.startsWith('https:') ? https : http).request(url, {
    method,
    ...(ca === undefined ? {} : { ca }),
    agent: false,
    headers: {
      'content-type': 'application/json',
      ...(ticket === undefined ? {} : { authorization: `Bearer ${ticket}` }),
      ...headers,
    },
  });
  const response = new Promise<IncomingMessage>((resolve, reject) => {
    request.once('response', resolve);
    request.once('error', reject);
  });
  let first: (text: string) => void = () => undefined;
  const begun = new Promise<string>((resolve) => {
    first = resolve;
  });
  const answer = response.then(
    (head) =>
      new Promise<DirectAnswer>((resolve, reject) => {
        const parts: Buffer[] = [];
        head.on('data', (part: Buffer) => {
          first(part.toString('utf8'));
          parts.push(part);
        });
        head.once('error', reject);
        head.once('end', () => {
          const text = Buffer.concat(parts).toString('utf8');
          resolve({ status: head.statusCode ?? 0, headers: head.headers, text, code: codeOf(text) });
        });
      }),
  );
  answer.catch(() => undefined);
  request.end(sent);
  return { answer, begun, response, leave: () => request.destroy() };
}

export const callDirect = (call: DirectCall): Promise<DirectAnswer> => openDirect(call).answer;

function codeOf(text: string): string | undefined {
  return /"code":"([a-z0-9_]+)"/.exec(text)?.[1];
}
