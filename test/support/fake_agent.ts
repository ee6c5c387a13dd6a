/**
 * An agent for tests of the scheduler: a real gRPC client over real mutual TLS that speaks Session and Lane, and whose
 * answers are scripted by the test.
 */
import { Client, credentials, type ClientDuplexStream, type ServiceError } from '@grpc/grpc-js';
import { createCa, issueCertificate, type PemPair } from '../../lib/io/local_ca.ts';
import {
  type Frame,
  FRAME,
  FrameBatch,
  type FrameHeader,
  LANE_PROTOCOL_VERSION,
  type LaneDone,
  type LaneFailure,
  type SubmitMeta,
  decodeSubmit,
  encodeJson,
  visitFrames,
} from '../../proto/codec.ts';
import type { AgentMessage } from '../../proto/gen/fleet/v1/AgentMessage.ts';
import type { EngineEvent } from '../../proto/gen/fleet/v1/EngineEvent.ts';
import type { Hello } from '../../proto/gen/fleet/v1/Hello.ts';
import type { SchedulerMessage__Output } from '../../proto/gen/fleet/v1/SchedulerMessage.ts';
import { fleetService } from '../../proto/load.ts';
import { eventually } from './child.ts';

export interface Authority {
  readonly ca: PemPair;
  /** A certificate for a node, or with hosts for a server. */
  issue(commonName: string, hosts?: readonly string[]): Promise<PemPair>;
}

export async function testAuthority(): Promise<Authority> {
  const ca = await createCa('test authority', Date.now());
  return { ca, issue: (commonName, hosts = []) => issueCertificate(ca, { commonName, hosts, nowMs: Date.now() }) };
}

/** A submitted request as the fake agent sees it, with the words to answer it. */
export interface FakeRequest {
  readonly stream: number;
  readonly attempt: number;
  readonly incarnation: number;
  readonly credit: number;
  readonly meta: SubmitMeta;
  readonly body: string;
  head(): void;
  /** One TOKENS frame with the given text as one SSE event. */
  tokens(text: string, ids: readonly number[], index: number): void;
  bodyPart(text: string, last: boolean): void;
  done(done?: LaneDone): void;
  failed(failure: LaneFailure): void;
}

export interface FakeLane {
  readonly requests: FakeRequest[];
  /** Stream numbers that the scheduler cancelled, and the credit it granted by stream. */
  readonly cancelled: number[];
  readonly credited: Map<number, number>;
  readonly ended: Promise<ServiceError | undefined>;
  frame(header: FrameHeader, payload?: Uint8Array, ids?: readonly number[]): void;
  /** Bytes as they are, in one message. */
  raw(frames: Buffer): void;
  /** Messages that came from the scheduler. */
  messages: number;
  close(): void;
  cancel(): void;
}

export interface FakeSession {
  readonly received: SchedulerMessage__Output[];
  /** Called with each message as it comes. */
  onMessage: ((message: SchedulerMessage__Output) => void) | undefined;
  readonly ended: Promise<ServiceError | undefined>;
  send(message: AgentMessage): void;
  event(event: EngineEvent): void;
  close(): void;
  cancel(): void;
}

export interface FakeAgent {
  /** `silent`: says no hello. */
  openSession(hello?: Partial<Hello> | 'silent'): FakeSession;
  openLane(options?: {
    readonly hello?: object | 'silent';
    readonly onSubmit?: (request: FakeRequest) => void;
  }): FakeLane;
  close(): void;
}

export interface FakeAgentOptions {
  readonly port: number;
  readonly authority: Authority;
  /** Absent: the agent shows no certificate. */
  readonly pair: PemPair | undefined;
  readonly nodeName: string;
  readonly sessionId: string;
}

/** A ready engine that serves one model, as an agent tells it. */
export function readyEngine(engine: string, model: string, change: Partial<EngineEvent> = {}): EngineEvent {
  const models = [
    {
      id: model,
      capabilities: ['chat', 'completions'],
      contextTokens: 4096,
      createdS: 1_700_000_000,
      ownedBy: 'test',
      simulated: true,
    },
  ];
  return {
    engine,
    incarnation: 1,
    state: 'ENGINE_STATE_READY',
    reason: 'serving',
    message: '',
    kind: 'ENGINE_KIND_SIM',
    models,
    ...change,
  };
}

function endOf(stream: ClientDuplexStream<never, never>): Promise<ServiceError | undefined> {
  return new Promise((resolve) => {
    stream.on('error', (error: ServiceError) => resolve(error));
    stream.on('end', () => resolve(undefined));
  });
}

function wrapRequest(lane: FakeLane, frame: Frame): FakeRequest {
  const { meta, body } = decodeSubmit(frame.payload);
  const { stream, attempt, incarnation, credit } = frame;
  const send = (header: Partial<FrameHeader> & { kind: number }, payload?: Uint8Array, ids?: readonly number[]): void =>
    lane.frame({ stream, attempt, incarnation, ...header }, payload, ids);
  return {
    stream,
    attempt,
    incarnation,
    credit,
    meta,
    body: body.toString('utf8'),
    head: () => send({ kind: FRAME.HEAD, aux: 200 }),
    tokens: (text, ids, index) =>
      send({ kind: FRAME.TOKENS, index }, Buffer.from(`data: ${JSON.stringify({ text })}\n\n`), ids),
    bodyPart: (text, last) => send({ kind: FRAME.BODY, flags: last ? 1 : 0 }, Buffer.from(text)),
    done: (done = {}) => send({ kind: FRAME.DONE }, encodeJson(done)),
    failed: (failure) => send({ kind: FRAME.FAILED }, encodeJson(failure)),
  };
}

export function createFakeAgent(options: FakeAgentOptions): FakeAgent {
  const { authority, pair, nodeName, sessionId } = options;
  const root = Buffer.from(authority.ca.certPem);
  const secure =
    pair === undefined
      ? credentials.createSsl(root)
      : credentials.createSsl(root, Buffer.from(pair.keyPem), Buffer.from(pair.certPem));
  const client = new Client(`localhost:${options.port}`, secure, {
    'grpc.use_local_subchannel_pool': 1,
    'grpc.enable_retries': 0,
    'grpc.max_receive_message_length': 64 * 1024 * 1024,
  });
  const open = (method: 'Session' | 'Lane'): ClientDuplexStream<never, never> => {
    const { path, requestSerialize, responseDeserialize } = fleetService[method];
    return client.makeBidiStreamRequest(path, requestSerialize as never, responseDeserialize as never);
  };
  return {
    openSession(hello = {}) {
      const stream = open('Session') as unknown as ClientDuplexStream<AgentMessage, SchedulerMessage__Output>;
      const received: SchedulerMessage__Output[] = [];
      let seq = 0;
      const send = (message: AgentMessage): void => {
        seq += 1;
        stream.write({ seq, ...message });
      };
      stream.on('data', (message: SchedulerMessage__Output) => {
        received.push(message);
        session.onMessage?.(message);
      });
      const session: FakeSession = {
        received,
        onMessage: undefined,
        ended: endOf(stream as never),
        send,
        event: (engineEvent) => send({ engineEvent }),
        close: () => stream.end(),
        cancel: () => stream.cancel(),
      };
      if (hello === 'silent') return session;
      const full: Hello = {
        protocolVersion: LANE_PROTOCOL_VERSION,
        agentVersion: 'test',
        nodeName,
        sessionId,
        gpuSource: 'none',
        laneCount: 1,
        engines: [],
        ...hello,
      };
      send({ hello: full });
      return session;
    },
    openLane({ hello = {}, onSubmit } = {}) {
      const stream = open('Lane') as unknown as ClientDuplexStream<Buffer, Buffer>;
      const lane: FakeLane = {
        requests: [],
        cancelled: [],
        credited: new Map(),
        messages: 0,
        ended: endOf(stream as never),
        frame(header, payload, ids) {
          const batch = new FrameBatch();
          batch.append(header, payload, ids);
          stream.write(batch.take());
        },
        raw(frames) {
          const length = frames.length;
          const head = Buffer.from([
            0x0a,
            (length & 0x7f) | 0x80,
            ((length >> 7) & 0x7f) | 0x80,
            ((length >> 14) & 0x7f) | 0x80,
            (length >> 21) & 0x7f,
          ]);
          stream.write(Buffer.concat([head, frames]));
        },
        close: () => stream.end(),
        cancel: () => stream.cancel(),
      };
      stream.on('data', (frames: Buffer) => {
        lane.messages += 1;
        visitFrames(frames, (frame) => {
          if (frame.kind === FRAME.SUBMIT) {
            const request = wrapRequest(lane, frame);
            lane.requests.push(request);
            onSubmit?.(request);
          } else if (frame.kind === FRAME.CANCEL) lane.cancelled.push(frame.stream);
          else if (frame.kind === FRAME.CREDIT) {
            lane.credited.set(frame.stream, (lane.credited.get(frame.stream) ?? 0) + frame.credit);
          }
        });
      });
      if (hello === 'silent') return lane;
      lane.frame(
        { kind: FRAME.HELLO, stream: 0 },
        encodeJson({ protocolVersion: LANE_PROTOCOL_VERSION, sessionId, nodeName, worker: 0, ...hello }),
      );
      return lane;
    },
    close: () => client.close(),
  };
}

/** Resolves with the end of a stream; throws when it does not end in time. */
export async function endsSoon(stream: {
  readonly ended: Promise<ServiceError | undefined>;
}): Promise<ServiceError | undefined> {
  let end: { error: ServiceError | undefined } | undefined;
  void stream.ended.then((error) => {
    end = { error };
  });
  await eventually('the stream ends', () => end !== undefined);
  return end?.error;
}
