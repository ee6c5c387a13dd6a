/** A clock whose time passes only from one timer to the next, for code that takes a Clock. */
import type { Clock } from '../../lib/clock.ts';

export interface VirtualClock extends Clock {
  /** Runs all timers up to this time, in order; of equal times in the order in which they were set. */
  runUntil(endMs: number): void;
}

interface Timer {
  readonly atMs: number;
  readonly number: number;
  task: (() => void) | undefined;
}

const isBefore = (left: Timer, right: Timer): boolean =>
  left.atMs < right.atMs || (left.atMs === right.atMs && left.number < right.number);

export function createVirtualClock(): VirtualClock {
  /** A binary heap, the next timer first. */
  const heap: Timer[] = [];
  let nowMs = 0;
  let count = 0;
  const swap = (a: number, b: number): void => {
    const held = heap[a] as Timer;
    heap[a] = heap[b] as Timer;
    heap[b] = held;
  };
  const at = (index: number): Timer => heap[index] as Timer;
  const push = (timer: Timer): void => {
    let here = heap.push(timer) - 1;
    while (here > 0) {
      const parent = (here - 1) >>> 1;
      if (!isBefore(at(here), at(parent))) return;
      swap(here, parent);
      here = parent;
    }
  };
  const pop = (): Timer => {
    swap(0, heap.length - 1);
    const first = heap.pop() as Timer;
    for (let here = 0; ; ) {
      const left = here * 2 + 1;
      if (left >= heap.length) return first;
      const least = left + 1 < heap.length && isBefore(at(left + 1), at(left)) ? left + 1 : left;
      if (!isBefore(at(least), at(here))) return first;
      swap(here, least);
      here = least;
    }
  };
  return {
    wallMs: () => nowMs,
    monotonicMs: () => nowMs,
    after(delayMs, task) {
      count += 1;
      const timer: Timer = { atMs: nowMs + Math.max(0, delayMs), number: count, task };
      push(timer);
      return () => {
        timer.task = undefined;
      };
    },
    runUntil(endMs) {
      while (heap.length > 0 && at(0).atMs <= endMs) {
        const timer = pop();
        nowMs = timer.atMs;
        timer.task?.();
      }
      nowMs = endMs;
    },
  };
}
