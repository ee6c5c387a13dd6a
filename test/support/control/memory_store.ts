/** An event store in memory for tests of reconcile: the rules are those of plan_append.ts, as every store's are. */
import { genesisHash, type Mac } from '../../../scheduler/core/events/chain.ts';
import { planAppend, requestProblem } from '../../../scheduler/core/events/plan_append.ts';
import { createProjection, entryKey, eventsOf, type Projection } from '../../../scheduler/core/events/projection.ts';
import type { EventRow } from '../../../scheduler/core/events/event.ts';
import { kindSpec } from '../../../scheduler/core/events/kinds.ts';
import type {
  AppendOutcome,
  AppendRequest,
  EventStore,
  Lease,
  LeaseStore,
} from '../../../scheduler/core/events/store_port.ts';

export interface MemoryStore {
  readonly store: Pick<EventStore, 'append' | 'head' | 'leases' | 'get' | 'read'>;
  readonly rows: readonly EventRow[];
  readonly projection: Projection;
  /** What the next calls of schedulers throw instead of doing their work; each is used once. */
  readonly failures: Error[];
  /** Lets the projection have what was appended; by itself after each append unless `lags`. */
  catchUp(): void;
  lags: boolean;
}

const mac: Mac = (text) => {
  let hash = 0;
  for (const character of text) hash = (hash * 31 + (character.codePointAt(0) as number)) % 0xffffffff;
  return hash.toString(16).padStart(64, '0');
};

/** @param nowMs the store's own clock */
export function createMemoryStore(nowMs: () => number): MemoryStore {
  const rows: EventRow[] = [];
  const truth = createProjection();
  const projection = createProjection();
  const done = new Map<string, { firstSeq: number; lastSeq: number; hash: string; digest: string }>();
  const leases = new Map<string, { holder: string; epoch: number; endsMs: number }>();
  const failures: Error[] = [];
  const fail = (): void => {
    const failure = failures.shift();
    if (failure !== undefined) throw failure;
  };
  const view = (name: string): Lease | undefined => {
    const lease = leases.get(name);
    return lease && { name, holder: lease.holder, epoch: lease.epoch, leftMs: lease.endsMs - nowMs() };
  };
  const head = () => ({
    logId: 'log',
    seq: rows.length,
    hash: rows.at(-1)?.hash ?? genesisHash(mac, 'log'),
    atMs: rows.at(-1)?.atMs ?? 0,
    archivedSeq: 0,
    archivedMac: '',
  });
  const memory: MemoryStore = {
    rows,
    projection,
    failures,
    lags: false,
    catchUp() {
      for (const event of eventsOf(rows.slice(projection.seq()))) projection.apply(event);
    },
    store: {
      async append(request: AppendRequest): Promise<AppendOutcome> {
        if (request.fence !== undefined) fail();
        const problem = requestProblem(request);
        if (problem !== undefined) return problem;
        const entries = request.items.flatMap(({ kind, resource }) => {
          const { area } = kindSpec(kind);
          return truth.get(area, resource.kind, resource.name) ?? [];
        });
        const unique = new Map(entries.map((entry) => [entryKey(entry.area, entry.kind, entry.name), entry]));
        const epoch = leases.get(request.fence?.lease ?? '')?.epoch ?? 0;
        const facts = {
          head: head(),
          nowMs: nowMs(),
          entries: [...unique.values()],
          earlier: done.get(request.idempotencyId),
          epoch,
        };
        const plan = planAppend(request, facts, mac);
        if (plan.kind !== 'write') return plan;
        rows.push(...plan.rows);
        for (const event of eventsOf(plan.rows)) truth.apply(event);
        const [first] = plan.rows;
        const last = plan.rows.at(-1);
        const outcome = { firstSeq: first?.seq ?? 0, lastSeq: last?.seq ?? 0, hash: last?.hash ?? '' };
        done.set(request.idempotencyId, { ...outcome, digest: plan.digest });
        if (!memory.lags) memory.catchUp();
        return { kind: 'appended', ...outcome, repeated: false };
      },
      async head() {
        fail();
        return { ...head(), nowMs: nowMs() };
      },
      get: async (area, kind, name) => truth.get(area, kind, name),
      read: async (afterSeq, limit) => rows.slice(afterSeq, afterSeq + limit),
      leases: {
        look: async (name) => view(name),
        async acquire(name, holder, ttlMs, aboveEpoch = 0) {
          fail();
          const lease = leases.get(name);
          if (lease !== undefined && lease.endsMs > nowMs() && lease.holder !== holder)
            return { kind: 'taken', lease: view(name) as Lease };
          const isSame = lease?.holder === holder && lease.endsMs > nowMs();
          const epoch = isSame ? lease.epoch : Math.max(lease?.epoch ?? 0, aboveEpoch) + 1;
          leases.set(name, { holder, epoch, endsMs: nowMs() + ttlMs });
          return { kind: 'held', lease: view(name) as Lease };
        },
        async renew(name, holder, epoch, ttlMs) {
          fail();
          const lease = leases.get(name);
          if (lease?.holder !== holder || lease.epoch !== epoch) return { kind: 'lost', lease: view(name) };
          lease.endsMs = nowMs() + ttlMs;
          return { kind: 'held', lease: view(name) as Lease };
        },
        async release(name, holder, epoch) {
          fail();
          const lease = leases.get(name);
          if (lease?.holder !== holder || lease.epoch !== epoch) return { kind: 'lost', lease: view(name) };
          lease.endsMs = nowMs();
          return { kind: 'held', lease: view(name) as Lease };
        },
      } satisfies LeaseStore,
    },
  };
  return memory;
}
