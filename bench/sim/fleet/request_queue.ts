/**
 * The scheduler's own waiting room and its pace of recovery, in virtual time, between the arrivals of a trace and the
 * router: requests are held while every engine has as much waiting as it may, or while there is none, and those of a dead
 * engine go before all others.
 */
import type { Clock } from '../../../lib/clock.ts';
import { CodedError } from '../../../lib/errors.ts';
import type { TenantId } from '../../../lib/ids.ts';
import type { WaitingOrder } from '../../../scheduler/core/queue/contract.ts';
import { WaitingRoom } from '../../../scheduler/core/queue/waiting_room.ts';
import { createRetryBudget } from '../../../scheduler/core/relay/failover.ts';
import { QUEUE, RECOVERY } from '../queue_options.ts';
import { createVirtualClock } from '../virtual_clock.ts';
import type { FleetView } from './dispatcher.ts';

export interface RequestQueueDeps {
  readonly view: FleetView;
  readonly model: string;
  readonly tenant: TenantId;
  /** Whether every engine has as much waiting for its prefill as it may. */
  isFull(nowMs: number): boolean;
  /** Sends the request to an engine; false: none may be picked. */
  place(request: number, nowMs: number): boolean;
  typicalOutputTokens(): number;
}

export interface RequestQueue {
  /** To be called before anything else that happens at `nowMs`. */
  advance(nowMs: number): void;
  arrive(request: number): void;
  /** Its engine is lost: it goes on elsewhere, in the pace of recovery. */
  move(request: number): void;
  finished(request: number): void;
  /** An engine may have room. */
  changed(): void;
}

interface Entry {
  readonly order: WaitingOrder;
  placedAtMs: number | undefined;
}

export function createRequestQueue(deps: RequestQueueDeps): RequestQueue {
  const { view, model, tenant } = deps;
  const virtual = createVirtualClock();
  const clock: Clock = {
    ...virtual,
    after(delayMs, task) {
      view.actions.wakeAt(virtual.monotonicMs() + Math.max(0, delayMs));
      return virtual.after(delayMs, task);
    },
  };
  // All requests of a trace are of one tenant, which then may fill the queue.
  const room = new WaitingRoom({ clock, options: { ...QUEUE, tenantShare: 1 } });
  const budget = createRetryBudget(RECOVERY);
  const entries = new Map<number, Entry>();
  const refuse = (request: number): void => {
    entries.delete(request);
    view.actions.refuse(request, clock.monotonicMs());
  };

  const orderOf = (request: number): WaitingOrder => ({
    model,
    tenant,
    weight: 1,
    priority: 0,
    deadlineAtMs: Infinity,
    promptTokens: view.workload.inputTokens[request] as number,
    outputTokens: deps.typicalOutputTokens(),
    bytes: 1,
    mayWait: () => true,
    told: () => false,
    refuse: () => refuse(request),
    place() {
      const nowMs = clock.monotonicMs();
      if (deps.isFull(nowMs)) return false;
      if (!deps.place(request, nowMs)) throw new CodedError('no_engine', 'No engine is up.');
      (entries.get(request) as Entry).placedAtMs = nowMs;
      return true;
    },
  });

  /** Takes the first engine that may be picked, however much waits there. */
  const goOn = (request: number, withinMs: number): void => {
    if (deps.place(request, clock.monotonicMs())) return;
    let isPlaced = false;
    const place = (): boolean => {
      isPlaced = deps.place(request, clock.monotonicMs());
      return isPlaced;
    };
    const { order } = entries.get(request) as Entry;
    const ticket = room.wait({ ...order, begun: true, place });
    clock.after(withinMs, () => {
      if (isPlaced) return;
      ticket.leave();
      refuse(request);
    });
  };

  return {
    advance: (nowMs) => virtual.runUntil(nowMs),
    arrive(request) {
      const entry: Entry = { order: orderOf(request), placedAtMs: undefined };
      entries.set(request, entry);
      try {
        room.enter(entry.order);
      } catch (error) {
        if (!(error instanceof CodedError)) throw error;
        refuse(request);
      }
    },
    move(request) {
      const waitMs = budget.take(clock.monotonicMs(), RECOVERY.maxWaitMs);
      if (waitMs === undefined) refuse(request);
      else if (waitMs === 0) goOn(request, RECOVERY.maxWaitMs);
      else clock.after(waitMs, () => goOn(request, RECOVERY.maxWaitMs - waitMs));
    },
    finished(request) {
      const entry = entries.get(request);
      entries.delete(request);
      if (entry?.placedAtMs === undefined) return;
      const tookMs = clock.monotonicMs() - entry.placedAtMs;
      room.ended(entry.order, { tookMs, outputTokens: view.workload.outputTokens[request] as number });
    },
    changed: () => room.changed(model),
  };
}
