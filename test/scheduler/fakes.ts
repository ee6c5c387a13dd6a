/** Parts for tests of the run loop and of the rules under it: a clock that the test moves, a lane and a door that record. */
import type { Clock } from '../../lib/clock.ts';
import { CodedError } from '../../lib/errors.ts';
import type { EngineId, NodeId, RequestId, TenantId } from '../../lib/ids.ts';
import { seededRandom } from '../../lib/rng.ts';
import type { LaneUsage } from '../../proto/codec.ts';
import type { Command } from '../../proto/gen/fleet/v1/Command.ts';
import type { DesiredState } from '../../proto/gen/fleet/v1/DesiredState.ts';
import type { EngineEvent__Output } from '../../proto/gen/fleet/v1/EngineEvent.ts';
import type { EngineReading__Output } from '../../proto/gen/fleet/v1/EngineReading.ts';
import type { Hello__Output } from '../../proto/gen/fleet/v1/Hello.ts';
import type { Telemetry__Output } from '../../proto/gen/fleet/v1/Telemetry.ts';
import type {
  AdmittedRequest,
  AttachOrder,
  EndedRequest,
  Figures,
  GenerationSink,
  LaneHandle,
  LaneOrder,
  SessionHandle,
} from '../../scheduler/ports.ts';
import { createRunLoop, type RunLoopDeps, type RunLoopOptions } from '../../scheduler/run_loop.ts';

export const NODE = 'node-a' as NodeId;
export const TENANT = 'acme' as TenantId;

export interface FakeClock extends Clock {
  /** Moves time on and runs what has become due, in order. */
  advance(ms: number): void;
  readonly timers: number;
}

export function fakeClock(startMs = 1000): FakeClock {
  let nowMs = startMs;
  let timers: { atMs: number; task: () => void }[] = [];
  return {
    wallMs: () => 1_700_000_000_000 + nowMs,
    monotonicMs: () => nowMs,
    after(delayMs, task) {
      const timer = { atMs: nowMs + delayMs, task };
      timers.push(timer);
      return () => {
        timers = timers.filter((each) => each !== timer);
      };
    },
    advance(ms) {
      const endMs = nowMs + ms;
      for (;;) {
        const next = timers.filter((timer) => timer.atMs <= endMs).sort((a, b) => a.atMs - b.atMs)[0];
        if (next === undefined) break;
        timers = timers.filter((timer) => timer !== next);
        nowMs = Math.max(nowMs, next.atMs);
        next.task();
      }
      nowMs = endMs;
    },
    get timers() {
      return timers.length;
    },
  };
}

export interface SentOrder {
  readonly order: LaneOrder;
  readonly sink: GenerationSink;
  granted: number;
  cancelled: boolean;
}

export interface SentAttach {
  readonly order: AttachOrder;
  readonly sink: GenerationSink;
  granted: number;
  cancelled: boolean;
}

export interface FakeLaneHandle extends LaneHandle {
  readonly sent: SentOrder[];
  readonly attached: SentAttach[];
  closed: boolean;
  /** The lane is lost, as by a cut: what is on it fails. */
  cut(): void;
  closedWith: CodedError | undefined;
  load: number;
  /** The next submit throws this. */
  refuse: CodedError | undefined;
}

export function fakeLane(nodeName: NodeId = NODE, worker = 0): FakeLaneHandle {
  const lane: FakeLaneHandle = {
    nodeName,
    worker,
    load: 0,
    loadOf: () => 0,
    sent: [],
    attached: [],
    closed: false,
    cut() {
      lane.closed = true;
      const error = new CodedError('stream_lost', 'The lane was cut.');
      for (const { sink, cancelled } of [...lane.sent, ...lane.attached]) if (!cancelled) sink.onError(error);
    },
    attach(order, sink) {
      const sent: SentAttach = { order, sink, granted: 0, cancelled: false };
      lane.attached.push(sent);
      return {
        lane,
        grant: (bytes) => void (sent.granted += bytes),
        cancel: () => void (sent.cancelled = true),
      };
    },
    closedWith: undefined,
    refuse: undefined,
    submit(order, sink) {
      if (lane.refuse !== undefined) throw lane.refuse;
      const sent: SentOrder = { order, sink, granted: 0, cancelled: false };
      lane.sent.push(sent);
      return {
        lane,
        grant(bytes) {
          sent.granted += bytes;
        },
        cancel() {
          sent.cancelled = true;
        },
      };
    },
    close(error) {
      lane.closedWith = error;
      for (const sent of lane.sent) sent.sink.onError(error);
    },
  };
  return lane;
}

/** A door that writes down its calls: `head`, `tokens:TEXT`, `body:TEXT`, `done`, `error:CODE`. */
export interface RecordingDoor extends GenerationSink {
  readonly calls: string[];
  usage: LaneUsage | undefined;
  error: CodedError | undefined;
}

export function recordingDoor(): RecordingDoor {
  const calls: string[] = [];
  const door: RecordingDoor = {
    calls,
    usage: undefined,
    error: undefined,
    onHead: () => void calls.push('head'),
    onTokens: (sse) => void calls.push(`tokens:${sse.toString()}`),
    onBody: (bytes, last) => void calls.push(`body:${bytes.toString()}${last ? ':last' : ''}`),
    onDone(usage) {
      door.usage = usage;
      calls.push('done');
    },
    onError(error) {
      door.error = error;
      calls.push(`error:${error.code}`);
    },
  };
  return door;
}

export function request(change: Partial<AdmittedRequest> = {}): AdmittedRequest {
  return {
    id: 'req-1' as RequestId,
    identity: { tenant: TENANT, subject: 'test', roles: new Set(['user']), weight: 1 },
    tenant: TENANT,
    door: 'grpc',
    endpoint: 'chat',
    model: 'm',
    stream: true,
    body: Buffer.from('{}'),
    wantUsage: false,
    wantTokenIds: false,
    priority: 0,
    ...change,
  };
}

export function engineEvent(change: Partial<EngineEvent__Output> = {}): EngineEvent__Output {
  const models = [
    {
      id: 'm',
      capabilities: ['chat', 'completions'],
      createdS: 1,
      ownedBy: 'me',
      simulated: true,
      contextTokens: 4096,
    },
  ];
  return {
    engine: 'e0',
    incarnation: 1,
    state: 'ENGINE_STATE_READY',
    reason: 'serving',
    message: '',
    kind: 'ENGINE_KIND_SIM',
    models,
    ...change,
  } as EngineEvent__Output;
}

export function hello(change: Partial<Hello__Output> = {}): Hello__Output {
  return {
    protocolVersion: 1,
    agentVersion: '1.0',
    nodeName: NODE,
    sessionId: 's1',
    host: null,
    gpus: [],
    gpuSource: 'none',
    laneCount: 1,
    engines: [engineEvent()],
    gpuEvents: [],
    nodeEvent: null,
    ...change,
  };
}

export function telemetry(engines: Partial<EngineReading__Output>[]): Telemetry__Output {
  return {
    host: null,
    gpus: [],
    engines: engines.map((reading) => ({ engine: 'e0', incarnation: 1, ...reading })),
    snapshot: true,
    goneGpus: [],
    goneEngines: [],
    models: [],
    goneModels: [],
    agent: null,
  } as Telemetry__Output;
}

export interface FakeSessionHandle extends SessionHandle {
  readonly desired: DesiredState[];
  readonly commands: Command[];
  closedWith: CodedError | undefined;
}

export function fakeSession(sessionId = 's1', nodeName: NodeId = NODE): FakeSessionHandle {
  const session: FakeSessionHandle = {
    nodeName,
    sessionId,
    desired: [],
    commands: [],
    closedWith: undefined,
    sendCommand: (command) => void session.commands.push(command),
    sendDesiredState: (state) => void session.desired.push(state),
    close(error) {
      session.closedWith = error;
    },
  };
  return session;
}

export interface RecordedFigures extends Figures {
  readonly refusals: string[];
  readonly ends: EndedRequest[];
  readonly drops: string[];
  active: number;
  nodeCounts: [number, number];
}

export function recordedFigures(): RecordedFigures {
  const figures: RecordedFigures = {
    refusals: [],
    ends: [],
    drops: [],
    active: 0,
    nodeCounts: [0, 0],
    started: () => void (figures.active += 1),
    refused: (model, door, code) => void figures.refusals.push(`${model} ${door} ${code}`),
    ended(end) {
      figures.active -= 1;
      figures.ends.push(end);
    },
    dropped: (where) => void figures.drops.push(where),
    routed: () => undefined,
    nodes(connected, lost) {
      figures.nodeCounts = [connected, lost];
    },
  };
  return figures;
}

export const silentLog = { info() {}, warn() {}, error() {}, debug() {} } as unknown as RunLoopDeps['logger'];

export const LOOP_OPTIONS: RunLoopOptions = {
  policy: 'least_requests',
  maxRunningRequests: 1000,
  requestTimeoutMs: 60_000,
  staleAfterMs: 10_000,
  maxPendingPrefillMs: 1000,
  deathGraceMs: 500,
  maxLoggedRequests: 100,
  maxLoggedVerdicts: 1000,
  failover: {
    migrate: true,
    maxAttempts: 9,
    maxWaitMs: 10_000,
    maxJournalTokens: 1000,
    burst: 64,
    perSecond: 50,
    reattachWaitMs: 300,
    hedgeAfterMs: 0,
  },
  repeats: {
    graceMs: 10_000,
    keepMs: 60_000,
    maxAnswers: 100,
    maxAnswerBytes: 1024 * 1024,
    maxBytes: 16 * 1024 * 1024,
    settleMs: 0,
  },
};

/** A run loop with one connected node, its lane, and what the test wants otherwise. */
export function testLoop(
  change: { options?: Partial<RunLoopOptions>; deps?: Partial<RunLoopDeps>; hello?: Partial<Hello__Output> } = {},
) {
  const clock = fakeClock();
  const figures = recordedFigures();
  const loop = createRunLoop({
    clock,
    random: seededRandom(7),
    logger: silentLog,
    figures,
    desiredFor: () => undefined,
    configuredModels: [],
    options: { ...LOOP_OPTIONS, ...change.options },
    ...change.deps,
  });
  const session = fakeSession();
  const lane = fakeLane();
  loop.fleetSink.onHello(session, hello(change.hello));
  loop.fleetSink.onLaneOpen('s1', lane);
  return { loop, clock, figures, session, lane };
}

export const engineIdOf = (name: string, node: NodeId = NODE): EngineId => `${node}/${name}` as EngineId;

/** Token ids as they stand in a frame. */
export function idBytes(...ids: number[]): Buffer {
  const bytes = Buffer.alloc(ids.length * 4);
  ids.forEach((id, at) => bytes.writeUInt32LE(id, at * 4));
  return bytes;
}
