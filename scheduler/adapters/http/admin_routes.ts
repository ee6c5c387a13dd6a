/**
 * `/admin/v1` over HTTP: the operations of the control plane as a table of routes. Everything else, who may, who did it
 * and what it means, is the same as over gRPC.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { CodedError } from '../../../lib/errors.ts';
import { scanJson } from '../../../lib/json_scan.ts';
import { actorOf } from '../../core/resources/actor.ts';
import { resourceText } from '../../core/resources/names.ts';
import type {
  Caller,
  EventsRequest,
  RawRef,
  ResourceOperations,
  ResourceOutcome,
  ResourceView,
} from '../../core/resources/operations.ts';
import { defragmentVerb } from '../../core/reconcile/moves.ts';
import { orderVerb } from '../../core/rollout/orders.ts';
import { adminSchemas } from './admin_openapi.ts';
import { Followers, type FollowOptions, followTo } from './event_follow.ts';

export interface AdminRouteContext {
  /** Undefined: this scheduler keeps no desired state. */
  readonly resources?: ResourceOperations | undefined;
  readonly maxJsonDepth: number;
  readonly follow: FollowOptions;
  isDraining(): boolean;
}

type Json = Readonly<Record<string, unknown>>;
/** What a route gets of its request. */
export interface Given {
  readonly rest: string;
  readonly query: Readonly<Record<string, string | undefined>>;
  body(): Json;
}

interface AdminRoute {
  readonly method: 'GET' | 'POST';
  readonly url: string;
  readonly doc: keyof ReturnType<typeof adminSchemas>;
  run(operations: ResourceOperations, given: Given, caller: Caller): Promise<unknown>;
}

const DEFAULT_EVENTS = 100;

/** @throws CodedError invalid_value */
function listOf(body: Json, key: string): readonly unknown[] {
  const value = body[key];
  if (Array.isArray(value)) return value;
  if (value === undefined) return [];
  throw new CodedError('invalid_value', `${key} must be a list.`, { param: key });
}

/** @throws CodedError invalid_value */
function member<Value>(body: Json, key: string, type: 'string' | 'boolean' | 'number', preset: Value): Value {
  const value = body[key] ?? preset;
  if (typeof value === type) return value as Value;
  throw new CodedError('invalid_value', `${key} must be a ${type}.`, { param: key });
}

/** @throws CodedError unknown_field: a misspelt dryRun would be a change */
function onlyMembers(body: Json, allowed: readonly string[]): void {
  const key = Object.keys(body).find((each) => !allowed.includes(each));
  if (key === undefined) return;
  const param = key.slice(0, 64);
  throw new CodedError('unknown_field', `The body has an unknown member; allowed are ${allowed.join(', ')}.`, {
    param,
  });
}

function refsIn(body: Json, key: string): RawRef[] {
  return listOf(body, key).map((item, index) => {
    const { kind, name, version } = (item ?? {}) as Json;
    const isSound =
      typeof kind === 'string' && typeof name === 'string' && (version === undefined || Number.isSafeInteger(version));
    if (!isSound) {
      const param = `${key}[${index}]`;
      throw new CodedError('invalid_value', `${param} must have a kind, a name and perhaps a version.`, { param });
    }
    return { kind, name, ...(version === undefined ? {} : { version: version as number }) };
  });
}

/** @throws CodedError invalid_value */
export function wholeIn(query: Given['query'], key: string): number | undefined {
  const text = query[key];
  if (text === undefined) return undefined;
  const value = Number(text);
  if (/^\d{1,16}$/.test(text) && Number.isSafeInteger(value)) return value;
  throw new CodedError('invalid_value', `${key} must be a whole number.`, { param: key });
}

/** `deployment/chat` in a path. */
function refIn(rest: string): RawRef {
  const [kind = '', ...name] = rest.split('/');
  return { kind, name: name.join('/') };
}

/** As it stands in a file, with what the scheduler knows besides. */
function resourceJson(view: ResourceView): object {
  const { resource, updatedAtMs, updatedBy } = view;
  const status = view.status ?? view.engine ?? view.quarantine;
  const { apiVersion, kind, metadata, spec } = resource;
  const shown = { apiVersion, kind, metadata: { ...metadata, updatedAtMs, updatedBy }, spec };
  return status === undefined ? shown : { ...shown, status };
}

const outcomeJson = ({ kind, name, ...rest }: ResourceOutcome): object => ({
  resource: resourceText(kind, name),
  kind,
  name,
  ...rest,
});

function changeOf(body: Json) {
  onlyMembers(body, ['resources', 'dryRun', 'reason']);
  return { dryRun: member(body, 'dryRun', 'boolean', false), reason: member(body, 'reason', 'string', '') };
}

function eventsRequest(query: Given['query']): EventsRequest {
  const after = wholeIn(query, 'after');
  return {
    limit: wholeIn(query, 'limit') ?? DEFAULT_EVENTS,
    kind: query['kind'] ?? '',
    name: query['name'] ?? '',
    ...(after === undefined ? {} : { after }),
  };
}

function untilIn(query: Given['query']) {
  const seq = wholeIn(query, 'seq');
  const atMs = wholeIn(query, 'atMs');
  if (seq !== undefined && atMs === undefined) return { seq };
  if (seq === undefined && atMs !== undefined) return { atMs };
  throw new CodedError('missing_field', 'Give one of seq and atMs.', { param: 'seq' });
}

const ROUTES: readonly AdminRoute[] = [
  {
    method: 'POST',
    url: '/admin/v1/apply',
    doc: 'apply',
    async run(operations, { body }, caller) {
      const given = body();
      const request = { ...changeOf(given), resources: listOf(given, 'resources') };
      const answer = await operations.apply(request, caller);
      return { ...answer, outcomes: answer.outcomes.map(outcomeJson) };
    },
  },
  {
    method: 'POST',
    url: '/admin/v1/delete',
    doc: 'delete',
    async run(operations, { body }, caller) {
      const given = body();
      const answer = await operations.delete({ ...changeOf(given), resources: refsIn(given, 'resources') }, caller);
      return { ...answer, outcomes: answer.outcomes.map(outcomeJson) };
    },
  },
  {
    method: 'POST',
    url: '/admin/v1/plan',
    doc: 'plan',
    async run(operations, { body }) {
      const given = body();
      onlyMembers(given, ['resources', 'deleted']);
      const request = { resources: listOf(given, 'resources'), deleted: refsIn(given, 'deleted') };
      const plan = await operations.plan(request);
      return { ...plan, outcomes: plan.outcomes.map(outcomeJson) };
    },
  },
  {
    method: 'GET',
    url: '/admin/v1/plan/defragment',
    doc: 'defragment',
    run: (operations, { query }) => operations.defragment(wholeIn(query, 'maxMoves')),
  },
  {
    method: 'POST',
    url: '/admin/v1/plan/defragment',
    doc: 'orderDefragment',
    run(operations, { body }, caller) {
      const given = body();
      onlyMembers(given, ['verb', 'plan', 'maxMoves', 'reason']);
      const words = (name: string): string => member(given, name, 'string', '');
      const maxMoves = given['maxMoves'] === undefined ? {} : { maxMoves: member(given, 'maxMoves', 'number', 0) };
      const verb = defragmentVerb(words('verb'));
      return operations.orderDefragment({ verb, plan: words('plan'), reason: words('reason'), ...maxMoves }, caller);
    },
  },
  {
    method: 'GET',
    url: '/admin/v1/resources',
    doc: 'list',
    run: async (operations, { query }) => ({
      resources: (await operations.list(query['kind'] ?? '')).map(resourceJson),
    }),
  },
  {
    method: 'GET',
    url: '/admin/v1/resources/*',
    doc: 'get',
    run: async (operations, { rest }) => resourceJson(await operations.get(refIn(rest))),
  },
  {
    method: 'GET',
    url: '/admin/v1/describe/*',
    doc: 'describe',
    async run(operations, { rest }) {
      const { statusNote, notes, events, ...view } = await operations.describe(refIn(rest));
      return { resource: resourceJson(view), statusNote, notes, events };
    },
  },
  {
    method: 'GET',
    url: '/admin/v1/explain/deployment/*',
    doc: 'explain',
    async run(operations, { rest }) {
      const found = await operations.explain(rest);
      if (found !== undefined) return found;
      throw new CodedError('not_found', 'There is no deployment of this name.', { param: 'name' });
    },
  },
  {
    method: 'GET',
    url: '/admin/v1/rollouts/*',
    doc: 'rollout',
    run: (operations, { rest }) => operations.rollout(rest),
  },
  {
    method: 'POST',
    url: '/admin/v1/rollouts/*',
    doc: 'orderRollout',
    run(operations, { body, rest }, caller) {
      const given = body();
      onlyMembers(given, ['verb', 'reason']);
      const verb = orderVerb(member(given, 'verb', 'string', ''));
      return operations.orderRollout({ name: rest, verb, reason: member(given, 'reason', 'string', '') }, caller);
    },
  },
  { method: 'GET', url: '/admin/v1/freeze', doc: 'freeze', run: async (operations) => operations.freeze() },
  {
    method: 'POST',
    url: '/admin/v1/freeze',
    doc: 'setFreeze',
    run(operations, { body }, caller) {
      const given = body();
      onlyMembers(given, ['reason']);
      return operations.setFreeze(member(given, 'reason', 'string', ''), caller);
    },
  },
  {
    method: 'POST',
    url: '/admin/v1/unfreeze',
    doc: 'liftFreeze',
    run(operations, { body }, caller) {
      const given = body();
      onlyMembers(given, ['reason', 'acceptLog']);
      const acceptLog = member(given, 'acceptLog', 'boolean', false);
      return operations.liftFreeze(member(given, 'reason', 'string', ''), acceptLog, caller);
    },
  },
  {
    method: 'GET',
    url: '/admin/v1/events',
    doc: 'events',
    run: async (operations, { query }) => ({ events: await operations.events(eventsRequest(query)) }),
  },
  {
    method: 'GET',
    url: '/admin/v1/replay',
    doc: 'replay',
    run: (operations, { query }) => operations.replay(untilIn(query), query['area'] ?? ''),
  },
];

/** @throws CodedError malformed_json, duplicate_key, too_deep, invalid_utf8 */
function readBody(bytes: unknown, maxDepth: number): Json {
  if (!(bytes instanceof Uint8Array))
    throw new CodedError('malformed_json', 'The body must be one JSON object.', { param: 'body' });
  const scanned = scanJson(bytes, { maxDepth });
  if (!scanned.ok)
    throw new CodedError(scanned.code, scanned.message, scanned.param === undefined ? {} : { param: scanned.param });
  return JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8')) as Json;
}

/** A parameter that stands twice in the query counts as none of both. */
export function queryOf(request: FastifyRequest): Given['query'] {
  const entries = Object.entries(request.query as Json).filter(([, value]) => typeof value === 'string');
  return Object.fromEntries(entries) as Given['query'];
}

/** `follow`, `follow=true` or `follow=1`. @throws CodedError invalid_value */
function wantsFollow(query: Given['query']): boolean {
  const value = query['follow'];
  if (value === undefined || value === 'false' || value === '0') return false;
  if (value === '' || value === 'true' || value === '1') return true;
  throw new CodedError('invalid_value', 'follow must be true or false.', { param: 'follow' });
}

/** What a client has already: the header with which browsers come back says more than the address that they came by. */
function resumedRequest(request: FastifyRequest): EventsRequest {
  const last = request.headers['last-event-id'];
  const query = queryOf(request);
  return eventsRequest(typeof last === 'string' && last !== '' ? { ...query, after: last } : query);
}

/** @throws CodedError before the answer has begun */
async function follow(
  request: FastifyRequest,
  reply: FastifyReply,
  operations: ResourceOperations,
  { followers, context, caller }: { followers: Followers; context: AdminRouteContext; caller: string },
): Promise<FastifyReply> {
  if (context.isDraining())
    throw new CodedError('draining', 'This scheduler is stopping; follow another one.', { retryAfterMs: 1000 });
  const asked = resumedRequest(request);
  const leave = followers.enter(caller);
  const gone = new AbortController();
  const { raw } = reply;
  raw.once('close', () => gone.abort());
  const headers = (): Readonly<Record<string, unknown>> => {
    const all = reply.getHeaders();
    reply.hijack();
    return all;
  };
  try {
    await followTo(raw, headers, operations.follow(asked, gone.signal), context.follow);
  } finally {
    leave();
    gone.abort();
  }
  return reply;
}

export function registerAdminRoutes(app: FastifyInstance, context: AdminRouteContext): void {
  const schemas = adminSchemas();
  const followers = new Followers();
  for (const { method, url, doc, run } of ROUTES) {
    app.route({
      method,
      url,
      schema: schemas[doc],
      handler: async (request, reply) => {
        const { identity } = request;
        if (context.resources === undefined)
          throw new CodedError('store_off', 'This scheduler keeps no desired state.');
        if (identity === undefined) throw new CodedError('unauthenticated', 'A credential is required here.');
        // A HEAD would wait for an end that does not come.
        if (doc === 'events' && request.method === 'GET' && wantsFollow(queryOf(request))) {
          const caller = `${identity.tenant} ${identity.subject}`;
          return follow(request, reply, context.resources, { followers, context, caller });
        }
        const given: Given = {
          rest: (request.params as { readonly '*'?: string })['*'] ?? '',
          query: queryOf(request),
          body: () => readBody(request.body, context.maxJsonDepth),
        };
        const answer = await run(context.resources, given, { actor: actorOf(identity), correlationId: request.id });
        return reply
          .header('content-type', 'application/json; charset=utf-8')
          .header('cache-control', 'no-store')
          .send(JSON.stringify(answer));
      },
    });
  }
}
