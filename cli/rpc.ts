/**
 * Unary calls to a scheduler's gRPC door, for the client commands: one channel per command, a deadline on every call,
 * and errors back as the coded errors that the scheduler raised.
 */
import * as grpc from '@grpc/grpc-js';
import { readFileSync } from 'node:fs';
import { CodedError } from '../lib/errors.ts';
import type { MethodDefinition } from '@grpc/proto-loader';
import type { AdminDefinition } from '../proto/gen/admin/v1/Admin.ts';
import { adminService } from '../proto/load.ts';
import { fromServiceError } from '../proto/status.ts';
import type { Target } from './contexts.ts';

const CALL_DEADLINE_MS = 10_000;

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
  close(): void;
}

export function connectAdmin(target: Pick<Target, 'grpc' | 'caFile' | 'key'>): AdminConnection {
  const Client = grpc.makeClientConstructor(adminService, 'admin.v1.Admin');
  const credentials =
    target.caFile === undefined
      ? grpc.credentials.createInsecure()
      : grpc.credentials.createSsl(readFileSync(target.caFile));
  const client = new Client(target.grpc, credentials);
  return {
    call(method, request, deadlineMs = CALL_DEADLINE_MS) {
      const metadata = new grpc.Metadata();
      if (target.key !== undefined) metadata.set('authorization', `Bearer ${target.key}`);
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
    close: () => client.close(),
  };
}

function toCallError(failure: grpc.ServiceError, address: string): CodedError {
  const { error } = fromServiceError(failure);
  const silent = error.cause === failure && (error.code === 'unreachable' || error.code === 'deadline_exceeded');
  if (!silent) return error;
  return new CodedError('unreachable', `The scheduler at ${address} cannot be reached.`, { cause: failure });
}
