/**
 * One `Lane` call from its first byte to its end: the first frame must say whose lane it is, and the certificate must
 * agree. After that every message goes straight to lane.ts.
 */
import type { ServerDuplexStream } from '@grpc/grpc-js';
import type { Http2Session } from 'node:http2';
import type { Clock } from '../../../lib/clock.ts';
import { CodedError, toCodedError } from '../../../lib/errors.ts';
import type { NodeId } from '../../../lib/ids.ts';
import type { Logger } from '../../../lib/io/logger.ts';
import type { Metrics } from '../../../lib/io/metrics.ts';
import { decodeJson, FRAME, FrameError, HEADER_BYTES, type LaneHello, visitFrames } from '../../../proto/codec.ts';
import type { FleetSink } from '../../ports.ts';
import { failStream } from './grpc_errors.ts';
import { Lane, type LaneWire } from './lane.ts';
import { checkPeer } from './session.ts';

export type LaneStreamCall = ServerDuplexStream<Buffer, Buffer>;

export interface LaneCallDeps {
  readonly sink: FleetSink;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly counters: LaneCounters;
  /** Most time from the opening of a stream to its first frame. */
  readonly helloTimeoutMs: number;
  /** Called once for each of them: a lane that was accepted, and its end. */
  readonly onOpen: (lane: Lane) => void;
  readonly onEnd: (lane: Lane | undefined) => void;
}

/** What lanes carried, taken to the metrics now and then: a counter per message would cost more than the message. */
export class LaneCounters {
  messagesIn = 0;
  bytesIn = 0;
  messagesOut = 0;
  bytesOut = 0;

  report(metrics: Metrics): void {
    const messages = metrics.counter('lane_messages_total');
    const bytes = metrics.counter('lane_bytes_total');
    messages.inc({ direction: 'in' }, this.messagesIn);
    messages.inc({ direction: 'out' }, this.messagesOut);
    bytes.inc({ direction: 'in' }, this.bytesIn);
    bytes.inc({ direction: 'out' }, this.bytesOut);
    this.messagesIn = 0;
    this.bytesIn = 0;
    this.messagesOut = 0;
    this.bytesOut = 0;
  }
}

/**
 * Bytes that may be on their way to this end. The engine step of 500 sequences is one message of some 160 KB; with
 * HTTP/2's first window of 64 KB it would come in three pieces, each after a wait for the window and with a wake-up.
 */
const LANE_WINDOW_BYTES = 4 * 1024 * 1024;
const MAX_INTERCEPTORS = 8;

interface CallLink {
  readonly stream?: { readonly session?: Http2Session };
  readonly nextCall?: CallLink;
}

/** The HTTP/2 session below a call. grpc-js has the option for its client only, so it is looked for; undefined: not found. */
function sessionOf(call: LaneStreamCall): Http2Session | undefined {
  let link = (call as unknown as { readonly call?: CallLink }).call;
  for (let i = 0; i < MAX_INTERCEPTORS && link !== undefined; i++) {
    if (link.stream?.session !== undefined) return link.stream.session;
    link = link.nextCall;
  }
  return undefined;
}

/** Widens the windows of the connection and of its streams; a lane with narrow ones works too. */
function widen(call: LaneStreamCall): void {
  const session = sessionOf(call);
  if (session === undefined || session.destroyed) return;
  session.setLocalWindowSize(LANE_WINDOW_BYTES);
  session.settings({ initialWindowSize: LANE_WINDOW_BYTES });
}

/** The first frame of a lane and what came after it. @throws CodedError protocol_mismatch, permission_denied; FrameError */
function readHello(frames: Buffer, certificateName: string): { hello: LaneHello; rest: Buffer } {
  const size = frames.length < HEADER_BYTES ? HEADER_BYTES : HEADER_BYTES + frames.readUInt32LE(0);
  let hello: LaneHello | undefined;
  visitFrames(frames.subarray(0, size), (frame) => {
    if (frame.kind !== FRAME.HELLO) throw new FrameError('the first frame is no hello');
    hello = decodeJson<LaneHello>(frame.payload);
  });
  if (hello === undefined) throw new FrameError('the first message is empty');
  checkPeer(hello, certificateName);
  if (typeof hello.sessionId !== 'string' || !Number.isSafeInteger(hello.worker))
    throw new FrameError('the hello is not whole');
  return { hello, rest: frames.subarray(size) };
}

class LaneCall {
  readonly #call: LaneStreamCall;
  readonly #node: NodeId;
  readonly #deps: LaneCallDeps;
  #stopTimer: () => void = () => undefined;
  #lane: Lane | undefined;
  #sessionId = '';
  #over = false;

  constructor(call: LaneStreamCall, node: NodeId, deps: LaneCallDeps) {
    this.#call = call;
    this.#node = node;
    this.#deps = deps;
  }

  /** Listens to the call from here on. */
  open(): void {
    const call = this.#call;
    const deps = this.#deps;
    this.#stopTimer = deps.clock.after(deps.helloTimeoutMs, () => {
      this.#refuse(new CodedError('deadline_exceeded', 'No hello came in time.'));
    });
    call.on('data', (frames: Buffer) => this.#onData(frames));
    call.on('end', () => {
      this.#end();
      call.end();
    });
    for (const event of ['cancelled', 'error', 'close'] as const) call.on(event, () => this.#end());
  }

  #onData(frames: Buffer): void {
    const { counters } = this.#deps;
    counters.messagesIn += 1;
    counters.bytesIn += frames.length;
    if (this.#lane !== undefined) this.#lane.receive(frames);
    else if (!this.#over) this.#greet(frames);
  }

  #greet(frames: Buffer): void {
    try {
      const { hello, rest } = readHello(frames, this.#node);
      this.#stopTimer();
      const lane = new Lane(this.#node, hello.worker, this.#wire());
      this.#deps.sink.onLaneOpen(hello.sessionId, lane);
      this.#sessionId = hello.sessionId;
      this.#lane = lane;
      this.#deps.onOpen(lane);
      widen(this.#call);
      if (rest.length > 0) lane.receive(rest);
    } catch (thrown) {
      const what =
        thrown instanceof FrameError
          ? new CodedError('protocol_mismatch', `This is not a lane: ${thrown.message}.`)
          : thrown;
      this.#refuse(toCodedError(what));
    }
  }

  #wire(): LaneWire {
    const { counters, logger, metrics } = this.#deps;
    const call = this.#call;
    const dropped = metrics.counter('dropped_total');
    return {
      write(message, sent) {
        counters.messagesOut += 1;
        counters.bytesOut += message.length;
        call.write(message, sent);
      },
      end: (error) => this.#refuse(error),
      detached: (list) => {
        if (this.#lane !== undefined) this.#deps.sink.onDetached?.(this.#lane, list);
      },
      later: (task) => void setImmediate(task),
      dropped: (where) => dropped.inc({ where }),
      failed: (thrown) => logger.error({ node: this.#node, err: thrown }, 'the sink of a request failed'),
    };
  }

  #refuse(error: CodedError): void {
    if (this.#over) return;
    this.#deps.logger.warn({ node: this.#node, code: error.code }, `lane closed: ${error.message}`);
    this.#end();
    failStream(this.#deps.logger, this.#call, error);
  }

  #end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#stopTimer();
    const lane = this.#lane;
    if (lane !== undefined) {
      this.#deps.sink.onLaneLost(this.#sessionId, lane);
      lane.lost(new CodedError('stream_lost', 'The lane to the agent was cut.'));
    }
    this.#deps.onEnd(lane);
  }
}

/** Serves one call of the node that its certificate names. */
export function serveLane(call: LaneStreamCall, node: NodeId, deps: LaneCallDeps): void {
  new LaneCall(call, node, deps).open();
}
