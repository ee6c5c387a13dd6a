/** What a scheduler knows of its fleet, asked over one connection that a whole run keeps. */
import * as grpc from '@grpc/grpc-js';
import type { Engine__Output } from '../../proto/gen/admin/v1/Engine.ts';
import type { ListEnginesResponse__Output } from '../../proto/gen/admin/v1/ListEnginesResponse.ts';
import { adminService } from '../../proto/load.ts';

const CALL_DEADLINE_MS = 10_000;

export interface Admin {
  /** Every engine that the scheduler knows. @throws when it does not answer in 10 s */
  engines(): Promise<readonly Engine__Output[]>;
  close(): void;
}

export function connectAdmin(address: string, key: string): Admin {
  const Client = grpc.makeClientConstructor(adminService, 'admin.v1.Admin');
  const client = new Client(address, grpc.credentials.createInsecure());
  const metadata = new grpc.Metadata();
  metadata.set('authorization', `Bearer ${key}`);
  const list = client['ListEngines'] as unknown as (
    request: object,
    metadata: grpc.Metadata,
    options: grpc.CallOptions,
    callback: (error: Error | null, value?: ListEnginesResponse__Output) => void,
  ) => void;
  return {
    engines: () =>
      new Promise((resolve, reject) => {
        list.call(client, {}, metadata, { deadline: Date.now() + CALL_DEADLINE_MS }, (error, value) => {
          if (error === null && value !== undefined) resolve(value.engines);
          else reject(error ?? new Error('ListEngines gave no answer'));
        });
      }),
    close: () => client.close(),
  };
}
