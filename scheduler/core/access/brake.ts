/**
 * Slows down whoever keeps failing to authenticate. Each address has a small bucket of failures that leaks with time;
 * when it is full, the address has to wait until one has leaked. The table is bounded: the address that failed longest
 * ago is forgotten first. A success empties nothing: else one good key would buy guesses.
 */

export interface BrakeLimits {
  /** Failures that one address may have before it must wait. */
  readonly maxFailures: number;
  /** One failure is forgotten after each of these. */
  readonly forgiveEveryMs: number;
  /** Most addresses that are remembered. */
  readonly maxAddresses: number;
}

export interface FailureBrake {
  /** Milliseconds that this address has to wait; 0: it may try. */
  waitMs(address: string, nowMs: number): number;
  recordFailure(address: string, nowMs: number): void;
  readonly addresses: number;
}

interface Bucket {
  failures: number;
  atMs: number;
}

/**
 * The owner of an address: IPv6 hosts own a /64 and more, so single addresses of it would each get their own guesses.
 * An IPv4 address in IPv6 clothing is the IPv4 address.
 */
export function brakeKey(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address);
  if (mapped !== null) return mapped[1] as string;
  if (!address.includes(':')) return address;
  const [head = '', tail] = address.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - left.length - right.length);
  const groups = [...left, ...Array.from({ length: zeros }, () => '0'), ...right];
  return groups.slice(0, 4).join(':');
}

/** An empty brake; times are monotonic milliseconds. */
export function createFailureBrake(limits: BrakeLimits): FailureBrake {
  const buckets = new Map<string, Bucket>();
  const leaked = (bucket: Bucket, nowMs: number): number =>
    Math.max(0, bucket.failures - (nowMs - bucket.atMs) / limits.forgiveEveryMs);

  return {
    waitMs(address, nowMs) {
      const bucket = buckets.get(brakeKey(address));
      if (bucket === undefined) return 0;
      const over = leaked(bucket, nowMs) - (limits.maxFailures - 1);
      return over <= 0 ? 0 : Math.ceil(over * limits.forgiveEveryMs);
    },
    recordFailure(address, nowMs) {
      const key = brakeKey(address);
      const bucket = buckets.get(key);
      const failures = bucket === undefined ? 1 : leaked(bucket, nowMs) + 1;
      // Taken out and put back, so that the Map's order is the order of the last failure.
      buckets.delete(key);
      buckets.set(key, { failures: Math.min(failures, limits.maxFailures), atMs: nowMs });
      if (buckets.size <= limits.maxAddresses) return;
      const oldest = buckets.keys().next();
      if (oldest.done !== true) buckets.delete(oldest.value);
    },
    get addresses() {
      return buckets.size;
    },
  };
}
