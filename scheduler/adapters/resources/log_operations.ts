/** Reading the log and its past states, and the freeze of all reconcile. */
import { CodedError } from '../../../lib/errors.ts';
import type { FleetEvent } from '../../core/events/event.ts';
import { eventsOf, freezeOf, type Until } from '../../core/events/projection.ts';
import { AREAS } from '../../core/events/kinds.ts';
import { ACCESS_KIND } from '../../core/access/key_events.ts';
import { freezeItem, unfreezeItem } from '../../core/resources/changes.ts';
import type { ControlPlane, FreezeView } from '../../core/resources/control_port.ts';
import type { Caller, EventsRequest, ReplayAnswer } from '../../core/resources/operations.ts';
import { kindOf } from './apply_operations.ts';
import { layEntry } from './lay_order.ts';

/** Most events of one answer. */
export const MAX_EVENTS = 1000;
/** Rows read at once; with a filter more are read than are given. */
const READ_ROWS = 500;
/** Rows that a filtered list looks at before it says that there is nothing more. */
const MAX_LOOKED_AT = 100_000;
/** Entries that one replay gives. */
const MAX_ENTRIES = 50_000;
const MAX_RACES = 5;

type Wanted = (event: FleetEvent) => boolean;

/** @throws CodedError invalid_value */
function filterOf({ kind = '', name = '' }: EventsRequest): Wanted {
  const ofKind = kind === '' ? undefined : /^keys?$/i.test(kind) ? ACCESS_KIND : kindOf(kind);
  return ({ resource }) =>
    (ofKind === undefined || resource.kind === ofKind) && (name === '' || resource.name === name);
}

function checkLimit(limit: number): void {
  if (!Number.isInteger(limit) || limit < 1 || limit > MAX_EVENTS)
    throw new CodedError('invalid_value', `limit must be from 1 to ${MAX_EVENTS}.`, { param: 'limit' });
}

/** The newest events: read backwards in steps until there are enough. */
async function newest({ store }: ControlPlane, limit: number, wanted: Wanted): Promise<FleetEvent[]> {
  const { seq, archivedSeq } = await store.head();
  let found: FleetEvent[] = [];
  for (let end = seq; end > archivedSeq && found.length < limit && seq - end < MAX_LOOKED_AT; ) {
    const after = Math.max(archivedSeq, end - READ_ROWS);
    const rows = await store.read(after, end - after);
    found = [...[...eventsOf(rows)].filter(wanted), ...found];
    end = after;
  }
  return found.slice(-limit);
}

async function nextEvents(
  { store }: ControlPlane,
  after: number,
  limit: number,
  wanted: Wanted,
): Promise<{ readonly events: FleetEvent[]; readonly at: number }> {
  const events: FleetEvent[] = [];
  let at = after;
  while (events.length < limit && at - after < MAX_LOOKED_AT) {
    const rows = await store.read(at, READ_ROWS);
    for (const event of eventsOf(rows)) {
      if (events.length >= limit) return { events, at };
      at = event.seq;
      if (wanted(event)) events.push(event);
    }
    if (rows.length < READ_ROWS) break;
  }
  return { events, at };
}

/** @throws CodedError invalid_value, store_… */
export async function listEvents(control: ControlPlane, request: EventsRequest): Promise<FleetEvent[]> {
  checkLimit(request.limit);
  const wanted = filterOf(request);
  if (request.after === undefined) return newest(control, request.limit, wanted);
  return (await nextEvents(control, request.after, request.limit, wanted)).events;
}

/** Resolves when an event after `seq` is in memory, or one of the signals fires. */
function newsAfter(control: ControlPlane, seq: number, signals: readonly AbortSignal[]): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      forget();
      for (const signal of signals) signal.removeEventListener('abort', done);
      resolve();
    };
    const forget = control.onEvents(() => {
      if (control.projection().seq() > seq) done();
    });
    for (const signal of signals) signal.addEventListener('abort', done, { once: true });
    if (control.projection().seq() > seq || signals.some(({ aborted }) => aborted)) done();
  });
}

/**
 * Events as they come: first what is there, then what is folded, no faster than the reader takes them.
 * @throws CodedError draining when the scheduler stops, besides
 */
export async function* followEvents(
  control: ControlPlane,
  request: EventsRequest,
  signal: AbortSignal,
): AsyncGenerator<readonly FleetEvent[]> {
  checkLimit(request.limit);
  const wanted = filterOf(request);
  await control.catchUp();
  let at = request.after ?? control.projection().seq();
  if (request.after === undefined) {
    const first = await newest(control, request.limit, wanted);
    at = Math.max(at, first.at(-1)?.seq ?? 0);
    if (first.length > 0) yield first;
  }
  while (!signal.aborted) {
    if (control.stopping.aborted) throw new CodedError('draining', 'The scheduler stops; follow another one.');
    const next = await nextEvents(control, at, MAX_EVENTS, wanted);
    at = next.at;
    if (next.events.length > 0) yield next.events;
    else await newsAfter(control, at, [signal, control.stopping]);
  }
}

/** @throws CodedError invalid_value, store_… */
export async function replay(control: ControlPlane, until: Until, area: string): Promise<ReplayAnswer> {
  if (area !== '' && !(AREAS as readonly string[]).includes(area))
    throw new CodedError('invalid_value', `area must be one of ${AREAS.join(', ')}.`, { param: 'area' });
  const projection = await control.stateAt(until);
  const all = (area === '' ? AREAS : AREAS.filter((each) => each === area)).flatMap((each) => projection.list(each));
  return {
    seq: projection.seq(),
    atMs: projection.atMs(),
    entries: all.slice(0, MAX_ENTRIES),
    truncated: all.length > MAX_ENTRIES,
  };
}

/** @throws CodedError store_… */
export async function setFreeze(
  control: ControlPlane,
  newId: () => string,
  reason: string,
  caller: Caller,
): Promise<FreezeView> {
  await layEntry({ control, newId }, freezeItem({ ...caller, reason }));
  await control.catchUp();
  return control.freeze();
}

/** Idempotent: a fleet that is not frozen stays so. @throws CodedError store_… */
export async function liftFreeze(
  control: ControlPlane,
  newId: () => string,
  request: { readonly reason: string; readonly acceptLog: boolean },
  caller: Caller,
): Promise<FreezeView> {
  await control.catchUp();
  if (request.acceptLog && control.freeze().gap !== undefined) await control.acceptLog();
  for (let race = 0; race < MAX_RACES && freezeOf(control.projection()) !== undefined; race++) {
    await layEntry({ control, newId }, unfreezeItem({ ...caller, reason: request.reason }));
    await control.catchUp();
  }
  return control.freeze();
}
