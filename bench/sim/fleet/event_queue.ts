/**
 * What happens next in virtual time: a binary heap in columns. Equal times leave in the order in which they came, so
 * that a run is the same each time.
 */

export interface SimEvent {
  atMs: number;
  kind: number;
  /** Two numbers whose meaning is the kind's. */
  a: number;
  b: number;
}

export interface EventQueue {
  readonly size: number;
  push(atMs: number, kind: number, a: number, b: number): void;
  /** Fills `out` with the earliest; false when there is none. */
  pop(out: SimEvent): boolean;
}

export function createEventQueue(): EventQueue {
  let capacity = 1024;
  let times = new Float64Array(capacity);
  /** Kind, a, b and the running number of each entry, four columns in one. */
  let facts = new Float64Array(capacity * 4);
  let size = 0;
  let pushed = 0;

  const earlier = (left: number, right: number): boolean => {
    const difference = (times[left] as number) - (times[right] as number);
    return difference < 0 || (difference === 0 && (facts[left * 4 + 3] as number) < (facts[right * 4 + 3] as number));
  };
  const swap = (left: number, right: number): void => {
    const time = times[left] as number;
    times[left] = times[right] as number;
    times[right] = time;
    for (let column = 0; column < 4; column++) {
      const fact = facts[left * 4 + column] as number;
      facts[left * 4 + column] = facts[right * 4 + column] as number;
      facts[right * 4 + column] = fact;
    }
  };
  const grow = (): void => {
    capacity *= 2;
    const [largerTimes, largerFacts] = [new Float64Array(capacity), new Float64Array(capacity * 4)];
    largerTimes.set(times);
    largerFacts.set(facts);
    [times, facts] = [largerTimes, largerFacts];
  };
  const sink = (): void => {
    for (let at = 0; ; ) {
      let least = at;
      for (const child of [2 * at + 1, 2 * at + 2]) if (child < size && earlier(child, least)) least = child;
      if (least === at) return;
      swap(at, least);
      at = least;
    }
  };

  return {
    get size() {
      return size;
    },
    push(atMs, kind, a, b) {
      if (size === capacity) grow();
      times[size] = atMs;
      facts.set([kind, a, b, pushed++], size * 4);
      let at = size++;
      for (let parent = (at - 1) >> 1; at > 0 && earlier(at, parent); parent = (at - 1) >> 1) {
        swap(at, parent);
        at = parent;
      }
    },
    pop(out) {
      if (size === 0) return false;
      out.atMs = times[0] as number;
      out.kind = facts[0] as number;
      out.a = facts[1] as number;
      out.b = facts[2] as number;
      size -= 1;
      if (size > 0) {
        swap(0, size);
        sink();
      }
      return true;
    },
  };
}
