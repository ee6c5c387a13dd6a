/**
 * The scheduler's heart: events of agents and requests of clients come in, one at a time, and are carried out with the
 * pure rules of core/. It holds the only mutable picture of the fleet, of the reserved places and of what runs; there
 * are no locks because nothing here waits.
 */
import type { Clock } from '../lib/clock.ts';
import { CodedError, type ErrorCode } from '../lib/errors.ts';
import type { EngineId, NodeId, RequestId, TenantId } from '../lib/ids.ts';
import type { Logger } from '../lib/io/logger.ts';
import type { RandomSource } from '../lib/rng.ts';
import type { LaneUsage } from '../proto/codec.ts';
import type { DesiredState } from '../proto/gen/fleet/v1/DesiredState.ts';
import type { TicketIssuer } from '../proto/gen/fleet/v1/TicketIssuer.ts';
import { PendingCommands } from './core/command/pending.ts';
import type { DirectLeases, DirectOptions } from './core/direct/leases.ts';
import { createDirectLeases } from './core/direct/place.ts';
import { FleetDirectory } from './core/fleet/directory.ts';
import { keyOf } from './core/fleet/names.ts';
import type { FleetInspector } from './core/fleet/inspector.ts';
import { FleetWatch } from './core/fleet/watch.ts';
import type { QueueFigures, QueueOptions, QueueView } from './core/queue/contract.ts';
import { HeldRequests, NO_QUEUE } from './core/queue/held_requests.ts';
import type { RequestShape, Residency } from './core/routing/contract.ts';
import { type AbandonedAttempt, AbandonedAttempts } from './core/relay/abandoned.ts';
import { DetachedRequests } from './core/relay/detached.ts';
import { createRetryBudget, type FailoverOptions, type RetryBudget } from './core/relay/failover.ts';
import { createHedgingPlacer, type HedgeEvent } from './core/relay/hedge.ts';
import { Repeats, type RepeatsOptions } from './core/relay/repeats.ts';
import type { Dropped, Placement, Recovered, RelayHost } from './core/relay/relay_host.ts';
import { RunningRequest } from './core/relay/running_request.ts';
import type { PolicyName } from './core/routing/policies.ts';
import {
  closeRecord,
  createRequestLog,
  openRecord,
  type RequestLog,
  type RequestRecord,
} from './core/routing/request_log.ts';
import { createPlacer, guessedShape, type Placer, type PlacerDeps } from './core/routing/placer.ts';
import type { Reservations } from './core/routing/reservations.ts';
import { createRouter, type Router } from './core/routing/router.ts';
import type {
  AdmittedRequest,
  Commander,
  Figures,
  FleetSink,
  FleetView,
  Generation,
  GenerationSink,
  Generator,
  LaneHandle,
} from './ports.ts';

export interface RunLoopOptions {
  readonly policy: PolicyName;
  readonly maxRunningRequests: number;
  /** Longest life of a request, whatever its own deadline. */
  readonly requestTimeoutMs: number;
  /** An agent that said nothing for this long is taken only when there is no other. */
  readonly staleAfterMs: number;
  /** Most work that may wait for its prefill on an engine before requests are better held, milliseconds. */
  readonly maxPendingPrefillMs: number;
  /** How long requests of a dead engine may wait for the last frames that are on their way. */
  readonly deathGraceMs: number;
  readonly maxLoggedRequests: number;
  readonly maxLoggedVerdicts: number;
  /** Bounds of what waits for engines; absent: nothing is held. */
  readonly queue?: QueueOptions;
  readonly failover: FailoverOptions;
  readonly repeats: RepeatsOptions;
}

export interface RunLoopDeps {
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly logger: Logger;
  readonly figures: Figures;
  readonly queueFigures?: QueueFigures;
  /** What a node is to run; undefined: this scheduler orders nothing there. */
  readonly desiredFor: (node: NodeId) => DesiredState | undefined;
  /** Models of the configuration: known before any agent has come. */
  readonly configuredModels: readonly string[];
  /** Whether a model that no engine serves is declared, or may be: then it is away and not unknown. Absent: it is not. */
  readonly isDeclared?: (model: string) => boolean;
  /** What engines hold of prompts; absent: nothing is known of it. */
  readonly residency?: Residency;
  /** How tickets for direct calls are made; absent: none are. */
  readonly direct?: { readonly options: DirectOptions; readonly issuer: () => TicketIssuer };
  /** What routing is told of a request; absent: its size is guessed from its bytes. */
  readonly shapeOf?: (request: AdmittedRequest) => RequestShape;
  readonly options: RunLoopOptions;
}

export interface RunLoop {
  readonly generator: Generator;
  readonly fleetSink: FleetSink;
  readonly fleetView: FleetView;
  readonly commander: Commander;
  readonly inspector: FleetInspector;
  readonly direct: DirectLeases | undefined;
  /** From now on new requests are refused; running ones go on. */
  drain(): void;
  /** Resolves when nothing runs any more. */
  idle(): Promise<void>;
  /** Ends whatever still runs. */
  abortAll(error: CodedError): void;
}

const RETRY_WHEN_FULL_MS = 1000;
/** Orders of operators under way; an agent has a bound of its own as well. */
const MAX_COMMANDS = 256;
const MAX_COMMANDS_PER_NODE = 16;

export function createRunLoop(deps: RunLoopDeps): RunLoop {
  return new SchedulerLoop(deps);
}

/** One per process; its parts are given out as ports. */
class SchedulerLoop implements RunLoop, RelayHost, FleetInspector {
  readonly clock: Clock;
  readonly failover: FailoverOptions;
  readonly retryBudget: RetryBudget;
  readonly generator: Generator;
  readonly fleetSink: FleetSink;
  readonly fleetView: FleetView;
  readonly commander: Commander;
  readonly directory: FleetDirectory;
  readonly router: Router;
  readonly log: RequestLog;
  readonly #place: Placer;
  readonly direct: DirectLeases | undefined;
  readonly #deps: RunLoopDeps;
  readonly #commands: PendingCommands;
  readonly #watch: FleetWatch;
  readonly #held: HeldRequests;
  readonly #detached = new DetachedRequests();
  readonly #repeats: Repeats;
  readonly #abandoned = new AbandonedAttempts();
  readonly #running = new Map<string, RunningRequest>();
  #draining = false;
  readonly #idleWaiters: (() => void)[] = [];

  constructor(deps: RunLoopDeps) {
    const { options, clock } = deps;
    this.#deps = deps;
    this.clock = clock;
    this.failover = options.failover;
    this.retryBudget = createRetryBudget(options.failover);
    this.log = createRequestLog({ maxRequests: options.maxLoggedRequests, maxVerdicts: options.maxLoggedVerdicts });
    this.router = createRouter({
      options,
      random: deps.random,
      residency: deps.residency,
      dropped: (where) => deps.figures.dropped(`routing_${where}`),
    });
    this.directory = new FleetDirectory({
      reservations: this.reservations,
      engines: this.router.engines,
      configuredModels: deps.configuredModels,
      staleAfterMs: options.staleAfterMs,
    });
    this.#held = new HeldRequests({
      clock,
      ...(deps.queueFigures === undefined ? {} : { figures: deps.queueFigures }),
      options: options.queue ?? NO_QUEUE,
      router: this.router,
      shapeOf: deps.shapeOf,
    });
    this.#place = this.#createPlacer(deps);
    this.generator = {
      start: (request, sink, creditBytes) => this.#repeats.start(request, sink, creditBytes),
      cancel: (id, tenant) => this.#cancel(id, tenant),
    };
    this.#repeats = new Repeats({
      clock,
      options: options.repeats,
      detached: this.#detached,
      start: (request, sink, creditBytes) => this.#start(request, sink, creditBytes),
    });
    this.#commands = new PendingCommands({
      clock,
      state: this.directory.state,
      sessionOf: (node) => this.#watch.sessionOf(node),
      log: deps.logger,
      maxCommands: MAX_COMMANDS,
      maxCommandsPerNode: MAX_COMMANDS_PER_NODE,
    });
    this.direct = deps.direct && this.#createDirect(deps.direct);
    this.#watch = this.#createWatch();
    this.fleetSink = this.#watch;
    this.commander = this.#commands;
    this.fleetView = {
      models: () => this.directory.models(clock.monotonicMs()).filter((model) => model.engines > 0),
      ready: () => this.directory.readiness(this.#draining, clock.monotonicMs()),
    };
  }

  get inspector(): FleetInspector {
    return this;
  }

  get reservations(): Reservations {
    return this.router.reservations;
  }

  get draining(): boolean {
    return this.#draining;
  }

  get runningRequests(): number {
    return this.#running.size;
  }

  queues(): readonly QueueView[] {
    return this.#held.room.views();
  }

  nowMs(): number {
    return this.clock.monotonicMs();
  }

  drain(): void {
    this.#draining = true;
    this.#commands.endAll(new CodedError('draining', 'This scheduler is stopping.'));
    this.#held.room.drain();
    this.#settleIdle();
  }

  idle(): Promise<void> {
    return new Promise((resolve) => {
      this.#idleWaiters.push(resolve);
      this.#settleIdle();
    });
  }

  abortAll(error: CodedError): void {
    for (const request of [...this.#running.values()]) request.abort(error);
  }

  #createPlacer({ figures, logger, shapeOf = guessedShape }: RunLoopDeps): Placer {
    const { clock, router, directory, log, retryBudget, failover } = this;
    const placed: PlacerDeps['placed'] = (fields) => logger.debug(fields, 'placed');
    const place = createPlacer({ router, directory, log, figures, shapeOf, placed });
    const told = (event: HedgeEvent): void => figures.hedged?.(event);
    return createHedgingPlacer({ clock, retryBudget, afterMs: failover.hedgeAfterMs, place, shapeOf, told });
  }

  #createWatch(): FleetWatch {
    const { clock, directory } = this;
    const { logger, figures, desiredFor, options } = this.#deps;
    return new FleetWatch({
      directory,
      commands: this.#commands,
      clock,
      log: logger,
      figures,
      desiredFor,
      deathGraceMs: options.deathGraceMs,
      direct: this.direct,
      onLaneOpened: (lane) => this.#laneOpened(lane),
      onDetached: (lane, list) => this.#detached.told(lane, list, clock.monotonicMs()),
      onEngineEnded: (engine, incarnation) => this.#failRequestsOf(engine, incarnation),
      onChanged: () => this.#held.room.fleetChanged(),
    });
  }

  #createDirect(direct: NonNullable<RunLoopDeps['direct']>): DirectLeases {
    const { clock, router, log } = this;
    const { random, figures } = this.#deps;
    return createDirectLeases({
      ...{ clock, random, router, log, figures },
      ...direct,
      admit: (request) => {
        this.#refuseEarly(request, keyOf(request.tenant, request.id));
        return this.#recordOf(request);
      },
    });
  }

  #start(request: AdmittedRequest, door: GenerationSink, creditBytes: number): Generation {
    const key = keyOf(request.tenant, request.id);
    try {
      this.#refuseEarly(request, key);
    } catch (error) {
      this.#refused(request, error);
      throw error;
    }
    const record = this.#recordOf(request);
    const { requestTimeoutMs } = this.#deps.options;
    const deadlineAtMs = Math.min(request.deadlineAtMs ?? Infinity, this.clock.monotonicMs() + requestTimeoutMs);
    const running = new RunningRequest(this, { request, record, door, creditBytes, deadlineAtMs });
    this.log.add(record);
    try {
      this.#held.start(running, door);
    } catch (error) {
      closeRecord(record, error instanceof CodedError ? error.code : 'internal', this.clock.wallMs());
      this.#refused(request, error);
      throw error;
    }
    this.#running.set(key, running);
    this.#deps.figures.started(request.door);
    return running;
  }

  #refuseEarly(request: AdmittedRequest, key: string): void {
    if (this.#draining)
      throw new CodedError('draining', 'This scheduler is stopping.', { retryAfterMs: RETRY_WHEN_FULL_MS });
    if (!this.directory.knowsModel(request.model) && this.#deps.isDeclared?.(request.model) !== true)
      throw new CodedError('model_not_found', 'There is no model of this name.', { param: 'model' });
    if (this.#running.has(key))
      throw new CodedError('already_exists', 'A request with this id is running.', { param: 'id' });
    if (this.#running.size >= this.#deps.options.maxRunningRequests) {
      throw new CodedError('overloaded', 'The scheduler runs as many requests as it may.', {
        retryAfterMs: RETRY_WHEN_FULL_MS,
      });
    }
  }

  #refused(request: AdmittedRequest, error: unknown): void {
    this.#deps.figures.refused(request.model, request.door, error instanceof CodedError ? error.code : 'internal');
  }

  #recordOf(request: AdmittedRequest): RequestRecord {
    return openRecord(request, this.#deps.options.policy, this.clock.wallMs());
  }

  place(running: RunningRequest): Placement {
    const back = running.comeBack(this.#detached, this.reservations);
    return back ?? this.#place(running, this.clock.monotonicMs());
  }

  readonly isFull: RelayHost['isFull'] = ({ request }) => this.#held.isFull(request);
  readonly hold: RelayHost['hold'] = (running, door, place) => this.#held.wait(running, door, place);

  ended(running: RunningRequest, outcome: 'ok' | ErrorCode, usage: LaneUsage | undefined): void {
    const { request, record } = running;
    if (!this.#running.delete(keyOf(request.tenant, request.id))) return;
    const wallMs = this.clock.wallMs();
    const nowMs = this.clock.monotonicMs();
    closeRecord(record, outcome, wallMs);
    if (running.firstTokenAtMs > 0) record.firstTokenAtMs = Math.round(wallMs - (nowMs - running.firstTokenAtMs));
    const outputTokens = usage?.completionTokens ?? running.outputTokens;
    record.outputTokens = outputTokens;
    this.#held.ended(running, outcome === 'ok', outputTokens);
    this.#deps.figures.ended({
      ...{ request, model: request.model, door: request.door },
      outcome,
      startedAtMs: running.startedAtMs,
      firstTokenAtMs: running.firstTokenAtMs || undefined,
      endedAtMs: nowMs,
      usage,
      outputTokens,
    });
    this.#settleIdle();
  }

  prefilled(running: RunningRequest): void {
    this.#held.room.changed(running.request.model);
  }

  dropped(what: Dropped): void {
    this.#deps.figures.dropped(`relay_${what}`);
  }

  #laneOpened(lane: LaneHandle): void {
    this.#abandoned.laneOpened(lane, this.clock.monotonicMs());
    for (const request of this.#running.values()) request.laneOpened(lane, this.reservations);
  }

  abandoned(attempt: AbandonedAttempt): void {
    this.#abandoned.add(attempt, this.clock.monotonicMs());
  }

  recovered(running: RunningRequest, how: Recovered, why: string): void {
    const { id, attempt, outputTokens } = running;
    this.#deps.figures.recovered?.(how, why);
    this.#deps.logger.info({ requestId: id, attempt, outputTokens, how, why }, 'failover');
  }

  #cancel(id: RequestId, tenant: TenantId): boolean {
    const running = this.#running.get(keyOf(tenant, id));
    running?.abort(new CodedError('cancelled', 'The request was cancelled.'));
    return running !== undefined;
  }

  #settleIdle(): void {
    if (this.#running.size > 0) return;
    for (const resolve of this.#idleWaiters.splice(0)) resolve();
  }

  #failRequestsOf(engine: EngineId, incarnation: number): void {
    const error = new CodedError('engine_died', 'The engine went away.');
    for (const request of [...this.#running.values()]) {
      const { lease } = request;
      if (lease?.engine === engine && lease.incarnation === incarnation) request.fail(error);
    }
  }
}
