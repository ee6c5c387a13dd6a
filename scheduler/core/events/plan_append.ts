/**
 * What an append comes to, given what the store says now: an outcome, or the rows to write. Pure, so that both stores
 * and every test decide alike; the store then writes the plan only if the log's end is still the one it was made for.
 */
import { type Mac, sealEvent } from './chain.ts';
import { draftProblem, encodeEvent, type EventRow, type FleetEvent, MAX_BODY_CHARACTERS } from './event.ts';
import type { LogHead } from './head.ts';
import { canonicalText, type JsonValue } from './json.ts';
import { kindSpec } from './kinds.ts';
import { type Entry, entryKey } from './projection.ts';
import { type AppendItem, type AppendOutcome, type AppendRequest, type Expected, MAX_APPEND } from './store_port.ts';

/** What was read in one step, so that it belongs together. */
export interface AppendFacts {
  readonly head: LogHead;
  /** The store's wall clock. */
  readonly nowMs: number;
  /** Those of the entries that the items name which are there. */
  readonly entries: readonly Entry[];
  /** The append that this idempotency id has made before. */
  readonly earlier:
    | { readonly firstSeq: number; readonly lastSeq: number; readonly hash: string; readonly digest: string }
    | undefined;
  /** Newest epoch of the fence's lease, 0 for none. */
  readonly epoch: number;
}

export interface AppendPlan {
  readonly kind: 'write';
  readonly rows: readonly EventRow[];
  readonly puts: readonly Entry[];
  readonly removes: readonly Pick<Entry, 'area' | 'kind' | 'name'>[];
  /** Tells a repetition from another use of the same idempotency id. */
  readonly digest: string;
}

/** Most characters of the bodies of one append together. */
const MAX_APPEND_CHARACTERS = 16 * 1024 * 1024;
const ID = /^[\x21-\x7e]{1,128}$/;

function fits(expected: Expected, actual: number): boolean {
  if (expected === 'any') return true;
  if (expected === 'absent') return actual === 0;
  if (expected === 'present') return actual !== 0;
  return expected === actual;
}

function digestOf(items: readonly AppendItem[], mac: Mac): string {
  const plain = items.map(
    ({ kind, resource, actor, reason, correlationId, after, expected }): JsonValue => [
      kind,
      resource.kind,
      resource.name,
      actor,
      reason,
      correlationId,
      after,
      expected ?? 'any',
    ],
  );
  return mac(`sophia.append.v1\n${canonicalText(plain)}`);
}

/** What makes a request wrong by itself, or undefined; the index is -1 for the request as a whole. */
export function requestProblem(request: AppendRequest): Extract<AppendOutcome, { kind: 'invalid' }> | undefined {
  const { items, idempotencyId } = request;
  if (!ID.test(idempotencyId))
    return { kind: 'invalid', index: -1, problem: 'idempotencyId must be 1 to 128 printable characters' };
  if (items.length === 0 || items.length > MAX_APPEND)
    return { kind: 'invalid', index: -1, problem: `an append has 1 to ${MAX_APPEND} events` };
  for (const [index, item] of items.entries()) {
    const problem = draftProblem(item);
    if (problem !== undefined) return { kind: 'invalid', index, problem };
  }
  return undefined;
}

interface Step {
  readonly row: EventRow;
  readonly event: FleetEvent;
}

/** The row of one item on top of the entry that is there now, or why there is none. */
function planItem(
  item: AppendItem,
  index: number,
  current: Entry | undefined,
  place: { readonly seq: number; readonly prevHash: string; readonly atMs: number },
  mac: Mac,
): Step | AppendOutcome {
  const { area, effect, needs } = kindSpec(item.kind);
  const actual = current?.version ?? 0;
  const expected = item.expected ?? 'any';
  for (const wanted of [expected, needs]) {
    if (!fits(wanted, actual)) return { kind: 'conflict', index, expected: wanted, actual };
  }
  const event: FleetEvent = {
    seq: place.seq,
    atMs: place.atMs,
    kind: item.kind,
    area,
    effect,
    resource: item.resource,
    actor: item.actor,
    reason: item.reason,
    correlationId: item.correlationId,
    base: actual,
    before: current?.value ?? null,
    after: item.after,
  };
  if (encodeEvent(event).length > MAX_BODY_CHARACTERS)
    return { kind: 'invalid', index, problem: `the event is larger than ${MAX_BODY_CHARACTERS} characters` };
  return { event, row: sealEvent(mac, place.prevHash, event) };
}

/** The outcome where nothing is to be written, given a request that is right by itself. */
function early(request: AppendRequest, facts: AppendFacts, digest: string): AppendOutcome | undefined {
  const { earlier } = facts;
  if (earlier !== undefined) {
    if (earlier.digest !== digest) return { kind: 'id_reused' };
    const { firstSeq, lastSeq, hash } = earlier;
    return { kind: 'appended', firstSeq, lastSeq, hash, repeated: true };
  }
  if (request.fence !== undefined && request.fence.epoch !== facts.epoch) return { kind: 'fenced', epoch: facts.epoch };
  return undefined;
}

/** @param request one of which requestProblem says nothing */
export function planAppend(request: AppendRequest, facts: AppendFacts, mac: Mac): AppendPlan | AppendOutcome {
  const digest = digestOf(request.items, mac);
  const done = early(request, facts, digest);
  if (done !== undefined) return done;
  const table = new Map<string, Entry>();
  for (const entry of facts.entries) table.set(entryKey(entry.area, entry.kind, entry.name), entry);
  const touched = new Map<string, Pick<Entry, 'area' | 'kind' | 'name'>>();
  const rows: EventRow[] = [];
  let characters = 0;
  const atMs = Math.max(facts.head.atMs, facts.nowMs);
  for (const [index, item] of request.items.entries()) {
    const { area, effect } = kindSpec(item.kind);
    const { kind, name } = item.resource;
    const key = entryKey(area, kind, name);
    const prevHash = rows.at(-1)?.hash ?? facts.head.hash;
    const step = planItem(item, index, table.get(key), { seq: facts.head.seq + rows.length + 1, prevHash, atMs }, mac);
    if ('kind' in step) return step;
    rows.push(step.row);
    characters += step.row.body.length;
    if (characters > MAX_APPEND_CHARACTERS)
      return {
        kind: 'invalid',
        index,
        problem: `the events are together larger than ${MAX_APPEND_CHARACTERS} characters`,
      };
    if (effect === 'record') continue;
    touched.set(key, { area, kind, name });
    const { seq: version, after: value, actor } = step.event;
    if (effect === 'put') table.set(key, { area, kind, name, version, value, atMs, actor });
    else table.delete(key);
  }
  const puts = [...touched.keys()].flatMap((key) => table.get(key) ?? []);
  const removes = [...touched].flatMap(([key, ref]) => (table.has(key) ? [] : [ref]));
  return { kind: 'write', rows, puts, removes, digest };
}
