/**
 * The way of one answer to its scheduler: frames go out on the lane as far as credit allows, and stay in an outbox until
 * they were taken. When the lane is lost the answer runs on into the outbox, up to its credit; when a scheduler comes
 * back, what it lacks is sent again and the answer goes on live.
 */
import { Outbox, type OutboxFrame } from '../core/outbox.ts';
import type { EngineSteps, StepGather } from '../core/step_gather.ts';
import { FLAG, FRAME } from '../../proto/codec.ts';

/** The way out: frames of one stream on one lane. */
export interface FrameSink {
  /** `step`: the frame may wait for the rest of that step; without it the frame is not held for company. */
  frame(kind: number, fields: FrameFields, payload: Uint8Array, ids: ArrayLike<number>, step?: StepGather): void;
  readonly blocked: boolean;
}

export interface FrameFields {
  kind: number;
  stream: number;
  attempt: number;
  readonly incarnation: number;
  index: number;
  flags: number;
  aux: number;
}

/** Where a scheduler goes on; see ATTACH in proto/codec.ts. */
export interface AttachPlace {
  readonly stream: number;
  readonly attempt: number;
  readonly credit: number;
  readonly index: number;
  readonly hadBytes: number;
  readonly withIds: boolean;
}

/** Memory for outboxes and journals of all requests of a thread. */
export interface RetainBudget {
  usedBytes: number;
  readonly maxBytes: number;
  /** Most token ids that are kept of one request. */
  readonly maxIds: number;
}

/** The last frame of an answer. */
interface Final {
  readonly kind: number;
  readonly payload: Uint8Array;
  readonly aux: number;
}

const MAX_BODY_FRAME_BYTES = 1024 * 1024;
/** An answer that is kept as a whole; a longer one is kept from where its client is. */
const MAX_WHOLE_BYTES = 4 * 1024 * 1024;
const NO_IDS: readonly number[] = Object.freeze([]);
const NO_BYTES = new Uint8Array(0);

export class RequestOutlet {
  readonly #fields: FrameFields;
  readonly #stream: boolean;
  /** All of the answer is kept, taken or not, for a scheduler that has had nothing of it. */
  #whole: boolean;
  readonly #budget: RetainBudget;
  readonly #onUnattachable: () => void;
  #sink: FrameSink | undefined;
  #credit: number;
  #grantedBytes = 0;
  #outbox: Outbox | undefined;
  #counted = 0;
  /** Number of the frame of the outbox that is sent next. */
  #cursor = 0;
  readonly #view: OutboxFrame = { index: 0, bytes: NO_BYTES, ids: new Uint32Array(0) };
  #index = 0;
  /** Tokens of earlier attempts, which a continuation begins after. */
  #resumedTokens = 0;
  /** Number of the first frame with which the client has the finish reason. */
  #finishFrame = Infinity;
  #headSeen = false;
  #sentTokens = false;
  readonly #steps: EngineSteps;
  /** The step that the next token belongs to, while tokens are on their way. */
  #step: StepGather | undefined;
  #bodyComplete = false;
  #final: Final | undefined;
  #finalSent = false;
  /** Whether all that was cut from the answer can still be sent again from where the scheduler may be. */
  attachable: boolean;

  /** @param retain whether a scheduler may come back for this request */
  constructor(
    sink: FrameSink,
    fields: { readonly stream: number; readonly attempt: number; readonly incarnation: number },
    order: { readonly credit: number; readonly stream: boolean; readonly whole?: boolean },
    from: { readonly budget: RetainBudget; readonly steps: EngineSteps },
    retain: boolean,
    onUnattachable: () => void,
  ) {
    this.#sink = sink;
    const { stream, attempt, incarnation } = fields;
    // Written out: the copy that a spread makes is a slow object, and measured it doubled the cost of a token.
    this.#fields = { kind: 0, stream, attempt, incarnation, index: 0, flags: 0, aux: 0 };
    this.#credit = order.credit;
    this.#stream = order.stream;
    this.#whole = order.whole === true;
    this.#budget = from.budget;
    this.#steps = from.steps;
    this.#onUnattachable = onUnattachable;
    this.attachable = retain;
    // The body of a plain answer is collected here in any case.
    if (retain || !order.stream) this.#outbox = new Outbox();
  }

  get attempt(): number {
    return this.#fields.attempt;
  }

  get streamNumber(): number {
    return this.#fields.stream;
  }

  get attached(): boolean {
    return this.#sink !== undefined;
  }

  /** The end has been sent, or stands ready for whoever comes back. */
  get ended(): boolean {
    return this.#final !== undefined;
  }

  get outOfCredit(): boolean {
    return this.#credit <= 0;
  }

  /** Whether the engine is to wait: nobody can take more of its answer. */
  get hold(): boolean {
    const sink = this.#sink;
    if (this.#credit <= 0) return true;
    if (sink !== undefined) return sink.blocked || (this.#stream && this.#behind());
    return this.#full() || (!this.#stream && this.#unsentBytes() > MAX_BODY_FRAME_BYTES);
  }

  #full(): boolean {
    return this.#budget.usedBytes >= this.#budget.maxBytes || this.#index >= this.#budget.maxIds;
  }

  #behind(): boolean {
    return this.#outbox !== undefined && this.#cursor < this.#outbox.end;
  }

  #unsentBytes(): number {
    const outbox = this.#outbox as Outbox;
    return outbox.totalBytes - outbox.bytesBefore(this.#cursor);
  }

  #count(): void {
    const now = this.#outbox?.capacityBytes ?? 0;
    this.#budget.usedBytes += now - this.#counted;
    this.#counted = now;
  }

  #send(kind: number, payload: Uint8Array, ids: ArrayLike<number>, step?: StepGather): void {
    this.#sink?.frame(kind, this.#fields, payload, ids, step);
  }

  /** Counts this answer among those that get a token in each step of the engine, while it does. */
  #keepStep(): void {
    const sink = this.#credit > 0 && this.#final === undefined && this.#sentTokens ? this.#sink : undefined;
    const step = sink === undefined ? undefined : this.#steps.on(sink);
    if (step === this.#step) return;
    this.#step?.leave();
    step?.join();
    this.#step = step;
  }

  /** The engine has answered 200. */
  head(): void {
    this.#headSeen = true;
    this.#fields.aux = 200;
    this.#fields.index = this.#resumedTokens;
    this.#send(FRAME.HEAD, NO_BYTES, NO_IDS);
    this.#fields.aux = 0;
  }

  /** The answer continues one of which the scheduler has these tokens; to be called before head(). */
  resumeAt(ids: Uint32Array): void {
    this.#index = ids.length;
    this.#resumedTokens = ids.length;
    const outbox = this.#outbox;
    if (outbox === undefined || ids.length === 0) return;
    // They are a frame without bytes that was sent, so that all that comes later finds its place by the same numbers.
    outbox.append(NO_BYTES, ids);
    this.#cursor = outbox.end;
    this.#count();
  }

  /**
   * Whole events of a stream with the ids of their tokens. The bytes are copied or sent before this returns.
   * @param finished whether the client has the finish reason with them
   */
  tokens(payload: Uint8Array, ids: readonly number[], finished = false): void {
    const outbox = this.#outbox;
    const live = this.#sink !== undefined && (outbox === undefined || this.#cursor === outbox.end);
    if (finished && this.#finishFrame === Infinity) this.#finishFrame = outbox?.end ?? 0;
    if (outbox !== undefined) this.#keep(outbox, payload, ids, live);
    if (live) {
      this.#fields.index = this.#index;
      this.#fields.flags = finished ? FLAG.FINISHED : 0;
      // Nothing that holds the first token waits for company, since no step is known before it.
      this.#send(FRAME.TOKENS, payload, ids, this.#step);
      this.#fields.flags = 0;
    }
    if (ids.length > 0) this.#sentTokens = true;
    this.#index += ids.length;
    // A scheduler that lags behind pays when the frame is sent.
    if (live || this.#sink === undefined) this.#credit -= payload.length;
    if (this.#step === undefined || this.#credit <= 0) this.#keepStep();
  }

  #keep(outbox: Outbox, payload: Uint8Array, ids: readonly number[], live: boolean): void {
    if (live && (this.#full() || this.#index + ids.length > this.#budget.maxIds)) {
      this.#drop();
      return;
    }
    const before = outbox.capacityBytes;
    outbox.append(payload, ids);
    if (live) this.#cursor += 1;
    if (outbox.capacityBytes !== before) this.#count();
  }

  /** Nobody can come back for this request any more. */
  #drop(): void {
    this.attachable = false;
    this.#onUnattachable();
    if (!this.#stream) return;
    this.#outbox = undefined;
    this.#count();
  }

  /** Bytes of an answer that is no stream. */
  body(payload: Uint8Array): void {
    const outbox = this.#outbox as Outbox;
    const joins = outbox.end > this.#cursor && outbox.newestBytes + payload.length <= MAX_BODY_FRAME_BYTES;
    if (joins) outbox.extend(payload);
    else outbox.append(payload, NO_IDS);
    this.#count();
    if (this.attachable && this.#full() && this.#sink !== undefined) this.#drop();
    // A short answer is held until it is whole, so that a cut one never reaches a client; a long one flows.
    if (this.#unsentBytes() > MAX_BODY_FRAME_BYTES) this.pump();
  }

  /** What is here of the body, while none of it has left; a body that has begun to flow cannot be looked at as a whole. */
  get wholeBody(): Uint8Array | undefined {
    return this.#cursor === 0 ? this.#outbox?.held : undefined;
  }

  /** The end: sent after all that stands before it. `complete`: the body was whole. */
  end(kind: number, payload: Uint8Array, aux: number): void {
    this.#final = { kind, payload, aux };
    this.#keepStep();
    this.#bodyComplete = kind === FRAME.DONE && !this.#stream;
    // The last frame of a body says that it is the last; when all have left, an empty one does.
    if (this.#bodyComplete && !this.#behind()) this.#outbox?.append(NO_BYTES, NO_IDS);
    // A failure needs no credit, and is not worth a wait for it.
    if (kind === FRAME.FAILED && this.#sink !== undefined) this.#sendFinal();
    else this.pump();
  }

  /** Sends what waits in the outbox, as far as credit goes, and the end after it. */
  pump(): void {
    const outbox = this.#outbox;
    if (this.#sink === undefined || this.#finalSent) return;
    // What is held of a plain answer has no worth without its rest.
    if (outbox !== undefined && !this.#stream && this.#final?.kind === FRAME.FAILED) this.#cursor = outbox.end;
    if (outbox !== undefined) {
      while (this.#cursor < outbox.end && (this.#credit > 0 || this.#unsentBytes() === 0)) this.#sendFrame(outbox);
      if (!this.#stream && !this.attachable) {
        outbox.release(outbox.totalBytes, this.#cursor);
        this.#count();
      }
      if (this.#cursor < outbox.end) return;
    }
    if (this.#final !== undefined) this.#sendFinal();
  }

  #sendFrame(outbox: Outbox): void {
    const view = this.#view;
    outbox.read(this.#cursor, view);
    this.#cursor += 1;
    this.#fields.index = view.index;
    const last = this.#bodyComplete && this.#cursor === outbox.end;
    const finished = this.#cursor > this.#finishFrame;
    this.#fields.flags = (last ? FLAG.LAST : 0) | (finished ? FLAG.FINISHED : 0);
    this.#send(this.#stream ? FRAME.TOKENS : FRAME.BODY, view.bytes, view.ids);
    this.#fields.flags = 0;
    this.#credit -= view.bytes.length;
  }

  #sendFinal(): void {
    const { kind, payload, aux } = this.#final as Final;
    this.#finalSent = true;
    this.#fields.index = this.#index;
    this.#fields.aux = aux;
    this.#send(kind, payload, NO_IDS);
    this.#fields.aux = 0;
  }

  /** Whether the end went out on a lane. */
  get delivered(): boolean {
    return this.#finalSent;
  }

  /** The client has taken bytes: as many may follow, and those need not be kept. */
  grant(bytes: number): void {
    this.#credit += bytes;
    this.#grantedBytes += bytes;
    if (this.#step === undefined) this.#keepStep();
    // A plain answer is sent again from its first byte.
    const kept = this.#whole && this.#roomy();
    if (!kept && this.#stream && this.#outbox !== undefined) this.#outbox.release(this.#grantedBytes, this.#cursor);
    if (this.#final !== undefined || this.#behind()) this.pump();
  }

  /** Whether there is room to keep what was taken already. */
  #roomy(): boolean {
    const { usedBytes, maxBytes } = this.#budget;
    this.#whole = (this.#outbox?.capacityBytes ?? 0) <= MAX_WHOLE_BYTES && usedBytes <= maxBytes / 2;
    return this.#whole;
  }

  /** The lane is lost: the answer runs on into the outbox. */
  detach(): void {
    this.#sink = undefined;
    this.#keepStep();
    this.#finalSent = false;
  }

  /** Whether a scheduler can go on at this place. */
  canAttach(place: AttachPlace): boolean {
    return this.#placeOf(place) !== -1;
  }

  #placeOf({ index, hadBytes }: AttachPlace): number {
    const outbox = this.#outbox;
    if (!this.attachable || outbox === undefined) return -1;
    return this.#stream ? outbox.placeOf(index, hadBytes) : 0;
  }

  /** Goes on at `place` on another lane; canAttach() has said that this is possible. */
  attach(sink: FrameSink, place: AttachPlace): void {
    const outbox = this.#outbox as Outbox;
    this.#cursor = this.#placeOf(place);
    this.#sink = sink;
    this.#finalSent = false;
    this.#fields.stream = place.stream;
    this.#fields.attempt = place.attempt;
    this.#credit = place.credit;
    // From here on credit speaks of what this scheduler takes.
    this.#grantedBytes = outbox.bytesBefore(this.#cursor);
    this.#keepStep();
    if (this.#headSeen) this.head();
    if (place.withIds && place.index > 0) {
      this.#fields.index = 0;
      this.#send(FRAME.TOKENS, NO_BYTES, outbox.journal.subarray(0, place.index));
    }
    this.pump();
  }

  /** Another lane took the request over: this one's scheduler is told, and nothing more comes on it. */
  takeOver(failure: Uint8Array): void {
    this.#fields.aux = 0;
    this.#fields.index = this.#index;
    this.#send(FRAME.FAILED, failure, NO_IDS);
  }

  /** Gives back what it holds; of no more use afterwards. */
  dispose(): void {
    this.#outbox = undefined;
    this.attachable = false;
    this.#sink = undefined;
    this.#keepStep();
    this.#count();
  }
}
