/**
 * Calls to a scheduler's gRPC door, for the client commands: one channel per command, a deadline on every unary call, and
 * errors back as the coded errors that the scheduler raised.
 */
import * as grpc from '@grpc/grpc-js';
import { readFileSync } from 'node:fs';
import { CodedError } from '../lib/errors.ts';
import type { MethodDefinition } from '@grpc/proto-loader';
import type { AdminDefinition } from '../proto/gen/admin/v1/Admin.ts';
import type { RouteRequest } from '../proto/gen/inference/v1/RouteRequest.ts';
import type { RouteResponse__Output } from '../proto/gen/inference/v1/RouteResponse.ts';
import { adminService, inferenceService } from '../proto/load.ts';
import { fromServiceError } from '../proto/status.ts';
import type { Target } from './contexts.ts';

const CALL_DEADLINE_MS = 10_000;
const MAX_ANSWER_BYTES = 256 * 1024 * 1024;

type CallArguments<Name extends keyof AdminDefinition> =
  AdminDefinition[Name] extends MethodDefinition<infer Request, infer _Message, infer _Received, infer Answer>
    ? { request: Request; answer: Answer }
    : never;

export interface AdminConnection {
  /** @throws CodedError of the scheduler, or `unreachable` */
  call<Name extends keyof AdminDefinition>(
    method: Name,
    request: CallArguments<Name>['request'],
    deadlineMs?: number,
  ): Promise<CallArguments<Name>['answer']>;
  /**
   * Reads a stream of answers, no faster than `onMessage` takes them; ends early, without an error, when `signal` aborts.
   * @throws CodedError of the scheduler, or `unreachable`
   */
  stream<Name extends 'RunCommand' | 'ListEvents'>(
    method: Name,
    request: CallArguments<Name>['request'],
    onMessage: (message: NonNullable<CallArguments<Name>['answer']>) => Promise<void> | void,
    signal?: AbortSignal,
  ): Promise<void>;
  close(): void;
}

type Scheduler = Pick<Target, 'grpc' | 'caFile' | 'key'>;

function connect(target: Scheduler, service: grpc.ServiceDefinition, name: string) {
  const credentials =
    target.caFile === undefined
      ? grpc.credentials.createInsecure()
      : grpc.credentials.createSsl(readFileSync(target.caFile));
  // The state of a large fleet is one answer.
  const options = { 'grpc.max_receive_message_length': MAX_ANSWER_BYTES };
  return new (grpc.makeClientConstructor(service, name))(target.grpc, credentials, options);
}

export interface RouteConnection {
  /** @throws CodedError of the scheduler, or `unreachable` */
  route(request: RouteRequest): Promise<RouteResponse__Output>;
  close(): void;
}

/** Asks a scheduler for engines and tickets. */
export function connectRoute(target: Scheduler): RouteConnection {
  const client = connect(target, inferenceService, 'inference.v1.Inference');
  const unary = client['Route'] as unknown as (
    request: RouteRequest,
    metadata: grpc.Metadata,
    options: grpc.CallOptions,
    callback: (error: grpc.ServiceError | null, value?: RouteResponse__Output) => void,
  ) => grpc.ClientUnaryCall;
  return {
    route: (request) =>
      new Promise((resolve, reject) => {
        const options = { deadline: Date.now() + CALL_DEADLINE_MS };
        unary.call(client, request, metadataOf(target.key), options, (error, value) => {
          if (error === null && value !== undefined) resolve(value);
          else
            reject(
              error === null ? new CodedError('internal', 'Route gave no answer.') : toCallError(error, target.grpc),
            );
        });
      }),
    close: () => client.close(),
  };
}

export function connectAdmin(target: Scheduler): AdminConnection {
  const client = connect(target, adminService, 'admin.v1.Admin');
  return {
    call(method, request, deadlineMs = CALL_DEADLINE_MS) {
      const metadata = metadataOf(target.key);
      const unary = client[method] as unknown as (
        request: unknown,
        metadata: grpc.Metadata,
        options: grpc.CallOptions,
        callback: (error: grpc.ServiceError | null, value?: unknown) => void,
      ) => grpc.ClientUnaryCall;
      return new Promise((resolve, reject) => {
        unary.call(client, request, metadata, { deadline: Date.now() + deadlineMs }, (error, value) => {
          if (error === null) resolve(value);
          else reject(toCallError(error, target.grpc));
        });
      });
    },
    async stream<Name extends 'RunCommand' | 'ListEvents'>(
      method: Name,
      request: CallArguments<Name>['request'],
      onMessage: (message: NonNullable<CallArguments<Name>['answer']>) => Promise<void> | void,
      signal?: AbortSignal,
    ) {
      type Answer = NonNullable<CallArguments<Name>['answer']>;
      const open = client[method] as unknown as (
        request: unknown,
        metadata: grpc.Metadata,
      ) => grpc.ClientReadableStream<Answer>;
      const call = open.call(client, request, metadataOf(target.key));
      const cancel = (): void => call.cancel();
      signal?.addEventListener('abort', cancel, { once: true });
      try {
        for await (const message of call) await onMessage(message as Answer);
      } catch (error) {
        if (signal?.aborted !== true) throw isServiceError(error) ? toCallError(error, target.grpc) : error;
      } finally {
        signal?.removeEventListener('abort', cancel);
      }
    },
    close: () => client.close(),
  };
}

function metadataOf(key: string | undefined): grpc.Metadata {
  const metadata = new grpc.Metadata();
  if (key !== undefined) metadata.set('authorization', `Bearer ${key}`);
  return metadata;
}

function isServiceError(thrown: unknown): thrown is grpc.ServiceError {
  return thrown instanceof Error && 'code' in thrown && 'details' in thrown;
}

function toCallError(failure: grpc.ServiceError, address: string): CodedError {
  const { error } = fromServiceError(failure);
  const silent = error.cause === failure && (error.code === 'unreachable' || error.code === 'deadline_exceeded');
  if (!silent) return error;
  return new CodedError('unreachable', `The scheduler at ${address} cannot be reached.`, { cause: failure });
}
