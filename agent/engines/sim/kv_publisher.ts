/**
 * Publishes the simulated engine's cache events as vLLM's ZmqEventPublisher does (vllm/distributed/kv_events.py): frames of
 * topic, sequence number and MessagePack on one Unix socket, and the newest batches again, on request, on another.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { rm } from 'node:fs/promises';
import { encodeMsgpack, type MsgpackValue } from '../../../lib/msgpack.ts';
import { zmtpMessage, zmtpOpening, ZmtpReader, type ZmtpSocket } from '../../../lib/zmtp.ts';
import type { KvBatch } from './core_client.ts';

/** As vLLM's buffer_steps. */
const MAX_KEPT = 10_000;
/** A subscriber that does not read loses batches, and sees that by their numbers. */
const MAX_WAITING_BYTES = 16 * 1024 * 1024;
const MAX_MESSAGE_BYTES = 64 * 1024;
const EMPTY = new Uint8Array(0);

export interface KvPublisher {
  add(batch: KvBatch): void;
  close(): void;
}

export interface KvEndpoints {
  readonly events: string;
  readonly replay: string | undefined;
}

function seqFrame(seq: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigInt64(0, BigInt(seq));
  return bytes;
}

/** Listens as one side of ZeroMQ; `onMessage` gets what a peer sends once both have greeted. */
async function listen(
  path: string,
  type: ZmtpSocket,
  onMessage: (peer: Socket, frames: readonly Uint8Array[]) => void,
): Promise<{ readonly server: Server; readonly peers: Set<Socket> }> {
  // A socket that an earlier life has left would refuse the name.
  await rm(path, { force: true });
  const peers = new Set<Socket>();
  const server = createServer((peer) => {
    const reader = new ZmtpReader({ maxMessageBytes: MAX_MESSAGE_BYTES });
    peers.add(peer);
    peer.on('error', () => peer.destroy());
    peer.on('close', () => peers.delete(peer));
    peer.write(zmtpOpening(type));
    peer.on('data', (bytes) => {
      for (const event of reader.push(bytes)) {
        if (event.kind === 'message') onMessage(peer, event.frames);
        else if (event.kind === 'malformed') peer.destroy();
      }
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
  return { server, peers };
}

export async function startKvPublisher({ events, replay }: KvEndpoints): Promise<KvPublisher> {
  const kept: { readonly seq: number; readonly payload: Uint8Array }[] = [];
  const subscribers = new Set<Socket>();
  let next = 0;
  const publishing = await listen(events, 'PUB', (peer, frames) => {
    // The simulator knows one topic, the empty one: 1 subscribes, 0 ends it.
    if (frames[0]?.[0] === 1) subscribers.add(peer);
    else subscribers.delete(peer);
    peer.once('close', () => subscribers.delete(peer));
  });
  const replaying =
    replay === undefined
      ? undefined
      : await listen(replay, 'ROUTER', (peer, frames) => {
          const wanted = frames[1];
          if (frames.length !== 2 || wanted?.length !== 8) return;
          const from = Number(new DataView(wanted.buffer, wanted.byteOffset).getBigInt64(0));
          for (const { seq, payload } of kept) {
            if (seq >= from) peer.write(zmtpMessage([EMPTY, EMPTY, seqFrame(seq), payload]));
          }
          peer.write(zmtpMessage([EMPTY, EMPTY, seqFrame(-1), EMPTY]));
        });
  return {
    add({ ts, events: list }) {
      const payload = encodeMsgpack([ts, list as unknown as MsgpackValue, 0]);
      const seq = next;
      next += 1;
      kept.push({ seq, payload });
      if (kept.length > MAX_KEPT) kept.shift();
      const message = zmtpMessage([EMPTY, seqFrame(seq), payload]);
      for (const peer of subscribers) if (peer.writableLength < MAX_WAITING_BYTES) peer.write(message);
    },
    close() {
      for (const part of [publishing, replaying]) {
        part?.server.close();
        for (const peer of part?.peers ?? []) peer.destroy();
      }
    },
  };
}
