/**
 * Clients that keep one stream each open through faults, and a book of what became of every stream: whether it was
 * finished whole, cut after its first token, or refused, and how long its reader waited.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { createHttpClient, type LoadClient } from '../load/http_client.ts';
import { type LoadSink, OK, type RequestEnd } from '../load/figures.ts';
import { LatencyHistogram } from '../load/histogram.ts';
import { BENCH_MODEL } from '../bench_fleet.ts';
import type { Contestant } from './contestants.ts';

export interface FaultFigures {
  /** Streams that gave every token that was asked for. */
  readonly finished: number;
  /** Streams that broke, or ended short, after their first token. */
  readonly cut: number;
  /** Requests that failed before their first token. */
  readonly refused: number;
  /** Clients that waited longer than 5 s at least once. */
  readonly stuck: number;
  readonly gapP99Ms: number;
  /** For a first token or a next one, ended or not. */
  readonly longestWaitMs: number;
  readonly codes: Readonly<Record<string, number>>;
}

/** A reader who sees nothing for so long takes the answer for dead. */
export const STUCK_MS = 5000;
const RETRY_PAUSE_MS = 50;
const LOOK_MS = 250;

/** What is kept of all clients. */
export class FaultBook {
  readonly #asked: number;
  readonly #gaps = new LatencyHistogram();
  readonly #codes = new Map<string, number>();
  readonly #stuck = new Set<number>();
  readonly #waitingSinceMs = new Map<number, number>();
  #longestWaitMs = 0;
  #finished = 0;
  #cut = 0;
  #refused = 0;

  /** @param tokens that each stream asks for */
  constructor(tokens: number) {
    this.#asked = tokens;
  }

  /** The sink of one client. */
  sink(client: number): LoadSink {
    return {
      arrived: (_, atMs, sinceMs) => {
        this.#looked(client, atMs);
        this.#waitingSinceMs.set(client, atMs);
        if (sinceMs !== undefined) this.#gaps.record(sinceMs);
      },
      end: (request) => {
        this.#looked(client, request.endMs);
        this.#waitingSinceMs.delete(client);
        this.#ended(request);
      },
    };
  }

  /** A client begins to wait. */
  asked(client: number, atMs: number): void {
    this.#waitingSinceMs.set(client, atMs);
  }

  /** Sees who has waited too long by now. */
  look(nowMs: number): void {
    for (const client of this.#waitingSinceMs.keys()) this.#looked(client, nowMs);
  }

  figures(): FaultFigures {
    const round = (value: number): number => Math.round(value * 10) / 10;
    return {
      finished: this.#finished,
      cut: this.#cut,
      refused: this.#refused,
      stuck: this.#stuck.size,
      gapP99Ms: round(this.#gaps.at(0.99)),
      longestWaitMs: round(this.#longestWaitMs),
      codes: Object.fromEntries([...this.#codes].toSorted((a, b) => b[1] - a[1]).slice(0, 10)),
    };
  }

  #looked(client: number, nowMs: number): void {
    const waitMs = nowMs - (this.#waitingSinceMs.get(client) ?? nowMs);
    this.#longestWaitMs = Math.max(this.#longestWaitMs, waitMs);
    if (waitMs > STUCK_MS) this.#stuck.add(client);
  }

  #ended({ code, firstMs, tokens }: RequestEnd): void {
    const whole = code === OK && tokens >= this.#asked;
    if (whole) {
      this.#finished++;
      return;
    }
    if (firstMs === undefined) this.#refused++;
    else this.#cut++;
    const word = code === OK ? 'short' : code;
    this.#codes.set(word, (this.#codes.get(word) ?? 0) + 1);
  }
}

export interface FaultClients {
  /** Ends what runs and begins nothing more; what was still open is not counted. */
  stop(): Promise<FaultFigures>;
}

export interface FaultLoad {
  readonly streams: number;
  readonly tokens: number;
  readonly timeoutMs: number;
}

/** Keeps `streams` clients busy with one contestant, each with a stream at a time. */
export function startFaultClients(contestant: Contestant, load: FaultLoad): FaultClients {
  const { url, key } = contestant;
  const book = new FaultBook(load.tokens);
  const body = JSON.stringify({
    model: BENCH_MODEL,
    messages: [{ role: 'user', content: 'Tell me about the sea.' }],
    max_tokens: load.tokens,
    ignore_eos: true,
    temperature: 0,
    stream: true,
    stream_options: { include_usage: true },
  });
  let running = true;
  const clients: LoadClient[] = [];
  const loop = async (index: number): Promise<void> => {
    const sink = book.sink(index);
    let failed = false;
    const counted: LoadSink = {
      arrived: (...arrival) => running && sink.arrived(...arrival),
      end(request) {
        failed = request.code !== OK;
        // What this program cuts at its own end was cut by nobody else.
        if (running) sink.end(request);
      },
    };
    const client = createHttpClient(
      { url, timeoutMs: load.timeoutMs, keepAlive: false, ...(key === undefined ? {} : { key }) },
      counted,
    );
    clients.push(client);
    while (running) {
      const nowMs = performance.now();
      book.asked(index, nowMs);
      await client.send(body, nowMs);
      if (failed) await sleep(RETRY_PAUSE_MS);
    }
  };
  const loops = Array.from({ length: load.streams }, (_, index) => loop(index));
  const timer = setInterval(() => book.look(performance.now()), LOOK_MS);
  return {
    async stop() {
      book.look(performance.now());
      clearInterval(timer);
      running = false;
      const figures = book.figures();
      for (const client of clients) client.close();
      await Promise.all(loops);
      return figures;
    },
  };
}
