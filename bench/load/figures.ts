/**
 * What a run of `bench -- load` comes to: latencies of the requests that ended well, and a verdict on every request that
 * was to be sent. A request that was refused, cut or too late failed its caller, so it counts against the goodput.
 */
import { quantile, round } from '../process_stats.ts';
import { type LatencyFigures, LatencyHistogram } from './histogram.ts';

export const OK = 'ok';

/** How one request ended; times are those of one clock, in milliseconds. */
export interface RequestEnd {
  readonly intendedMs: number;
  readonly sentMs: number;
  /** Of the first token; absent: none came. */
  readonly firstMs?: number;
  readonly endMs: number;
  /** `ok`, or what went wrong, in one word. */
  readonly code: string;
  /** As the server counts, else as many as events with text came. */
  readonly tokens: number;
}

/** Takes what a client sees. */
export interface LoadSink {
  /** Tokens of one stream came together, `sinceMs` after those before; absent: they are its first. */
  arrived(tokens: number, atMs: number, sinceMs?: number): void;
  end(request: RequestEnd): void;
}

/** When a request is good enough for its caller. */
export interface Objective {
  readonly ttftMs: number;
  /** Mean time per token after the first. */
  readonly tpotMs: number;
}

/** One second of a run. */
export interface SecondFigures {
  readonly second: number;
  /** Requests that were to be sent in this second, and how those that ended in it ended. */
  readonly offered: number;
  readonly good: number;
  readonly failed: number;
  readonly tokens: number;
  /** Of the requests that were to be sent in this second. */
  readonly ttftP50Ms: number;
  readonly ttftP99Ms: number;
}

export interface LoadFigures {
  readonly requests: number;
  readonly ok: number;
  readonly failed: number;
  /** By code, the most frequent first. */
  readonly errors: Readonly<Record<string, number>>;
  /** From the start to the last end. */
  readonly seconds: number;
  /** While requests were sent, and over a second at least. */
  readonly offeredPerS: number;
  readonly tokens: number;
  readonly tokensPerS: number;
  /** From the time that was intended for the request, whenever it was sent. */
  readonly ttft: LatencyFigures;
  /** Of each token after the first; tokens that arrive together share the time since those before. */
  readonly itl: LatencyFigures;
  /** Between two arrivals of one stream, as its reader sees them. */
  readonly gap: LatencyFigures;
  readonly e2e: LatencyFigures;
  readonly objective: Objective;
  /** Share of all requests that met the objective, and requests a second that did. */
  readonly goodput: number;
  readonly goodputPerS: number;
  /** How late this program sent; large values mean that it, and not the server, was too slow. */
  readonly sendLate: LatencyFigures;
  readonly timeline: readonly SecondFigures[];
}

interface Second {
  offered: number;
  good: number;
  failed: number;
  tokens: number;
  /** As they are: a histogram for each second would cost more than the few values of a second. */
  readonly ttftMs: number[];
}

/** Words for errors come from the server; those beyond so many are counted together. */
const MAX_CODES = 50;
const OTHER = 'other';
/** The longest timeline: a run of more seconds is drawn up to here, and counted in full. */
const MAX_SECONDS = 4 * 3600;

export class LoadRecorder implements LoadSink {
  readonly ttft = new LatencyHistogram();
  readonly itl = new LatencyHistogram();
  readonly gap = new LatencyHistogram();
  readonly e2e = new LatencyHistogram();
  readonly #late = new LatencyHistogram();
  readonly #objective: Objective;
  readonly #startMs: number;
  readonly #errors = new Map<string, number>();
  readonly #seconds: Second[] = [];
  #lastMs: number;
  #lastIntendedMs: number;
  #ok = 0;
  #failed = 0;
  #good = 0;
  #tokens = 0;

  /** @param startMs when the run began, on the clock of all its times */
  constructor(objective: Objective, startMs: number) {
    this.#objective = objective;
    this.#startMs = startMs;
    this.#lastMs = startMs;
    this.#lastIntendedMs = startMs;
  }

  get ended(): number {
    return this.#ok + this.#failed;
  }

  get failed(): number {
    return this.#failed;
  }

  arrived(tokens: number, atMs: number, sinceMs?: number): void {
    this.#tokens += tokens;
    this.#second(atMs).tokens += tokens;
    if (sinceMs === undefined) return;
    this.gap.record(sinceMs);
    this.itl.record(sinceMs / tokens, tokens);
  }

  end(request: RequestEnd): void {
    const { intendedMs, sentMs, firstMs, endMs, code, tokens } = request;
    this.#lastMs = Math.max(this.#lastMs, endMs);
    this.#lastIntendedMs = Math.max(this.#lastIntendedMs, intendedMs);
    this.#late.record(sentMs - intendedMs);
    const offered = this.#second(intendedMs);
    offered.offered++;
    const ended = this.#second(endMs);
    if (code !== OK) {
      this.#failed++;
      ended.failed++;
      const word = this.#errors.has(code) || this.#errors.size < MAX_CODES ? code : OTHER;
      this.#errors.set(word, (this.#errors.get(word) ?? 0) + 1);
      return;
    }
    this.#ok++;
    const e2eMs = endMs - intendedMs;
    const ttftMs = (firstMs ?? endMs) - intendedMs;
    this.e2e.record(e2eMs);
    this.ttft.record(ttftMs);
    offered.ttftMs.push(ttftMs);
    const tpotMs = tokens > 1 ? (e2eMs - ttftMs) / (tokens - 1) : 0;
    if (ttftMs > this.#objective.ttftMs || tpotMs > this.#objective.tpotMs) return;
    this.#good++;
    ended.good++;
  }

  figures(): LoadFigures {
    const requests = this.#ok + this.#failed;
    // A run is at least as long as a moment, so that nothing is divided by 0.
    const seconds = Math.max(0.001, (this.#lastMs - this.#startMs) / 1000);
    const perS = (count: number): number => round(count / seconds);
    return {
      requests,
      ok: this.#ok,
      failed: this.#failed,
      errors: Object.fromEntries([...this.#errors].toSorted((a, b) => b[1] - a[1])),
      seconds: round(seconds),
      offeredPerS: round(requests / Math.max(1, (this.#lastIntendedMs - this.#startMs) / 1000)),
      tokens: this.#tokens,
      tokensPerS: perS(this.#tokens),
      ttft: this.ttft.figures(),
      itl: this.itl.figures(),
      gap: this.gap.figures(),
      e2e: this.e2e.figures(),
      objective: this.#objective,
      goodput: requests === 0 ? 0 : round(this.#good / requests, 4),
      goodputPerS: perS(this.#good),
      sendLate: this.#late.figures(),
      timeline: this.#seconds.map((second, at) => ({
        second: at,
        offered: second.offered,
        good: second.good,
        failed: second.failed,
        tokens: second.tokens,
        ttftP50Ms: round(quantile(second.ttftMs, 0.5)),
        ttftP99Ms: round(quantile(second.ttftMs, 0.99)),
      })),
    };
  }

  #second(atMs: number): Second {
    const at = Math.min(MAX_SECONDS - 1, Math.max(0, Math.floor((atMs - this.#startMs) / 1000)));
    while (this.#seconds.length <= at) this.#seconds.push({ offered: 0, good: 0, failed: 0, tokens: 0, ttftMs: [] });
    return this.#seconds[at] as Second;
  }
}
