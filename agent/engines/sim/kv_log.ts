/**
 * KV cache events as a bounded log that a reader may follow: `GET /sim/kv_events`, the simulator's own door for what
 * vLLM publishes over ZeroMQ. One JSON line per batch: `{seq, ts, events}`.
 */
import type { ServerResponse } from 'node:http';
import type { KvBatch } from './core_client.ts';

const MAX_BATCHES = 65_536;
const MAX_READERS = 16;
const MAX_READER_BYTES = 16 * 1024 * 1024;

export interface KvLog {
  add(batch: KvBatch): void;
  /** Answers with all kept batches from sequence number `from` on; with `follow`, goes on as they come. */
  serve(res: ServerResponse, from: number, follow: boolean): void;
}

export function createKvLog(): KvLog {
  const lines: string[] = [];
  let first = 0;
  const readers = new Set<ServerResponse>();
  return {
    add(batch) {
      const line = `${JSON.stringify({ seq: first + lines.length, ...batch })}\n`;
      lines.push(line);
      if (lines.length > MAX_BATCHES) {
        lines.splice(0, MAX_BATCHES / 8);
        first += MAX_BATCHES / 8;
      }
      for (const reader of readers) {
        reader.write(line);
        // A reader that does not read sees its gap by the sequence numbers when it comes back.
        if (reader.writableLength > MAX_READER_BYTES) reader.destroy();
      }
    },
    serve(res, from, follow) {
      if (follow && readers.size >= MAX_READERS) {
        res.writeHead(503).end();
        return;
      }
      res.writeHead(200, { 'content-type': 'application/x-ndjson' });
      res.flushHeaders();
      for (const line of lines.slice(Math.max(0, from - first))) res.write(line);
      if (!follow) {
        res.end();
        return;
      }
      readers.add(res);
      res.on('close', () => readers.delete(res));
    },
  };
}
