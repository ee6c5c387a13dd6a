/**
 * The part of `admin.v1.Admin` that is about declared resources, the freeze and the log. The handlers turn messages into
 * calls of the operations and back; what a change means is decided there, for every door alike.
 */
import type { Metadata, sendUnaryData, ServerUnaryCall, ServerWritableStream } from '@grpc/grpc-js';
import { CodedError, toCodedError } from '../../../lib/errors.ts';
import { newRequestId } from '../../../lib/ids.ts';
import type { Logger } from '../../../lib/io/logger.ts';
import type { RandomSource } from '../../../lib/rng.ts';
import type { AdminHandlers } from '../../../proto/gen/admin/v1/Admin.ts';
import type { Event } from '../../../proto/gen/admin/v1/Event.ts';
import type { ListEventsRequest__Output } from '../../../proto/gen/admin/v1/ListEventsRequest.ts';
import type { ListEventsResponse } from '../../../proto/gen/admin/v1/ListEventsResponse.ts';
import type { ReplayRequest__Output } from '../../../proto/gen/admin/v1/ReplayRequest.ts';
import type { ResourceRef__Output } from '../../../proto/gen/admin/v1/ResourceRef.ts';
import type { FleetEvent } from '../../core/events/event.ts';
import { actorOf } from '../../core/resources/actor.ts';
import type { Caller, RawRef, ResourceOperations } from '../../core/resources/operations.ts';
import type { Identity } from '../../ports.ts';
import { failStream, statusFor } from './grpc_errors.ts';
import { defragmentVerb } from '../../core/reconcile/moves.ts';
import { orderVerb } from '../../core/rollout/orders.ts';
import {
  defragmentMessage,
  entryMessage,
  eventMessage,
  freezeMessage,
  outcomeMessage,
  resourceMessage,
  rolloutMessage,
} from './resource_views.ts';

export interface ResourceHandlerDeps {
  readonly logger: Logger;
  readonly random: RandomSource;
  /** Undefined: this scheduler keeps no desired state. */
  readonly resources?: ResourceOperations;
}

type IdentityOf = (call: { readonly metadata: Metadata }) => Identity;

type ResourceMethod =
  | 'ApplyResources'
  | 'DeleteResources'
  | 'GetResource'
  | 'ListResources'
  | 'DescribeResource'
  | 'PlanResources'
  | 'PlanDefragmentation'
  | 'OrderDefragmentation'
  | 'GetRollout'
  | 'OrderRollout'
  | 'SetFreeze'
  | 'LiftFreeze'
  | 'GetFreeze'
  | 'ListEvents'
  | 'Replay';

const DEFAULT_EVENTS = 100;
/** Most events of one message of a stream, and about how many bytes: a message of a few large ones is sent early. */
const EVENTS_PER_MESSAGE = 100;
const MESSAGE_CHARACTERS = 512 * 1024;

const refOf = ({ kind, name, version }: ResourceRef__Output): RawRef => ({
  kind,
  name,
  ...(version === undefined ? {} : { version }),
});

/** @throws CodedError malformed_json */
function parseResources(texts: readonly string[]): unknown[] {
  return texts.map((text, index) => {
    try {
      return JSON.parse(text) as unknown;
    } catch (cause) {
      const param = `resources[${index}]`;
      throw new CodedError('malformed_json', `${param} is not JSON.`, { param, cause });
    }
  });
}

function untilOf({ until, seq, atMs }: ReplayRequest__Output) {
  if (until === undefined) throw new CodedError('missing_field', 'The request names no point.', { param: 'until' });
  return until === 'seq' ? { seq: seq as number } : { atMs: atMs as number };
}

/** Resolves when the stream takes more, or is over. */
function drained(call: ServerWritableStream<ListEventsRequest__Output, ListEventsResponse>): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      call.off('drain', done).off('cancelled', done).off('close', done);
      resolve();
    };
    call.on('drain', done).on('cancelled', done).on('close', done);
  });
}

function* messagesOf(events: readonly FleetEvent[]): Generator<{ readonly events: Event[] }> {
  let pending: Event[] = [];
  let characters = 0;
  for (const message of events.map(eventMessage)) {
    pending.push(message);
    characters += (message.beforeJson ?? '').length + (message.afterJson ?? '').length;
    if (pending.length < EVENTS_PER_MESSAGE && characters < MESSAGE_CHARACTERS) continue;
    yield { events: pending };
    pending = [];
    characters = 0;
  }
  if (pending.length > 0) yield { events: pending };
}

async function sendEvents(
  operations: ResourceOperations,
  call: ServerWritableStream<ListEventsRequest__Output, ListEventsResponse>,
): Promise<void> {
  const { after, follow, limit, kind, name } = call.request;
  const request = {
    limit: limit === 0 ? DEFAULT_EVENTS : limit,
    kind,
    name,
    ...(after === undefined ? {} : { after }),
  };
  const stop = new AbortController();
  call.on('cancelled', () => stop.abort());
  const send = async (events: readonly FleetEvent[]): Promise<void> => {
    for (const message of messagesOf(events)) {
      if (stop.signal.aborted) return;
      if (!call.write(message)) await drained(call);
    }
  };
  if (follow) for await (const events of operations.follow(request, stop.signal)) await send(events);
  else await send(await operations.events(request));
  call.end();
}

/** @throws CodedError store_off */
function required(resources: ResourceOperations | undefined): ResourceOperations {
  if (resources === undefined) throw new CodedError('store_off', 'This scheduler keeps no desired state.');
  return resources;
}

/** @param identityOf who makes a call, as the gate of the door has found out */
export function createResourceHandlers(
  { logger, random, resources }: ResourceHandlerDeps,
  identityOf: IdentityOf,
): Pick<AdminHandlers, ResourceMethod> {
  const unary =
    <Request, Response>(
      work: (operations: ResourceOperations, request: Request, caller: Caller) => Promise<Response>,
    ) =>
    (call: ServerUnaryCall<Request, Response>, callback: sendUnaryData<Response>): void => {
      const correlationId = newRequestId(random);
      Promise.resolve()
        .then(() => work(required(resources), call.request, { actor: actorOf(identityOf(call)), correlationId }))
        .then(
          (response) => callback(null, response),
          (thrown: unknown) => callback(statusFor(logger, thrown, correlationId)),
        );
    };
  return {
    ApplyResources: unary(async (operations, { resources: texts, dryRun, reason }, caller) => {
      const answer = await operations.apply({ resources: parseResources(texts), dryRun, reason }, caller);
      return { ...answer, outcomes: answer.outcomes.map(outcomeMessage) };
    }),
    DeleteResources: unary(async (operations, { resources: refs, dryRun, reason }, caller) => {
      const answer = await operations.delete({ resources: refs.map(refOf), dryRun, reason }, caller);
      return { ...answer, outcomes: answer.outcomes.map(outcomeMessage) };
    }),
    GetResource: unary(async (operations, ref) => ({ resource: resourceMessage(await operations.get(ref)) })),
    ListResources: unary(async (operations, { kind }) => ({
      resources: (await operations.list(kind)).map(resourceMessage),
    })),
    DescribeResource: unary(async (operations, ref) => {
      const { statusNote, notes, events, ...view } = await operations.describe(ref);
      return { resource: resourceMessage(view), statusNote, notes: [...notes], events: events.map(eventMessage) };
    }),
    PlanResources: unary(async (operations, { resources: texts, deleted }) => {
      const plan = await operations.plan({ resources: parseResources(texts), deleted: deleted.map(refOf) });
      return { ...plan, lines: [...plan.lines], outcomes: plan.outcomes.map(outcomeMessage) };
    }),
    PlanDefragmentation: unary(async (operations, { maxMoves }) =>
      defragmentMessage(await operations.defragment(maxMoves)),
    ),
    OrderDefragmentation: unary(async (operations, { verb, maxMoves, ...rest }, caller) =>
      operations.orderDefragment(
        { ...rest, verb: defragmentVerb(verb), ...(maxMoves === undefined ? {} : { maxMoves }) },
        caller,
      ),
    ),
    GetRollout: unary(async (operations, { name }) => ({ rollout: rolloutMessage(await operations.rollout(name)) })),
    OrderRollout: unary(async (operations, { name, verb, reason }, caller) => ({
      rollout: rolloutMessage(await operations.orderRollout({ name, verb: orderVerb(verb), reason }, caller)),
    })),
    SetFreeze: unary(async (operations, { reason }, caller) => ({
      freeze: freezeMessage(await operations.setFreeze(reason, caller)),
    })),
    LiftFreeze: unary(async (operations, { reason, acceptLog }, caller) => ({
      freeze: freezeMessage(await operations.liftFreeze(reason, acceptLog, caller)),
    })),
    GetFreeze: unary(async (operations) => ({ freeze: freezeMessage(operations.freeze()) })),
    ListEvents: (call) => {
      Promise.resolve()
        .then(() => sendEvents(required(resources), call))
        .catch((thrown: unknown) => failStream(logger, call, toCodedError(thrown)));
    },
    Replay: unary(async (operations, request) => {
      const answer = await operations.replay(untilOf(request), request.area);
      return { ...answer, entries: answer.entries.map(entryMessage) };
    }),
  };
}
