/**
 * All requests of a relay thread by lane and by id. A lost lane is not an abort: its requests run on for a grace, and a
 * scheduler that comes back goes on with them (ATTACH). Ended ones are kept as long, because an end that was sent into a
 * dying lane has not arrived. What is kept is bounded in number, in memory (RetainBudget) and in time.
 */
import type { ErrorCode } from '../../lib/errors.ts';
import { REQUEST_ID_PATTERN } from '../../lib/ids.ts';
import { type DetachedRequest, encodeJson, FLAG, type Frame, FrameError } from '../../proto/codec.ts';
import type { OpenList } from '../core/open_requests.ts';
import type { RelayedRequest } from './relayed_request.ts';
// A lane, or the answer to a direct call: whatever takes the frames of a request.
import type { FrameSink as Lane } from './request_outlet.ts';

/** Most ended requests that are kept for a lane whose loss is not known yet. */
const MAX_KEPT_ENDED = 1024;
/** Most requests that are told of at a time. */
const MAX_TOLD = 4096;

export interface Refusal {
  readonly code: ErrorCode;
  readonly message: string;
}

interface Entry {
  readonly request: RelayedRequest;
  readonly id: string;
  /** The lane that it is on, or was on when its end was sent; undefined: it runs without one. */
  lane: Lane | undefined;
  stream: number;
  /** Its place in the list that outlives the thread; undefined when its end was sent. */
  slot: number | undefined;
  /** When it was put among the kept. */
  sinceMs: number;
}

const TAKEN_OVER = encodeJson({ code: 'stream_lost', message: 'Another lane took the request over.' });

export class RequestBook {
  readonly #graceMs: number;
  readonly #list: OpenList;
  readonly #byLane = new Map<Lane, Map<number, Entry>>();
  readonly #byId = new Map<string, Entry>();
  readonly #entries = new Map<RelayedRequest, Entry>();
  /** Running without a lane, or ended; the oldest first. */
  readonly #kept = new Set<Entry>();
  #endedKept = 0;
  open = 0;
  detachedTotal = 0;
  reattachedTotal = 0;
  expiredTotal = 0;

  /** @param graceMs how long a request runs on without a lane; 0: it is aborted at once */
  constructor(graceMs: number, list: OpenList) {
    this.#graceMs = graceMs;
    this.#list = list;
  }

  /** Requests that run on without a lane. */
  get detached(): number {
    return this.#kept.size - this.#endedKept;
  }

  addLane(lane: Lane): void {
    this.#byLane.set(lane, new Map());
  }

  /** @throws FrameError when the number of the stream is in use on its lane */
  checkStream(lane: Lane, stream: number): void {
    if (this.#byLane.get(lane)?.has(stream) === true) throw new FrameError(`stream ${stream} is used twice`);
  }

  add(lane: Lane, request: RelayedRequest): void {
    const { requestId: id, engine } = request.order.meta;
    const stream = request.outlet.streamNumber;
    const slot = this.#list.open(id, engine);
    const entry: Entry = { request, id, lane, stream, slot, sinceMs: 0 };
    // A later attempt without an attach means that nobody wants the one that runs without a lane.
    const older = this.#byId.get(id);
    if (older !== undefined && this.#kept.has(older) && older.request.outlet.attempt < request.outlet.attempt)
      this.#drop(older);
    this.open += 1;
    this.#byId.set(id, entry);
    this.#entries.set(request, entry);
    this.#byLane.get(lane)?.set(stream, entry);
  }

  find(lane: Lane, stream: number): RelayedRequest | undefined {
    return this.#byLane.get(lane)?.get(stream)?.request;
  }

  /** The requests that are on a lane now. */
  on(lane: Lane): RelayedRequest[] {
    return [...(this.#byLane.get(lane)?.values() ?? [])].map((entry) => entry.request);
  }

  all(): RelayedRequest[] {
    return [...this.#entries.keys()];
  }

  /** The scheduler does not want it any more. */
  cancel(lane: Lane, stream: number): void {
    const entry = this.#byLane.get(lane)?.get(stream);
    if (entry !== undefined) this.#drop(entry);
  }

  /** The end of a request went out on its lane. */
  delivered(request: RelayedRequest, nowMs: number): void {
    const entry = this.#entries.get(request);
    if (entry === undefined) return;
    this.#leaveLane(entry);
    this.#close(entry);
    if (this.#graceMs === 0 || !request.outlet.attachable) {
      this.#drop(entry);
      return;
    }
    this.#keep(entry, nowMs);
    if (this.#endedKept <= MAX_KEPT_ENDED) return;
    for (const oldest of this.#kept) {
      if (oldest.slot !== undefined) continue;
      this.#drop(oldest);
      return;
    }
  }

  /** The lane is gone: what runs on it goes on without. */
  lost(lane: Lane, nowMs: number): void {
    for (const entry of this.#kept) {
      if (entry.lane !== lane) continue;
      // Its end may have gone down with the lane.
      entry.lane = undefined;
      this.#unkeep(entry);
      this.#keep(entry, nowMs);
    }
    for (const entry of [...(this.#byLane.get(lane)?.values() ?? [])]) {
      if (this.#graceMs === 0 || !entry.request.outlet.attachable) {
        this.#drop(entry);
        continue;
      }
      this.#leaveLane(entry);
      entry.lane = undefined;
      this.detachedTotal += 1;
      this.#keep(entry, nowMs);
      entry.request.detach();
    }
  }

  removeLane(lane: Lane, nowMs: number): void {
    this.lost(lane, nowMs);
    this.#byLane.delete(lane);
  }

  /** Carries out an ATTACH, or says why not. @throws FrameError when the number of the stream is in use */
  attach(lane: Lane, frame: Frame): Refusal | undefined {
    const id = frame.payload.toString('latin1', 0, 129);
    const entry = REQUEST_ID_PATTERN.test(id) ? this.#byId.get(id) : undefined;
    if (entry === undefined) return { code: 'not_found', message: 'No such request runs on this agent.' };
    this.checkStream(lane, frame.stream);
    const { request } = entry;
    const { outlet } = request;
    if (frame.incarnation !== 0 && frame.incarnation !== request.order.incarnation)
      return { code: 'engine_died', message: 'The engine was restarted since the request began.' };
    if (frame.attempt < outlet.attempt)
      return { code: 'already_exists', message: `Attempt ${outlet.attempt} of the request is newer.` };
    const { stream, attempt, credit, index, aux: hadBytes } = frame;
    const place = { stream, attempt, credit, index, hadBytes, withIds: (frame.flags & FLAG.WITH_IDS) !== 0 };
    if (!outlet.canAttach(place))
      return { code: 'stream_lost', message: `The answer cannot be continued from token ${index}.` };
    if (entry.slot !== undefined && entry.lane !== undefined) outlet.takeOver(TAKEN_OVER);
    if (entry.slot !== undefined && entry.lane === undefined) this.reattachedTotal += 1;
    this.#leaveLane(entry);
    this.#unkeep(entry);
    if (entry.slot === undefined) {
      entry.slot = this.#list.open(id, request.order.meta.engine);
      this.open += 1;
    }
    entry.lane = lane;
    entry.stream = stream;
    this.#byLane.get(lane)?.set(stream, entry);
    request.attach(lane, place);
    return undefined;
  }

  /** What a scheduler may come back for that was not this one's: requests whose clients know their key. */
  detachedList(): DetachedRequest[] {
    const list: DetachedRequest[] = [];
    for (const { id, lane, request } of this.#kept) {
      const { meta, incarnation } = request.order;
      if (lane !== undefined || meta.repeat === undefined || list.length >= MAX_TOLD) continue;
      const { attempt } = request.outlet;
      const eventsBefore = meta.resume?.events ?? 0;
      list.push({ id, engine: meta.engine, incarnation, attempt, eventsBefore, ...meta.repeat });
    }
    return list;
  }

  /** Aborts what nobody came back for in time; to be called a few times a second. */
  sweep(nowMs: number): void {
    for (const entry of this.#kept) {
      if (nowMs - entry.sinceMs < this.#graceMs) return;
      if (entry.slot !== undefined) this.expiredTotal += 1;
      this.#drop(entry);
    }
  }

  /** Aborts all that runs without a lane. */
  dropDetached(): void {
    for (const entry of this.#kept) this.#drop(entry);
  }

  #keep(entry: Entry, nowMs: number): void {
    entry.sinceMs = nowMs;
    this.#kept.add(entry);
    if (entry.slot === undefined) this.#endedKept += 1;
  }

  #unkeep(entry: Entry): void {
    if (this.#kept.delete(entry) && entry.slot === undefined) this.#endedKept -= 1;
  }

  #leaveLane(entry: Entry): void {
    if (entry.lane === undefined) return;
    const streams = this.#byLane.get(entry.lane);
    if (streams?.get(entry.stream) === entry) streams.delete(entry.stream);
  }

  #close(entry: Entry): void {
    if (entry.slot === undefined) return;
    this.#list.close(entry.slot);
    entry.slot = undefined;
    this.open -= 1;
  }

  /** Ends the request without a word and forgets it. */
  #drop(entry: Entry): void {
    this.#unkeep(entry);
    this.#leaveLane(entry);
    this.#close(entry);
    this.#entries.delete(entry.request);
    if (this.#byId.get(entry.id) === entry) this.#byId.delete(entry.id);
    entry.request.cancel();
  }
}
