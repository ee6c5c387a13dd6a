/**
 * The fleet as one agent shows it on its local socket: its own engines. Lines of JSON both ways; the lines of an answer
 * carry the id of their request.
 */
import { createConnection, type Socket } from 'node:net';
import { userInfo } from 'node:os';
import { createInterface } from 'node:readline';
import { verbRule } from '../../lib/command_verbs.ts';
import { CodedError, type ErrorCode, ERRORS } from '../../lib/errors.ts';
import type { CommandResult } from '../../proto/gen/fleet/v1/CommandResult.ts';
import type { EngineEvent__Output } from '../../proto/gen/fleet/v1/EngineEvent.ts';
import type { NodeEvent__Output } from '../../proto/gen/fleet/v1/NodeEvent.ts';
import { type EngineView, type FleetAccess, requireDone } from './fleet_access.ts';

interface Picture {
  readonly nodeName: string;
  readonly engines: readonly Partial<EngineEvent__Output>[];
  readonly nodeEvent?: NodeEvent__Output;
}

interface AnswerLine {
  readonly id: string;
  readonly picture?: Picture;
  readonly output?: { readonly text: string; readonly journal: readonly Partial<EngineEvent__Output>[] };
  readonly result?: CommandResult;
  readonly error?: { readonly code: string; readonly message: string; readonly param?: string };
}

const ANSWER_TIMEOUT_MS = 10_000;
const CONNECT_TIMEOUT_MS = 5_000;

/** What an agent leaves out of its JSON is absent, as it is on the wire. */
function eventOf(event: Partial<EngineEvent__Output>): EngineEvent__Output {
  const empty = {
    engine: '',
    incarnation: 0,
    state: 'ENGINE_STATE_UNSPECIFIED',
    reason: '',
    message: '',
    kind: 'ENGINE_KIND_UNSPECIFIED',
    models: [],
    checks: [],
    drain: null,
    cause: '',
    advice: '',
    adopted: false,
  } as const;
  return { ...empty, ...event } as EngineEvent__Output;
}

function engineOf(node: string, told: Partial<EngineEvent__Output>): EngineView {
  const event = eventOf(told);
  const routable = event.state === 'ENGINE_STATE_READY';
  return { node, event, reading: null, routable, notRoutableReason: '', history: [], gpuIds: [], routing: null };
}

function connect(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(path);
    const fail = (cause: unknown): void => {
      socket.destroy();
      const why = (cause as NodeJS.ErrnoException | undefined)?.code ?? 'no answer';
      reject(new CodedError('unreachable', `No agent answers at ${path} (${why}).`, { cause }));
    };
    socket.setTimeout(CONNECT_TIMEOUT_MS, () => fail(undefined));
    socket.once('error', fail);
    socket.once('connect', () => {
      socket.setTimeout(0);
      socket.off('error', fail);
      resolve(socket);
    });
  });
}

/** The name of an engine on the node, from `engine` or `node/engine`. @throws CodedError not_found for another node */
function localName(target: string, node: string): string {
  const slash = target.indexOf('/');
  if (slash < 0) return target;
  if (target.slice(0, slash) === node) return target.slice(slash + 1);
  throw new CodedError('not_found', `This agent is ${node}; it knows no engine ${target}.`, { param: 'target' });
}

/** A connection to one agent: one request at a time. */
class AgentSocket {
  readonly #path: string;
  readonly #socket: Socket;
  readonly #lines: AsyncIterator<string>;
  #lastId = 0;

  constructor(path: string, socket: Socket) {
    this.#path = path;
    this.#socket = socket;
    const lines = createInterface({ input: socket, crlfDelay: Infinity });
    this.#lines = lines[Symbol.asyncIterator]();
    // However the connection ends, its reader learns of it as the end of the lines.
    socket.on('error', () => socket.destroy());
    socket.on('close', () => lines.close());
  }

  async picture(request: object): Promise<Picture> {
    const id = this.#send(request);
    const line = await this.#next(id, ANSWER_TIMEOUT_MS);
    if (line.picture === undefined) throw new CodedError('protocol_mismatch', 'The agent answered in other words.');
    return line.picture;
  }

  async run(request: object, onLine: (line: AnswerLine) => Promise<void> | void, signal?: AbortSignal): Promise<void> {
    const id = this.#send(request);
    const stop = (): void => void this.#socket.destroy();
    signal?.addEventListener('abort', stop, { once: true });
    try {
      for (;;) {
        const line = await this.#next(id);
        if (line.result !== undefined) {
          requireDone(line.result);
          return;
        }
        await onLine(line);
      }
    } catch (error) {
      if (signal?.aborted !== true) throw error;
    } finally {
      signal?.removeEventListener('abort', stop);
    }
  }

  close(): void {
    this.#socket.destroy();
  }

  #send(request: object): string {
    this.#lastId += 1;
    const id = String(this.#lastId);
    this.#socket.write(`${JSON.stringify({ id, ...request })}\n`);
    return id;
  }

  async #next(id: string, timeoutMs?: number): Promise<AnswerLine> {
    const timer = timeoutMs === undefined ? undefined : setTimeout(() => this.#socket.destroy(), timeoutMs).unref();
    const { value, done } = await this.#lines.next();
    clearTimeout(timer);
    if (done === true) throw new CodedError('node_unreachable', `The agent at ${this.#path} went away.`);
    const line = parseLine(value);
    if (line.error !== undefined) {
      const { code, message, param } = line.error;
      const known: ErrorCode = Object.hasOwn(ERRORS, code) ? (code as ErrorCode) : 'internal';
      throw new CodedError(known, message, param === undefined ? {} : { param });
    }
    if (line.id !== id) throw new CodedError('protocol_mismatch', 'The agent answered another request.');
    return line;
  }
}

function parseLine(text: string): AnswerLine {
  try {
    return JSON.parse(text) as AnswerLine;
  } catch (cause) {
    throw new CodedError('protocol_mismatch', 'The socket does not speak as an agent does.', { cause });
  }
}

/** @throws CodedError unreachable */
export async function openAgentSocket(path: string): Promise<FleetAccess> {
  const agent = new AgentSocket(path, await connect(path));
  const list = (): Promise<Picture> => agent.picture({ verb: 'list' });
  return {
    async engines() {
      const { nodeName, engines } = await list();
      return engines.map((event) => engineOf(nodeName, event));
    },
    async engine(name) {
      const { nodeName } = await list();
      const { engines } = await agent.picture({ verb: 'show', engine: localName(name, nodeName) });
      return engineOf(nodeName, engines[0] ?? {});
    },
    async node(name) {
      const { nodeName, engines, nodeEvent } = await list();
      if (name !== nodeName)
        throw new CodedError('not_found', `This agent is ${nodeName}, not ${name}.`, { param: 'name' });
      return { name, nodeEvent: nodeEvent ?? null, engines: engines.map((event) => engineOf(nodeName, event)) };
    },
    async run(target, command, { onOutput, signal } = {}) {
      const { nodeName } = await list();
      const ofNode = verbRule(String(command.verb))?.target === 'node';
      if (ofNode && target !== nodeName)
        throw new CodedError('not_found', `This agent is ${nodeName}, not ${target}.`, { param: 'target' });
      const engine = ofNode ? '' : localName(target, nodeName);
      const request = { ...command, engine, actor: userInfo().username };
      await agent.run(
        request,
        ({ output }) => onOutput?.({ data: output?.text ?? '', journal: (output?.journal ?? []).map(eventOf) }),
        signal,
      );
    },
    close: () => agent.close(),
  };
}
