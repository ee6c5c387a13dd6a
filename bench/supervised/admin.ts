/** What a scheduler knows of its fleet, asked over one connection that a whole run keeps. */
import * as grpc from '@grpc/grpc-js';
import type { Engine__Output } from '../../proto/gen/admin/v1/Engine.ts';
import type { GetNodeResponse__Output } from '../../proto/gen/admin/v1/GetNodeResponse.ts';
import type { ListEnginesResponse__Output } from '../../proto/gen/admin/v1/ListEnginesResponse.ts';
import type { ListModelsResponse__Output } from '../../proto/gen/admin/v1/ListModelsResponse.ts';
import type { Model__Output } from '../../proto/gen/admin/v1/Model.ts';
import type { ModelFiles__Output } from '../../proto/gen/admin/v1/ModelFiles.ts';
import type { Node__Output } from '../../proto/gen/admin/v1/Node.ts';
import { adminService } from '../../proto/load.ts';

const CALL_DEADLINE_MS = 10_000;

export interface Admin {
  /** Every engine that the scheduler knows. @throws when it does not answer in 10 s */
  engines(): Promise<readonly Engine__Output[]>;
  /** A node with its newest telemetry. @throws when it does not answer in 10 s or does not know the node */
  node(name: string): Promise<Node__Output | null>;
  /** Every model, with what waits for it. @throws when it does not answer in 10 s */
  models(): Promise<readonly Model__Output[]>;
  /** The files of models on all hosts. @throws when it does not answer in 10 s */
  modelFiles(): Promise<readonly ModelFiles__Output[]>;
  close(): void;
}

type Unary = (
  request: object,
  metadata: grpc.Metadata,
  options: grpc.CallOptions,
  callback: (error: Error | null, value?: unknown) => void,
) => void;

export function connectAdmin(address: string, key: string): Admin {
  const Client = grpc.makeClientConstructor(adminService, 'admin.v1.Admin');
  const client = new Client(address, grpc.credentials.createInsecure());
  const metadata = new grpc.Metadata();
  metadata.set('authorization', `Bearer ${key}`);
  const call = (method: string, request: object): Promise<unknown> =>
    new Promise((resolve, reject) => {
      const unary = client[method] as unknown as Unary;
      unary.call(client, request, metadata, { deadline: Date.now() + CALL_DEADLINE_MS }, (error, value) => {
        if (error === null && value !== undefined) resolve(value);
        else reject(error ?? new Error(`${method} gave no answer`));
      });
    });
  return {
    engines: async () => ((await call('ListEngines', {})) as ListEnginesResponse__Output).engines,
    node: async (name) => ((await call('GetNode', { name })) as GetNodeResponse__Output).node,
    models: async () => ((await call('ListModels', {})) as ListModelsResponse__Output).models,
    modelFiles: async () => ((await call('ListModels', {})) as ListModelsResponse__Output).files,
    close: () => client.close(),
  };
}
