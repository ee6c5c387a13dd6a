/**
 * Where requests wait for an engine: it holds one queue per model, tries the next ones whenever something may have
 * changed, tells clients their place, and refuses what cannot be served in time. It knows neither engines nor doors: an
 * order brings its own way to be placed, told and refused.
 *
 * While something waits, a timer looks at all of it: what no event tells (a reading that shows room, a deadline) is
 * found by it.
 */
import type { Clock } from '../../../lib/clock.ts';
import { CodedError, toCodedError } from '../../../lib/errors.ts';
import type {
  QueueFigures,
  QueueOptions,
  QueuePlace,
  QueueView,
  ShedReason,
  Ticket,
  WaitingOrder,
} from './contract.ts';
import { type Held, ModelQueue } from './model_queue.ts';
import { shedError } from './shed.ts';

export interface WaitingRoomDeps {
  readonly clock: Clock;
  readonly figures?: QueueFigures;
  readonly options: QueueOptions;
}

/** Models whose rates are remembered; the one that waited longest ago is forgotten first. */
const MAX_MODELS = 1024;
const LONGEST_LOOK_MS = 100;
const LOOKS_PER_NOTICE = 4;
const LEAST_LOOK_MS = 5;
/** Another scheduler takes it at once. */
const DRAINING_RETRY_MS = 500;

type Tried = 'placed' | 'waits' | 'refused';

export class WaitingRoom {
  readonly #deps: WaitingRoomDeps;
  readonly #queues = new Map<string, ModelQueue>();
  readonly #lookMs: number;
  #requests = 0;
  #bytes = 0;
  #stopTimer: (() => void) | undefined;
  #isDraining = false;
  /** What was held before it was placed. */
  readonly #charged = new WeakMap<WaitingOrder, Held>();
  /** Models that are being served now; true: something changed meanwhile. */
  readonly #serving = new Map<string, boolean>();

  constructor(deps: WaitingRoomDeps) {
    this.#deps = deps;
    const { silentMs, noticeMs } = deps.options;
    const shortest = Math.min(silentMs === 0 ? noticeMs : silentMs, noticeMs) / LOOKS_PER_NOTICE;
    this.#lookMs = Math.max(LEAST_LOOK_MS, Math.min(LONGEST_LOOK_MS, shortest));
  }

  /** All that waits. */
  get requests(): number {
    return this.#requests;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Places a request at once where that is possible and nobody waits before it, else holds it.
   * @returns its ticket; undefined when it was placed
   * @throws CodedError what kept it from being placed when that does not pass, overloaded when it cannot be held
   */
  enter(order: WaitingOrder): Ticket | undefined {
    if (this.waitingFor(order.model) > 0) return this.#hold(order);
    try {
      if (order.place()) return undefined;
    } catch (error) {
      this.#mustPass(order, error);
      return this.#hold(order, error as CodedError);
    }
    return this.#hold(order);
  }

  /**
   * Holds a request that was running already until another engine takes it.
   * @throws CodedError draining, when nothing waits any more that has not begun
   */
  wait(order: WaitingOrder): Ticket {
    const ticket = this.#hold({ ...order, precedence: 'migration' });
    this.changed(order.model);
    return ticket;
  }

  waitingFor(model: string): number {
    return this.#queues.get(model)?.order.size ?? 0;
  }

  /** Something may have become free for this model. */
  changed(model: string): void {
    const queue = this.#queues.get(model);
    if (queue === undefined || queue.order.size === 0) return;
    if (this.#serving.has(model)) {
      this.#serving.set(model, true);
      return;
    }
    do {
      this.#serving.set(model, false);
      while (this.#serveOne(queue));
    } while (this.#serving.get(model));
    this.#serving.delete(model);
  }

  /** Something changed in the fleet. */
  fleetChanged(): void {
    if (this.#requests === 0) return;
    for (const model of [...this.#queues.keys()]) this.changed(model);
  }

  /** A placed request has ended; see ModelQueue.ended. */
  ended(order: WaitingOrder, end: { readonly tookMs: number | undefined; readonly outputTokens: number }): void {
    this.#queueOf(order.model).ended(this.#charged.get(order), end);
    this.changed(order.model);
  }

  /**
   * From now on nothing new is held. Requests whose clients were told nothing are refused with `draining`, so that they
   * go to another scheduler at once; those whose answer has begun keep their place.
   */
  drain(): void {
    this.#isDraining = true;
    for (const queue of this.#queues.values()) {
      for (const held of queue.order.items()) {
        if (!held.begun) this.#shed(queue, held, 'draining', DRAINING_RETRY_MS);
      }
    }
  }

  views(): QueueView[] {
    return [...this.#queues].map(([model, { order }]) => ({
      model,
      requests: order.size,
      bytes: order.bytes,
      tokens: order.tokens,
    }));
  }

  #mustPass(order: WaitingOrder, error: unknown): void {
    if (!(error instanceof CodedError) || !order.mayWait(error)) throw error;
    // Without a queue the client is told what it always was.
    if (this.#deps.options.maxRequests === 0) throw error;
  }

  #hold(order: WaitingOrder, error?: CodedError): Ticket {
    const { clock, options, figures } = this.#deps;
    const nowMs = clock.monotonicMs();
    if (this.#isDraining && order.begun !== true) throw shedError('draining', DRAINING_RETRY_MS);
    const queue = this.#queueOf(order.model);
    if (error !== undefined) queue.cold(error.code === 'no_engine', nowMs);
    const left = { requests: options.maxTotalRequests - this.#requests, bytes: options.maxTotalBytes - this.#bytes };
    const admission = queue.admit(order, left, nowMs);
    if (admission.kind === 'refused') {
      figures?.shed(order.model, admission.reason);
      throw shedError(admission.reason, admission.retryAfterMs);
    }
    const { held, pushedOut } = admission;
    this.#count(1, held.bytes);
    if (pushedOut !== undefined) {
      this.#count(-1, -pushedOut.bytes);
      this.#refuse(pushedOut, 'pushed_out', queue.retryAfterMs(nowMs));
    }
    this.#stopTimer ??= clock.after(this.#lookMs, this.#look);
    return {
      leave: () => this.#leave(queue, held, 'left'),
      get place() {
        return held.place;
      },
    };
  }

  /** Takes a request out of its queue; false when it was not there any more. */
  #leave(queue: ModelQueue, held: Held, outcome: 'left' | 'shed'): boolean {
    const nowMs = this.#deps.clock.monotonicMs();
    if (!queue.remove(held, nowMs)) return false;
    this.#count(-1, -held.bytes);
    this.#deps.figures?.waited(held.order.model, outcome, nowMs - held.sinceMs);
    return true;
  }

  #count(requests: number, bytes: number): void {
    this.#requests += requests;
    this.#bytes += bytes;
    if (this.#requests > 0) return;
    this.#stopTimer?.();
    this.#stopTimer = undefined;
  }

  /** Tries the next ones; true when the queue has changed by it. */
  #serveOne(queue: ModelQueue): boolean {
    for (const held of queue.heads()) {
      if (this.#try(queue, held) !== 'waits') return true;
    }
    return false;
  }

  #try(queue: ModelQueue, held: Held): Tried {
    const { clock, figures } = this.#deps;
    const { order } = held;
    const nowMs = clock.monotonicMs();
    try {
      if (!order.place()) return 'waits';
    } catch (error) {
      if (error instanceof CodedError && order.mayWait(error)) {
        queue.cold(error.code === 'no_engine', nowMs);
        return 'waits';
      }
      if (!this.#leave(queue, held, 'shed')) return 'refused';
      figures?.shed(order.model, 'no_engine');
      order.refuse(toCodedError(error));
      return 'refused';
    }
    // It may have ended while it was being placed, and is out then.
    if (queue.serve(held, nowMs)) {
      this.#charged.set(order, held);
      this.#count(-1, -held.bytes);
      figures?.waited(order.model, 'served', nowMs - held.sinceMs);
    }
    return 'placed';
  }

  #shed(queue: ModelQueue, held: Held, reason: ShedReason, retryAfterMs: number): void {
    if (this.#leave(queue, held, 'shed')) this.#refuse(held, reason, retryAfterMs);
  }

  #refuse(held: Held, reason: ShedReason, retryAfterMs: number): void {
    this.#deps.figures?.shed(held.order.model, reason);
    held.order.refuse(shedError(reason, retryAfterMs));
  }

  #queueOf(model: string): ModelQueue {
    const found = this.#queues.get(model);
    if (found !== undefined) return found;
    for (const [name, queue] of this.#queues) {
      if (this.#queues.size < MAX_MODELS) break;
      if (queue.order.size === 0) this.#queues.delete(name);
    }
    const made = new ModelQueue(this.#deps.options);
    this.#queues.set(model, made);
    return made;
  }

  readonly #look = (): void => {
    this.#stopTimer = undefined;
    const nowMs = this.#deps.clock.monotonicMs();
    for (const [model, queue] of [...this.#queues]) {
      if (queue.order.size === 0) continue;
      const { shed, notices } = queue.look(nowMs);
      for (const { held, reason, retryAfterMs } of shed) this.#shed(queue, held, reason, retryAfterMs);
      for (const held of notices) this.#tell(held, nowMs);
      this.changed(model);
    }
    if (this.#requests > 0) this.#stopTimer ??= this.#deps.clock.after(this.#lookMs, this.#look);
  };

  #tell(held: Held, nowMs: number): void {
    held.toldAtMs = nowMs;
    if (held.order.told(held.place as QueuePlace)) held.begun = true;
  }
}
