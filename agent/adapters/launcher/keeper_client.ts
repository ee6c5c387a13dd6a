/** One connection to a keeper: its greeting, its pushes, and answers to requests. */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import {
  decodeAnswer,
  type KeeperAnswer,
  type KeeperReport,
  type KeeperRequest,
  LIFE_FILES,
} from '../../core/keeper_protocol.ts';

const MAX_LINE_BYTES = 2 * 1024 * 1024;

interface Waiter {
  readonly request: KeeperRequest;
  readonly resolve: (answer: KeeperAnswer | undefined) => void;
}

/** Whether an answer is the one to this request: those that take time may come out of order. */
const answers = (answer: KeeperAnswer, request: KeeperRequest): boolean =>
  answer.kind === 'error' ||
  (answer.kind === 'pids' ? request === 'pids' : answer.kind === 'ok' && answer.did === request);

export class KeeperClient {
  readonly #socket: Socket;
  #pieces = '';
  #waiters: Waiter[] = [];
  #greet: ((report: KeeperReport | undefined) => void) | undefined;
  #closed = false;
  /** Called with each report, the greeting left out. */
  onReport: (report: KeeperReport) => void = () => undefined;
  /** Called once, when the connection is gone, whoever ended it. */
  onClose: () => void = () => undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding('utf8');
    socket.on('data', (piece: string) => this.#onData(piece));
    // The error's reason does not matter: 'close' follows, and what it means is found out from the process list.
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#onClosed());
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** The first line of the connection; undefined when it is no greeting or does not come in time. */
  greeting(timeoutMs: number): Promise<KeeperReport | undefined> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.close(), timeoutMs);
      this.#greet = (report) => {
        clearTimeout(timer);
        resolve(report);
      };
      if (this.#closed) this.#greet(undefined);
    });
  }

  /** Sends a request whose answer is not waited for; nothing when the connection is gone. */
  send(request: KeeperRequest): void {
    if (!this.#closed) this.#socket.write(`${request}\n`);
  }

  /** The answer, or undefined when none comes in time. */
  ask(request: KeeperRequest, timeoutMs: number): Promise<KeeperAnswer | undefined> {
    if (this.#closed) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      const settle = (answer: KeeperAnswer | undefined): void => {
        clearTimeout(timer);
        this.#waiters = this.#waiters.filter((other) => other !== waiter);
        resolve(answer);
      };
      const waiter: Waiter = { request, resolve: settle };
      const timer = setTimeout(() => settle(undefined), timeoutMs);
      this.#waiters.push(waiter);
      this.send(request);
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  /** Lets a keeper go whose engine has ended; resolves when it has, or when it takes longer than `timeoutMs`. */
  async dismiss(timeoutMs: number): Promise<void> {
    this.onReport = () => undefined;
    const gone = new Promise<void>((resolve) => (this.onClose = resolve));
    this.send('ack');
    const late = setTimeout(() => this.close(), timeoutMs);
    if (!this.#closed) await gone;
    clearTimeout(late);
  }

  #onData(piece: string): void {
    const lines = (this.#pieces + piece).split('\n');
    this.#pieces = lines.pop() as string;
    for (const line of lines) this.#onLine(line);
    if (this.#pieces.length > MAX_LINE_BYTES) this.close();
  }

  #onLine(line: string): void {
    const answer = decodeAnswer(line);
    const greet = this.#greet;
    this.#greet = undefined;
    if (answer === undefined || (greet !== undefined && answer.kind !== 'report')) {
      // Whatever speaks there is not a keeper of ours.
      greet?.(undefined);
      this.close();
    } else if (answer.kind === 'report') {
      if (greet !== undefined) greet(answer.report);
      else this.onReport(answer.report);
    } else this.#waiters.find(({ request }) => answers(answer, request))?.resolve(answer);
  }

  #onClosed(): void {
    this.#closed = true;
    this.#greet?.(undefined);
    for (const { resolve } of this.#waiters) resolve(undefined);
    this.onClose();
  }
}

export interface GreetedKeeper {
  readonly client: KeeperClient;
  readonly greeting: KeeperReport;
}

/**
 * Connects to the keeper of the life in this folder; undefined when none answers there. The path goes through the
 * descriptor of the folder, because a socket's path holds 107 bytes and a data folder may lie deeper.
 */
export async function connectKeeper(folder: string, timeoutMs: number): Promise<GreetedKeeper | undefined> {
  const handle = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY).catch(() => undefined);
  if (handle === undefined) return undefined;
  try {
    const client = new KeeperClient(connect({ path: `/proc/self/fd/${handle.fd}/${LIFE_FILES.socket}` }));
    const greeting = await client.greeting(timeoutMs);
    if (greeting !== undefined) return { client, greeting };
    client.close();
    return undefined;
  } finally {
    await handle.close();
  }
}
