/**
 * A second attempt beside a slow first one, for calls whose whole answer is a token or less (classification, ranking,
 * embeddings): whichever engine answers first is heard, the other is cancelled. Off unless a time is set, because it
 * trades work for the slowest answers; a second attempt takes a slot of the retry budget and is left out when none is
 * free at once, so that a slow fleet is not made slower by it.
 */
import type { Clock } from '../../../lib/clock.ts';
import { CodedError } from '../../../lib/errors.ts';
import type { LaneUsage } from '../../../proto/codec.ts';
import type { AdmittedRequest, GenerationSink, LaneRequest } from '../../ports.ts';
import type { RequestShape } from '../routing/contract.ts';
import type { Placer } from '../routing/placer.ts';
import type { Lease } from '../routing/reservations.ts';
import type { RetryBudget } from './failover.ts';
import type { Placement } from './relay_host.ts';
import type { RunningRequest } from './running_request.ts';

export interface HedgeDeps {
  readonly clock: Clock;
  readonly retryBudget: RetryBudget;
  /** How long the first attempt may be silent, milliseconds; 0: there is no second. */
  readonly afterMs: number;
  readonly place: Placer;
  readonly shapeOf: (request: AdmittedRequest) => RequestShape;
  /** What became of it: `sent`, then `first_won`, `second_won` or `both_failed`; `not_sent` where no engine or slot was free. */
  readonly told: (what: HedgeEvent) => void;
}

export type HedgeEvent = 'sent' | 'not_sent' | 'first_won' | 'second_won' | 'both_failed';

/** Longer answers are not repeated: the second attempt would cost what the first does. */
const MOST_TOKENS = 1;

/** @returns a placer that gives short calls a second attempt when the first is late */
export function createHedgingPlacer(deps: HedgeDeps): Placer {
  const { afterMs, place, shapeOf } = deps;
  if (afterMs === 0) return place;
  return (running, nowMs) => {
    const { request, resume } = running;
    // What a client may come back for, and what goes on from an earlier attempt, must be one attempt alone.
    const isAlone = request.repeat !== undefined || resume !== undefined;
    if (isAlone || (shapeOf(request).maxOutputTokens ?? Infinity) > MOST_TOKENS) return place(running, nowMs);
    return new Race(deps, running, nowMs);
  };
}

/** One of the two attempts. */
class Runner implements GenerationSink {
  readonly race: Race;
  placement: Placement | undefined;
  resumedAt: number | undefined;
  over = false;

  constructor(race: Race) {
    this.race = race;
  }

  onHead(resumedAt?: number): void {
    this.resumedAt = resumedAt;
    if (this.race.winner === this) this.race.running.onHead(resumedAt);
  }

  onTokens(sse: Buffer, idBytes: Buffer, index: number, finished?: boolean): void {
    if (this.race.isWon(this)) this.race.running.onTokens(sse, idBytes, index, finished);
  }

  onBody(bytes: Buffer, last: boolean): void {
    if (this.race.isWon(this)) this.race.running.onBody(bytes, last);
  }

  onDone(usage: LaneUsage | undefined): void {
    if (this.race.isWon(this)) this.race.running.onDone(usage);
  }

  onError(error: CodedError): void {
    this.race.failed(this, error);
  }
}

/** A place on two engines that looks like one: that of the winner, or of the attempt that is still to be waited for. */
class Race implements Placement {
  readonly running: RunningRequest;
  winner: Runner | undefined;
  readonly lane: LaneRequest;
  readonly #deps: HedgeDeps;
  readonly #first = new Runner(this);
  #second: Runner | undefined;
  #present = this.#first;
  readonly #stopTimer: () => void;

  constructor(deps: HedgeDeps, running: RunningRequest, nowMs: number) {
    this.#deps = deps;
    this.running = running;
    const { attempt, tried } = running;
    this.#first.placement = deps.place(running, nowMs, { attempt, tried, sink: this.#first });
    this.#stopTimer = deps.clock.after(deps.afterMs, () => this.#sendSecond());
    // Without a lane to be waited for: an attempt whose lane is lost has the other one.
    this.lane = { grant: (bytes) => this.#each(({ lane }) => lane.grant(bytes)), cancel: () => this.#cancel() };
  }

  get lease(): Lease {
    return (this.#present.placement as Placement).lease;
  }

  /** True when this attempt is the one that is heard; the first that brings something of the answer is. */
  isWon(runner: Runner): boolean {
    if (this.winner === undefined && !runner.over) this.#crown(runner);
    return this.winner === runner;
  }

  failed(runner: Runner, error: CodedError): void {
    if (runner.over) return;
    runner.over = true;
    const other = runner === this.#first ? this.#second : this.#first;
    if (this.winner !== runner && other?.over === false) {
      this.#settle(runner, error.code);
      const { lease } = runner.placement as Placement;
      this.running.tried.set(lease.engine, lease.incarnation);
      this.#present = other;
      return;
    }
    this.#stopTimer();
    this.#present = runner;
    if (this.#second !== undefined && this.winner === undefined) this.#deps.told('both_failed');
    this.running.onError(error);
  }

  #crown(runner: Runner): void {
    this.winner = runner;
    this.#present = runner;
    this.#stopTimer();
    const loser = runner === this.#first ? this.#second : this.#first;
    if (this.#second !== undefined) this.#deps.told(runner === this.#first ? 'first_won' : 'second_won');
    if (loser !== undefined && !loser.over) this.#drop(loser);
    this.running.onHead(runner.resumedAt);
  }

  #sendSecond(): void {
    const { clock, retryBudget, place, told } = this.#deps;
    const nowMs = clock.monotonicMs();
    if (retryBudget.take(nowMs, 0) === undefined) return told('not_sent');
    const second = new Runner(this);
    const tried = new Map([...this.running.tried, [this.lease.engine, this.lease.incarnation]]);
    const attempt = this.running.attempt + 1;
    try {
      second.placement = place(this.running, nowMs, { attempt, tried, sink: second });
    } catch (thrown) {
      if (!(thrown instanceof CodedError)) throw thrown;
      // There is no other engine, or it is full: the first attempt is waited for as if there were no hedge.
      return told('not_sent');
    }
    this.#second = second;
    // Numbers of attempts never repeat: frames of an earlier one must not pass for those of a later.
    this.running.attempt = attempt;
    told('sent');
  }

  #cancel(): void {
    this.#stopTimer();
    for (const runner of [this.#first, this.#second]) {
      if (runner === undefined || runner.over) continue;
      if (runner === this.#present) {
        runner.over = true;
        runner.placement?.lane.cancel();
      } else this.#drop(runner);
    }
  }

  #drop(runner: Runner): void {
    runner.over = true;
    runner.placement?.lane.cancel();
    this.#settle(runner, 'cancelled');
  }

  #settle({ placement }: Runner, outcome: CodedError['code']): void {
    placement?.lease.end({ nowMs: this.#deps.clock.monotonicMs(), outcome, outputTokens: 0, cachedTokens: undefined });
  }

  #each(act: (placement: Placement) => void): void {
    for (const runner of [this.#first, this.#second])
      if (runner?.over === false && runner.placement !== undefined) act(runner.placement);
  }
}
