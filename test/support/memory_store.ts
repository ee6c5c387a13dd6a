/**
 * A store in memory for tests of what stands on it: it decides as the real one does, by the same core, and can be told to
 * fail, to lose its newest events, or to be written by somebody else.
 */
import { createHash } from 'node:crypto';
import { CodedError, type ErrorCode } from '../../lib/errors.ts';
import { genesisHash, type Mac } from '../../scheduler/core/events/chain.ts';
import type { EventRow } from '../../scheduler/core/events/event.ts';
import { judgeHead, type KnownPlace } from '../../scheduler/core/events/head.ts';
import { planAppend, requestProblem } from '../../scheduler/core/events/plan_append.ts';
import {
  createProjection,
  eventsOf,
  type Projection,
  replay,
  type Until,
} from '../../scheduler/core/events/projection.ts';
import type { AppendRequest, Checkpoint, EventStore } from '../../scheduler/core/events/store_port.ts';
import { newStoreHealth, observeStore } from '../../scheduler/core/events/store_state.ts';

const mac: Mac = (text) => createHash('sha256').update(text).digest('hex');

export interface MemoryStore extends EventStore {
  rows: EventRow[];
  /** What every call fails with from now on. */
  failWith: ErrorCode | undefined;
  /** Called before each append decides: a chance to be faster than it. */
  beforeAppend: ((request: AppendRequest) => void) | undefined;
  checkpoints: Checkpoint[];
  /** Writes past whoever holds this store, as another scheduler does. */
  write(request: AppendRequest): void;
  stateAt(until: Until): Promise<Projection>;
  readonly appends: number[];
  closed: boolean;
}

export function createMemoryStore(logId = 'log'): MemoryStore {
  const done = new Map<string, { firstSeq: number; lastSeq: number; hash: string; digest: string }>();
  let known: KnownPlace | undefined;
  let health = newStoreHealth(0);
  const past = (until: Until) => replay(eventsOf(store.rows), until, createProjection()).projection;
  let kept = createProjection();
  const state = (): Projection => {
    if (kept.seq() > store.rows.length) kept = createProjection();
    return replay(eventsOf(store.rows.slice(kept.seq())), {}, kept).projection;
  };
  const check = (): void => {
    if (store.failWith !== undefined) {
      health = observeStore(health, { kind: 'unreachable', message: 'test' }, 0);
      throw new CodedError(store.failWith, 'The store is away.');
    }
    health = observeStore(health, { kind: 'ok', tookMs: 0, wrote: true }, 0);
  };
  const headNow = () => {
    const last = store.rows.at(-1);
    const { seq = 0, hash = genesisHash(mac, logId), atMs = 0 } = last ?? {};
    return { logId, seq, hash, atMs, archivedSeq: 0, archivedMac: '' };
  };
  const problemNow = () => {
    const hashAt = store.rows.find(({ seq }) => seq === known?.seq)?.hash;
    const problem = known === undefined ? undefined : judgeHead(headNow(), known, logId, hashAt);
    health = observeStore(health, { kind: 'head', problem }, 0);
    return problem;
  };
  const append = (request: AppendRequest) => {
    const invalid = requestProblem(request);
    if (invalid !== undefined) return invalid;
    const problem = problemNow();
    if (problem !== undefined) return { kind: 'behind' as const, problem };
    const entries = [...state().entries()];
    const earlier = done.get(request.idempotencyId);
    const plan = planAppend(request, { head: headNow(), nowMs: Date.now(), entries, earlier, epoch: 0 }, mac);
    if (plan.kind !== 'write') return plan;
    const firstSeq = headNow().seq + 1;
    store.rows.push(...plan.rows);
    const { seq: lastSeq, hash } = headNow();
    done.set(request.idempotencyId, { firstSeq, lastSeq, hash, digest: plan.digest });
    known = { seq: lastSeq, hash };
    return { kind: 'appended' as const, firstSeq, lastSeq, hash, repeated: false };
  };
  const none = async (): Promise<never> => {
    throw new Error('The store in memory has no such part.');
  };
  const store: MemoryStore = {
    rows: [],
    failWith: undefined,
    beforeAppend: undefined,
    checkpoints: [],
    appends: [],
    closed: false,
    write: (request) => void append(request),
    stateAt: async (until) => past(until),
    async append(request) {
      check();
      store.beforeAppend?.(request);
      store.appends.push(request.items.length);
      return append(request);
    },
    async head() {
      check();
      return { ...headNow(), nowMs: Date.now() };
    },
    async read(afterSeq, limit) {
      check();
      return store.rows.filter(({ seq }) => seq > afterSeq).slice(0, limit);
    },
    async *follow(afterSeq) {
      yield store.rows.filter(({ seq }) => seq > afterSeq);
    },
    async get(area, kind, name) {
      check();
      return state().get(area, kind, name);
    },
    async list(area) {
      check();
      return state().list(area);
    },
    leases: { acquire: none, renew: none, release: none, look: async () => undefined },
    async checkpoint() {
      check();
      const { seq, hash: eventHash, atMs } = headNow();
      const made = { seq, eventHash, atMs, state: state().snapshot(), mac: '' };
      store.checkpoints.push(made);
      return made;
    },
    async checkpointBefore(seq) {
      check();
      return store.checkpoints.findLast((each) => each.seq <= seq);
    },
    archive: none,
    async remember(place, ofLog) {
      check();
      if (ofLog !== logId) throw new Error('another log');
      if (known === undefined || place.seq >= known.seq) known = place;
      return problemNow();
    },
    async acceptLog() {
      known = undefined;
      health = observeStore(health, { kind: 'head', problem: undefined }, 0);
    },
    health: () => health,
    async close() {
      store.closed = true;
    },
  };
  return store;
}
