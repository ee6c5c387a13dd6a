/**
 * The scheduler's end of one lane, and the hottest code of the process: each token of each request passes here. A batch
 * of frames is read in place, a frame finds its request by one look into a map, and nothing is allocated per token but
 * the two views that the frame reader makes. Frames to the agent are collected and leave once per turn of the event loop.
 */
import { CodedError, type ErrorCode, ERRORS } from '../../../lib/errors.ts';
import type { NodeId } from '../../../lib/ids.ts';
import {
  type DetachedRequest,
  decodeJson,
  encodeSubmit,
  FLAG,
  type Frame,
  FRAME,
  FrameBatch,
  FrameError,
  type LaneDetached,
  type LaneDone,
  type LaneFailure,
  visitFrames,
} from '../../../proto/codec.ts';
import type { AttachOrder, GenerationSink, LaneHandle, LaneOrder, LaneRequest } from '../../ports.ts';

/** What a lane needs of the stream that carries it. */
export interface LaneWire {
  /** Sends one message; `sent` is called when the transport has taken it. */
  write(message: Buffer, sent: () => void): void;
  /** Ends the stream with a coded reason; the lane has failed its requests already. */
  end(error: CodedError): void;
  /** Runs `task` at the end of this turn of the event loop. */
  later(task: () => void): void;
  dropped(where: 'lane_late_frame' | 'lane_unknown_stream'): void;
  /** The agent tells of requests that run without a scheduler. */
  detached?(list: readonly DetachedRequest[]): void;
  /** A sink threw: a mistake of this program, which one request pays for and not the lane. */
  failed(thrown: unknown): void;
}

/** A batch of this size leaves at once. */
const FLUSH_BYTES = 256 * 1024;
/** More than this waiting for the agent means that it does not read: new requests go elsewhere. */
const MAX_PENDING_BYTES = 64 * 1024 * 1024;
const MAX_UINT32 = 0xffff_ffff;

/** One request on the lane. */
class LaneStream implements LaneRequest {
  readonly lane: Lane;
  readonly number: number;
  readonly attempt: number;
  readonly incarnation: number;
  readonly sink: GenerationSink;
  /** Undefined for a request that was come back for. */
  readonly engine: string | undefined;
  headSeen = false;

  constructor(
    lane: Lane,
    number: number,
    order: Pick<LaneOrder, 'attempt' | 'incarnation'> & { readonly engine?: string },
    sink: GenerationSink,
  ) {
    this.lane = lane;
    this.engine = order.engine;
    this.number = number;
    this.attempt = order.attempt;
    this.incarnation = order.incarnation;
    this.sink = sink;
  }

  grant(bytes: number): void {
    this.lane.send(this, FRAME.CREDIT, Math.min(bytes, MAX_UINT32));
  }

  cancel(): void {
    this.lane.cancel(this);
  }
}

export class Lane implements LaneHandle {
  readonly nodeName: NodeId;
  readonly worker: number;
  readonly #wire: LaneWire;
  readonly #streams = new Map<number, LaneStream>();
  /** How many of them each engine has. */
  readonly #byEngine = new Map<string, number>();
  readonly #batch = new FrameBatch();
  readonly #visit = (frame: Frame): void => this.#onFrame(frame);
  readonly #flush = (): void => this.flush();
  #nextNumber = 1;
  #due = false;
  #closed = false;
  #pendingBytes = 0;

  constructor(nodeName: NodeId, worker: number, wire: LaneWire) {
    this.nodeName = nodeName;
    this.worker = worker;
    this.#wire = wire;
  }

  get load(): number {
    return this.#streams.size;
  }

  get closed(): boolean {
    return this.#closed;
  }

  loadOf(engine: string): number {
    return this.#byEngine.get(engine) ?? 0;
  }

  submit(order: LaneOrder, sink: GenerationSink): LaneRequest {
    const { attempt, incarnation, resumeIds, meta } = order;
    const stream = this.#open({ attempt, incarnation, engine: meta.engine }, sink);
    const header = {
      kind: FRAME.SUBMIT,
      stream: stream.number,
      attempt,
      incarnation,
      index: resumeIds.length,
      credit: Math.min(order.creditBytes, MAX_UINT32),
    };
    this.#batch.append(header, encodeSubmit(meta, order.body), resumeIds);
    this.#askFlush();
    return stream;
  }

  attach(order: AttachOrder, sink: GenerationSink): LaneRequest {
    const stream = this.#open(order, sink);
    const { id, attempt, incarnation, index, hadBytes: aux } = order;
    const credit = Math.min(order.creditBytes, MAX_UINT32);
    const header = { kind: FRAME.ATTACH, stream: stream.number, attempt, incarnation, index, credit, aux };
    this.#batch.append(header, Buffer.from(id, 'latin1'));
    this.#askFlush();
    return stream;
  }

  #open(order: ConstructorParameters<typeof LaneStream>[2], sink: GenerationSink): LaneStream {
    if (this.#closed || this.#nextNumber >= MAX_UINT32)
      throw new CodedError('stream_lost', 'The lane to the agent is closed.');
    if (this.#pendingBytes > MAX_PENDING_BYTES) {
      throw new CodedError('overloaded', 'The agent does not take requests fast enough.', { retryAfterMs: 1000 });
    }
    const stream = new LaneStream(this, this.#nextNumber, order, sink);
    this.#nextNumber += 1;
    this.#streams.set(stream.number, stream);
    if (stream.engine !== undefined) this.#byEngine.set(stream.engine, this.loadOf(stream.engine) + 1);
    return stream;
  }

  #forget(stream: LaneStream): void {
    this.#streams.delete(stream.number);
    if (stream.engine === undefined) return;
    const left = this.loadOf(stream.engine) - 1;
    if (left > 0) this.#byEngine.set(stream.engine, left);
    else this.#byEngine.delete(stream.engine);
  }

  /** Sends a frame without payload for a request that is still on the lane. */
  send(stream: LaneStream, kind: number, credit: number): void {
    if (this.#closed || this.#streams.get(stream.number) !== stream) return;
    const { number, attempt, incarnation } = stream;
    this.#batch.append({ kind, stream: number, attempt, incarnation, credit });
    this.#askFlush();
  }

  cancel(stream: LaneStream): void {
    this.send(stream, FRAME.CANCEL, 0);
    if (this.#streams.get(stream.number) === stream) this.#forget(stream);
  }

  /** Takes the frames of one message. Bytes that are not frames, or not of this protocol, end the lane. */
  receive(frames: Buffer): void {
    if (this.#closed) return;
    try {
      visitFrames(frames, this.#visit);
    } catch (thrown) {
      if (!(thrown instanceof FrameError)) throw thrown;
      this.close(new CodedError('protocol_mismatch', `The lane carried what is not its protocol: ${thrown.message}.`));
    }
  }

  close(error: CodedError): void {
    if (this.#closed) return;
    this.lost(
      error.code === 'protocol_mismatch' ? new CodedError('stream_lost', 'The lane to the agent was closed.') : error,
    );
    this.#wire.end(error);
  }

  /** The stream is gone: every request on it fails. Idempotent. */
  lost(error: CodedError): void {
    if (this.#closed) return;
    this.#closed = true;
    const streams = [...this.#streams.values()];
    this.#streams.clear();
    this.#byEngine.clear();
    for (const stream of streams) this.#guard(stream, () => stream.sink.onError(error));
  }

  /** Sends what was collected. */
  flush(): void {
    this.#due = false;
    if (this.#closed || this.#batch.bytes === 0) return;
    const message = this.#batch.take();
    const size = message.length;
    this.#pendingBytes += size;
    this.#wire.write(message, () => {
      this.#pendingBytes -= size;
    });
  }

  #askFlush(): void {
    if (this.#batch.bytes >= FLUSH_BYTES) this.flush();
    else if (!this.#due) {
      this.#due = true;
      this.#wire.later(this.#flush);
    }
  }

  #onFrame(frame: Frame): void {
    const stream = this.#streams.get(frame.stream);
    if (frame.kind === FRAME.DETACHED) {
      this.#wire.detached?.(decodeJson<LaneDetached>(frame.payload).requests);
      return;
    }
    if (stream === undefined || stream.attempt !== frame.attempt || stream.incarnation !== frame.incarnation) {
      // After a CANCEL frames are on their way for a while; a number that was never given out is another matter.
      const known = frame.stream < this.#nextNumber && frame.stream > 0;
      this.#wire.dropped(known ? 'lane_late_frame' : 'lane_unknown_stream');
      return;
    }
    try {
      this.#deliver(stream, frame);
    } catch (thrown) {
      if (thrown instanceof FrameError) throw thrown;
      this.#guardFailure(stream, thrown);
    }
  }

  #deliver(stream: LaneStream, frame: Frame): void {
    const { sink } = stream;
    switch (frame.kind) {
      case FRAME.TOKENS:
        if (!stream.headSeen) throw new FrameError('tokens came before the head');
        sink.onTokens(frame.payload, frame.idBytes, frame.index, (frame.flags & FLAG.FINISHED) !== 0);
        return;
      case FRAME.HEAD:
        stream.headSeen = true;
        sink.onHead(frame.index);
        return;
      case FRAME.BODY:
        if (!stream.headSeen) throw new FrameError('a body came before the head');
        sink.onBody(frame.payload, (frame.flags & FLAG.LAST) !== 0);
        return;
      case FRAME.DONE: {
        const { usage } = decodeJson<LaneDone>(frame.payload);
        this.#forget(stream);
        sink.onDone(usage);
        return;
      }
      case FRAME.FAILED: {
        const failure = decodeJson<LaneFailure>(frame.payload);
        this.#forget(stream);
        sink.onError(toError(failure));
        return;
      }
      default:
        throw new FrameError(`frame kind ${frame.kind} is unknown here`);
    }
  }

  #guard(stream: LaneStream, work: () => void): void {
    try {
      work();
    } catch (thrown) {
      this.#guardFailure(stream, thrown);
    }
  }

  #guardFailure(stream: LaneStream, thrown: unknown): void {
    this.#wire.failed(thrown);
    if (this.#streams.get(stream.number) !== stream) return;
    this.cancel(stream);
    this.#guard(stream, () =>
      stream.sink.onError(new CodedError('internal', 'An internal error occurred.', { cause: thrown })),
    );
  }
}

const isErrorCode = (code: string): code is ErrorCode => Object.hasOwn(ERRORS, code);

/** The agent's words as an error; a code of another release becomes the nearest that every client knows. */
function toError(failure: LaneFailure): CodedError {
  const { code, message, param, retryAfterMs } = failure;
  return new CodedError(isErrorCode(code) ? code : 'engine_failed', message, {
    ...(param === undefined ? {} : { param }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}
