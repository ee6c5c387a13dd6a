/**
 * Small questions to an engine by GET on a connection that is kept for the next one. An idle agent does little else than
 * ask its engines how they are, and a connection and a general client for each question are most of what that costs.
 */
import { type Exchange, EnginePool } from './engine_connection.ts';
import type { HttpHead } from './http_reader.ts';
import type { AskEngine, EngineAddress, EngineAnswer } from '../ports.ts';

/** Of an answer; a longer one counts as none. */
const MAX_ANSWER_BYTES = 4 * 1024 * 1024;
/** A connection is used again within this time: vLLM closes one that is idle for 5 s (uvicorn's timeout_keep_alive). */
const REUSE_WITHIN_MS = 3000;
/** A connection that is not made within the time of its question is given up with it, so this bound is never reached. */
const LIMITS = { connectTimeoutMs: 3_600_000, idleSocketMs: REUSE_WITHIN_MS, maxIdle: 1 };

const NO_BODY = new Uint8Array(0);

/** `cut`: the connection ended before anything of an answer came. */
function exchangeOn(pool: EnginePool, path: string, timeoutMs: number): Promise<EngineAnswer | 'cut'> {
  return new Promise((resolve) => {
    const pieces: Buffer[] = [];
    let size = 0;
    let status = 0;
    const settle = (answer: EngineAnswer | 'cut'): void => {
      clearTimeout(timer);
      resolve(answer);
    };
    const giveUp = (answer: EngineAnswer): void => {
      exchange.abort();
      settle(answer);
    };
    const timer = setTimeout(() => giveUp('timeout'), timeoutMs);
    const exchange: Exchange = pool.send(
      { method: 'GET', path, headers: [], body: NO_BODY },
      {
        onHead: (head: HttpHead) => {
          ({ status } = head);
        },
        onBody: (buffer, start, end) => {
          size += end - start;
          if (size <= MAX_ANSWER_BYTES) pieces.push(Buffer.from(buffer.subarray(start, end)));
        },
        onReadEnd: () => {
          if (size > MAX_ANSWER_BYTES) giveUp('refused');
        },
        onComplete: () => settle({ status, text: Buffer.concat(pieces).toString('utf8') }),
        onFailed: ({ code }) => settle(code === 'engine_died' && status === 0 ? 'cut' : 'refused'),
      },
    );
  });
}

/** One engine, for as long as it is asked. */
class AskedEngine {
  readonly #pool: EnginePool;
  readonly #timer: NodeJS.Timeout;
  #asking = 0;

  constructor(address: EngineAddress, onForgotten: () => void) {
    this.#pool = new EnginePool(address, LIMITS);
    this.#timer = setTimeout(() => {
      if (this.#asking > 0) return;
      this.#pool.destroy();
      onForgotten();
    }, REUSE_WITHIN_MS).unref();
  }

  async ask(path: string, timeoutMs: number): Promise<EngineAnswer> {
    this.#asking += 1;
    try {
      const askedAtMs = performance.now();
      const first = await exchangeOn(this.#pool, path, timeoutMs);
      if (first !== 'cut') return first;
      // A kept connection may have been closed as it was used, and a question may always be asked again.
      const leftMs = Math.max(1, timeoutMs - (performance.now() - askedAtMs));
      const second = await exchangeOn(this.#pool, path, leftMs);
      return second === 'cut' ? 'refused' : second;
    } finally {
      this.#asking -= 1;
      this.#timer.refresh();
    }
  }
}

async function askAnew(address: EngineAddress, path: string, timeoutMs: number): Promise<EngineAnswer> {
  const pool = new EnginePool(address, { ...LIMITS, maxIdle: 0 });
  try {
    const answer = await exchangeOn(pool, path, timeoutMs);
    return answer === 'cut' ? 'refused' : answer;
  } finally {
    pool.destroy();
  }
}

/** Asks engines, and keeps one connection to each that was asked within the last seconds. Never rejects. */
export function createQuestions(): AskEngine {
  const engines = new Map<string, AskedEngine>();
  return (address, path, timeoutMs, connection = 'kept') => {
    if (connection === 'anew') return askAnew(address, path, timeoutMs);
    const key = JSON.stringify(address);
    let engine = engines.get(key);
    if (engine === undefined) {
      engine = new AskedEngine(address, () => engines.delete(key));
      engines.set(key, engine);
    }
    return engine.ask(path, timeoutMs);
  };
}
