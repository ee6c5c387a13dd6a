/**
 * Requests of clients in the waiting room: what a running request is as an order, what its door is told, and whether
 * what keeps it from an engine may pass.
 */
import type { Clock } from '../../../lib/clock.ts';
import type { AdmittedRequest, GenerationSink } from '../../ports.ts';
import type { RunningRequest } from '../relay/running_request.ts';
import type { RequestShape } from '../routing/contract.ts';
import { guessedShape } from '../routing/placer.ts';
import type { Router } from '../routing/router.ts';
import type { QueueFigures, QueueOptions, QueueRecord, Ticket, WaitingOrder } from './contract.ts';
import { isWorthWaiting } from './hope.ts';
import { WaitingRoom } from './waiting_room.ts';

export interface HeldRequestsDeps {
  readonly clock: Clock;
  readonly figures?: QueueFigures;
  readonly options: QueueOptions;
  readonly router: Pick<Router, 'room' | 'typicalOutputTokens'>;
  /** What routing is told of a request; absent: its size is guessed from its bytes. */
  readonly shapeOf?: ((request: AdmittedRequest) => RequestShape) | undefined;
}

interface Entry {
  readonly order: WaitingOrder;
  readonly sinceMs: number;
  ticket: Ticket | undefined;
  placedAtMs: number | undefined;
}

/** Holds nothing: what cannot be placed is refused at once. */
export const NO_QUEUE: QueueOptions = {
  maxRequests: 0,
  maxBytes: 0,
  maxTotalRequests: 0,
  maxTotalBytes: 0,
  tenantShare: 1,
  maxWaitMs: 0,
  silentMs: 0,
  noticeMs: 1000,
};

export class HeldRequests {
  readonly room: WaitingRoom;
  readonly #deps: HeldRequestsDeps;
  readonly #entries = new Map<RunningRequest, Entry>();

  constructor(deps: HeldRequestsDeps) {
    this.#deps = deps;
    this.room = new WaitingRoom(deps);
  }

  /**
   * Places a request, or holds it until an engine takes it.
   * @throws CodedError when it is neither placed nor held: nothing was started
   */
  start(running: RunningRequest, door: GenerationSink): void {
    const { clock } = this.#deps;
    const order = this.#orderOf(running, door, () => {
      if (this.isFull(running.request)) return false;
      running.start();
      entry.placedAtMs = clock.monotonicMs();
      this.#closeRecord(running, entry);
      return true;
    });
    const entry: Entry = { order, sinceMs: clock.monotonicMs(), ticket: undefined, placedAtMs: undefined };
    entry.ticket = this.room.enter(order);
    this.#entries.set(running, entry);
    if (entry.ticket !== undefined) running.record.queue = this.#openRecord(entry, entry.ticket);
  }

  /** Holds a request whose engine was lost until another takes it, before all that have not run yet. */
  wait(running: RunningRequest, door: GenerationSink, place: () => boolean): Ticket {
    const order = this.#orderOf(running, door, () => !this.isFull(running.request) && place());
    // How long it waits is its own affair, and a place is told only while nothing of an answer was.
    const told: WaitingOrder['told'] = (where) => !running.begun && order.told(where);
    return this.room.wait({ ...order, begun: true, mayWait: () => true, told });
  }

  /** Whether every engine has as much as it takes at a time, or as much waiting for its prefill as it may: then the request is better held. */
  isFull({ model, endpoint }: AdmittedRequest): boolean {
    const { clock, options, router } = this.#deps;
    return options.maxRequests > 0 && router.room(model, endpoint, clock.monotonicMs()).kind === 'full';
  }

  /** A request has ended, in whatever phase. */
  ended(running: RunningRequest, isOk: boolean, outputTokens: number): void {
    const entry = this.#entries.get(running);
    if (entry === undefined) return;
    this.#entries.delete(running);
    entry.ticket?.leave();
    this.#closeRecord(running, entry);
    const { placedAtMs } = entry;
    if (placedAtMs === undefined) return;
    const tookMs = isOk ? this.#deps.clock.monotonicMs() - placedAtMs : undefined;
    this.room.ended(entry.order, { tookMs, outputTokens });
  }

  #openRecord(entry: Entry, ticket: Ticket): QueueRecord {
    const { clock } = this.#deps;
    return {
      get place() {
        return ticket.place;
      },
      get waitedMs() {
        return clock.monotonicMs() - entry.sinceMs;
      },
    };
  }

  /** Leaves figures in the record: it outlives the request, whose body it must not keep in memory. */
  #closeRecord({ record }: RunningRequest, entry: Entry): void {
    if (record.queue?.place === undefined) return;
    record.queue = { place: undefined, waitedMs: this.#deps.clock.monotonicMs() - entry.sinceMs };
  }

  #orderOf(running: RunningRequest, door: GenerationSink, place: () => boolean): WaitingOrder {
    const { request, deadlineAtMs } = running;
    const { router, shapeOf = guessedShape } = this.#deps;
    const { promptTokens, maxOutputTokens = Infinity } = shapeOf(request);
    return {
      model: request.model,
      tenant: request.tenant,
      weight: request.identity.weight,
      priority: request.priority,
      deadlineAtMs,
      promptTokens,
      outputTokens: Math.min(maxOutputTokens, router.typicalOutputTokens(request.model)),
      bytes: request.body.length,
      mayWait: ({ code }) =>
        code === 'overloaded' || (code === 'no_engine' && isWorthWaiting(running.record.decisions.at(-1)?.refused)),
      place,
      refuse: (error) => running.abort(error),
      told: (where) => door.onQueued?.(where) ?? false,
    };
  }
}
