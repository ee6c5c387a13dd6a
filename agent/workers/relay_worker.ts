/**
 * A relay thread: it owns one lane to each scheduler and the connections to the engines, and does nothing else. It runs
 * as one piscina task that ends when the main thread says stop.
 */
import type { MessagePort } from 'node:worker_threads';
import { CodedError, type ErrorCode } from '../../lib/errors.ts';
import { REQUEST_ID_PATTERN } from '../../lib/ids.ts';
import { systemRandom } from '../../lib/io/system.ts';
import { decodeSubmit, FRAME, type Frame, FrameError, encodeJson } from '../../proto/codec.ts';
import type { RelayTarget } from '../ports.ts';
import { EnginePool } from './engine_connection.ts';
import { Lane } from './lane.ts';
import { RelayedRequest, type RequestOrder } from './relayed_request.ts';
import type { FromRelay, RelaySettings, RelayTask, ToRelay } from './relay_messages.ts';

const MAX_IDLE_CONNECTIONS = 256;
const STATS_PERIOD_MS = 250;
const SAFE_PATH = /^\/[A-Za-z0-9_./-]{1,127}$/;
const TRACEPARENT = /^[0-9a-f-]{1,64}$/;
const NO_IDS: readonly number[] = Object.freeze([]);

interface Target {
  readonly target: RelayTarget;
  readonly pool: EnginePool;
  open: number;
}

class RelayWorker {
  readonly #worker: number;
  readonly #port: MessagePort;
  readonly #settings: RelaySettings;
  readonly #targets = new Map<string, Target>();
  readonly #lanes = new Map<string, Lane>();
  readonly #requests = new Map<Lane, Map<number, RelayedRequest>>();
  readonly #owners = new Map<RelayedRequest, Target>();
  #tokensTotal = 0;
  #messagesTotal = 0;
  #bytesTotal = 0;
  #stallsTotal = 0;
  #stopping = false;
  #lastStats = '';

  constructor(task: RelayTask) {
    this.#worker = task.worker;
    this.#port = task.port;
    this.#settings = task.settings;
  }

  /** Resolves when the thread has been told to stop and has stopped. */
  run(): Promise<void> {
    const timer = setInterval(() => this.#tick(), STATS_PERIOD_MS);
    return new Promise((resolve) => {
      const finish = (): void => {
        clearInterval(timer);
        this.#tick();
        this.#port.close();
        resolve();
      };
      this.#port.on('message', (message: ToRelay) => {
        if (message.kind === 'targets') this.#setTargets(message.targets);
        else if (message.kind === 'schedulers') this.#setSchedulers(message.addresses);
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
      for (const [request, owner] of this.#owners) {
        if (owner === known) request.fail({ code: 'engine_died', message: 'The engine has ended.' });
      }
      known.pool.destroy();
    }
    for (const target of targets) {
      if (this.#targets.has(target.engine)) continue;
      const pool = new EnginePool(target.address, {
        connectTimeoutMs: this.#settings.engineConnectTimeoutMs,
        idleSocketMs: this.#settings.engineIdleSocketMs,
        maxIdle: MAX_IDLE_CONNECTIONS,
      });
      this.#targets.set(target.engine, { target, pool, open: 0 });
    }
    this.#tick();
  }

  #setSchedulers(addresses: readonly string[]): void {
    for (const [address, lane] of this.#lanes) {
      if (addresses.includes(address)) continue;
      this.#lanes.delete(address);
      this.#cancelAll(lane);
      lane.stop();
    }
    for (const address of addresses) {
      if (this.#lanes.has(address) || this.#stopping) continue;
      const lane = new Lane(address, this.#worker, this.#settings, systemRandom, {
        onFrame: (from, frame) => this.#onFrame(from, frame),
        onOpen: () => this.#say({ kind: 'lane', scheduler: address, state: 'open', reason: '' }),
        onLost: (lost, reason) => {
          this.#cancelAll(lost);
          this.#say({ kind: 'lane', scheduler: address, state: 'lost', reason });
        },
        onUnblocked: (free) => {
          for (const request of this.#requests.get(free)?.values() ?? []) request.balance();
        },
        onSent: (bytes) => {
          this.#messagesTotal += 1;
          this.#bytesTotal += bytes;
        },
      });
      this.#lanes.set(address, lane);
      this.#requests.set(lane, new Map());
      lane.connect();
    }
  }

  #cancelAll(lane: Lane): void {
    for (const request of this.#requests.get(lane)?.values() ?? []) request.cancel();
  }

  #onFrame(lane: Lane, frame: Frame): void {
    switch (frame.kind) {
      case FRAME.SUBMIT:
        this.#submit(lane, frame);
        return;
      case FRAME.CREDIT:
        this.#requests.get(lane)?.get(frame.stream)?.grant(frame.credit);
        return;
      case FRAME.CANCEL:
        this.#requests.get(lane)?.get(frame.stream)?.cancel();
        return;
      case FRAME.ATTACH:
        this.#refuse(lane, frame, 'not_found', 'No such request runs on this agent.');
        return;
      default:
        throw new FrameError(`unexpected frame kind ${frame.kind}`);
    }
  }

  #submit(lane: Lane, frame: Frame): void {
    const requests = this.#requests.get(lane) as Map<number, RelayedRequest>;
    if (requests.has(frame.stream)) throw new FrameError(`stream ${frame.stream} is used twice`);
    const { meta, body } = decodeSubmit(frame.payload);
    const owner = this.#targets.get(meta.engine);
    const refusal = this.#whyNot(frame, meta, owner);
    if (refusal !== undefined || owner === undefined) {
      const { code, message } = refusal as { code: ErrorCode; message: string };
      this.#refuse(lane, frame, code, message);
      return;
    }
    const order: RequestOrder = {
      stream: frame.stream,
      attempt: frame.attempt,
      incarnation: owner.target.incarnation,
      credit: frame.credit,
      meta,
      body,
    };
    const request = new RelayedRequest(order, this.#settings.maxEventBytes, lane, {
      onEnded: (ended) => {
        requests.delete(order.stream);
        if (this.#owners.delete(ended)) owner.open -= 1;
      },
      onStalled: () => {
        this.#stallsTotal += 1;
      },
      onTokens: (count) => {
        this.#tokensTotal += count;
      },
    });
    requests.set(frame.stream, request);
    this.#owners.set(request, owner);
    owner.open += 1;
    try {
      request.start(owner.pool);
    } catch (error) {
      const coded =
        error instanceof CodedError ? error : new CodedError('internal', 'The relay could not start the request.');
      request.fail({ code: coded.code, message: coded.message });
    }
  }

  #whyNot(
    frame: Frame,
    meta: RequestOrder['meta'],
    owner: Target | undefined,
  ): { readonly code: ErrorCode; readonly message: string } | undefined {
    if (this.#stopping) return { code: 'draining', message: 'The agent is stopping.' };
    if (owner === undefined) return { code: 'engine_unreachable', message: 'The engine does not run on this agent.' };
    const { target } = owner;
    if (frame.incarnation !== 0 && frame.incarnation !== target.incarnation) {
      return { code: 'engine_died', message: 'The engine was restarted since it was chosen.' };
    }
    if (target.draining === true) return { code: 'draining', message: 'The engine is draining.' };
    if (frame.tokens > 0 || frame.index > 0) {
      return { code: 'not_supported', message: 'This agent does not continue a request from token ids.' };
    }
    if (this.#owners.size >= this.#settings.maxRequests)
      return { code: 'engine_overloaded', message: 'The relay of the agent is full.' };
    if (target.maxConcurrentRequests !== undefined && owner.open >= target.maxConcurrentRequests) {
      return { code: 'engine_overloaded', message: 'The engine has as many requests as its limit allows.' };
    }
    if (!SAFE_PATH.test(meta.path)) return { code: 'invalid_value', message: 'The path of the request is malformed.' };
    if (!REQUEST_ID_PATTERN.test(meta.requestId))
      return { code: 'invalid_value', message: 'The request id is malformed.' };
    if (meta.traceparent !== undefined && !TRACEPARENT.test(meta.traceparent)) {
      return { code: 'invalid_value', message: 'The traceparent is malformed.' };
    }
    return undefined;
  }

  #refuse(lane: Lane, frame: Frame, code: ErrorCode, message: string): void {
    const { stream, attempt, incarnation } = frame;
    const fields = { kind: FRAME.FAILED, stream, attempt, incarnation, index: 0, flags: 0, aux: 0 };
    lane.frame(FRAME.FAILED, fields, encodeJson({ code, message }), NO_IDS, true);
  }

  #tick(): void {
    for (const { pool } of this.#targets.values()) pool.sweep();
    const openByEngine: Record<string, number> = {};
    for (const [name, { open }] of this.#targets) openByEngine[name] = open;
    const stats = {
      openByEngine,
      lanes: [...this.#lanes.values()].filter((lane) => lane.open).length,
      tokensTotal: this.#tokensTotal,
      messagesTotal: this.#messagesTotal,
      bytesTotal: this.#bytesTotal,
      stallsTotal: this.#stallsTotal,
    };
    const text = JSON.stringify(stats);
    if (text === this.#lastStats) return;
    this.#lastStats = text;
    this.#say({ kind: 'stats', stats });
  }

  #say(message: FromRelay): void {
    // A port of worker_threads, not a window: it has no origin.
    // oxlint-disable-next-line unicorn/require-post-message-target-origin
    this.#port.postMessage(message);
  }

  #stop(graceMs: number, finish: () => void): void {
    this.#stopping = true;
    const endsAt = performance.now() + graceMs;
    const wait = (): void => {
      if (this.#owners.size > 0 && performance.now() < endsAt) {
        setTimeout(wait, Math.min(50, graceMs));
        return;
      }
      for (const request of this.#owners.keys())
        request.fail({ code: 'engine_died', message: 'The agent is stopping.' });
      for (const lane of this.#lanes.values()) lane.stop();
      for (const { pool } of this.#targets.values()) pool.destroy();
      // The frames of the last turn are on their way before the thread goes.
      setTimeout(finish, 50);
    };
    wait();
  }
}

/** The piscina task. */
export function runRelay(task: RelayTask): Promise<void> {
  return new RelayWorker(task).run();
}
