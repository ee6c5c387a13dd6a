/**
 * Every way into the fleet, as data: what listens where, and for each route or method who may come in, by which
 * credential and why so. The doors enforce this table and docs/DOORS.md is printed from it, so that the page, the code
 * and a reviewer speak of the same thing. A route that is not in the table cannot be registered.
 */
import { CodedError } from '../../../lib/errors.ts';
import type { Identity, Role } from '../../ports.ts';

export type Credential = 'none' | 'bearer' | 'bearer_or_socket' | 'client_certificate' | 'ticket' | 'file_permissions';

/** Something that accepts connections. */
export interface ListenerSpec {
  readonly id: string;
  /** The process that binds it. */
  readonly process: 'scheduler' | 'agent' | 'engine';
  readonly protocol: string;
  /** Configuration keys of its address, or where it lies. */
  readonly address: string;
  readonly why: string;
}

/** One route or method of a listener. */
export interface DoorSpec {
  readonly id: string;
  readonly listener: 'http' | 'grpc' | 'fleet' | 'direct';
  /** HTTP method, or the kind of a gRPC call. */
  readonly method: 'GET' | 'POST' | 'RPC';
  /** HTTP path, where a last `*` stands for the rest; or the full name of a gRPC method or service. */
  readonly path: string;
  /** Any one of these suffices; empty: no identity is asked for. */
  readonly roles: readonly Role[];
  readonly credential: Credential;
  readonly why: string;
}

export const LISTENERS: readonly ListenerSpec[] = [
  {
    id: 'http',
    process: 'scheduler',
    protocol: 'HTTP/1.1 and WebSocket',
    address: '`httpHost`:`httpPort`',
    why: 'Clients, the chat front and load balancers. TLS ends at the balancer before it.',
  },
  {
    id: 'grpc',
    process: 'scheduler',
    protocol: 'gRPC (HTTP/2)',
    address: '`grpcHost`:`grpcPort`',
    why: 'The gateway and the command line.',
  },
  {
    id: 'fleet',
    process: 'scheduler',
    protocol: 'gRPC (HTTP/2), TLS with client certificates',
    address: '`fleetHost`:`fleetPort`',
    why: 'Agents dial in here; a caller without a certificate of the fleet CA does not get past the handshake.',
  },
  {
    id: 'engine',
    process: 'engine',
    protocol: 'HTTP/1.1',
    address: "a Unix socket in a folder of mode 0700 of the agent's user, or a loopback port",
    why: 'Only the agent on the same host speaks to its engines.',
  },
  {
    id: 'agent-metrics',
    process: 'agent',
    protocol: 'HTTP/1.1',
    address: '127.0.0.1:`metricsPort`; off unless the port is set',
    why: 'For a collector on the same host: `/metrics` and `/health/live`, without a credential, figures only. Beside it an agent opens the port for direct calls, if that is set; otherwise it dials out.',
  },
  {
    id: 'direct',
    process: 'agent',
    protocol: 'HTTP/1.1, with TLS unless it is on loopback',
    address: '`directHost`:`directPort`; off unless the port is set',
    why: 'Clients to which a scheduler gave a ticket: their tokens do not pass through it. Who has no ticket gets nothing.',
  },
  {
    id: 'agent-admin',
    process: 'agent',
    protocol: 'lines of JSON',
    address: 'the Unix socket `adminSocket` of mode 0600, by default `admin.sock` in `dataDir`; none: off',
    why: "The orders of an operator on the host itself, when no scheduler can be reached: file permissions let in the agent's own user and root.",
  },
];

const EVERYONE: readonly Role[] = ['user', 'operator', 'admin', 'gateway'];
const CALLERS: readonly Role[] = ['user', 'admin', 'gateway'];
const STAFF: readonly Role[] = ['operator', 'admin'];
const ADMIN: readonly Role[] = ['admin'];

function http(
  id: string,
  method: 'GET' | 'POST',
  path: string,
  roles: readonly Role[],
  why: string,
  credential: Credential = roles.length === 0 ? 'none' : 'bearer',
): DoorSpec {
  return { id, listener: 'http', method, path, roles, credential, why };
}

function rpc(path: string, roles: readonly Role[], why: string): DoorSpec {
  const credential = roles.length === 0 ? 'none' : 'bearer';
  return { id: path, listener: 'grpc', method: 'RPC', path, roles, credential, why };
}

function fleet(path: string, why: string): DoorSpec {
  return { id: path, listener: 'fleet', method: 'RPC', path, roles: [], credential: 'client_certificate', why };
}

function direct(id: string, path: string): DoorSpec {
  const why =
    'The scheduler has let the caller in and chosen the engine; the agent checks the signature, the time, the node, the lives of engine and listener, the model and, if the ticket names one, the body. It opens once.';
  return { id, listener: 'direct', method: 'POST', path, roles: [], credential: 'ticket', why };
}

const GENERATES = 'Spends GPU time on behalf of a tenant. Operators look after the fleet and need no text of it.';
const READS_MODELS = 'Shows only what the tenant of the caller may use.';
const CHANGES_FLEET =
  'Decides what runs where: for those who run the fleet. Who did it, when and why is in the log for good.';
const FREEZES = 'Stops all reconcile, or lets it go on: what the person on call does.';
const READS_LOG = 'Who changed what: for those who run the fleet. It holds no prompt, no answer and no key.';
const READS_USAGE =
  'What each tenant and key has used, in sums: for those who run the fleet. It holds ids of keys and no key.';
const READS_FLEET = 'Names of hosts, GPUs and other tenants’ load: for those who run the fleet.';

export const DOORS: readonly DoorSpec[] = [
  http('chat', 'POST', '/v1/chat/completions', CALLERS, GENERATES),
  http('completions', 'POST', '/v1/completions', CALLERS, GENERATES),
  http('embeddings', 'POST', '/v1/embeddings', CALLERS, GENERATES),
  http('models', 'GET', '/v1/models', EVERYONE, READS_MODELS),
  http('model', 'GET', '/v1/models/*', EVERYONE, READS_MODELS),
  http(
    'ws_chat',
    'GET',
    '/ws/chat',
    CALLERS,
    'As chat. A browser cannot set a header here: its key comes as a subprotocol or in the first message, never in the query, which proxies log.',
    'bearer_or_socket',
  ),
  http(
    'live',
    'GET',
    '/health/live',
    [],
    'Supervisors and balancers hold no credential; it says only that the process runs.',
  ),
  http(
    'ready',
    'GET',
    '/health/ready',
    [],
    'As live; it says only yes or no, the reason is in the log and in GetStatus.',
  ),
  http(
    'metrics',
    'GET',
    '/metrics',
    STAFF,
    'Load and names of models are business figures: the scraper gets an operator key.',
  ),
  http(
    'docs',
    'GET',
    '/docs',
    [],
    'The API description of an open program, the same for everybody; it holds nothing of this fleet.',
  ),
  http('admin_apply', 'POST', '/admin/v1/apply', STAFF, CHANGES_FLEET),
  http('admin_delete', 'POST', '/admin/v1/delete', STAFF, CHANGES_FLEET),
  http('admin_plan', 'POST', '/admin/v1/plan', STAFF, READS_FLEET),
  http('admin_resources', 'GET', '/admin/v1/resources', STAFF, READS_FLEET),
  http('admin_resource', 'GET', '/admin/v1/resources/*', STAFF, READS_FLEET),
  http('admin_describe', 'GET', '/admin/v1/describe/*', STAFF, READS_FLEET),
  http('admin_explain', 'GET', '/admin/v1/explain/deployment/*', STAFF, READS_FLEET),
  http('admin_defragment', 'GET', '/admin/v1/plan/defragment', STAFF, READS_FLEET),
  http('admin_order_defragment', 'POST', '/admin/v1/plan/defragment', STAFF, CHANGES_FLEET),
  http('admin_rollout', 'GET', '/admin/v1/rollouts/*', STAFF, READS_FLEET),
  http('admin_order_rollout', 'POST', '/admin/v1/rollouts/*', STAFF, CHANGES_FLEET),
  http('admin_freeze', 'GET', '/admin/v1/freeze', STAFF, READS_FLEET),
  http('admin_set_freeze', 'POST', '/admin/v1/freeze', STAFF, FREEZES),
  http('admin_lift_freeze', 'POST', '/admin/v1/unfreeze', STAFF, FREEZES),
  http('admin_events', 'GET', '/admin/v1/events', STAFF, READS_LOG),
  http('admin_replay', 'GET', '/admin/v1/replay', STAFF, READS_LOG),
  http('admin_usage', 'GET', '/admin/v1/usage', STAFF, READS_USAGE),
  http('docs_assets', 'GET', '/docs/*', [], 'Pages, styles and the OpenAPI file of the above.'),

  rpc('inference.v1.Inference/Generate', CALLERS, GENERATES),
  rpc('inference.v1.Inference/GenerateMany', CALLERS, GENERATES),
  rpc('inference.v1.Inference/ListModels', EVERYONE, READS_MODELS),
  rpc(
    'inference.v1.Inference/Route',
    CALLERS,
    'As Generate: whoever gets a ticket spends GPU time with it. It opens one call, on one node, for one model.',
  ),
  rpc('inference.v1.Inference/Cancel', CALLERS, 'Ends only requests of the caller’s own tenant.'),
  rpc('admin.v1.Admin/GetStatus', STAFF, READS_FLEET),
  rpc('admin.v1.Admin/ListNodes', STAFF, READS_FLEET),
  rpc('admin.v1.Admin/GetNode', STAFF, READS_FLEET),
  rpc('admin.v1.Admin/ListEngines', STAFF, READS_FLEET),
  rpc('admin.v1.Admin/GetEngine', STAFF, READS_FLEET),
  rpc('admin.v1.Admin/ListModels', STAFF, READS_FLEET),
  rpc('admin.v1.Admin/CreateKey', ADMIN, 'Whoever makes keys can become anybody.'),
  rpc('admin.v1.Admin/ListKeys', ADMIN, 'Names of tenants and of their keys; never a secret.'),
  rpc('admin.v1.Admin/RevokeKey', ADMIN, 'Locks a tenant out.'),
  rpc('admin.v1.Admin/ExplainRequest', STAFF, 'Routing decisions across tenants; no prompt and no answer.'),
  rpc('admin.v1.Admin/ExplainDeployment', STAFF, READS_FLEET),
  rpc('admin.v1.Admin/RunCommand', STAFF, 'Drains, restarts and reads logs of engines: what the person on call does.'),
  rpc('admin.v1.Admin/ApplyResources', STAFF, CHANGES_FLEET),
  rpc('admin.v1.Admin/DeleteResources', STAFF, CHANGES_FLEET),
  rpc('admin.v1.Admin/GetResource', STAFF, READS_FLEET),
  rpc('admin.v1.Admin/ListResources', STAFF, READS_FLEET),
  rpc('admin.v1.Admin/DescribeResource', STAFF, READS_FLEET),
  rpc('admin.v1.Admin/PlanResources', STAFF, READS_FLEET),
  rpc('admin.v1.Admin/PlanDefragmentation', STAFF, READS_FLEET),
  rpc('admin.v1.Admin/OrderDefragmentation', STAFF, CHANGES_FLEET),
  rpc('admin.v1.Admin/GetRollout', STAFF, READS_FLEET),
  rpc('admin.v1.Admin/OrderRollout', STAFF, CHANGES_FLEET),
  rpc('admin.v1.Admin/SetFreeze', STAFF, FREEZES),
  rpc('admin.v1.Admin/LiftFreeze', STAFF, FREEZES),
  rpc('admin.v1.Admin/GetFreeze', STAFF, READS_FLEET),
  rpc('admin.v1.Admin/ListEvents', STAFF, READS_LOG),
  rpc('admin.v1.Admin/Replay', STAFF, READS_LOG),
  rpc('admin.v1.Admin/ListUsage', STAFF, READS_USAGE),
  rpc('grpc.health.v1.Health/*', [], 'Balancers hold no credential; it says only SERVING or NOT_SERVING.'),
  rpc('grpc.reflection.v1.ServerReflection/*', EVERYONE, 'Anyone with a key may ask for the .proto files.'),
  rpc('grpc.reflection.v1alpha.ServerReflection/*', EVERYONE, 'The same under its older name, for older clients.'),

  fleet('fleet.v1.Fleet/Session', 'The certificate names the node; an agent can speak only for its own.'),
  fleet('fleet.v1.Fleet/Lane', 'As Session; a lane must belong to a session of the same certificate.'),

  direct('direct_chat', '/v1/chat/completions'),
  direct('direct_completions', '/v1/completions'),
];

const BY_ID: ReadonlyMap<string, DoorSpec> = new Map(DOORS.map((door) => [door.id, door]));

function matches(pattern: string, path: string): boolean {
  if (!pattern.endsWith('*')) return pattern === path;
  const prefix = pattern.slice(0, -1);
  return path.startsWith(prefix);
}

/** The door with this id. @throws Error when there is none: a programming error */
export function doorById(id: string): DoorSpec {
  const door = BY_ID.get(id);
  if (door === undefined) throw new Error(`No door has the id ${id}.`);
  return door;
}

/** The door of a path, exact before prefix; `method` may be left out to ask whether the path exists at all. */
export function findDoor(
  listener: DoorSpec['listener'],
  path: string,
  method?: DoorSpec['method'],
): DoorSpec | undefined {
  const fits = DOORS.filter(
    (door) =>
      door.listener === listener && (method === undefined || door.method === method) && matches(door.path, path),
  );
  return fits.find((door) => door.path === path) ?? fits[0];
}

/** Methods that a path takes; empty when no door has the path. */
export function methodsOf(listener: DoorSpec['listener'], path: string): readonly string[] {
  return DOORS.filter((door) => door.listener === listener && matches(door.path, path)).map((door) => door.method);
}

/**
 * Lets an identity through a door, or throws. An unknown door lets nobody through.
 * @throws CodedError unauthenticated when the door asks for an identity and there is none, permission_denied
 */
export function requireDoor(identity: Identity | undefined, doorId: string): void {
  const door = BY_ID.get(doorId);
  if (door === undefined) throw new CodedError('permission_denied', 'This way in is not listed and stays shut.');
  if (door.roles.length === 0) return;
  if (identity === undefined) throw new CodedError('unauthenticated', 'A credential is required here.');
  if (door.roles.some((role) => identity.roles.has(role))) return;
  throw new CodedError('permission_denied', `One of these roles is required here: ${door.roles.join(', ')}.`);
}
