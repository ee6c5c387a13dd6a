/**
 * A relay thread: it owns one lane to each scheduler and the connections to the engines, and does nothing else. It runs
 * as one piscina task that ends when the main thread says stop.
 */
import type { MessagePort } from 'node:worker_threads';
import { CodedError } from '../../lib/errors.ts';
import { systemRandom } from '../../lib/io/system.ts';
import type { TlsMaterial } from '../../lib/io/tls_files.ts';
import { decodeSubmit, FRAME, type Frame, FrameError, encodeJson, readIds } from '../../proto/codec.ts';
import { shiftTimes } from '../core/engine_progress.ts';
import { OpenList } from '../core/open_requests.ts';
import type { RelayTarget } from '../ports.ts';
import { DirectDoor, type DirectOrder } from './direct_door.ts';
import type { DirectAnswer } from './direct_answer.ts';
import { Lane, type LaneHooks } from './lane.ts';
import { RelayedRequest, type RequestOrder } from './relayed_request.ts';
import { newTarget, sharedClockMs, type Target } from './relay_target.ts';
import type { FromRelay, RelaySettings, RelayTask, ToRelay, WorkerProgress, WorkerStats } from './relay_messages.ts';
import { RequestBook, type Refusal } from './request_book.ts';
import { whyMalformed } from './request_checks.ts';
import { type FrameSink, RequestOutlet, type RetainBudget } from './request_outlet.ts';
import { StatsTurn } from './stats_turn.ts';
import { type PulseFigures, ThreadPulse } from './thread_pulse.ts';

/** How fresh the figures are that a watchdog of 2 s judges by. */
const STATS_PERIOD_MS = 250;
/** Ticks that one period of the pulse lasts. */
const PULSE_TICKS = 8;
const NO_IDS: readonly number[] = Object.freeze([]);

class RelayWorker {
  readonly #worker: number;
  readonly #port: MessagePort;
  readonly #settings: RelaySettings;
  #tls: TlsMaterial;
  readonly #targets = new Map<string, Target>();
  readonly #lanes = new Map<string, Lane>();
  readonly #book: RequestBook;
  readonly #direct: DirectDoor | undefined;
  readonly #owners = new Map<RelayedRequest, Target>();
  readonly #budget: RetainBudget;
  readonly #pulse = new ThreadPulse();
  /** From this thread's clock to the shared one; measured once, so that equal times stay equal. */
  readonly #toSharedMs = sharedClockMs() - performance.now();
  #period: PulseFigures | undefined;
  #ticks = 0;
  #messagesTotal = 0;
  #bytesTotal = 0;
  #stallsTotal = 0;
  #unattachableTotal = 0;
  /** Of engines that are gone. */
  #tokensTotal = 0;
  #resentTotal = 0;
  #batchedTotal = 0;
  #stopping = false;
  readonly #statsTurn = new StatsTurn();

  constructor(task: RelayTask) {
    this.#worker = task.worker;
    this.#port = task.port;
    this.#settings = task.settings;
    this.#tls = task.settings.tls;
    const { maxRetainedBytes, maxJournalTokens, laneGraceMs } = task.settings;
    this.#budget = { usedBytes: 0, maxBytes: maxRetainedBytes, maxIds: maxJournalTokens };
    this.#book = new RequestBook(laneGraceMs, new OpenList(new Uint8Array(task.openList)));
    this.#direct =
      task.direct &&
      new DirectDoor(task.direct, {
        nodeName: task.settings.nodeName,
        post: (report) => this.#say({ kind: 'direct', report }),
        begin: (order, answer) => this.#beginDirect(order, answer),
        left: (answer) => this.#book.removeLane(answer, performance.now()),
      });
  }

  /** Resolves when the thread has been told to stop and has stopped. */
  run(): Promise<void> {
    this.#pulse.start();
    this.#direct?.start();
    const timer = setInterval(() => this.#tick(), STATS_PERIOD_MS);
    return new Promise((resolve) => {
      const finish = (): void => {
        clearInterval(timer);
        this.#pulse.stop();
        this.#tick();
        this.#port.close();
        resolve();
      };
      this.#port.on('message', (message: ToRelay) => {
        if (message.kind === 'targets') this.#setTargets(message.targets);
        else if (message.kind === 'schedulers') this.#setSchedulers(message.addresses);
        else if (message.kind === 'tls') this.#tls = message.tls;
        else if (message.kind === 'issuers') this.#direct?.setIssuers(message.issuers);
        else if (message.kind === 'direct_tls') this.#direct?.setTls(message.tls);
        else this.#stop(message.graceMs, finish);
      });
    });
  }

  #setTargets(targets: readonly RelayTarget[]): void {
    const wanted = new Map(targets.map((target) => [target.engine, target]));
    for (const [name, known] of this.#targets) {
      const next = wanted.get(name);
      if (next !== undefined && next.incarnation === known.target.incarnation) {
        this.#targets.set(name, Object.assign(known, { target: next }));
        continue;
      }
      this.#targets.delete(name);
      this.#tokensTotal += known.tracker.tokensTotal;
      this.#resentTotal += known.pool.resentTotal;
      this.#batchedTotal += known.batcher.batchedTotal;
      for (const [request, owner] of this.#owners) {
        if (owner === known) request.fail({ code: 'engine_died', message: 'The engine has ended.' });
      }
      known.pool.destroy();
    }
    for (const target of targets)
      if (!this.#targets.has(target.engine)) this.#targets.set(target.engine, newTarget(target, this.#settings));
    this.#statsTurn.stir();
    this.#tick();
  }

  #setSchedulers(addresses: readonly string[]): void {
    for (const [address, lane] of this.#lanes) {
      if (addresses.includes(address)) continue;
      this.#lanes.delete(address);
      // Another scheduler of the list may come for its requests.
      this.#book.removeLane(lane, performance.now());
      lane.stop();
    }
    for (const address of addresses) {
      if (this.#lanes.has(address) || this.#stopping) continue;
      const from = { random: systemRandom, pulse: this.#pulse, tls: () => this.#tls };
      const lane = new Lane(address, this.#worker, this.#settings, from, this.#laneHooks(address));
      this.#lanes.set(address, lane);
      this.#book.addLane(lane);
      lane.connect();
    }
  }

  #laneHooks(address: string): LaneHooks {
    const book = this.#book;
    return {
      get awaited() {
        return book.detached > 0;
      },
      onFrame: (from, frame) => this.#onFrame(from, frame),
      onOpen: (opened) => {
        this.#statsTurn.stir();
        this.#tellDetached(opened);
        this.#say({ kind: 'lane', scheduler: address, state: 'open', reason: '' });
      },
      onLost: (lost, reason) => {
        this.#book.lost(lost, performance.now());
        for (const lane of this.#lanes.values()) if (lane.open) this.#tellDetached(lane);
        this.#say({ kind: 'lane', scheduler: address, state: 'lost', reason });
      },
      onUnblocked: (free) => {
        for (const request of this.#book.on(free)) request.balance();
      },
      onSent: (bytes) => {
        this.#messagesTotal += 1;
        this.#bytesTotal += bytes;
      },
    };
  }

  /** Other schedulers, and this one restarted, may have the clients of what runs without one. */
  #tellDetached(lane: Lane): void {
    const requests = this.#book.detachedList();
    if (requests.length === 0) return;
    const fields = { kind: FRAME.DETACHED, stream: 0, attempt: 0, incarnation: 0, index: 0, flags: 0, aux: 0 };
    lane.frame(FRAME.DETACHED, fields, encodeJson({ requests }), NO_IDS);
  }

  #onFrame(lane: Lane, frame: Frame): void {
    switch (frame.kind) {
      case FRAME.SUBMIT:
        this.#submit(lane, frame);
        return;
      case FRAME.CREDIT:
        this.#book.find(lane, frame.stream)?.grant(frame.credit);
        return;
      case FRAME.CANCEL:
        this.#book.cancel(lane, frame.stream);
        return;
      case FRAME.ATTACH: {
        const refusal = this.#book.attach(lane, frame);
        if (refusal !== undefined) this.#refuse(lane, frame, refusal);
        return;
      }
      default:
        throw new FrameError(`unexpected frame kind ${frame.kind}`);
    }
  }

  #submit(lane: Lane, frame: Frame): void {
    this.#book.checkStream(lane, frame.stream);
    const { meta, body } = decodeSubmit(frame.payload);
    const owner = this.#targets.get(meta.engine);
    const refusal = this.#whyNot(frame, meta, owner);
    if (refusal !== undefined || owner === undefined) {
      this.#refuse(lane, frame, refusal as Refusal);
      return;
    }
    const { incarnation } = owner.target;
    const resume = meta.resume === undefined ? {} : { resumeIds: readIds(frame.idBytes) };
    const order: RequestOrder = { incarnation, meta, body, ...resume };
    this.#begin(lane, { order, owner, stream: frame.stream, attempt: frame.attempt, credit: frame.credit });
  }

  /** A client that calls this agent itself: its answer is a way out of its own. @throws CodedError */
  #beginDirect({ incarnation, meta, body, creditBytes: credit }: DirectOrder, answer: DirectAnswer): RelayedRequest {
    const owner = this.#targets.get(meta.engine);
    const refusal = this.#whyNot({ incarnation, tokens: 0, index: 0 }, meta, owner);
    if (refusal !== undefined || owner === undefined) {
      const { code, message } = refusal as Refusal;
      throw new CodedError(code === 'engine_died' ? 'ticket_stale' : code, message);
    }
    this.#book.addLane(answer);
    return this.#begin(answer, { order: { incarnation, meta, body }, owner, stream: 1, attempt: 0, credit }, false);
  }

  /** @param mayReturn whether a scheduler may come back for it when its lane is lost */
  #begin(
    sink: FrameSink,
    at: {
      readonly order: RequestOrder;
      readonly owner: Target;
      readonly stream: number;
      readonly attempt: number;
      readonly credit: number;
    },
    mayReturn = this.#settings.laneGraceMs > 0,
  ): RelayedRequest {
    const { order, owner, stream, attempt, credit } = at;
    const { incarnation, meta } = order;
    const outlet = new RequestOutlet(
      sink,
      { stream, attempt, incarnation },
      { credit, stream: meta.stream, whole: meta.repeat !== undefined },
      { budget: this.#budget, steps: owner.steps },
      mayReturn,
      () => {
        this.#unattachableTotal += 1;
      },
    );
    const request = new RelayedRequest(order, this.#settings.maxEventBytes, outlet, owner.tracker, {
      onEngineDone: (done) => {
        if (this.#owners.delete(done)) owner.open -= 1;
      },
      onDelivered: (ended) => this.#book.delivered(ended, performance.now()),
      onStalled: () => {
        this.#stallsTotal += 1;
      },
    });
    this.#book.add(sink, request);
    this.#statsTurn.stir();
    this.#owners.set(request, owner);
    owner.open += 1;
    try {
      request.start(owner.send);
    } catch (error) {
      const coded =
        error instanceof CodedError ? error : new CodedError('internal', 'The relay could not start the request.');
      request.fail({ code: coded.code, message: coded.message });
    }
    return request;
  }

  #whyNot(
    frame: Pick<Frame, 'incarnation' | 'tokens' | 'index'>,
    meta: RequestOrder['meta'],
    owner: Target | undefined,
  ): Refusal | undefined {
    if (this.#stopping) return { code: 'draining', message: 'The agent is stopping.' };
    if (owner === undefined) return { code: 'engine_unreachable', message: 'The engine does not run on this agent.' };
    const { target } = owner;
    if (frame.incarnation !== 0 && frame.incarnation !== target.incarnation) {
      return { code: 'engine_died', message: 'The engine was restarted since it was chosen.' };
    }
    if (target.draining === true) return { code: 'draining', message: 'The engine is draining.' };
    if (frame.tokens > this.#settings.maxJournalTokens || (frame.tokens > 0 && meta.resume === undefined)) {
      return { code: 'not_supported', message: 'The request cannot be continued from so many token ids.' };
    }
    if (this.#book.open >= this.#settings.maxRequests)
      return { code: 'engine_overloaded', message: 'The relay of the agent is full.' };
    if (target.maxConcurrentRequests !== undefined && owner.open >= target.maxConcurrentRequests) {
      return { code: 'engine_overloaded', message: 'The engine has as many requests as its limit allows.' };
    }
    return whyMalformed(meta);
  }

  #refuse(lane: Lane, frame: Frame, { code, message }: Refusal): void {
    const { stream, attempt, incarnation } = frame;
    const fields = { kind: FRAME.FAILED, stream, attempt, incarnation, index: 0, flags: 0, aux: 0 };
    lane.frame(FRAME.FAILED, fields, encodeJson({ code, message }), NO_IDS);
  }

  #tick(): void {
    this.#book.sweep(performance.now());
    for (const { pool } of this.#targets.values()) pool.sweep();
    this.#pulse.beat();
    this.#ticks = (this.#ticks + 1) % PULSE_TICKS;
    const periodEnds = this.#ticks === 0;
    if (periodEnds) this.#period = this.#pulse.takePeriod();
    if (!this.#statsTurn.isDue(this.#book.open, periodEnds)) return;
    const stats = this.#stats();
    if (this.#statsTurn.isNews(JSON.stringify(stats))) this.#say({ kind: 'stats', stats });
  }

  #stats(): WorkerStats {
    const openByEngine: Record<string, number> = {};
    const progress: Record<string, WorkerProgress> = {};
    let tokensTotal = this.#tokensTotal;
    let resentTotal = this.#resentTotal;
    let batchedTotal = this.#batchedTotal;
    for (const [name, { open, tracker, target, pool, batcher }] of this.#targets) {
      openByEngine[name] = open;
      progress[name] = {
        incarnation: target.incarnation,
        figures: shiftTimes(tracker.figures(), this.#toSharedMs),
      };
      tokensTotal += tracker.tokensTotal;
      resentTotal += pool.resentTotal;
      batchedTotal += batcher.batchedTotal;
    }
    const { detached, detachedTotal, reattachedTotal, expiredTotal } = this.#book;
    return {
      openByEngine,
      progress,
      ...this.#period,
      counters: {
        detached,
        detachedTotal,
        reattachedTotal,
        expiredTotal,
        unattachableTotal: this.#unattachableTotal,
        resentTotal,
        batchedTotal,
      },
      lanes: [...this.#lanes.values()].filter((lane) => lane.open).length,
      tokensTotal,
      messagesTotal: this.#messagesTotal,
      bytesTotal: this.#bytesTotal,
      stallsTotal: this.#stallsTotal,
    };
  }

  #say(message: FromRelay): void {
    // A port of worker_threads, not a window: it has no origin.
    // oxlint-disable-next-line unicorn/require-post-message-target-origin
    this.#port.postMessage(message);
  }

  #stop(graceMs: number, finish: () => void): void {
    this.#stopping = true;
    this.#direct?.close();
    // Nobody can come back to a thread that goes.
    this.#book.dropDetached();
    const endsAt = performance.now() + graceMs;
    const wait = (): void => {
      if (this.#book.open > 0 && performance.now() < endsAt) {
        setTimeout(wait, Math.min(50, graceMs));
        return;
      }
      for (const request of this.#book.all()) request.fail({ code: 'engine_died', message: 'The agent is stopping.' });
      this.#book.dropDetached();
      for (const lane of this.#lanes.values()) lane.stop();
      for (const { pool } of this.#targets.values()) pool.destroy();
      // The frames of the last turn are on their way before the thread goes.
      setTimeout(() => {
        this.#direct?.destroy();
        finish();
      }, 50);
    };
    wait();
  }
}

/** The piscina task. */
export function runRelay(task: RelayTask): Promise<void> {
  return new RelayWorker(task).run();
}
