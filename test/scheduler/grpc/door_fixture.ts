/** A gRPC door on a free port with a fake generator behind it, keys for each role, and clients; all closed by the test. */
import { type Client, credentials, makeClientConstructor, Metadata, type ServiceError } from '@grpc/grpc-js';
import type { Test } from 'tap';
import { CodedError } from '../../../lib/errors.ts';
import type { TenantId } from '../../../lib/ids.ts';
import { createLogger } from '../../../lib/io/logger.ts';
import { createMetrics, type Metrics } from '../../../lib/io/metrics.ts';
import { systemClock, systemRandom } from '../../../lib/io/system.ts';
import type { InferenceClient } from '../../../proto/gen/inference/v1/Inference.ts';
import { adminService, inferenceService } from '../../../proto/load.ts';
import { decodeStatus, fromServiceError } from '../../../proto/status.ts';
import type { ManyResponse } from '../../../proto/many_codec.ts';
import { ENTRY } from '../../../proto/many_codec.ts';
import {
  createGrpcDoor,
  type GrpcDoor,
  type GrpcDoorDeps,
  type GrpcDoorOptions,
} from '../../../scheduler/adapters/grpc/grpc_door.ts';
import type { Authenticator, FleetView, Identity, ModelView, Role } from '../../../scheduler/ports.ts';
import { FakeGenerator } from './fake_generator.ts';

/** Shaped like a real key, so that a leak of it into a log would show. */
export const CANARY_KEY = 'sk-canary0000-c4n4ryc4n4ryc4n4ryc4n4ryc4n4ry';

const KEYS: Readonly<Record<string, { tenant: string; roles: Role[] }>> = {
  [CANARY_KEY]: { tenant: 'acme', roles: ['user'] },
  'key-other': { tenant: 'other', roles: ['user'] },
  'key-operator': { tenant: 'ops', roles: ['operator'] },
  'key-admin': { tenant: 'ops', roles: ['admin'] },
  'key-gateway': { tenant: 'gate', roles: ['gateway'] },
};

export const authenticator: Authenticator = {
  async authenticate(authorization): Promise<Identity> {
    const key = KEYS[(authorization ?? '').replace(/^Bearer /, '')];
    if (key === undefined) throw new CodedError('unauthenticated', 'The credential is wrong.');
    return { tenant: key.tenant as TenantId, subject: 'test', roles: new Set(key.roles), weight: 1 };
  },
};

const MODELS: readonly ModelView[] = [
  {
    id: 'tiny',
    createdS: 1_700_000_000,
    ownedBy: 'sophia',
    contextTokens: 4096,
    capabilities: ['chat', 'completions'],
    simulated: true,
    readyEngines: 2,
    engines: 2,
    runningRequests: 0,
  },
];

export const DEFAULTS: GrpcDoorOptions = {
  host: '127.0.0.1',
  port: 0,
  limits: { maxBodyBytes: 64 * 1024, maxDepth: 32, allowedEngineFields: new Set() },
  clientWindowBytes: 16 * 1024,
  maxMessageBytes: 256 * 1024,
  maxRunningPerStream: 8,
  maxBatchBytes: 32 * 1024,
  maxConcurrentStreams: 100,
  keepaliveTimeMs: 30_000,
  keepaliveTimeoutMs: 10_000,
  drainTimeoutMs: 500,
};

export interface Fixture {
  readonly door: GrpcDoor;
  readonly port: number;
  readonly generator: FakeGenerator;
  readonly metrics: Metrics;
  readonly fleet: { ok: boolean };
  readonly logLines: string[];
  readonly inference: InferenceClient;
  /** A client over a connection of its own. */
  newClient(): InferenceClient;
  address(): string;
}

export function bearer(key: string): Metadata {
  const metadata = new Metadata();
  metadata.set('authorization', `Bearer ${key}`);
  return metadata;
}

export async function openDoor(
  t: Test,
  overrides: Partial<GrpcDoorOptions> = {},
  admin?: GrpcDoorDeps['admin'],
): Promise<Fixture> {
  const generator = new FakeGenerator();
  const logLines: string[] = [];
  const logger = createLogger({
    name: 'test',
    level: 'trace',
    destination: { write: (line) => void logLines.push(line) },
  });
  const metrics = createMetrics({ processMetrics: false });
  const state = { ok: true };
  const fleet: FleetView = { models: () => MODELS, ready: () => ({ ok: state.ok, reason: 'test' }) };
  const door = createGrpcDoor({
    generator,
    fleet,
    authenticator,
    clock: systemClock,
    random: systemRandom,
    logger,
    metrics,
    ...(admin === undefined ? {} : { admin }),
    options: { ...DEFAULTS, ...overrides },
  });
  const { port } = await door.listen();
  const clients: Client[] = [];
  const Constructor = makeClientConstructor(inferenceService, 'Inference');
  const newClient = (): InferenceClient => {
    const options = { 'grpc.use_local_subchannel_pool': 1, 'grpc.max_receive_message_length': -1 };
    const client = new Constructor(`127.0.0.1:${port}`, credentials.createInsecure(), options);
    clients.push(client);
    return client as unknown as InferenceClient;
  };
  t.teardown(async () => {
    for (const client of clients) client.close();
    await door.close();
  });
  return {
    door,
    port,
    generator,
    metrics,
    fleet: state,
    logLines,
    inference: newClient(),
    newClient,
    address: () => `127.0.0.1:${port}`,
  };
}

export const AdminConstructor = makeClientConstructor(adminService, 'Admin');

/** A chat body for the fake engine. */
export const body = (fields: object = {}): Buffer =>
  Buffer.from(JSON.stringify({ model: 'tiny', stream: true, messages: [{ role: 'user', content: 'hi' }], ...fields }));

/** Reads a server stream to its end: its messages, and the coded error that ended it if one did. */
export async function readAll<Message>(
  call: AsyncIterable<Message>,
): Promise<{ messages: Message[]; failure?: ReturnType<typeof fromServiceError>; code?: number }> {
  const messages: Message[] = [];
  try {
    for await (const message of call) messages.push(message);
  } catch (error) {
    const failure = error as ServiceError;
    return { messages, failure: fromServiceError(failure), code: failure.code };
  }
  return { messages };
}

/** Entries of a GenerateMany stream, unrolled, with a way to wait for what is to come. */
export class EntryReader {
  readonly entries: { stream: number; kind: number; bytes: Buffer }[] = [];
  messages = 0;
  ended: 'open' | 'ok' | ReturnType<typeof fromServiceError> = 'open';
  #changed: (() => void)[] = [];

  constructor(call: NodeJS.EventEmitter) {
    call.on('data', (message: ManyResponse) => {
      this.messages += 1;
      let at = 0;
      message.size.forEach((size, i) => {
        const bytes = message.data.subarray(at, at + size);
        this.entries.push({ stream: message.stream[i] as number, kind: message.kind[i] as number, bytes });
        at += size;
      });
      this.#wake();
    });
    call.on('end', () => {
      if (this.ended === 'open') this.ended = 'ok';
      this.#wake();
    });
    call.on('error', (error: ServiceError) => {
      this.ended = fromServiceError(error);
      this.#wake();
    });
  }

  #wake(): void {
    for (const resolve of this.#changed.splice(0)) resolve();
  }

  /** Waits until `condition` holds; fails after twenty seconds. */
  async until(condition: (reader: EntryReader) => boolean): Promise<void> {
    const limit = AbortSignal.timeout(20_000);
    while (!condition(this)) {
      if (limit.aborted) throw new Error(`not seen in time; entries so far: ${this.kinds().join(' ')}`);
      await new Promise<void>((resolve) => {
        this.#changed.push(resolve);
        limit.addEventListener('abort', () => resolve(), { once: true });
      });
    }
  }

  kinds(stream?: number): string[] {
    const names = Object.entries(ENTRY);
    return this.of(stream).map(({ kind }) => names.find(([, value]) => value === kind)?.[0] ?? String(kind));
  }

  of(stream?: number): { stream: number; kind: number; bytes: Buffer }[] {
    return this.entries.filter((entry) => stream === undefined || entry.stream === stream);
  }

  texts(stream: number): string[] {
    return this.of(stream)
      .filter(({ kind }) => kind === ENTRY.CHUNK)
      .map(({ bytes }) => JSON.parse(bytes.toString()).choices[0].delta.content as string);
  }

  /** The coded error with which a request ended. */
  error(stream: number): ReturnType<typeof decodeStatus> | undefined {
    const entry = this.of(stream).find(({ kind }) => kind === ENTRY.ERROR);
    return entry === undefined ? undefined : decodeStatus(entry.bytes);
  }
}

/** Lets everything that is already under way on this machine's sockets happen. */
export async function settle(ms = 50): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}
