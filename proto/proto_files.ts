/** Which .proto files make up the interface: what load.ts loads and generate.ts makes types of. */

/** Relative to the proto folder. */
export const PROTO_FILES = Object.freeze([
  'fleet/v1/fleet.proto',
  'inference/v1/inference.proto',
  'admin/v1/admin.proto',
  'google/rpc/error_details.proto',
] as const);
