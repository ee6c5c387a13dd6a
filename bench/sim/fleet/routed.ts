/**
 * The scheduler's own routing at work in virtual time: the very Router with its policies, reservations, speed fit and
 * breakers, the very prefix index, queue and pace of recovery. It is told what a scheduler is told: readings once a second,
 * first tokens, ends with `cached_tokens`, deaths, and KV events where the engines send them. It does not know the engines'
 * timings: the speed starts at the neutral one and is fitted from what requests take.
 */
import type { EngineId, NodeId, TenantId } from '../../../lib/ids.ts';
import { seededRandom } from '../../../lib/rng.ts';
import { createResidency, type PrefixIndex } from '../../../scheduler/core/residency/residency.ts';
import type { EngineLife, RequestShape } from '../../../scheduler/core/routing/contract.ts';
import type { PolicyName } from '../../../scheduler/core/routing/policies.ts';
import type { Lease } from '../../../scheduler/core/routing/reservations.ts';
import { createRouter, type Router } from '../../../scheduler/core/routing/router.ts';
import { chunkHash, hashesOf, type Workload } from '../traces/workload.ts';
import { MAX_PENDING_PREFILL_MS } from '../queue_options.ts';
import type { CreateDispatcher, FleetView } from './dispatcher.ts';
import { createRequestQueue, type RequestQueue } from './request_queue.ts';

/** How the scheduler knows what engines hold: by their KV events, or by guess from what it sent. */
export type Belief = 'events' | 'guess';

export interface RoutedOptions {
  readonly policy: PolicyName;
  readonly belief: Belief;
}

const MODEL = 'model';
const TENANT = 'tenant' as TenantId;
/** Room for every chunk of the trace several times over, so that the index's own cap is not what is measured. */
const INDEX_BYTES = 2 * 2 ** 20;
const INDEX_BYTES_PER_CHUNK = 256;
/** As the scheduler's settings have it. */
const STALE_AFTER_MS = 10_000;

interface Underway {
  readonly lease: Lease;
  readonly engine: number;
  cachedTokens: number | undefined;
}

interface Routed {
  readonly view: FleetView;
  readonly router: Router;
  readonly index: PrefixIndex;
  readonly lives: EngineLife[];
  readonly shapes: (RequestShape | undefined)[];
  readonly underway: Map<number, Underway>;
  readonly tried: Map<number, Map<EngineId, number>>;
  queue: RequestQueue | undefined;
}

const engineId = (engine: number): EngineId => `n${engine}/e` as EngineId;
const numberOf = (engine: EngineId): number => Number(engine.slice(1, engine.indexOf('/')));

function shapeOf(workload: Workload, request: number): RequestShape {
  const hashes = hashesOf(workload, request);
  const session = workload.session[request] as number;
  return {
    model: MODEL,
    tenant: TENANT,
    promptTokens: workload.inputTokens[request] as number,
    ...(hashes.length === 0 ? {} : { blocks: { blockTokens: workload.chunkTokens, hashes } }),
    ...(session < 0 ? {} : { sessionKey: String(session) }),
  };
}

/** Sends the request where the router wants it; false: no engine may be picked. */
function place(routed: Routed, request: number, nowMs: number): boolean {
  const { router, view, tried } = routed;
  const shape = routed.shapes[request] ?? shapeOf(view.workload, request);
  routed.shapes[request] = shape;
  const ask = { shape, endpoint: 'chat' as const, tried: tried.get(request) ?? new Map<EngineId, number>(), nowMs };
  const { picked } = router.pick(ask);
  if (picked === undefined) {
    // An engine that has failed it once is better than none, and it may be another life by now.
    tried.delete(request);
    return false;
  }
  const engine = numberOf(picked.lease.engine);
  routed.underway.set(request, { lease: picked.lease, engine, cachedTokens: undefined });
  view.actions.send(request, engine, nowMs);
  return true;
}

/** Without a queue a request is placed at once or refused. */
function placeOrRefuse(routed: Routed, request: number, nowMs: number): void {
  if (!place(routed, request, nowMs)) routed.view.actions.refuse(request, nowMs);
}

function finished(routed: Routed, request: number, nowMs: number): void {
  const entry = routed.underway.get(request);
  if (entry === undefined) return;
  routed.underway.delete(request);
  routed.tried.delete(request);
  routed.shapes[request] = undefined;
  const outputTokens = routed.view.workload.outputTokens[request] as number;
  entry.lease.end({ nowMs, outcome: 'ok', outputTokens, cachedTokens: entry.cachedTokens });
}

/** What was with a dead or silent engine ends as a fault there and is placed anew, never on the same life of the engine. */
function engineDown(routed: Routed, engine: number, lost: readonly number[], nowMs: number): void {
  put(routed, engine, { lastSeenAtMs: nowMs, refusal: { by: 'failed', detail: 'The engine died or fell silent.' } });
  for (const request of lost) {
    const entry = routed.underway.get(request);
    routed.underway.delete(request);
    entry?.lease.end({ nowMs, outcome: 'stream_lost', outputTokens: 0 });
    const tried = routed.tried.get(request) ?? new Map<EngineId, number>();
    if (entry !== undefined) tried.set(entry.lease.engine, entry.lease.incarnation);
    routed.tried.set(request, tried);
  }
  for (const request of lost) {
    if (routed.queue === undefined) placeOrRefuse(routed, request, nowMs);
    else routed.queue.move(request);
  }
}

interface Changing {
  readonly lastSeenAtMs: number;
  readonly kvUsageRatio?: number;
  readonly refusal?: { readonly by: string; readonly detail: string };
}

function put({ router, lives, view }: Routed, engine: number, changing: Changing): void {
  const { maxSequences } = view.spec;
  router.engines.put({
    ...(lives[engine] as EngineLife),
    node: `n${engine}` as NodeId,
    name: 'e',
    serves: SERVES,
    otherRequests: 0,
    maxSequences,
    ...changing,
  });
}

const SERVES = [{ model: MODEL, endpoints: [] }] as const;

function queueOf(routed: Routed): RequestQueue {
  const { view, router } = routed;
  return createRequestQueue({
    view,
    model: MODEL,
    tenant: TENANT,
    isFull: (nowMs) => router.room(MODEL, 'chat', nowMs).kind === 'full',
    place: (request, nowMs) => place(routed, request, nowMs),
    typicalOutputTokens: () => router.typicalOutputTokens(MODEL),
  });
}

/** A dispatcher that routes as the scheduler does. */
export function routedBy(options: RoutedOptions): CreateDispatcher {
  return (view) => {
    const index = createResidency({
      maxBytes: INDEX_BYTES + INDEX_BYTES_PER_CHUNK * view.workload.distinctChunks,
    });
    const router = createRouter({
      options: { policy: options.policy, staleAfterMs: STALE_AFTER_MS, maxPendingPrefillMs: MAX_PENDING_PREFILL_MS },
      random: seededRandom(view.seed),
      residency: index,
    });
    const routed: Routed = {
      view,
      router,
      index,
      lives: [],
      shapes: [],
      underway: new Map(),
      tried: new Map(),
      queue: undefined,
    };
    if (view.queue) routed.queue = queueOf(routed);
    const down = new Set<number>();
    const { queue } = routed;
    return {
      arrive(request, nowMs) {
        queue?.advance(nowMs);
        if (queue === undefined) placeOrRefuse(routed, request, nowMs);
        else queue.arrive(request);
      },
      firstToken(request, nowMs, cachedTokens) {
        queue?.advance(nowMs);
        const entry = routed.underway.get(request);
        if (entry === undefined) return;
        entry.cachedTokens = cachedTokens;
        entry.lease.firstToken(nowMs);
        queue?.changed();
      },
      finished(request, nowMs) {
        queue?.advance(nowMs);
        finished(routed, request, nowMs);
        queue?.finished(request);
      },
      read(engine, { kvUsageRatio }, nowMs) {
        queue?.advance(nowMs);
        if (!down.has(engine)) put(routed, engine, { lastSeenAtMs: nowMs, kvUsageRatio });
      },
      engineUp(engine, incarnation, nowMs) {
        queue?.advance(nowMs);
        down.delete(engine);
        routed.lives[engine] = { engine: engineId(engine), incarnation };
        put(routed, engine, { lastSeenAtMs: nowMs });
        queue?.changed();
      },
      engineDown(engine, lost, nowMs) {
        queue?.advance(nowMs);
        down.add(engine);
        engineDown(routed, engine, lost, nowMs);
      },
      wake: (nowMs) => queue?.advance(nowMs),
      ...(options.belief === 'guess'
        ? {}
        : {
            stored: (engine, chunk, nowMs) => index.stored(routed.lives[engine] as EngineLife, chunkHash(chunk), nowMs),
            removed: (engine, chunk) => index.removed(routed.lives[engine] as EngineLife, chunkHash(chunk)),
          }),
    };
  };
}
