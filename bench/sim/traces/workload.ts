/**
 * The requests of one simulated run, as columns of numbers: a run touches each of them many times, and objects would be
 * most of its time. Prompts are known only by their prefix chunks: equal ids mean equal tokens, after equal tokens.
 */

export interface Workload {
  readonly name: string;
  readonly requests: number;
  /** Milliseconds from the start, ascending. */
  readonly arrivalMs: Float64Array;
  readonly inputTokens: Int32Array;
  readonly outputTokens: Int32Array;
  /** Tokens of a prefix chunk; a multiple of the engine's block. */
  readonly chunkTokens: number;
  /** Request r's full chunks are chunkIds[chunkStart[r]] to chunkIds[chunkStart[r + 1] - 1]; ids are dense from 0. */
  readonly chunkStart: Int32Array;
  readonly chunkIds: Int32Array;
  readonly distinctChunks: number;
  /** What a client would send as its session or prompt-cache key, as far as the trace tells; -1: nothing. */
  readonly session: Int32Array;
}

/** One request as a trace file gives it. */
export interface TraceRow {
  readonly arrivalMs: number;
  readonly inputTokens: number;
  readonly outputTokens: number;
  /** One id a chunk; the last may stand for a chunk that is not full. Absent: prompts share nothing. */
  readonly chunks?: readonly number[];
}

/**
 * A root that so large a share of all requests begins with is the system's prompt, not a conversation: the session is
 * told by the first chunk behind it.
 */
const COMMON_SHARE = 0.02;

/** The id that stands for a request's session: of the first chunk on its chain that is not common to many. */
function sessionsOf(rows: number, chunkStart: Int32Array, chunkIds: Int32Array, distinct: number): Int32Array {
  const users = new Int32Array(distinct);
  for (const id of chunkIds) users[id] = (users[id] as number) + 1;
  const common = Math.max(1, rows * COMMON_SHARE);
  const session = new Int32Array(rows).fill(-1);
  for (let r = 0; r < rows; r++) {
    for (let at = chunkStart[r] as number; at < (chunkStart[r + 1] as number); at++) {
      const id = chunkIds[at] as number;
      session[r] = id;
      if ((users[id] as number) <= common) break;
    }
  }
  return session;
}

/** Columns from rows; arrivals are sorted and moved so that the first is at 0. */
export function workloadOf(name: string, chunkTokens: number, rows: readonly TraceRow[]): Workload {
  const sorted = rows.toSorted((left, right) => left.arrivalMs - right.arrivalMs);
  const startMs = sorted[0]?.arrivalMs ?? 0;
  const dense = new Map<number, number>();
  const ids: number[] = [];
  const chunkStart = new Int32Array(sorted.length + 1);
  for (const [r, row] of sorted.entries()) {
    const full = Math.min(row.chunks?.length ?? 0, Math.floor(row.inputTokens / chunkTokens));
    for (let at = 0; at < full; at++) {
      const id = (row.chunks as readonly number[])[at] as number;
      const known = dense.get(id) ?? dense.size;
      dense.set(id, known);
      ids.push(known);
    }
    chunkStart[r + 1] = ids.length;
  }
  const chunkIds = Int32Array.from(ids);
  return {
    name,
    requests: sorted.length,
    arrivalMs: Float64Array.from(sorted, (row) => row.arrivalMs - startMs),
    inputTokens: Int32Array.from(sorted, (row) => row.inputTokens),
    outputTokens: Int32Array.from(sorted, (row) => row.outputTokens),
    chunkTokens,
    chunkStart,
    chunkIds,
    distinctChunks: dense.size,
    session: sessionsOf(sorted.length, chunkStart, chunkIds, dense.size),
  };
}

/** The same requests, arriving `factor` times as fast. */
export function faster(workload: Workload, factor: number): Workload {
  return { ...workload, arrivalMs: workload.arrivalMs.map((ms) => ms / factor) };
}

/**
 * The same requests, begun at another place of the trace and carried on from its start: another run of the same traffic,
 * with other requests in the cold caches. `share` is in [0, 1); 0 is the trace as published.
 */
export function rotated(workload: Workload, share: number): Workload {
  const { requests, arrivalMs, chunkStart } = workload;
  const first = Math.floor(share * requests);
  if (first === 0) return workload;
  const order = Int32Array.from({ length: requests }, (_, i) => (first + i) % requests);
  // The seam takes the mean gap, so that the two ends do not fall together.
  const lengthMs = (arrivalMs.at(-1) as number) * (1 + 1 / requests);
  const firstMs = arrivalMs[first] as number;
  const starts = new Int32Array(requests + 1);
  const ids = new Int32Array(workload.chunkIds.length);
  for (const [i, r] of order.entries()) {
    const chunks = workload.chunkIds.subarray(chunkStart[r], chunkStart[r + 1]);
    ids.set(chunks, starts[i]);
    starts[i + 1] = (starts[i] as number) + chunks.length;
  }
  return {
    ...workload,
    arrivalMs: Float64Array.from(order, (r) => (arrivalMs[r] as number) - firstMs + (r < first ? lengthMs : 0)),
    inputTokens: order.map((r) => workload.inputTokens[r] as number),
    outputTokens: order.map((r) => workload.outputTokens[r] as number),
    chunkStart: starts,
    chunkIds: ids,
    session: order.map((r) => workload.session[r] as number),
  };
}

/** The first `count` requests. */
export function headOf(workload: Workload, count: number): Workload {
  const requests = Math.min(count, workload.requests);
  return {
    ...workload,
    requests,
    arrivalMs: workload.arrivalMs.subarray(0, requests),
    inputTokens: workload.inputTokens.subarray(0, requests),
    outputTokens: workload.outputTokens.subarray(0, requests),
    chunkStart: workload.chunkStart.subarray(0, requests + 1),
    session: workload.session.subarray(0, requests),
  };
}

/** Two 32-bit halves, high and low, that stand for a chunk; its id is already unique to its chain. */
function setHash(hashes: Uint32Array, at: number, chunk: number): void {
  hashes[2 * at] = Math.imul(chunk + 1, 0x9e3779b1) ^ 0x5bd1e995;
  hashes[2 * at + 1] = Math.imul(chunk ^ (chunk >>> 15), 0x85ebca6b) ^ 0x27d4eb2f;
}

/** The hash of one chunk, as engines tell it in KV events. */
export function chunkHash(chunk: number): Uint32Array {
  const hashes = new Uint32Array(2);
  setHash(hashes, 0, chunk);
  return hashes;
}

/** The hashes of a request's full chunks, as routing is told of its prompt. */
export function hashesOf({ chunkStart, chunkIds }: Workload, request: number): Uint32Array {
  const ids = chunkIds.subarray(chunkStart[request], chunkStart[request + 1]);
  const hashes = new Uint32Array(ids.length * 2);
  for (const [at, id] of ids.entries()) setHash(hashes, at, id);
  return hashes;
}
