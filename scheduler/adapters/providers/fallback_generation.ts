/**
 * One request that providers may answer where the fleet does not. It stands between the fleet and the door: what comes
 * from the fleet passes through; when the fleet refuses, or fails before anything of an answer has left, the providers of
 * the model are tried in their order. A request that waits in the queue keeps its place while a provider is asked, and
 * whoever begins to answer first serves it. What has been sent is never mixed with the answer of another.
 */
import type { Clock } from '../../../lib/clock.ts';
import { CodedError, toCodedError } from '../../../lib/errors.ts';
import type { RequestId } from '../../../lib/ids.ts';
import type { Logger } from '../../../lib/io/logger.ts';
import type { LaneUsage } from '../../../proto/codec.ts';
import type { ProviderBook, ProviderTurn } from '../../core/providers/book.ts';
import type { ProviderSpec } from '../../core/providers/contract.ts';
import type { ProviderFailure } from '../../core/providers/dialect.ts';
import { modeOfProvider } from '../../core/providers/modes.ts';
import { outgoingBody } from '../../core/providers/outgoing.ts';
import { mayFollow, type FallbackPlan, type ProviderRefusal } from '../../core/providers/plan.ts';
import type { TurnNotes, TurnOutcome } from '../../core/providers/turns.ts';
import type { ProviderUsage } from '../../core/usage/meter.ts';
import type { QueuePlace } from '../../core/queue/contract.ts';
import type { AdmittedRequest, Generation, GenerationSink, Generator } from '../../ports.ts';
import type { ProviderFigures } from './figures.ts';
import { type CallReader, callProvider, type ProviderAddress, type ProviderCall } from './provider_call.ts';

export interface FallbackHost {
  readonly inner: Generator;
  readonly clock: Clock;
  readonly logger: Pick<Logger, 'info'>;
  readonly book: ProviderBook;
  readonly figures: ProviderFigures;
  readonly usage?: ProviderUsage;
  readonly requestTimeoutMs: number;
  addressOf(spec: ProviderSpec): ProviderAddress;
  /** What became of a provider, for whoever asks for the reasons of this request. */
  readonly turns: TurnNotes;
  /** The mode of the fleet's answer to this request; undefined: as it should be. */
  modeOf(request: AdmittedRequest): string | undefined;
  /** A provider is asked; may come more than once. */
  began(generation: FallbackGeneration): void;
  ended(generation: FallbackGeneration): void;
}

interface Attempt {
  readonly spec: ProviderSpec;
  readonly turn: ProviderTurn;
  call: ProviderCall | undefined;
  /** Events that say nothing yet: after an error behind them another provider can still be asked. */
  held: string;
}

const NO_IDS = Buffer.alloc(0);

export class FallbackGeneration implements Generation, GenerationSink {
  readonly request: AdmittedRequest;
  readonly #host: FallbackHost;
  readonly #door: GenerationSink;
  readonly #creditBytes: number;
  readonly #startedAtMs: number;
  #left: readonly ProviderSpec[];
  /** Not noted yet: they are of interest only where a provider is needed. */
  #refused: FallbackPlan['refused'];
  #fleet: Generation | undefined;
  #fleetEnded = false;
  #fleetError: CodedError | undefined;
  #providerError: CodedError | undefined;
  #attempt: Attempt | undefined;
  /** Whose answer the client gets. */
  #winner: 'fleet' | 'provider' | undefined;
  /** Some of an answer has gone to the door. */
  #sent = false;
  #index = 0;
  #stopTimer: (() => void) | undefined;
  #stopTakeover: (() => void) | undefined;
  #over = false;

  constructor(
    host: FallbackHost,
    request: AdmittedRequest,
    door: GenerationSink,
    options: {
      readonly creditBytes: number;
      readonly providers: readonly ProviderSpec[];
      readonly refused: FallbackPlan['refused'];
    },
  ) {
    this.#host = host;
    this.request = request;
    this.#door = door;
    this.#creditBytes = options.creditBytes;
    this.#left = options.providers;
    this.#refused = options.refused;
    this.#startedAtMs = host.clock.monotonicMs();
  }

  get id(): RequestId {
    return this.request.id;
  }

  /** @throws CodedError nothing was started, neither here nor elsewhere */
  start(): void {
    try {
      this.#fleet = this.#host.inner.start(this.request, this, this.#creditBytes);
    } catch (thrown) {
      const error = toCodedError(thrown);
      this.#fleetEnded = true;
      this.#fleetError = error;
      if (mayFollow(error.code) && this.#askNext()) return;
      this.#end();
      throw this.#lastError(error);
    }
  }

  grant(bytes: number): void {
    if (this.#winner === 'provider') this.#attempt?.call?.grant(bytes);
    else this.#fleet?.grant(bytes);
  }

  cancel(reason: string): void {
    if (this.#over) return;
    this.#end();
    if (!this.#fleetEnded) this.#fleet?.cancel(reason);
    this.#dropAttempt('cancelled');
  }

  /** Ends it from this side, and tells the client why. */
  abort(error: CodedError): void {
    if (this.#over) return;
    this.cancel(error.code);
    this.#door.onError(error);
  }

  onHead(): void {
    if (this.#over || this.#winner === 'provider') return;
    if (this.#winner === undefined) {
      this.#winner = 'fleet';
      this.#dropAttempt('superseded');
      // The fleet keeps its own book of what it runs, and lets a client come back to it.
      this.#host.ended(this);
      this.#tellMode(this.#host.modeOf(this.request));
    }
    this.#door.onHead();
  }

  onTokens(sse: Buffer, idBytes: Buffer, index: number): void {
    this.#sent = true;
    this.#door.onTokens(sse, idBytes, index);
  }

  onBody(bytes: Buffer, last: boolean): void {
    this.#sent = true;
    this.#door.onBody(bytes, last);
  }

  onRestart(): boolean {
    if (this.#door.onRestart?.() !== true) return false;
    this.#sent = false;
    return true;
  }

  onDone(usage: LaneUsage | undefined): void {
    if (this.#over) return;
    this.#fleetEnded = true;
    this.#end();
    this.#door.onDone(usage);
  }

  onError(error: CodedError): void {
    this.#fleetEnded = true;
    if (this.#over || this.#winner === 'provider') return;
    this.#fleetError = error;
    if (this.#attempt !== undefined && mayFollow(error.code)) return;
    if (mayFollow(error.code) && this.#canRestart() && this.#askNext()) return;
    this.#end();
    this.#dropAttempt('cancelled');
    this.#door.onError(this.#lastError(error));
  }

  /** Before the client is told that it waits, a provider is asked: it may answer at once, and its head can still say so. */
  onQueued(place: QueuePlace): boolean {
    if (this.#over || this.#winner !== undefined) return false;
    if (this.#attempt !== undefined) return false;
    if (this.#left.length === 0) return this.#door.onQueued?.(place) ?? false;
    // Not within this call: the queue is looking at its requests.
    this.#stopTakeover ??= this.#host.clock.after(0, () => {
      this.#stopTakeover = undefined;
      if (!this.#over && this.#winner === undefined && this.#attempt === undefined) this.#askNext();
    });
    return false;
  }

  /** Nothing of an answer has left, or what has can be taken back. */
  #canRestart(): boolean {
    if (this.#sent && !this.onRestart()) return false;
    this.#winner = undefined;
    return true;
  }

  /** Asks the next provider that may be asked now; false when there is none. */
  #askNext(): boolean {
    const { book, clock, figures } = this.#host;
    for (const { provider, by } of this.#refused) this.#note(provider, 'passed_over', by);
    this.#refused = [];
    for (;;) {
      const [spec, ...rest] = this.#left;
      if (spec === undefined) return false;
      this.#left = rest;
      const outgoing = outgoingBody(spec, this.request);
      const turn: ProviderTurn | ProviderRefusal =
        'unknownField' in outgoing ? 'field' : book.begin(spec.name, clock.monotonicMs());
      if (typeof turn === 'string' || 'unknownField' in outgoing) {
        figures.refused(spec.name, turn as ProviderRefusal);
        this.#note(spec.name, 'passed_over', turn as ProviderRefusal);
        continue;
      }
      this.#ask(spec, turn, outgoing.body);
      return true;
    }
  }

  #ask(spec: ProviderSpec, turn: ProviderTurn, body: Uint8Array): void {
    const { clock, logger, addressOf, requestTimeoutMs } = this.#host;
    const { endpoint, model, stream, wantUsage, deadlineAtMs = Infinity } = this.request;
    const attempt: Attempt = { spec, turn, call: undefined, held: '' };
    this.#attempt = attempt;
    this.#host.began(this);
    const endAtMs = Math.min(deadlineAtMs, this.#startedAtMs + requestTimeoutMs);
    this.#stopTimer ??= clock.after(Math.max(0, endAtMs - clock.monotonicMs()), () =>
      this.abort(new CodedError('deadline_exceeded', 'The deadline of the request passed.')),
    );
    logger.info({ requestId: this.id, provider: spec.name, why: this.#fleetError?.code ?? 'queued' }, 'fallback');
    this.#note(spec.name, 'asked', this.#fleetError?.code ?? 'queued');
    const order = { endpoint, model, stream, wantUsage, body, creditBytes: this.#creditBytes };
    attempt.call = callProvider(clock, addressOf(spec), order, this.#readerOf(attempt));
  }

  #readerOf(attempt: Attempt): CallReader {
    return {
      onEvents: (sse, says) => {
        attempt.held += sse;
        if (!says && this.#winner === undefined) return;
        const bytes = Buffer.from(attempt.held);
        attempt.held = '';
        this.#win(attempt);
        this.#door.onTokens(bytes, NO_IDS, this.#index++);
      },
      onBody: (body) => {
        this.#win(attempt);
        this.#door.onBody(Buffer.from(body), true);
      },
      onDone: (usage) => this.#served(attempt, usage),
      onFailed: (failure) => this.#failed(attempt, failure),
    };
  }

  /** The provider has begun to answer: the fleet need not any more. */
  #win({ spec, turn }: Attempt): void {
    if (this.#winner !== undefined) return;
    this.#winner = 'provider';
    turn.spoke(this.#host.clock.monotonicMs());
    this.#host.usage?.handedOver(this.request);
    if (!this.#fleetEnded) this.#fleet?.cancel('served by a provider');
    this.#fleetEnded = true;
    this.#tellMode(modeOfProvider(spec));
    this.#door.onHead();
    this.#sent = true;
  }

  #served({ spec, turn }: Attempt, usage: LaneUsage | undefined): void {
    const { clock, figures } = this.#host;
    turn.ended('success', clock.monotonicMs());
    figures.ended(spec, this.request.model, 'ok', usage);
    this.#note(spec.name, 'answered', '');
    if (this.#winner === undefined) this.#host.usage?.handedOver(this.request);
    this.#host.usage?.ended(this.request, spec.name, 'ok', usage);
    this.#attempt = undefined;
    this.#end();
    this.#door.onDone(usage);
  }

  #failed({ spec, turn }: Attempt, { error, verdict, waitMs }: ProviderFailure): void {
    const { clock, figures, logger } = this.#host;
    turn.ended(verdict, clock.monotonicMs(), waitMs);
    figures.ended(spec, this.request.model, error.code);
    this.#note(spec.name, 'failed', error.code);
    logger.info({ requestId: this.id, provider: spec.name, code: error.code, why: error.message }, 'fallback failed');
    this.#attempt = undefined;
    if (this.#winner === 'provider') {
      this.#host.usage?.ended(this.request, spec.name, error.code, undefined);
      this.#end();
      this.#door.onError(error);
      return;
    }
    // What the provider says of the request itself tells the client more than what another says of its own state.
    if (this.#providerError?.code !== 'provider_rejected') this.#providerError = error;
    if (this.#askNext() || !this.#fleetEnded) return;
    this.#end();
    this.#door.onError(this.#lastError(error));
  }

  #lastError(last: CodedError): CodedError {
    const known = this.#providerError;
    if (known === undefined) return last;
    if (known.code === 'provider_rejected' || this.#fleetError?.code === 'model_not_found') return known;
    return this.#fleetError ?? last;
  }

  #tellMode(mode: string | undefined): void {
    if (mode === undefined) return;
    this.#host.figures.degraded(mode);
    this.#door.onDegraded?.(mode);
  }

  #note(provider: string, outcome: TurnOutcome, why: string): void {
    this.#host.turns.note(this.request, { provider, outcome, why });
  }

  #dropAttempt(code: 'superseded' | 'cancelled'): void {
    const attempt = this.#attempt;
    if (attempt === undefined) return;
    this.#attempt = undefined;
    attempt.call?.cancel();
    attempt.turn.ended('neutral', this.#host.clock.monotonicMs());
    this.#host.figures.ended(attempt.spec, this.request.model, code);
    this.#note(attempt.spec.name, code, '');
    if (this.#winner === 'provider') this.#host.usage?.ended(this.request, attempt.spec.name, 'cancelled', undefined);
  }

  #end(): void {
    this.#over = true;
    this.#stopTimer?.();
    this.#stopTakeover?.();
    this.#host.ended(this);
  }
}
