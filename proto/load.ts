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

/** Field 3 of google.protobuf.FileDescriptorProto, as text: 3 << 3 | 2. */
const DEPENDENCY_TAG = 0x1a;

/** A descriptor that says of each other file whose package its types name that it imports it. */
function withImports(descriptor: Buffer, fileNames: readonly string[]): Buffer {
  const nameLength = descriptor[1] as number;
  const ownName = descriptor.toString('latin1', 2, 2 + nameLength);
  const imports = fileNames.filter((name) => {
    const ofPackage = name.replace('.proto', '.').replaceAll('_', '.');
    return name !== ownName && descriptor.includes(ofPackage, 2 + nameLength, 'latin1');
  });
  // Fields may come in any order, so that what is appended belongs to the message.
  const fields = imports.map((name) => Buffer.concat([Buffer.from([DEPENDENCY_TAG, name.length]), Buffer.from(name)]));
  return Buffer.concat([descriptor, ...fields]);
}

/**
 * proto-loader makes one file of each package and forgets which imports which, so that a client of reflection (grpcurl,
 * Python's descriptor pool) cannot build a file that uses types of another.
 */
function restoreImports(definition: PackageDefinition): PackageDefinition {
  const restored = new Map<readonly Buffer[], Buffer[]>();
  for (const entry of Object.values(definition)) {
    if (!Array.isArray(entry.fileDescriptorProtos)) continue;
    const files = entry.fileDescriptorProtos;
    const names = files.map((file) => file.toString('latin1', 2, 2 + (file[1] as number)));
    if (!restored.has(files))
      restored.set(
        files,
        files.map((file) => withImports(file, names)),
      );
    entry.fileDescriptorProtos = restored.get(files) as Buffer[];
  }
  return definition;
}

const protoFolder = path.join(packageRoot(), 'proto');

/** The parsed package definition: what reflection serves. */
export const packageDefinition: PackageDefinition = restoreImports(
  loadSync([...PROTO_FILES], { ...LOADER_OPTIONS, includeDirs: [protoFolder] }),
);

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
