/**
 * The simulated engine on several hosts, as vLLM 0.32 was seen: the first one serves once all others have come to its master
 * port, computes only while each of them takes part, and does not notice by itself that one is gone (its /health stays 200).
 * The others have no door and outlive the first one. Only the way of the bytes between them is the simulator's own.
 */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { UsageError } from './usage_error.ts';

export interface GangConfig {
  readonly size: number;
  readonly rank: number;
  readonly address: string;
  readonly port: number;
  readonly headless: boolean;
}

type Raw = Readonly<Record<string, unknown>>;
type ReadNumber = (name: 'nnodes' | 'node-rank' | 'master-port', fallback: number, min: number, max: number) => number;

const MAX_SIZE = 1024;
const BEAT_MS = 100;
/** A member that has not answered for this long takes no part; a busy machine is late too. */
const LATE_MS = 1500;
const RETRY_MS = 50;

/** @throws UsageError where the flags contradict each other */
export function gangOf(values: Raw, number: ReadNumber): GangConfig | undefined {
  const size = number('nnodes', 1, 1, MAX_SIZE);
  const headless = values['headless'] === true;
  const rank = number('node-rank', 0, 0, MAX_SIZE);
  if (rank >= size) throw new UsageError(`argument --node-rank: ${rank} is not below --nnodes ${size}`);
  if (headless !== rank > 0) throw new UsageError('argument --headless: all ranks but the first have it');
  if (size === 1) return undefined;
  const address = values['master-addr'];
  return {
    size,
    rank,
    headless,
    address: typeof address === 'string' ? address : '127.0.0.1',
    port: number('master-port', 29_501, 1, 65_535),
  };
}

export interface Members {
  /** Whether every one of them takes part now. */
  isWhole(): boolean;
}

interface Member {
  readonly socket: Socket;
  heardAtMs: number;
}

/** Waits until every member has come, and asks each for a sign of life from then on. Rejects when the port is taken. */
export async function awaitMembers({ size, address, port }: GangConfig): Promise<Members> {
  const members = new Map<number, Member>();
  const server = createServer((socket) => {
    let rank: number | undefined;
    socket.on('error', () => socket.destroy());
    socket.setEncoding('latin1');
    socket.on('data', (text: string) => {
      rank ??= Number(/^rank (\d+)/.exec(text)?.[1] ?? Number.NaN);
      if (!(rank > 0 && rank < size)) socket.destroy();
      else members.set(rank, { socket, heardAtMs: performance.now() });
    });
  });
  server.listen(port, address);
  await once(server, 'listening');
  server.unref();
  while (members.size < size - 1) await sleep(RETRY_MS);
  setInterval(() => {
    for (const { socket } of members.values()) if (socket.writable) socket.write('.');
  }, BEAT_MS).unref();
  return {
    isWhole: () => {
      const nowMs = performance.now();
      return [...members.values()].every(({ socket, heardAtMs }) => !socket.closed && nowMs - heardAtMs < LATE_MS);
    },
  };
}

/** Holds up the core for as long as the gang is not whole. */
export function computeTogether(members: Members, hang: (ms: number) => void): void {
  setInterval(() => {
    if (!members.isWhole()) hang(BEAT_MS * 3);
  }, BEAT_MS).unref();
}

/** One of the others: comes to the first one and takes part until it is told to end. Never returns by itself. */
export async function takePart({ rank, address, port }: GangConfig, say: (line: string) => void): Promise<never> {
  process.on('SIGTERM', () => process.exit(0));
  process.on('SIGINT', () => process.exit(0));
  for (;;) {
    const socket = connect(port, address);
    const over = new Promise<boolean>((resolve) => {
      socket.on('error', () => resolve(false));
      socket.on('close', (hadError) => resolve(!hadError));
    });
    socket.on('connect', () => {
      say(`rank ${rank} has come to ${address}:${port}`);
      socket.write(`rank ${rank}`);
    });
    socket.on('data', () => socket.write('.'));
    // Whoever comes too early tries again; whoever loses its leader stays, as vLLM's members do.
    if (await over) for (;;) await sleep(60_000);
    await sleep(RETRY_MS);
  }
}
