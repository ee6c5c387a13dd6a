/**
 * Mooncake's two cache-aware schedulers (FAST 2025, Algorithm 1), as references for the published order. They know each
 * engine's true cache and the engines' true prefill times, which no scheduler does, so they are not policies that anyone
 * could choose. "Local" weighs the prefix that an engine holds itself; "global" may also copy the longest prefix of any
 * engine over the network instead of computing it: what it moves is KV blocks.
 */
import { prefillMs } from '../../../lib/engine_timing.ts';
import type { CreateDispatcher, Dispatcher, FleetView } from './dispatcher.ts';

/** One 200 Gbit/s adapter for each GPU, as in Mooncake's nodes, four of them used at 80 %. */
const NETWORK_BYTES_PER_MS = (4 * 25e9 * 0.8) / 1000;

interface Plan {
  readonly engine: number;
  readonly ttftMs: number;
  readonly prefillMs: number;
  readonly fetched: number;
  readonly fetchMs: number;
}

/** The best plan of one engine: with its own prefix, or with the longest of all if that may be copied. */
function planFor(view: FleetView, request: number, engine: number, queuedMs: number, longest: number): Plan {
  const { workload, spec, truth } = view;
  const input = workload.inputTokens[request] as number;
  const own = truth.overlap(engine, request);
  const costMs = (chunks: number): number => prefillMs(spec.row, Math.max(1, input - chunks * workload.chunkTokens));
  const alone = { engine, prefillMs: costMs(own), ttftMs: queuedMs + costMs(own), fetched: 0, fetchMs: 0 };
  if (longest <= own) return alone;
  const fetchMs = ((longest - own) * workload.chunkTokens * spec.kvBytesPerToken) / NETWORK_BYTES_PER_MS;
  // The copy goes on while earlier prompts are computed.
  const ttftMs = Math.max(queuedMs, fetchMs) + costMs(longest);
  return ttftMs < alone.ttftMs ? { engine, prefillMs: costMs(longest), ttftMs, fetched: longest, fetchMs } : alone;
}

function createMooncake(view: FleetView, global: boolean): Dispatcher {
  const { engines, actions, truth } = view;
  const queuedMs = new Float64Array(engines);
  const down = new Set<number>();
  /** Requests that wait for their first token, with the engine and what they add to its queue. */
  const waiting = new Map<number, { readonly engine: number; readonly prefillMs: number }>();
  const stop = (request: number): void => {
    const entry = waiting.get(request);
    if (entry === undefined) return;
    waiting.delete(request);
    queuedMs[entry.engine] = (queuedMs[entry.engine] as number) - entry.prefillMs;
  };
  const place = (request: number, nowMs: number): void => {
    const open = Array.from({ length: engines }, (_, engine) => engine).filter((engine) => !down.has(engine));
    const longest = global ? Math.max(...open.map((engine) => truth.overlap(engine, request))) : 0;
    let best: Plan | undefined;
    for (const engine of open) {
      const plan = planFor(view, request, engine, queuedMs[engine] as number, longest);
      if (best === undefined || plan.ttftMs < best.ttftMs) best = plan;
    }
    if (best === undefined) return actions.refuse(request, nowMs);
    queuedMs[best.engine] = (queuedMs[best.engine] as number) + best.prefillMs;
    waiting.set(request, best);
    actions.send(request, best.engine, nowMs, best.fetched, best.fetchMs);
  };
  return {
    arrive: place,
    firstToken: stop,
    finished: stop,
    read: () => undefined,
    engineUp: (engine) => void down.delete(engine),
    engineDown(engine, lost, nowMs) {
      down.add(engine);
      for (const request of lost) stop(request);
      for (const request of lost) place(request, nowMs);
    },
    wake: () => undefined,
  };
}

export const REFERENCES: Readonly<Record<string, CreateDispatcher>> = Object.freeze({
  mooncake_local: (view) => createMooncake(view, false),
  mooncake_global: (view) => createMooncake(view, true),
});
