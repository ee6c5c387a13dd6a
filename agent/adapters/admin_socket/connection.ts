/**
 * One connection to the local admin socket. Requests and answers are lines of JSON; an answer is any number of lines
 * with `output` and one with `result` or `error`. A client that does not read holds back what it asked for and nothing
 * else; when it goes away, what follows a log ends.
 */
import type { Socket } from 'node:net';
import { StringDecoder } from 'node:string_decoder';
import { CodedError, toCodedError } from '../../../lib/errors.ts';
import { failureOf } from '../../core/command_result.ts';
import type { CommandRunner, CommandSink } from '../../ports.ts';
import type { EngineEvent } from '../../../proto/gen/fleet/v1/EngineEvent.ts';
import type { GpuEvent } from '../../../proto/gen/fleet/v1/GpuEvent.ts';
import type { NodeEvent } from '../../../proto/gen/fleet/v1/NodeEvent.ts';
import { type AdminRequest, checkRequest, idOf, parseLine } from './requests.ts';

/** What the agent knows of itself, as its hello says it. */
export interface AgentPicture {
  readonly nodeName: string;
  readonly agentVersion: string;
  readonly engines: readonly EngineEvent[];
  /** The GPUs that are quarantined now. */
  readonly gpuEvents: readonly GpuEvent[];
  /** Present while the node drains or is drained. */
  readonly nodeEvent?: NodeEvent;
}

export interface AdminConnectionDeps {
  readonly runner: CommandRunner;
  readonly picture: () => AgentPicture;
  readonly log: { info(fields: object, message: string): void };
}

const MAX_LINE_BYTES = 64 * 1024;
const MAX_RUNNING = 8;
/** How much may wait for a client that does not read. */
const WINDOW_BYTES = 256 * 1024;
/** A connection that asks for nothing makes room for others. */
const IDLE_MS = 60_000;

/** Serves a connection until it ends. */
export class AdminConnection {
  readonly #socket: Socket;
  readonly #deps: AdminConnectionDeps;
  readonly #running = new Map<string, AbortController>();
  #text = '';
  readonly #decoder = new StringDecoder('utf8');

  constructor(socket: Socket, deps: AdminConnectionDeps) {
    this.#socket = socket;
    this.#deps = deps;
    socket.on('data', (bytes: Buffer) => this.#onData(bytes));
    // A client that went away in the middle of an answer is no event: its commands are told by `close`.
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#abortAll());
    socket.setTimeout(IDLE_MS, () => {
      if (this.#running.size === 0) socket.destroy();
    });
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #onData(bytes: Buffer): void {
    this.#text += this.#decoder.write(bytes);
    for (;;) {
      const end = this.#text.indexOf('\n');
      if (end < 0) break;
      const line = this.#text.slice(0, end).trim();
      this.#text = this.#text.slice(end + 1);
      if (line !== '') this.#onLine(line);
    }
    if (this.#text.length <= MAX_LINE_BYTES) return;
    this.#text = '';
    this.#fail('', new CodedError('body_too_large', `A request is at most ${MAX_LINE_BYTES} bytes long.`));
    this.#socket.end();
  }

  #onLine(line: string): void {
    let id = '';
    try {
      const value = parseLine(line);
      id = idOf(value);
      this.#take(checkRequest(value));
    } catch (thrown) {
      this.#fail(id, toCodedError(thrown));
    }
  }

  /** @throws CodedError not_found, already_exists, overloaded */
  #take(request: AdminRequest): void {
    const picture = this.#deps.picture();
    switch (request.kind) {
      case 'list':
        this.#write({ id: request.id, picture });
        return;
      case 'show': {
        const engine = picture.engines.find((one) => one.engine === request.engine);
        if (engine === undefined)
          throw new CodedError('not_found', 'There is no engine of this name.', { param: 'engine' });
        this.#write({ id: request.id, picture: { ...picture, engines: [engine] } });
        return;
      }
      case 'cancel':
        this.#running.get(request.targetId)?.abort();
        return;
      case 'command':
        if (this.#running.has(request.id))
          throw new CodedError('already_exists', 'A command with this id runs.', { param: 'id' });
        if (this.#running.size >= MAX_RUNNING)
          throw new CodedError('overloaded', 'Too many commands run on this connection.');
        void this.#run(request);
    }
  }

  async #run({ id, command }: AdminRequest & { kind: 'command' }): Promise<void> {
    const abort = new AbortController();
    this.#running.set(id, abort);
    const { verb, engine, actor, reason } = command;
    this.#deps.log.info({ verb, engine, actor, reason }, 'order taken at the local socket');
    try {
      const result = await this.#deps.runner.run(command, this.#sinkOf(id, abort.signal));
      this.#write({ id, result });
    } catch (thrown) {
      this.#write({ id, result: failureOf(thrown) });
    } finally {
      this.#running.delete(id);
    }
  }

  #sinkOf(id: string, signal: AbortSignal): CommandSink {
    // A character may be cut by the end of a block; the decoder keeps its first bytes for the next one.
    const decoder = new StringDecoder('utf8');
    return {
      signal,
      output: ({ data, journal }) => {
        const text = typeof data === 'string' ? data : data === undefined ? '' : decoder.write(Buffer.from(data));
        this.#write({ id, output: { text, journal: journal ?? [] } });
      },
      ready: () => this.#drained(signal),
    };
  }

  async #drained(signal: AbortSignal): Promise<void> {
    const socket = this.#socket;
    if (socket.writableLength < WINDOW_BYTES || socket.destroyed || signal.aborted) return;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        socket.off('drain', done).off('close', done);
        signal.removeEventListener('abort', done);
        resolve();
      };
      socket.on('drain', done).on('close', done);
      signal.addEventListener('abort', done, { once: true });
    });
  }

  #fail(id: string, error: CodedError): void {
    const { code, message, param } = error;
    this.#write({ id, error: { code, message, ...(param === undefined ? {} : { param }) } });
  }

  #write(line: object): void {
    if (!this.#socket.destroyed) this.#socket.write(`${JSON.stringify(line)}\n`);
  }

  #abortAll(): void {
    for (const abort of this.#running.values()) abort.abort();
  }
}
