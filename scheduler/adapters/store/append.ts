/**
 * Appending: read what the decision needs in one statement, decide in the core, write in one statement that takes effect
 * only if the log's end is still the one that was read. Who loses the race decides anew. A write whose answer was lost is
 * answered by reading again: its idempotency id is there, or it was not applied and never will be, for the end of the
 * log has moved or is moved by our own next try.
 */
import type { BackoffPolicy } from '../../../lib/backoff.ts';
import type { Clock } from '../../../lib/clock.ts';
import { CodedError } from '../../../lib/errors.ts';
import type { RandomSource } from '../../../lib/rng.ts';
import type { Mac } from '../../core/events/chain.ts';
import type { HeadProblem, KnownPlace, LogHead } from '../../core/events/head.ts';
import { kindSpec } from '../../core/events/kinds.ts';
import { type AppendFacts, type AppendPlan, planAppend, requestProblem } from '../../core/events/plan_append.ts';
import type { AppendOutcome, AppendRequest } from '../../core/events/store_port.ts';
import { createPause } from './repeat.ts';
import { entryParam, toEntries, toHead } from './rows.ts';
import type { SqlRow } from './sql_driver.ts';
import type { Statements } from './statements.ts';

export interface AppendDeps {
  readonly sql: Statements;
  readonly mac: Mac;
  readonly clock: Clock;
  readonly random: RandomSource;
  read(sql: string, params: readonly string[]): Promise<readonly SqlRow[]>;
  /** Not repeated by the driver. */
  write(sql: string, params: readonly string[]): Promise<readonly SqlRow[]>;
  /** The place that must be in the log, if any is known. */
  known(): KnownPlace | undefined;
  /** Holds the head against a place that was known before it was read. */
  judge(head: LogHead, known: KnownPlace | undefined, hashAtKnown: string | undefined): HeadProblem | undefined;
  /** The log's end was seen here. */
  saw(head: Pick<LogHead, 'seq' | 'hash'>): void;
}

const MAX_RACES = 50;
const MAX_BREAKS = 6;
const RACE_PAUSES: BackoffPolicy = { baseMs: 4, capMs: 250 };
const BREAK_PAUSES: BackoffPolicy = { baseMs: 50, capMs: 2_000, minMs: 20 };

const whole = (text: string | null | undefined): number => Number(text ?? 0);

/** Reads all that the decision is made on, in one statement. */
async function readFacts(deps: AppendDeps, request: AppendRequest, known: KnownPlace | undefined) {
  const keys = request.items.map(({ kind, resource }) => ({ area: kindSpec(kind).area, ...resource }));
  const unique = [...new Map(keys.map((key) => [`${key.area} ${key.kind} ${key.name}`, key])).values()];
  const params = [request.idempotencyId, JSON.stringify(unique), request.fence?.lease ?? '', String(known?.seq ?? 0)];
  const [row] = await deps.read(deps.sql.facts, params);
  const head = toHead(row);
  const done = row?.['done_first'] ?? null;
  const facts: AppendFacts = {
    head,
    nowMs: head.nowMs,
    entries: toEntries(row?.['entries'] ?? null),
    earlier:
      done === null
        ? undefined
        : {
            firstSeq: Number(done),
            lastSeq: whole(row?.['done_last']),
            hash: row?.['done_hash'] ?? '',
            digest: row?.['done_digest'] ?? '',
          },
    epoch: whole(row?.['epoch']),
  };
  return { facts, hashAtKnown: row?.['known_hash'] ?? undefined };
}

/** Writes the plan; false when the log's end or the lease has moved on meanwhile. */
async function writePlan(
  deps: AppendDeps,
  request: AppendRequest,
  facts: AppendFacts,
  plan: AppendPlan,
): Promise<boolean> {
  const last = plan.rows.at(-1) as AppendPlan['rows'][number];
  const [row] = await deps.write(deps.sql.append, [
    String(facts.head.seq),
    facts.head.hash,
    String(last.seq),
    last.hash,
    String(last.atMs),
    JSON.stringify(plan.rows),
    JSON.stringify(plan.puts.map(entryParam)),
    JSON.stringify(plan.removes),
    request.idempotencyId,
    plan.digest,
    request.fence?.lease ?? '',
    String(request.fence?.epoch ?? 0),
  ]);
  return row?.['moved'] === '1';
}

async function tryOnce(deps: AppendDeps, request: AppendRequest): Promise<AppendOutcome | 'raced'> {
  // Taken before the read: another append of this process may move it meanwhile.
  const known = deps.known();
  const { facts, hashAtKnown } = await readFacts(deps, request, known);
  const problem = deps.judge(facts.head, known, hashAtKnown);
  if (problem !== undefined) return { kind: 'behind', problem };
  const plan = planAppend(request, facts, deps.mac);
  if (plan.kind !== 'write') return plan;
  if (!(await writePlan(deps, request, facts, plan))) return 'raced';
  const last = plan.rows.at(-1) as AppendPlan['rows'][number];
  deps.saw(last);
  return {
    kind: 'appended',
    firstSeq: facts.head.seq + 1,
    lastSeq: last.seq,
    hash: last.hash,
    repeated: false,
  };
}

/**
 * Appends, as EventStore.append says.
 * @throws CodedError store_busy when others were faster every time, and what the store says
 */
export async function append(deps: AppendDeps, request: AppendRequest): Promise<AppendOutcome> {
  const invalid = requestProblem(request);
  if (invalid !== undefined) return invalid;
  const pause = createPause(deps);
  let breaks = 0;
  for (let races = 0; races < MAX_RACES; ) {
    try {
      const outcome = await tryOnce(deps, request);
      if (outcome !== 'raced') return outcome;
      await pause(Math.min(races++, 6), RACE_PAUSES);
    } catch (thrown) {
      const isBreak = thrown instanceof CodedError && thrown.code === 'store_unavailable';
      if (!isBreak || breaks >= MAX_BREAKS) throw thrown;
      await pause(breaks++, BREAK_PAUSES);
    }
  }
  throw new CodedError('store_busy', `Others were faster ${MAX_RACES} times.`);
}
