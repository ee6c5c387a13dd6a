/** Engine specifications as a configuration file spells them. */
import { z } from 'zod';

const limitsSchema = z.strictObject({
  startTimeoutMs: z.int().min(1).optional(),
  drainTimeoutMs: z.int().min(0).optional(),
  stopTimeoutMs: z.int().min(1).optional(),
  maxConcurrentRequests: z.int().min(1).optional(),
  maxRestarts: z.int().min(0).optional(),
});

const sourceSchema = z.strictObject({
  url: z.string().min(1).max(2048),
  revision: z.string().max(255).default(''),
  sha256: z.record(z.string().max(1024), z.string().length(64)).default({}),
});

/** One engine in the spelling of a configuration file; the agent checks it again, more strictly. */
const engineSchema = z.strictObject({
  name: z.string().regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/),
  kind: z.enum(['vllm', 'llama', 'sim']),
  model: z.string().min(1).max(4096),
  servedModelName: z.string().min(1).max(512),
  gpuIds: z.array(z.int().min(0).max(255)).max(256).default([]),
  extraFlags: z.array(z.string().max(8192)).max(128).default([]),
  environment: z.record(z.string().max(128), z.string().max(8192)).default({}),
  unixSocket: z.string().min(1).max(107).optional(),
  tcpPort: z.int().min(1).max(65_535).optional(),
  limits: limitsSchema.default({}),
  modelSource: sourceSchema.optional(),
});

/** Engines by node, as the setting `nodes` holds them. */
export const nodesSchema = z
  .record(z.string().min(1).max(253), z.array(engineSchema).max(64))
  .refine((nodes) =>
    Object.values(nodes).every((engines) => new Set(engines.map((engine) => engine.name)).size === engines.length),
  )
  .describe('for each node name, or * for all others, a list of up to 64 engine specifications with unique names');
