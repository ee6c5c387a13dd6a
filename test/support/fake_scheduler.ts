/**
 * A scheduler for tests of the agent: it takes sessions and lanes over mTLS, remembers all it is told, and lets a test
 * give desired states and submit requests frame by frame. It decides nothing by itself.
 */
import { Server, ServerCredentials, type ServerDuplexStream, status } from '@grpc/grpc-js';
import {
  decodeJson,
  encodeSubmit,
  FLAG,
  FRAME,
  FrameBatch,
  type LaneDone,
  type LaneFailure,
  type LaneHello,
  readIds,
  type SubmitMeta,
  visitFrames,
} from '../../proto/codec.ts';
import type { AgentMessage__Output } from '../../proto/gen/fleet/v1/AgentMessage.ts';
import type { Command } from '../../proto/gen/fleet/v1/Command.ts';
import type { CommandOutput__Output } from '../../proto/gen/fleet/v1/CommandOutput.ts';
import type { CommandResult__Output } from '../../proto/gen/fleet/v1/CommandResult.ts';
import type { DesiredStateAck__Output } from '../../proto/gen/fleet/v1/DesiredStateAck.ts';
import type { EngineEvent__Output } from '../../proto/gen/fleet/v1/EngineEvent.ts';
import type { EngineSpec } from '../../proto/gen/fleet/v1/EngineSpec.ts';
import type { GpuEvent__Output } from '../../proto/gen/fleet/v1/GpuEvent.ts';
import type { Hello__Output } from '../../proto/gen/fleet/v1/Hello.ts';
import type { NodeEvent__Output } from '../../proto/gen/fleet/v1/NodeEvent.ts';
import type { SchedulerMessage } from '../../proto/gen/fleet/v1/SchedulerMessage.ts';
import type { Telemetry__Output } from '../../proto/gen/fleet/v1/Telemetry.ts';
import { fleetService } from '../../proto/load.ts';
import type { TestCertificates } from './certificates.ts';
import { until } from './waits.ts';

export { makeCertificates, type TestCertificates } from './certificates.ts';
export { removeFolder, until } from './waits.ts';

/** What came for one submitted request. Byte fields are copies. */
export interface Answer {
  readonly stream: number;
  head: boolean;
  text: string;
  ids: number[];
  /** One entry a TOKENS or BODY frame. */
  readonly frames: { readonly index: number; readonly bytes: number; readonly ids: number; readonly atMs: number }[];
  done?: LaneDone;
  failed?: LaneFailure & { readonly status: number };
  /** Frames after the end or after cancel: must stay 0. */
  late: number;
  cancelled: boolean;
  readonly ended: Promise<Answer>;
}

export interface SubmitOptions {
  readonly engine: string;
  readonly body: object;
  readonly path?: string;
  readonly credit?: number;
  readonly incarnation?: number;
  readonly meta?: Partial<SubmitMeta>;
  /** Gives credit back as it is used; true when absent. */
  readonly autoCredit?: boolean;
  readonly resumeIds?: readonly number[];
  readonly attempt?: number;
}

export interface AttachOptions {
  readonly index?: number;
  readonly hadBytes?: number;
  readonly attempt?: number;
  readonly incarnation?: number;
  readonly credit?: number;
  readonly withIds?: boolean;
  readonly autoCredit?: boolean;
}

interface Pending {
  readonly answer: Answer;
  readonly finish: () => void;
  readonly autoCredit: boolean;
}

type LaneCall = ServerDuplexStream<Buffer, Buffer>;

/** The scheduler's end of one lane. */
export class FakeLane {
  hello: LaneHello | undefined;
  messages = 0;
  readonly #call: LaneCall;
  readonly #pending = new Map<number, Pending>();
  #nextStream = 1;
  closed = false;

  constructor(call: LaneCall) {
    this.#call = call;
    call.on('data', (frames: Buffer) => this.#onFrames(frames));
    call.on('error', () => this.#onClosed());
    call.on('cancelled', () => this.#onClosed());
    call.on('end', () => {
      this.#onClosed();
      call.end();
    });
  }

  #onClosed(): void {
    this.closed = true;
  }

  #onFrames(frames: Buffer): void {
    this.messages += 1;
    const credit = new FrameBatch();
    visitFrames(frames, (frame) => {
      if (frame.kind === FRAME.HELLO) {
        this.hello = decodeJson<LaneHello>(frame.payload);
        return;
      }
      const pending = this.#pending.get(frame.stream);
      if (pending === undefined) throw new Error(`frame ${frame.kind} for unknown stream ${frame.stream}`);
      const { answer } = pending;
      if (answer.cancelled || answer.done !== undefined || answer.failed !== undefined) {
        answer.late += 1;
        return;
      }
      if (frame.kind === FRAME.HEAD) answer.head = true;
      if (frame.kind === FRAME.TOKENS || frame.kind === FRAME.BODY) {
        answer.text += frame.payload.toString('utf8');
        const ids = readIds(frame.idBytes);
        for (const id of ids) answer.ids.push(id);
        answer.frames.push({
          index: frame.index,
          bytes: frame.payload.length,
          ids: ids.length,
          atMs: performance.now(),
        });
        if (pending.autoCredit)
          credit.append({ kind: FRAME.CREDIT, stream: frame.stream, credit: frame.payload.length });
      }
      if (frame.kind === FRAME.DONE) answer.done = decodeJson<LaneDone>(frame.payload);
      if (frame.kind === FRAME.FAILED) answer.failed = { ...decodeJson<LaneFailure>(frame.payload), status: frame.aux };
      if (frame.kind === FRAME.DONE || frame.kind === FRAME.FAILED) pending.finish();
    });
    if (credit.bytes > 0) this.#call.write(credit.take());
  }

  submit(options: SubmitOptions): Answer {
    return this.submitAll([options])[0] as Answer;
  }

  /** Submits all of them in one message. */
  submitAll(all: readonly SubmitOptions[]): Answer[] {
    const batch = new FrameBatch();
    const answers = all.map((options) => {
      const { stream: isStream } = options.body as { stream?: boolean };
      const stream = this.#nextStream++;
      const answer = this.expect(stream, options.autoCredit ?? true);
      const meta: SubmitMeta = {
        requestId: `req-${stream}`,
        engine: options.engine,
        path: options.path ?? '/v1/chat/completions',
        stream: isStream === true,
        wantUsage: false,
        wantTokenIds: false,
        ...options.meta,
      };
      const { credit = 64 * 1024, incarnation = 0, attempt = 0, resumeIds = [] } = options;
      const header = { kind: FRAME.SUBMIT, stream, credit, incarnation, attempt };
      batch.append(header, encodeSubmit(meta, Buffer.from(JSON.stringify(options.body))), resumeIds);
      return answer;
    });
    this.#call.write(batch.take());
    return answers;
  }

  /** Sends one frame without a payload. */
  send(kind: number, stream: number, credit = 0): void {
    const batch = new FrameBatch();
    batch.append({ kind: kind as 2, stream, credit });
    this.#call.write(batch.take());
  }

  grant(answer: Answer, credit: number): void {
    this.send(FRAME.CREDIT, answer.stream, credit);
  }

  cancel(answer: Answer): void {
    answer.cancelled = true;
    this.send(FRAME.CANCEL, answer.stream);
  }

  /** Comes back for a request by its id; the answer holds what this lane gets of it. */
  attach(requestId: string, place: AttachOptions = {}): Answer {
    const stream = this.#nextStream++;
    const answer = this.expect(stream, place.autoCredit ?? true);
    this.attachAs(stream, requestId, place);
    return answer;
  }

  /** Sends an ATTACH with this number of a stream. */
  attachAs(stream: number, requestId: string, place: AttachOptions = {}): void {
    const batch = new FrameBatch();
    const header = {
      kind: FRAME.ATTACH,
      stream,
      index: place.index ?? 0,
      aux: place.hadBytes ?? 0,
      attempt: place.attempt ?? 0,
      incarnation: place.incarnation ?? 0,
      credit: place.credit ?? 64 * 1024,
      flags: place.withIds === true ? FLAG.WITH_IDS : 0,
    };
    batch.append(header, Buffer.from(requestId));
    this.#call.write(batch.take());
  }

  /** Registers an answer for a stream number that was never submitted, for ATTACH. */
  expect(stream: number, autoCredit = false): Answer {
    let finish: () => void = () => undefined;
    const answer: Answer = {
      stream,
      head: false,
      text: '',
      ids: [],
      frames: [],
      late: 0,
      cancelled: false,
      ended: new Promise((resolve) => {
        finish = () => resolve(answer);
      }),
    };
    this.#pending.set(stream, { answer, finish, autoCredit });
    return answer;
  }

  /** Writes any bytes as one message. */
  writeRaw(bytes: Buffer): void {
    this.#call.write(bytes);
  }

  cut(): void {
    this.#call.emit(
      'error',
      Object.assign(new Error('cut by the test'), { code: status.UNAVAILABLE, details: 'cut by the test' }),
    );
  }
}

export interface FakeSchedulerOptions {
  readonly certificates: TestCertificates;
  readonly term?: number;
  readonly protocolVersion?: number;
  readonly port?: number;
  readonly telemetryPeriodMs?: number;
}

type SessionCall = ServerDuplexStream<AgentMessage__Output, SchedulerMessage>;

export class FakeScheduler {
  readonly #options: FakeSchedulerOptions;
  readonly #server = new Server({ 'grpc.max_receive_message_length': 64 * 1024 * 1024 });
  #session: SessionCall | undefined;
  readonly hellos: Hello__Output[] = [];
  readonly events: EngineEvent__Output[] = [];
  readonly telemetry: Telemetry__Output[] = [];
  readonly acks: DesiredStateAck__Output[] = [];
  readonly goodbyes: string[] = [];
  readonly lanes: FakeLane[] = [];
  readonly seqs: number[] = [];
  readonly gpuEvents: GpuEvent__Output[] = [];
  readonly nodeEvents: NodeEvent__Output[] = [];
  readonly outputs: CommandOutput__Output[] = [];
  readonly results: CommandResult__Output[] = [];
  /** Whether GPU events are acknowledged. */
  acknowledges = true;
  sessions = 0;
  term: number;
  port = 0;

  constructor(options: FakeSchedulerOptions) {
    this.#options = options;
    this.term = options.term ?? 1;
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  async start(): Promise<this> {
    const { ca, server } = this.#options.certificates;
    this.#server.addService(fleetService as never, {
      Session: (call: SessionCall) => this.#onSession(call),
      Lane: (call: LaneCall) => {
        this.lanes.push(new FakeLane(call));
      },
    });
    const pair = { private_key: Buffer.from(server.keyPem), cert_chain: Buffer.from(server.certPem) };
    const secure = ServerCredentials.createSsl(Buffer.from(ca.certPem), [pair], true);
    this.port = await new Promise<number>((resolve, reject) => {
      this.#server.bindAsync(`127.0.0.1:${this.#options.port ?? 0}`, secure, (error, port) =>
        error === null ? resolve(port) : reject(error),
      );
    });
    return this;
  }

  #onSession(call: SessionCall): void {
    this.sessions += 1;
    this.#session = call;
    call.on('data', (message: AgentMessage__Output) => {
      this.seqs.push(message.seq);
      if (message.hello != null) {
        this.hellos.push(message.hello);
        this.events.push(...message.hello.engines);
        const welcome = {
          schedulerId: 'fake',
          schedulerVersion: 'test',
          protocolVersion: this.#options.protocolVersion ?? 1,
          telemetryPeriodMs: this.#options.telemetryPeriodMs ?? 500,
        };
        call.write({ term: this.term, welcome });
      }
      if (message.engineEvent != null) this.events.push(message.engineEvent);
      if (message.telemetry != null) this.telemetry.push(message.telemetry);
      if (message.desiredStateAck != null) this.acks.push(message.desiredStateAck);
      if (message.gpuEvent != null) {
        this.gpuEvents.push(message.gpuEvent);
        if (this.acknowledges) call.write({ term: this.term, eventAck: { seq: message.seq } });
      }
      if (message.nodeEvent != null) this.nodeEvents.push(message.nodeEvent);
      if (message.commandOutput != null) this.outputs.push(message.commandOutput);
      if (message.commandResult != null) this.results.push(message.commandResult);
      if (message.goodbye != null) this.goodbyes.push(message.goodbye.reason);
    });
    call.on('error', () => this.#forget(call));
    call.on('end', () => {
      this.#forget(call);
      call.end();
    });
  }

  #forget(call: SessionCall): void {
    if (this.#session === call) this.#session = undefined;
  }

  sendDesired(generation: number, engines: readonly EngineSpec[], term = this.term): void {
    this.#session?.write({ term, desiredState: { generation, engines: [...engines] } });
  }

  sendCommand(command: Command, term = this.term): void {
    this.#session?.write({ term, command });
  }

  /** Takes nothing more of the present session, as a scheduler does that hangs. */
  stopReading(): void {
    this.#session?.pause();
  }

  cutSession(code: number = status.UNAVAILABLE): void {
    this.#session?.emit('error', Object.assign(new Error('cut by the test'), { code, details: 'cut by the test' }));
  }

  /** The newest event of an engine. */
  latest(engine: string): EngineEvent__Output | undefined {
    return this.events.findLast((event) => event.engine === engine);
  }

  async waitState(engine: string, state: string, incarnation = 0): Promise<EngineEvent__Output> {
    const find = (): EngineEvent__Output | undefined =>
      this.events.findLast(
        (event) =>
          event.engine === engine && event.state === `ENGINE_STATE_${state}` && event.incarnation >= incarnation,
      );
    await until(() => find() !== undefined, `engine ${engine} to be ${state}`, 30_000);
    return find() as EngineEvent__Output;
  }

  async waitLane(): Promise<FakeLane> {
    const find = (): FakeLane | undefined => this.lanes.findLast((lane) => !lane.closed && lane.hello !== undefined);
    await until(() => find() !== undefined, 'a lane');
    return find() as FakeLane;
  }

  async stop(): Promise<void> {
    this.#server.forceShutdown();
    await Promise.resolve();
  }
}
