/**
 * The one place where the .proto files become service definitions at run time. The committed types under gen/ are made
 * with the same options (`npm run generate`), so what arrives has exactly the generated shape.
 */
import { loadPackageDefinition, type ServiceDefinition, type MethodDefinition } from '@grpc/grpc-js';
import { loadSync, type PackageDefinition } from '@grpc/proto-loader';
import path from 'node:path';
import { packageRoot } from '../lib/io/package_root.ts';
import { decodeLaneBatch } from './codec.ts';
import type { ProtoGrpcType as AdminProto } from './gen/admin.ts';
import type { ProtoGrpcType as DetailsProto } from './gen/error_details.ts';
import type { ProtoGrpcType as FleetProto } from './gen/fleet.ts';
import type { ProtoGrpcType as InferenceProto } from './gen/inference.ts';
import { decodeManyResponse } from './many_codec.ts';
import { PROTO_FILES } from './proto_files.ts';

/** With `defaults` a proto3 `optional` field that was not sent stays absent: "unknown" never decodes as 0. */
export const LOADER_OPTIONS = Object.freeze({
  longs: Number,
  enums: String,
  defaults: true,
  oneofs: true,
  arrays: true,
});

type Loaded = FleetProto & InferenceProto & AdminProto & DetailsProto;

const protoFolder = path.join(packageRoot(), 'proto');

/** The parsed package definition: what reflection serves. */
export const packageDefinition: PackageDefinition = loadSync([...PROTO_FILES], {
  ...LOADER_OPTIONS,
  includeDirs: [protoFolder],
});

const loaded = loadPackageDefinition(packageDefinition) as unknown as Loaded;

const asIs = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

function withCodec<Definition extends ServiceDefinition>(
  definition: Definition,
  method: string,
  codec: Partial<MethodDefinition<unknown, unknown>>,
): Definition {
  return { ...definition, [method]: { ...(definition[method] as object), ...codec } };
}

/**
 * Fleet, with `Lane` hand-coded: both directions write what FrameBatch.take() made and read the packed frames as one
 * Uint8Array, so no protobuf object stands between a token and the socket.
 */
export const fleetService = withCodec(loaded.fleet.v1.Fleet.service, 'Lane', {
  requestSerialize: asIs as (value: unknown) => Buffer,
  requestDeserialize: decodeLaneBatch,
  responseSerialize: asIs as (value: unknown) => Buffer,
  responseDeserialize: decodeLaneBatch,
});

/** Inference, with the answers of `GenerateMany` hand-coded (see many_codec.ts); requests are ordinary objects. */
export const inferenceService = withCodec(loaded.inference.v1.Inference.service, 'GenerateMany', {
  responseSerialize: asIs as (value: unknown) => Buffer,
  responseDeserialize: decodeManyResponse,
});

export const adminService = loaded.admin.v1.Admin.service;

export const googleRpc = loaded.google.rpc;

export const inferenceMessages = loaded.inference.v1;

export const fleetMessages = loaded.fleet.v1;
