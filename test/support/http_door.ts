/**
 * An HTTP door on a free port with a fake generator, a gate with one key per role, and helpers that speak to it.
 */
import http from 'node:http';
import net from 'node:net';
import { CodedError } from '../../lib/errors.ts';
import type { TenantId } from '../../lib/ids.ts';
import { createLogger } from '../../lib/io/logger.ts';
import { createMetrics, type Metrics } from '../../lib/io/metrics.ts';
import { systemClock, systemRandom } from '../../lib/io/system.ts';
import { createHttpDoor } from '../../scheduler/adapters/http/door.ts';
import type { HttpDoor, HttpDoorDeps, HttpDoorOptions } from '../../scheduler/adapters/http/options.ts';
import type { Authenticator, FleetView, Identity, ModelView, Role } from '../../scheduler/ports.ts';
import { createFakeGenerator, type FakeGenerator } from './fake_generator.ts';

/** The keys that the fake gate knows. */
export const KEYS: Readonly<Record<Role | 'stranger', string>> = {
  user: 'sk-user',
  operator: 'sk-operator',
  admin: 'sk-admin',
  gateway: 'sk-gateway',
  stranger: 'sk-CANARY-never-shown',
};

export const MODEL: ModelView = {
  id: 'org/model',
  createdS: 1,
  ownedBy: 'sophia',
  contextTokens: 2048,
  capabilities: ['chat'],
  simulated: false,
  readyEngines: 1,
  engines: 1,
  runningRequests: 0,
};

function identityOf(role: Role): Identity {
  return { tenant: `tenant-${role}` as TenantId, subject: role, roles: new Set([role]), weight: 1 };
}

export const fakeAuthenticator: Authenticator = {
  authenticate(authorization) {
    const role = (['user', 'operator', 'admin', 'gateway'] as const).find(
      (name) => authorization === `Bearer ${KEYS[name]}`,
    );
    if (role === undefined) return Promise.reject(new CodedError('unauthenticated', 'The credential is not valid.'));
    return Promise.resolve(identityOf(role));
  },
};

export interface TestDoor {
  readonly door: HttpDoor;
  readonly port: number;
  readonly generator: FakeGenerator;
  readonly metrics: Metrics;
  /** Every line that was logged. */
  readonly logLines: string[];
  readonly fleet: { isReady: boolean; models: ModelView[] };
  close(): Promise<void>;
}

export async function startDoor(
  options: Partial<HttpDoorOptions> = {},
  authenticator: Authenticator = fakeAuthenticator,
  more: Partial<HttpDoorDeps> = {},
): Promise<TestDoor> {
  const generator = createFakeGenerator();
  const metrics = createMetrics({ processMetrics: false });
  const logLines: string[] = [];
  const logger = createLogger({ name: 'test', level: 'trace', destination: { write: (line) => logLines.push(line) } });
  const state = { isReady: true, models: [MODEL] };
  const fleet: FleetView = {
    models: () => state.models,
    ready: () => ({ ok: state.isReady, reason: 'test' }),
  };
  const door = createHttpDoor({
    generator,
    fleet,
    authenticator,
    metrics,
    logger,
    clock: systemClock,
    random: systemRandom,
    options: { host: '127.0.0.1', port: 0, ...options },
    ...more,
  });
  const { port } = await door.listen();
  return { door, port, generator, metrics, logLines, fleet: state, close: () => door.close() };
}

export interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly text: string;
}

export interface Call {
  readonly method?: string;
  readonly path: string;
  readonly headers?: Record<string, string>;
  readonly body?: string | Buffer;
  readonly key?: string | null;
}

/** Begins a call; `head` resolves when the head of the answer has come, `whole()` reads the answer to its end. */
export function beginCall(port: number, call: Call) {
  const headers: Record<string, string> = {
    ...(call.key === null ? {} : { authorization: `Bearer ${call.key ?? KEYS.user}` }),
    ...(call.body === undefined ? {} : { 'content-type': 'application/json' }),
    ...call.headers,
  };
  const method = call.method ?? (call.body === undefined ? 'GET' : 'POST');
  const request = http.request({ host: '127.0.0.1', port, path: call.path, method, headers, agent: false });
  const head = new Promise<http.IncomingMessage>((resolve, reject) => {
    request.on('response', resolve);
    request.on('error', reject);
  });
  head.catch(() => {
    // A test that cuts the connection does not wait for the answer.
  });
  const whole = async (): Promise<Answer> => {
    const response = await head;
    const parts: Buffer[] = [];
    for await (const part of response) parts.push(part as Buffer);
    return { status: response.statusCode ?? 0, headers: response.headers, text: Buffer.concat(parts).toString('utf8') };
  };
  request.end(call.body);
  return { request, head, whole };
}

export function call(port: number, what: Call): Promise<Answer> {
  return beginCall(port, what).whole();
}

/** Sends bytes on a raw socket, in the given pieces, and collects what comes back until the peer closes. */
export function sendRaw(port: number, pieces: readonly (string | Buffer)[], pauseMs = 0): Promise<string> {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1');
    const parts: Buffer[] = [];
    const finish = (): void => resolve(Buffer.concat(parts).toString('utf8'));
    socket.on('data', (part) => parts.push(part));
    socket.on('error', finish);
    socket.on('close', finish);
    const next = (index: number): void => {
      const piece = pieces[index];
      if (piece === undefined || socket.destroyed) return;
      socket.write(piece);
      if (pauseMs === 0) next(index + 1);
      else setTimeout(() => next(index + 1), pauseMs);
    };
    socket.on('connect', () => next(0));
  });
}

export const CHAT_BODY = { model: 'org/model', messages: [{ role: 'user', content: 'Hi' }] };
export const STREAM_BODY = JSON.stringify({ ...CHAT_BODY, stream: true });
export const PLAIN_BODY = JSON.stringify(CHAT_BODY);

/** The payloads of an event stream, comments left out. */
export function eventsOf(text: string): string[] {
  return text
    .split('\n\n')
    .filter((event) => event.startsWith('data: '))
    .map((event) => event.slice('data: '.length));
}

/** Waits until `condition` holds, at most two seconds. */
export async function until(condition: () => boolean, what = 'the condition'): Promise<void> {
  for (let i = 0; i < 400; i++) {
    if (condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error(`${what} did not come true in time`);
}

/** Calls `send` again and again until it has nothing more to do for 60 ms; throws when that never comes. */
export async function pumpUntilBlocked(send: () => void, sentSoFar: () => number): Promise<void> {
  let quiet = 0;
  for (let i = 0; i < 1500 && quiet < 20; i++) {
    const before = sentSoFar();
    send();
    quiet = sentSoFar() === before ? quiet + 1 : 0;
    await new Promise((resolve) => setTimeout(resolve, 3));
  }
  if (quiet < 20) throw new Error('the sender was never held back');
}
