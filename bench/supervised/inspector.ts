/**
 * Reaches into a Node process by its own inspector, which a signal opens on a loopback port: so a thread of the agent
 * can be made to crash, and its heap be collected before it is measured, with no code for it in the product.
 */
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import WebSocket from 'ws';
import { signalProcess } from '../../lib/io/processes.ts';

export interface Inspector {
  /** Evaluates an expression on the main thread. @throws when it throws there, or nothing comes back in 10 s */
  evaluate(expression: string): Promise<unknown>;
  collectGarbage(): Promise<void>;
  /** Evaluates an expression on every worker thread; gives how many there were. */
  evaluateOnWorkers(expression: string): Promise<number>;
  close(): Promise<void>;
}

const OPEN_LIMIT_MS = 10_000;
const ANSWER_LIMIT_MS = 10_000;
const POLL_MS = 20;
const ADDRESS = /Debugger listening on (ws:\/\/\S+)/g;

interface Message {
  readonly id?: number;
  readonly method?: string;
  readonly params?: { readonly sessionId?: string };
  readonly result?: { readonly result?: { readonly value?: unknown }; readonly exceptionDetails?: unknown };
  readonly error?: { readonly message: string };
}

/** Asks a process for its inspector and gives the address that it prints. It stays open until the process ends. */
export async function openInspector(pid: number, logFile: string): Promise<string> {
  signalProcess(pid, 'SIGUSR1');
  const endMs = performance.now() + OPEN_LIMIT_MS;
  while (performance.now() < endMs) {
    const address = [...(await readFile(logFile, 'utf8')).matchAll(ADDRESS)].at(-1)?.[1];
    if (address !== undefined) return address;
    await sleep(POLL_MS);
  }
  throw new Error(`process ${pid} opened no inspector within ${OPEN_LIMIT_MS / 1000} s`);
}

/** Connects to an open inspector. */
export async function connectInspector(address: string): Promise<Inspector> {
  const socket = new WebSocket(address);
  await new Promise<void>((resolve, reject) => {
    socket.once('open', resolve);
    socket.once('error', reject);
  });
  const waiting = new Map<number, (message: Message) => void>();
  const workers: string[] = [];
  let last = 0;
  socket.on('message', (data: Buffer) => {
    const message = JSON.parse(data.toString('utf8')) as Message;
    if (message.id !== undefined) waiting.get(message.id)?.(message);
    const { sessionId } = message.params ?? {};
    if (message.method === 'NodeWorker.attachedToWorker' && sessionId !== undefined) workers.push(sessionId);
  });
  const call = (method: string, params: object = {}): Promise<Message> =>
    new Promise((resolve, reject) => {
      last += 1;
      const id = last;
      const timer = setTimeout(() => reject(new Error(`${method}: no answer of the inspector`)), ANSWER_LIMIT_MS);
      waiting.set(id, (message) => {
        clearTimeout(timer);
        waiting.delete(id);
        if (message.error === undefined) resolve(message);
        else reject(new Error(`${method}: ${message.error.message}`));
      });
      socket.send(JSON.stringify({ id, method, params }));
    });
  return {
    async evaluate(expression) {
      const { result } = await call('Runtime.evaluate', { expression, returnByValue: true });
      if (result?.exceptionDetails !== undefined) throw new Error(`the process refused: ${expression}`);
      return result?.result?.value;
    },
    async collectGarbage() {
      await call('HeapProfiler.collectGarbage');
    },
    async evaluateOnWorkers(expression) {
      await call('NodeWorker.enable', { waitForDebuggerOnStart: false });
      const message = JSON.stringify({ id: 1, method: 'Runtime.evaluate', params: { expression } });
      for (const sessionId of workers) await call('NodeWorker.sendMessageToWorker', { sessionId, message });
      await call('NodeWorker.disable');
      return workers.length;
    },
    close: () =>
      new Promise((resolve) => {
        socket.once('close', () => resolve());
        socket.close();
      }),
  };
}
