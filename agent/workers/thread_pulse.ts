/**
 * How busy this thread is: its utilization for the coalescing of frames, and what a person is shown when tokens are late,
 * the lag of its event loop and its pauses for garbage collection.
 */
import { type IntervalHistogram, monitorEventLoopDelay, PerformanceObserver } from 'node:perf_hooks';

/** The sampling timer wakes the thread this often, busy or not; a sample is late by the lag. */
const RESOLUTION_MS = 100;
const NS_PER_MS = 1e6;

export interface PulseFigures {
  /** 99th percentile of the lateness of timers over the period. */
  readonly loopLagP99Ms: number;
  /** Longest pause for garbage collection in the period. */
  readonly gcPauseMaxMs: number;
}

export class ThreadPulse {
  readonly #delay: IntervalHistogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  readonly #observer: PerformanceObserver;
  #last = performance.eventLoopUtilization();
  #gcPauseMaxMs = 0;
  /** Busy part of the newest period, 0 to 1. */
  utilization = 0;

  constructor() {
    this.#observer = new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) this.#gcPauseMaxMs = Math.max(this.#gcPauseMaxMs, entry.duration);
    });
  }

  start(): void {
    this.#delay.enable();
    this.#observer.observe({ entryTypes: ['gc'] });
  }

  stop(): void {
    this.#delay.disable();
    this.#observer.disconnect();
  }

  /** Takes the utilization since the last call; to be called a few times a second. */
  beat(): void {
    const now = performance.eventLoopUtilization();
    this.utilization = performance.eventLoopUtilization(now, this.#last).utilization;
    this.#last = now;
  }

  /** The figures of the period that ends here; the next begins. */
  takePeriod(): PulseFigures {
    const lag = this.#delay.count === 0 ? 0 : this.#delay.percentile(99) / NS_PER_MS - RESOLUTION_MS;
    const figures = { loopLagP99Ms: Math.max(0, lag), gcPauseMaxMs: this.#gcPauseMaxMs };
    this.#delay.reset();
    this.#gcPauseMaxMs = 0;
    return figures;
  }
}
