/**
 * `admin.v1.Admin` for the command line and the console. Who may call which method is decided before these handlers, by
 * the gate of the gRPC door and the table of doors; what is shown here never holds a prompt, an answer or a secret.
 */
import type { Metadata, sendUnaryData, ServerUnaryCall } from '@grpc/grpc-js';
import { z } from 'zod';
import type { Clock } from '../../../lib/clock.ts';
import { CodedError } from '../../../lib/errors.ts';
import { type KeyId, newRequestId, type TenantId } from '../../../lib/ids.ts';
import type { Logger } from '../../../lib/io/logger.ts';
import type { RandomSource } from '../../../lib/rng.ts';
import type { AdminHandlers } from '../../../proto/gen/admin/v1/Admin.ts';
import type { CreateKeyRequest__Output } from '../../../proto/gen/admin/v1/CreateKeyRequest.ts';
import type { ListUsageRequest__Output } from '../../../proto/gen/admin/v1/ListUsageRequest.ts';
import { ROLES, TENANT_PATTERN } from '../../core/access/claims.ts';
import type { ChangedBy } from '../../core/access/key_events.ts';
import { createKey, type Sha256 } from '../../core/access/keys.ts';
import { engineNamed, nodeNamed } from '../../core/fleet/names.ts';
import type { ApiKeyRecord, Commander, Identity, KeyStore, Role } from '../../ports.ts';
import { type AdminFleet, deploymentOf, engineOf, modelFilesOf, modelsOf, requestOf, statusOf } from './admin_views.ts';
import { statusFor } from './grpc_errors.ts';
import { nodesOf, seenNodeOf } from './node_views.ts';
import { actorOf } from '../../core/resources/actor.ts';
import type { ResourceOperations } from '../../core/resources/operations.ts';
import type { UsageOperations } from '../../core/usage/contract.ts';
import { createResourceHandlers } from './resource_handlers.ts';
import { serveRunCommand } from './run_command.ts';

export interface AdminDeps {
  readonly fleet: AdminFleet;
  readonly keys: KeyStore;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly sha256: Sha256;
  readonly logger: Logger;
  readonly commander: Commander;
  /** Undefined: this scheduler keeps no desired state. */
  readonly resources?: ResourceOperations;
  /** Undefined: this scheduler accounts no usage. */
  readonly usage?: UsageOperations;
}

type Call = { readonly metadata: Metadata };

const MAX_KEY_DAYS = 3650;
const MAX_REASON = 512;

const createKeySchema = z.object({
  // Printed in tables and logs: a control character would be a command to the terminal that shows it.
  name: z
    .string()
    .min(1)
    .max(128)
    .regex(/^\P{Cc}*$/u),
  tenant: z.string().regex(TENANT_PATTERN),
  roles: z.array(z.enum(ROLES as readonly [Role, ...Role[]])).max(ROLES.length),
  expiresInS: z
    .number()
    .int()
    .min(1)
    .max(MAX_KEY_DAYS * 86_400)
    .optional(),
  weight: z.number().int().min(1).max(1000).optional(),
});

function keyView(record: ApiKeyRecord) {
  return {
    id: record.id,
    name: record.name,
    tenant: record.tenant,
    roles: [...record.roles],
    createdAtMs: record.createdAtMs,
    weight: record.weight,
    ...(record.expiresAtMs === undefined ? {} : { expiresAtMs: record.expiresAtMs }),
    ...(record.revokedAtMs === undefined ? {} : { revokedAtMs: record.revokedAtMs }),
  };
}

async function makeKey(deps: AdminDeps, request: CreateKeyRequest__Output, by: ChangedBy) {
  const parsed = createKeySchema.safeParse(request);
  if (!parsed.success) {
    const param = parsed.error.issues[0]?.path.map(String).join('.') ?? '';
    throw new CodedError('invalid_value', `${param} is not acceptable.`, { param });
  }
  const { name, tenant, roles, expiresInS, weight } = parsed.data;
  const nowMs = deps.clock.wallMs();
  const made = createKey(
    deps.random,
    deps.sha256,
    {
      name,
      tenant: tenant as TenantId,
      roles: roles.length > 0 ? [...new Set(roles)] : ['user'],
      ...(weight === undefined ? {} : { weight }),
      ...(expiresInS === undefined ? {} : { expiresAtMs: nowMs + expiresInS * 1000 }),
    },
    nowMs,
  );
  await deps.keys.add(made.record, by);
  deps.logger.info({ keyId: made.record.id, tenant, roles: made.record.roles, by: by.actor }, 'key created');
  return { key: keyView(made.record), secret: made.key };
}

async function revokeKey(deps: AdminDeps, id: string, by: ChangedBy) {
  const record = await deps.keys.revoke(id as KeyId, deps.clock.wallMs(), by);
  deps.logger.info({ keyId: record.id, tenant: record.tenant, by: by.actor }, 'key revoked');
  return { key: keyView(record) };
}

/**
 * A declared deployment by its name, else a model by its own; a deployment of which no engine serves anything yet has its
 * lines only. @throws CodedError model_not_found
 */
async function explainDeployment({ fleet, resources }: AdminDeps, name: string) {
  const declared = await resources?.explain(name);
  if (declared === undefined) return { ...deploymentOf(fleet, name), lines: [] };
  const { servedModelName, lines } = declared;
  const { inspector } = fleet;
  const isServed = inspector.directory.models(inspector.nowMs()).some(({ id }) => id === servedModelName);
  const known = isServed ? deploymentOf(fleet, servedModelName) : { model: servedModelName, engines: [] };
  return { ...known, lines: [...lines] };
}

/** @throws CodedError store_off, invalid_value, store_… */
async function listUsage({ usage }: AdminDeps, { by, sinceMs, untilMs }: ListUsageRequest__Output) {
  if (usage === undefined) throw new CodedError('store_off', 'This scheduler accounts no usage.');
  const span = { ...(sinceMs === undefined ? {} : { sinceMs }), ...(untilMs === undefined ? {} : { untilMs }) };
  const { rows, ...report } = await usage.list({ by, ...span });
  return { ...report, rows: [...rows] };
}

/** @param identityOf who makes a call, as the gate of the door has found out */
export function createAdminHandlers(deps: AdminDeps, identityOf: (call: Call) => Identity): AdminHandlers {
  const { fleet, logger } = deps;
  const { state } = fleet.inspector.directory;
  /** A handler that answers with what `work` gives, or with the status of what it throws. */
  const unary =
    <Request, Response>(work: (request: Request, call: Call) => Response | Promise<Response>) =>
    (call: ServerUnaryCall<Request, Response>, callback: sendUnaryData<Response>): void => {
      Promise.resolve(call.request)
        .then((request) => work(request, call))
        .then(
          (response) => callback(null, response),
          (thrown: unknown) => callback(statusFor(logger, thrown)),
        );
    };
  const changedBy = (call: Call, reason: string): ChangedBy => {
    if (reason.length > MAX_REASON)
      throw new CodedError('invalid_value', `reason must be up to ${MAX_REASON} characters.`, { param: 'reason' });
    return { actor: actorOf(identityOf(call)), reason, correlationId: newRequestId(deps.random) };
  };
  return {
    GetStatus: unary(() => statusOf(fleet)),
    ListNodes: unary(() => ({ nodes: nodesOf(fleet, deps.resources) })),
    GetNode: unary(({ name }) => {
      const node = nodeNamed(state, name);
      return {
        node: seenNodeOf(fleet, node, deps.resources),
        engines: [...node.engines.values()].map((engine) => engineOf(fleet, node, engine)),
      };
    }),
    ListEngines: unary(() => ({
      engines: [...fleet.inspector.directory.state.nodes.values()].flatMap((node) =>
        [...node.engines.values()].map((engine) => engineOf(fleet, node, engine)),
      ),
    })),
    GetEngine: unary(({ name }) => {
      const { node, engine } = engineNamed(state, name);
      return { engine: engineOf(fleet, node, engine) };
    }),
    ListModels: unary(() => ({ models: modelsOf(fleet), files: modelFilesOf(fleet) })),
    CreateKey: unary((request, call) => makeKey(deps, request, changedBy(call, request.reason))),
    ListKeys: unary(() => ({ keys: deps.keys.list().map(keyView) })),
    RevokeKey: unary(({ id, reason }, call) => revokeKey(deps, id, changedBy(call, reason))),
    ExplainRequest: unary(({ requestId }) => requestOf(fleet, requestId)),
    ExplainDeployment: unary(({ model }) => explainDeployment(deps, model)),
    ListUsage: unary((request) => listUsage(deps, request)),
    ...createResourceHandlers(deps, identityOf),
    RunCommand: (call) => serveRunCommand(deps, call, identityOf(call)),
  };
}
