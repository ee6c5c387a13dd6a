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
  readonly isFull: (nowMs: number) => boolean;
  /** Sends the request to an engine; false: none may be picked. */
  readonly place: (request: number, nowMs: number) => boolean;
  readonly typicalOutputTokens: () => number;
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
  return new SimQueue(deps);
}

class SimQueue implements RequestQueue {
  readonly #deps: RequestQueueDeps;
  readonly #virtual = createVirtualClock();
  readonly #clock: Clock;
  readonly #room: WaitingRoom;
  readonly #budget = createRetryBudget(RECOVERY);
  readonly #entries = new Map<number, Entry>();

  constructor(deps: RequestQueueDeps) {
    this.#deps = deps;
    const virtual = this.#virtual;
    this.#clock = {
      ...virtual,
      after(delayMs, task) {
        deps.view.actions.wakeAt(virtual.monotonicMs() + Math.max(0, delayMs));
        return virtual.after(delayMs, task);
      },
    };
    // All requests of a trace are of one tenant, which then may fill the queue.
    this.#room = new WaitingRoom({ clock: this.#clock, options: { ...QUEUE, tenantShare: 1 } });
  }

  advance(nowMs: number): void {
    this.#virtual.runUntil(nowMs);
  }

  arrive(request: number): void {
    const entry: Entry = { order: this.#orderOf(request), placedAtMs: undefined };
    this.#entries.set(request, entry);
    try {
      this.#room.enter(entry.order);
    } catch (error) {
      if (!(error instanceof CodedError)) throw error;
      this.#refuse(request);
    }
  }

  move(request: number): void {
    const waitMs = this.#budget.take(this.#nowMs, RECOVERY.maxWaitMs);
    if (waitMs === undefined) this.#refuse(request);
    else if (waitMs === 0) this.#goOn(request, RECOVERY.maxWaitMs);
    else this.#clock.after(waitMs, () => this.#goOn(request, RECOVERY.maxWaitMs - waitMs));
  }

  finished(request: number): void {
    const entry = this.#entries.get(request);
    this.#entries.delete(request);
    if (entry?.placedAtMs === undefined) return;
    const outputTokens = this.#deps.view.workload.outputTokens[request] as number;
    this.#room.ended(entry.order, { tookMs: this.#nowMs - entry.placedAtMs, outputTokens });
  }

  changed(): void {
    this.#room.changed(this.#deps.model);
  }

  get #nowMs(): number {
    return this.#virtual.monotonicMs();
  }

  #refuse(request: number): void {
    this.#entries.delete(request);
    this.#deps.view.actions.refuse(request, this.#nowMs);
  }

  #orderOf(request: number): WaitingOrder {
    const { view, model, tenant, isFull, place, typicalOutputTokens } = this.#deps;
    return {
      model,
      tenant,
      weight: 1,
      priority: 0,
      deadlineAtMs: Infinity,
      promptTokens: view.workload.inputTokens[request] as number,
      outputTokens: typicalOutputTokens(),
      bytes: 1,
      mayWait: () => true,
      told: () => false,
      refuse: () => this.#refuse(request),
      place: () => {
        const nowMs = this.#nowMs;
        if (isFull(nowMs)) return false;
        if (!place(request, nowMs)) throw new CodedError('no_engine', 'No engine is up.');
        (this.#entries.get(request) as Entry).placedAtMs = nowMs;
        return true;
      },
    };
  }

  /** Takes the first engine that may be picked, however much waits there. */
  #goOn(request: number, withinMs: number): void {
    const place = (): boolean => this.#deps.place(request, this.#nowMs);
    if (place()) return;
    let isPlaced = false;
    const { order } = this.#entries.get(request) as Entry;
    const ticket = this.#room.wait({ ...order, begun: true, place: () => (isPlaced = place()) });
    this.#clock.after(withinMs, () => {
      if (isPlaced) return;
      ticket.leave();
      this.#refuse(request);
    });
  }
}
