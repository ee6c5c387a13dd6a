/**
 * How one engine moves, as a relay thread sees it: who waits for a first token, when a token last came, how long the
 * tokens of a stream lie apart, and what went wrong. A watchdog tells a busy engine from a wedged one by it, because
 * vLLM's own /health stays 200 on a wedged engine. Nothing is allocated per token.
 *
 * A plain answer shows nothing until it is whole. Such requests count as open, and say nothing of progress: with only
 * these open, `lastProgressAtMs` is unknown, and unknown is not a sign of a wedge.
 */
import type { EngineProgress } from '../ports.ts';

/** Measured distances that the median is taken over, of some hundred tokens; a power of two. */
const WINDOW = 64;

/**
 * While this many streams move, the clock is read for every so manieth chunk: that is less than the time between two
 * tokens of one of them, and reading it for each is felt.
 */
const MANY_STREAMS = 16;
const MEASURED_EACH = 8;

/**
 * How long after a token a step may still take up new requests. What comes later waits for the end of that step, which is
 * progress, and so is no reason for a silence: else each request that is sent to a frozen engine would buy it more time.
 */
const STEP_BEGINS_WITHIN_MS = 100;

/** Waits for tiny prompts say more of queues than of prefill speed. */
const LEAST_CALIBRATING_BYTES = 256;
/** What each silence before a first token weighs in the next one's figure: some ten of them count. */
const PREFILL_MEMORY = 0.9;

/** One request of an engine; the tracker alone writes it. */
export interface TrackedRequest {
  readonly arrivedAtMs: number;
  readonly bodyBytes: number;
  readonly stream: boolean;
  /** 0 before the first token and after a stall: no distance is measured over either. */
  measuredAtMs: number;
  /** Tokens since then. */
  unmeasured: number;
  stalled: boolean;
}

/** What a thread tells of one engine. Times are milliseconds of one monotonic clock. */
export interface ProgressFigures {
  readonly open: number;
  readonly plain: number;
  readonly waitingFirst: number;
  readonly oldestWaitingSinceMs?: number;
  /** Of those that the step under way may be reading. */
  readonly waitingBytes: number;
  readonly lastTokenAtMs?: number;
  /** When the oldest of the streams that are open arrived. */
  readonly firstOpenAtMs?: number;
  readonly stalled: number;
  readonly interTokenP50Ms?: number;
  readonly faults: number;
  /** Silence of the engine while it read prompts, for a byte of them. */
  readonly prefillMsPerByte?: number;
}

/** Follows one life of one engine on one thread. */
export class ProgressTracker {
  readonly #streams = new Set<TrackedRequest>();
  readonly #waiting = new Set<TrackedRequest>();
  readonly #gaps = new Float64Array(WINDOW);
  #gapCount = 0;
  #plain = 0;
  #stalled = 0;
  #faults = 0;
  /** The longest silence since the last first token while prompts were read, in milliseconds, and their bytes. */
  #stepMs = 0;
  #stepBytes = 0;
  /** Sums over the silences before first tokens, the newest weighing most. */
  #prefillMs = 0;
  #prefillBytes = 0;
  /** Negative: none yet. */
  #lastTokenAtMs = -1;
  /** Chunks since then for which the clock was not read. */
  #unmeasured = 0;
  #median: number | undefined;
  #medianAtCount = 0;
  /** Tokens of all its streams. */
  tokensTotal = 0;

  /** A request is on its way to the engine. */
  opened(bodyBytes: number, stream: boolean, nowMs: number): TrackedRequest {
    const request = {
      arrivedAtMs: nowMs,
      bodyBytes,
      stream,
      measuredAtMs: 0,
      unmeasured: 0,
      chunks: 0,
      stalled: false,
    };
    if (!stream) {
      this.#plain += 1;
      return request;
    }
    this.#streams.add(request);
    this.#waiting.add(request);
    return request;
  }

  /**
   * `count` tokens of a stream came at once; 0: an event without one, such as the role chunk.
   * @param clock asked for the time, in milliseconds, where this chunk is measured
   */
  tokens(request: TrackedRequest, count: number, clock: () => number): void {
    if (count === 0) return;
    this.tokensTotal += count;
    request.unmeasured += count;
    const moving = this.#streams.size - this.#waiting.size - this.#stalled;
    this.#unmeasured += 1;
    if (moving < MANY_STREAMS || this.#unmeasured >= MEASURED_EACH || request.measuredAtMs === 0)
      this.#measure(request, clock());
  }

  #measure(request: TrackedRequest, nowMs: number): void {
    if (this.#waiting.size > 0) this.#watchStep(nowMs);
    this.#lastTokenAtMs = nowMs;
    this.#unmeasured = 0;
    if (request.measuredAtMs > 0) {
      this.#gaps[this.#gapCount & (WINDOW - 1)] = (nowMs - request.measuredAtMs) / request.unmeasured;
      this.#gapCount += 1;
    }
    request.measuredAtMs = nowMs;
    request.unmeasured = 0;
    if (this.#waiting.delete(request)) this.#calibrate();
  }

  /** Prompts are being read: how long was it silent before this token? */
  #watchStep(nowMs: number): void {
    const silentMs = nowMs - this.#stepBeganAtMs();
    if (silentMs <= this.#stepMs) return;
    this.#stepBytes = this.#bytesOfStep();
    this.#stepMs = silentMs;
  }

  /**
   * A first token came, so prompts were read in the longest silence since the one before. One that an engine let wait in
   * vain never gets here: it would teach that the engine is slow, and the next hang would be borne for minutes.
   */
  #calibrate(): void {
    if (this.#stepBytes >= LEAST_CALIBRATING_BYTES) {
      this.#prefillMs = this.#prefillMs * PREFILL_MEMORY + this.#stepMs;
      this.#prefillBytes = this.#prefillBytes * PREFILL_MEMORY + this.#stepBytes;
    }
    this.#stepMs = 0;
    this.#stepBytes = 0;
  }

  /** The request is held back because nobody takes its bytes, or goes on again. */
  stalled(request: TrackedRequest, stalled: boolean): void {
    if (request.stalled === stalled) return;
    request.stalled = stalled;
    // The engine's silence is over a while after the hold: what comes first says nothing of its speed.
    request.measuredAtMs = 0;
    this.#stalled += stalled ? 1 : -1;
  }

  /** The request is over, however it ended. */
  ended(request: TrackedRequest): void {
    this.stalled(request, false);
    if (!request.stream) this.#plain -= 1;
    this.#streams.delete(request);
    this.#waiting.delete(request);
  }

  /** An unasked abort, an error inside a 200, a stream cut before its end. */
  fault(): void {
    this.#faults += 1;
  }

  figures(): ProgressFigures {
    const [firstOpen] = this.#streams;
    const [firstWaiting] = this.#waiting;
    const median = this.#medianGap();
    return {
      open: this.#streams.size + this.#plain,
      plain: this.#plain,
      waitingFirst: this.#waiting.size,
      waitingBytes: this.#bytesOfStep(),
      stalled: this.#stalled,
      faults: this.#faults,
      ...(this.#prefillBytes === 0 ? {} : { prefillMsPerByte: this.#prefillMs / this.#prefillBytes }),
      ...(firstWaiting === undefined ? {} : { oldestWaitingSinceMs: firstWaiting.arrivedAtMs }),
      ...(firstOpen === undefined ? {} : { firstOpenAtMs: firstOpen.arrivedAtMs }),
      ...(this.#lastTokenAtMs < 0 ? {} : { lastTokenAtMs: this.#lastTokenAtMs }),
      ...(median === undefined ? {} : { interTokenP50Ms: median }),
    };
  }

  /** When the step under way may have begun: after the last token, or with the oldest request where nothing moved. */
  #stepBeganAtMs(): number {
    if (this.#streams.size - this.#waiting.size - this.#stalled > 0) return this.#lastTokenAtMs;
    const [oldest] = this.#waiting;
    return Math.max(this.#lastTokenAtMs, oldest?.arrivedAtMs ?? 0);
  }

  /** Requests wait in the order of their arrival. */
  #bytesOfStep(): number {
    const beganAtMs = this.#stepBeganAtMs();
    let bytes = 0;
    for (const { arrivedAtMs, bodyBytes } of this.#waiting) {
      if (arrivedAtMs > beganAtMs + STEP_BEGINS_WITHIN_MS) break;
      bytes += bodyBytes;
    }
    return bytes;
  }

  #medianGap(): number | undefined {
    if (this.#gapCount === this.#medianAtCount) return this.#median;
    this.#medianAtCount = this.#gapCount;
    const sorted = this.#gaps.slice(0, Math.min(this.#gapCount, WINDOW)).sort();
    this.#median = sorted[sorted.length >> 1];
    return this.#median;
  }
}

const pick = (a: number | undefined, b: number | undefined, of: (...both: number[]) => number): number | undefined => {
  if (a === undefined) return b;
  return b === undefined ? a : of(a, b);
};

/** The figures with each time moved by `byMs`: a thread's clock has an origin of its own. */
export function shiftTimes(figures: ProgressFigures, byMs: number): ProgressFigures {
  const { oldestWaitingSinceMs, lastTokenAtMs, firstOpenAtMs } = figures;
  return {
    ...figures,
    ...(oldestWaitingSinceMs === undefined ? {} : { oldestWaitingSinceMs: oldestWaitingSinceMs + byMs }),
    ...(lastTokenAtMs === undefined ? {} : { lastTokenAtMs: lastTokenAtMs + byMs }),
    ...(firstOpenAtMs === undefined ? {} : { firstOpenAtMs: firstOpenAtMs + byMs }),
  };
}

/** The figures of two threads of one engine as one. The slower one counts, so that no watchdog fires too early. */
export function addFigures(a: ProgressFigures, b: ProgressFigures): ProgressFigures {
  const oldestWaitingSinceMs = pick(a.oldestWaitingSinceMs, b.oldestWaitingSinceMs, Math.min);
  const firstOpenAtMs = pick(a.firstOpenAtMs, b.firstOpenAtMs, Math.min);
  const lastTokenAtMs = pick(a.lastTokenAtMs, b.lastTokenAtMs, Math.max);
  const interTokenP50Ms = pick(a.interTokenP50Ms, b.interTokenP50Ms, Math.max);
  const prefillMsPerByte = pick(a.prefillMsPerByte, b.prefillMsPerByte, Math.max);
  return {
    open: a.open + b.open,
    plain: a.plain + b.plain,
    waitingFirst: a.waitingFirst + b.waitingFirst,
    waitingBytes: a.waitingBytes + b.waitingBytes,
    stalled: a.stalled + b.stalled,
    faults: a.faults + b.faults,
    ...(prefillMsPerByte === undefined ? {} : { prefillMsPerByte }),
    ...(oldestWaitingSinceMs === undefined ? {} : { oldestWaitingSinceMs }),
    ...(firstOpenAtMs === undefined ? {} : { firstOpenAtMs }),
    ...(lastTokenAtMs === undefined ? {} : { lastTokenAtMs }),
    ...(interTokenP50Ms === undefined ? {} : { interTokenP50Ms }),
  };
}

/**
 * What the watchdog gets. The last progress is the newest token, or the arrival of the oldest open stream if that is
 * later; it is absent where no stream is open.
 */
export function toEngineProgress(incarnation: number, figures: ProgressFigures): EngineProgress {
  const { open, plain, waitingFirst, oldestWaitingSinceMs, waitingBytes, stalled, interTokenP50Ms } = figures;
  const { faults, prefillMsPerByte } = figures;
  const lastProgressAtMs =
    figures.firstOpenAtMs === undefined ? undefined : pick(figures.firstOpenAtMs, figures.lastTokenAtMs, Math.max);
  return {
    incarnation,
    open,
    plain,
    waitingFirst,
    waitingBytes,
    stalled,
    faults,
    ...(prefillMsPerByte === undefined ? {} : { prefillMsPerByte }),
    ...(oldestWaitingSinceMs === undefined ? {} : { oldestWaitingSinceMs }),
    ...(lastProgressAtMs === undefined ? {} : { lastProgressAtMs }),
    ...(interTokenP50Ms === undefined ? {} : { interTokenP50Ms }),
  };
}
