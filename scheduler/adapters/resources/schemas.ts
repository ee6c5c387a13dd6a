/**
 * The shapes of resources, strict: a member that is not listed is refused, because a misspelt one would silently be a
 * default. What they give is the types of core/resources/contract.ts; docs/RESOURCES.md and the OpenAPI document are made
 * of them.
 */
import { z } from 'zod';
import { ENGINE_MEMBERS, type ResourceKind } from '../../core/resources/contract.ts';
import { bytes, milliseconds, share, until } from './quantities.ts';

const MAX_ITEMS = 64;

const text = (max: number, doc: string) => z.string().min(1).max(max).describe(doc);
const whole = (min: number, max: number, doc: string) => z.int().min(min).max(max).describe(doc);

const NAME_PART = '[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?';
const LABEL_KEY = new RegExp(`^(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?/)?${NAME_PART}$`);
const LABEL_VALUE = new RegExp(`^(?:${NAME_PART})?$`);

const labelKey = (doc: string) =>
  z
    .string()
    .max(316)
    .regex(LABEL_KEY, 'must be a label key as in Kubernetes, such as team or example.org/team')
    .describe(doc);

const labelValue = (doc: string) =>
  z
    .string()
    .regex(LABEL_VALUE, 'must be a label value as in Kubernetes: up to 63 letters, digits, - _ and .')
    .describe(doc);

export const labelsSchema = z
  .record(labelKey('key'), labelValue('value'))
  .refine((labels) => Object.keys(labels).length <= MAX_ITEMS, `must be at most ${MAX_ITEMS} labels`);

/** What stands in YAML without quotes and is meant as text: a flag's 8, a variable's true. */
const word = (max: number) =>
  z
    .union([z.string(), z.number(), z.boolean()], { error: 'must be text or a number' })
    .transform(String)
    .refine((value) => value.length <= max && !/[\0\n\r]/.test(value), `must be one line of up to ${max} characters`);

const requirement = z.strictObject({
  key: labelKey('A label of the node, or one of its attributes (docs/PLACEMENT.md).'),
  operator: z.enum(['In', 'NotIn', 'Exists', 'DoesNotExist', 'Gt', 'Lt']).describe('As in Kubernetes.'),
  values: z.array(word(256)).max(256).optional().describe('Not for Exists and DoesNotExist; one number for Gt and Lt.'),
});

const taint = z.strictObject({
  key: labelKey('Its name.'),
  value: labelValue('Its value.').optional(),
  effect: z.enum(['NoSchedule', 'PreferNoSchedule', 'NoExecute']).describe('As in Kubernetes.'),
});

const toleration = z.strictObject({
  key: labelKey('Which taint; absent with Exists: every one.').optional(),
  operator: z.enum(['Exists', 'Equal']).optional().describe('Absent: Equal.'),
  value: labelValue('For Equal.').optional(),
  effect: z.enum(['NoSchedule', 'PreferNoSchedule', 'NoExecute']).optional().describe('Absent: every effect.'),
});

const resourceName = (doc: string) => text(63, doc);

const affinity = z.strictObject({
  deployment: resourceName('Whose replicas; absent: its own.').optional(),
  topologyKey: labelKey('Such as kubernetes.io/hostname, topology.kubernetes.io/region, or any label.'),
  required: z.boolean().optional().describe('Refuses where it is not met; else it only costs.'),
  weight: whole(1, 100, 'Of a preferred term; absent: 100.').optional(),
});

const SOURCE = /^(file:\/\/\/|hf:\/\/|s3:\/\/|https:\/\/)[^\s]{1,2000}$/;

const source = z.strictObject({
  url: z
    .string()
    .regex(SOURCE, 'must begin with file:///, hf://, s3:// or https://')
    .describe('`file:///path`, `hf://org/name`, `s3://bucket/prefix` or `https://host/path`.'),
  revision: text(128, "A hub's branch, tag or commit.").optional(),
  sha256: z
    .record(z.string().min(1).max(512), z.string().regex(/^[0-9a-f]{64}$/, 'must be 64 hex digits'))
    .optional()
    .describe('SHA-256 of each file by its name.'),
});

const smoke = z.strictObject({
  prompt: text(4096, 'Asked of each new replica.'),
  contains: text(4096, 'What the answer must contain.'),
});

const rollout = z.strictObject({
  kind: z.enum(['rolling', 'blue_green', 'canary']).describe('How replicas are changed.'),
  maxSurge: whole(0, 10_000, 'Replicas above the wanted number while rolling; absent: 1.').optional(),
  maxUnavailable: whole(0, 10_000, 'Replicas below the wanted number while rolling; absent: 0.').optional(),
  steps: z
    .array(z.number().min(0.1).max(100))
    .min(1)
    .max(20)
    .optional()
    .describe('Shares of a canary in percent, rising.'),
  stepMs: milliseconds('Shortest time of a step.').optional(),
  deadlineMs: milliseconds('When it is rolled back if it is not over.').optional(),
  maxErrorRate: share('Most requests of the new revision that may fail; absent: 0.02.').optional(),
  maxTtftRatio: z
    .number()
    .min(0.1)
    .max(100)
    .optional()
    .describe('How many times slower its TTFT may be; absent: 1.25.'),
  smoke: smoke.optional().describe('A question that each new replica must answer.'),
});

const words = (max: number, doc: string) => z.array(text(max, 'name')).min(1).max(256).optional().describe(doc);

const deploymentSchema = z.strictObject({
  engine: z.enum(['vllm', 'llama', 'sim']).describe('Which engine runs it.'),
  model: text(4096, 'A folder, a GGUF file or a hub id, as the engine takes it.'),
  source: source.optional().describe('Where its files come from; absent: the engine loads `model` as it is written.'),
  servedModelName: text(512, 'What clients call it; absent: the name of the deployment.').optional(),
  replicas: whole(0, 100_000, 'How many; absent: 1.').default(1),
  hosts: whole(1, 1024, 'Hosts that one replica spans, all or nothing; absent: 1.').optional(),
  gangTopologyKey: labelKey(
    'The hosts of a replica share the value of this label of theirs; absent: the region alone.',
  ).optional(),
  gpusPerHost: whole(0, 64, 'On each host; 0: none at all; absent: 1.').default(1),
  gpuMemoryBytes: bytes(
    "Needed on each GPU; absent: estimated from the model's files, else nine tenths of the smallest GPU, alone.",
  ).optional(),
  graceSpillBytes: bytes('How much of that may lie in Grace memory.').optional(),
  hostMemoryBytes: bytes('Needed of the memory of each host.').optional(),
  sharing: z.enum(['exclusive', 'tenant', 'shared']).optional().describe('Who may share its GPUs; absent: exclusive.'),
  nvlink: z.enum(['required', 'preferred', 'ignored']).optional().describe('Between its GPUs; absent: preferred.'),
  extraFlags: z.array(word(8192)).max(128).default([]).describe('Further flags for the engine.'),
  environment: z
    .record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,127}$/, 'must be the name of a variable'), word(8192))
    .refine((variables) => Object.keys(variables).length <= MAX_ITEMS, `must be at most ${MAX_ITEMS} variables`)
    .default({})
    .describe('Environment variables of the engine.'),
  maxConcurrentRequests: whole(1, 1_000_000, 'Most requests at a time on one engine.').optional(),
  regions: words(128, 'Regions that it may run in; absent: all.'),
  architectures: words(32, 'Such as amd64 or arm64; absent: all.'),
  minDriverVersion: z
    .string()
    .regex(/^\d{1,5}(\.\d{1,5}){0,3}$/, 'must be a version such as 570.124.06')
    .optional()
    .describe('Oldest driver of the GPUs.'),
  gpuModels: words(128, 'Names of GPUs that it may run on; absent: all.'),
  constraints: z.array(requirement).max(MAX_ITEMS).optional().describe('What a node must be.'),
  preferences: z
    .array(z.strictObject({ requirement, weight: whole(-100, 100, 'How much it is wanted, or shunned.') }))
    .max(MAX_ITEMS)
    .optional()
    .describe('What a node had better be.'),
  tolerations: z.array(toleration).max(MAX_ITEMS).optional().describe('Taints that it bears.'),
  antiAffinity: z.array(affinity).max(MAX_ITEMS).optional().describe('Replicas that it stays away from.'),
  affinity: z.array(affinity).max(MAX_ITEMS).optional().describe('Replicas that it goes near to; preferred only.'),
  pool: resourceName('The pool whose nodes it may use; absent: all nodes.').optional(),
  priority: whole(0, 100, 'Only strictly lower ones are preempted; absent: 50.').optional(),
  preemptionPolicy: z.enum(['PreemptLowerPriority', 'Never']).optional().describe('Absent: PreemptLowerPriority.'),
  placement: z
    .enum(['pack', 'spread'])
    .optional()
    .describe('Whether full GPUs are preferred, or empty ones; absent: pack.'),
  tenant: text(128, 'Whose it is.').optional(),
  rollout: rollout.optional().describe('How a change reaches its replicas.'),
});

const nodeSchema = z.strictObject({
  region: text(128, 'Where it is; absent: its label topology.kubernetes.io/region, else default.').optional(),
  taints: z.array(taint).max(MAX_ITEMS).optional().describe('What keeps replicas away that do not tolerate it.'),
  cordoned: z.boolean().optional().describe('Nothing new is placed there.'),
  draining: z.boolean().optional().describe('Its replicas move first, then it is left alone.'),
  retired: z.boolean().optional().describe('It is gone for good: what ran there is placed elsewhere at once.'),
});

const poolSchema = z.strictObject({
  nodes: z.array(requirement).max(MAX_ITEMS).describe('What a node must be to belong to it; empty: all nodes do.'),
});

const aliasSchema = z.strictObject({
  targets: z
    .array(
      z.strictObject({
        deployment: resourceName('Which deployment.'),
        weight: whole(0, 1_000_000, 'Its share, against the weights of the others.'),
      }),
    )
    .min(1)
    .max(MAX_ITEMS)
    .describe('Among whom requests for the name of the alias are divided.'),
});

/** An engine has members of a deployment, in the same spelling; what says where to look for a node has no place in it. */
const engineMembers = Object.fromEntries(ENGINE_MEMBERS.map((member) => [member, true])) as Record<
  (typeof ENGINE_MEMBERS)[number],
  true
>;
const engineSchema = deploymentSchema.pick(engineMembers).extend({ node: text(253, 'The node that it runs on.') });

const quarantineSchema = z.strictObject({
  node: text(253, 'The node, or the one that has the GPU.'),
  gpu: z
    .union(
      [
        whole(0, 255, 'Its index.'),
        z
          .string()
          .regex(/^(?:1?\d{1,2}|2[0-4]\d|25[0-5]|(?:GPU|MIG)-[0-9A-Fa-f-]{8,64})$/)
          .transform((value) => (/^\d+$/.test(value) ? Number(value) : value)),
      ],
      { error: 'must be the index of a GPU or its UUID' },
    )
    .optional()
    .describe('Index or UUID of one GPU; absent: the whole node.'),
  reason: text(512, 'Why; it is told wherever the quarantine keeps something away.'),
  until: until('When it ends by itself; absent: when it is deleted.').optional(),
});

export const SPEC_SCHEMAS = {
  Node: nodeSchema,
  Engine: engineSchema,
  Deployment: deploymentSchema,
  Pool: poolSchema,
  Alias: aliasSchema,
  Quarantine: quarantineSchema,
} as const satisfies Record<ResourceKind, z.ZodType>;

export const metadataSchema = z.strictObject({
  name: z.string().min(1).max(253).describe('An RFC 1123 label; of a node its name.'),
  labels: labelsSchema.default({}).describe('Labels as in Kubernetes.'),
  version: whole(0, Number.MAX_SAFE_INTEGER, 'The version that was seen; 0: it must not be there.').optional(),
  // What `get` prints and nobody may set; taken, so that what was printed can be applied.
  updatedAtMs: z.number().optional().describe('Set by the scheduler.'),
  updatedBy: z.string().optional().describe('Set by the scheduler.'),
});
