/** What /docs says of the routes below /admin/v1. */
import type { FastifySchema } from 'fastify';
import { answer, describe } from './openapi.ts';

const object = (properties: Readonly<Record<string, object>>, required: readonly string[] = []): object => ({
  type: 'object',
  required,
  properties,
  additionalProperties: false,
});

const REASON = { type: 'string', maxLength: 512, description: 'Why, for the log.' };
const DRY_RUN = { type: 'boolean', default: false, description: 'Decide, and write nothing.' };
const REFS = {
  type: 'array',
  items: object({ kind: { type: 'string' }, name: { type: 'string' }, version: { type: 'integer' } }, ['kind', 'name']),
};

const whole = (description: string): object => ({ type: 'integer', minimum: 0, description });
const text = (description: string): object => ({ type: 'string', description });
const json = (description: string): Pick<FastifySchema, 'response'> => ({
  response: answer(description, 'application/json'),
});

/** The bodies that hold resources; their schemas are put in when somebody asks for the document. */
const HOLD_RESOURCES: ReadonlySet<string> = new Set(['/admin/v1/apply', '/admin/v1/plan']);

/**
 * Puts the schemas of the kinds into what the document says of a route.
 * @param kinds the JSON Schemas of resources, by kind; a start does without them
 */
export function withKinds<Schema extends FastifySchema | undefined>(
  schema: Schema,
  url: string,
  kinds: Readonly<Record<string, object>>,
): Schema {
  const shapes = Object.values(kinds);
  if (shapes.length === 0 || schema === undefined || !HOLD_RESOURCES.has(url)) return schema;
  const body = schema.body as { readonly properties: Readonly<Record<string, object>> };
  const resources = { type: 'array', items: { oneOf: shapes } };
  return { ...schema, body: { ...body, properties: { ...body.properties, resources } } };
}

const USAGE_WORDS = ['tenant', 'key', 'model', 'outcome', 'hour'];
const USAGE_BY_WORD = { enum: USAGE_WORDS, description: 'What is added up; absent: each but the hour apart.' };

/** What happened, and who has used what. */
function logSchemas() {
  return {
    freeze: describe('Log', 'Whether all reconcile is stopped, by whom and why', json('The freeze.')),
    setFreeze: describe('Log', 'Stops all reconcile, fleet-wide', {
      body: object({ reason: REASON }),
      ...json('The freeze.'),
    }),
    liftFreeze: describe('Log', 'Lets reconcile go on', {
      body: object({
        reason: REASON,
        acceptLog: { type: 'boolean', default: false, description: 'Takes a log with a gap as it is.' },
      }),
      ...json('The freeze.'),
    }),
    events: describe('Log', 'Events of the log, oldest first', {
      querystring: object({
        after: whole('Events after this one; absent: the newest.'),
        limit: whole('Up to 1,000.'),
        kind: text('Only of this kind of resource.'),
        name: text('Only of this name.'),
        follow: {
          type: 'boolean',
          default: false,
          description:
            'Go on with what comes, as server-sent events: `id` is the number of an event, `data` the event. The header Last-Event-ID goes on behind that event.',
        },
      }),
      headers: object({ 'last-event-id': whole('With follow: only events after this one.') }),
      ...json('The events; with follow a stream of them, text/event-stream.'),
    }),
    usage: describe('Usage', 'What was used, in sums over whole hours', {
      querystring: object({
        by: USAGE_BY_WORD,
        since: whole('From this time on, milliseconds since 1970; its hour counts whole.'),
        until: whole('Up to this time; its hour counts whole.'),
      }),
      ...json('The sums.'),
    }),
    replay: describe('Log', 'The state of the fleet at some point of the past', {
      querystring: object({
        seq: whole('Up to and with this event.'),
        atMs: whole('Up to and with this time of the store.'),
        area: text('Only this area, such as desired.'),
      }),
      ...json('The entries of the state.'),
    }),
  } as const;
}

export function adminSchemas() {
  const resources = { type: 'array', items: { type: 'object' } };
  const tag = 'Resources';
  return {
    apply: describe(tag, 'Creates or changes resources', {
      body: object({ resources, dryRun: DRY_RUN, reason: REASON }, ['resources']),
      ...json('What became of each: created, changed or unchanged, with the members that differ.'),
    }),
    delete: describe(tag, 'Deletes resources', {
      body: object({ resources: REFS, dryRun: DRY_RUN, reason: REASON }, ['resources']),
      ...json('What became of each: deleted, stopped (one engine of a deployment), unchanged or not_found.'),
    }),
    plan: describe(tag, 'What would be done if resources were applied and others deleted', {
      body: object({ resources, deleted: REFS }),
      ...json('The plan in words, with its sums.'),
    }),
    defragment: describe(tag, 'Moves that would make whole GPUs of scattered free memory; nothing is moved', {
      querystring: object({ maxMoves: whole('Up to 256; absent: 16.') }),
      ...json('The moves, in words and as data, what they gain and what they cost.'),
    }),
    orderDefragment: describe(tag, 'Has a plan of such moves carried out by the leader, or ends that', {
      body: object(
        {
          verb: { enum: ['apply', 'cancel'] },
          plan: text('As it was shown.'),
          maxMoves: whole('Absent: 16.'),
          reason: REASON,
        },
        ['verb'],
      ),
      ...json('How many moves were ordered, and the correlation id of all their events.'),
    }),
    list: describe(tag, 'Lists resources', {
      querystring: object({
        kind: text('Only of this kind; engines and quarantines then with those that nobody has declared.'),
      }),
      ...json('The list.'),
    }),
    get: describe(tag, 'Shows one resource, by kind/name', json('The resource.')),
    describe: describe(tag, 'A resource with its status and newest events, by kind/name', json('All that is known.')),
    explain: describe(tag, 'Why each node does or does not do for a deployment', json('A line each.')),
    rollout: describe('Rollouts', 'How a deployment changes its revision, by its name', json('The rollout.')),
    orderRollout: describe('Rollouts', 'Lays an order for a rollout before the leader', {
      body: object({ verb: { enum: ['pause', 'resume', 'undo'] }, reason: REASON }, ['verb']),
      ...json('The rollout.'),
    }),
    ...logSchemas(),
  } as const;
}
