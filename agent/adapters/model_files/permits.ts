/** Shares a number of connections and a bandwidth among everything that is fetched. First come, first served. */
import { setTimeout as sleep } from 'node:timers/promises';
import { fullBucket, takeBytes } from '../../core/model_files/token_bucket.ts';

export interface Permits {
  /** Runs the task when a permit is free. Rejects with the reason of the signal while it waits. */
  use<Value>(signal: AbortSignal, task: () => Promise<Value>): Promise<Value>;
}

export function createPermits(count: number): Permits {
  let free = count;
  const waiting: (() => void)[] = [];
  const take = async (signal: AbortSignal): Promise<void> => {
    if (free > 0) {
      free -= 1;
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const turn = (): void => {
        signal.removeEventListener('abort', stop);
        resolve();
      };
      const stop = (): void => {
        const at = waiting.indexOf(turn);
        if (at !== -1) waiting.splice(at, 1);
        reject(signal.reason as Error);
      };
      waiting.push(turn);
      signal.addEventListener('abort', stop, { once: true });
    });
  };
  const giveBack = (): void => {
    const next = waiting.shift();
    if (next === undefined) free += 1;
    else next();
  };
  return {
    async use(signal, task) {
      signal.throwIfAborted();
      await take(signal);
      try {
        return await task();
      } finally {
        giveBack();
      }
    },
  };
}

/** @param bytesPerSecond 0: there is no limit */
export function createLimiter(bytesPerSecond: number): (bytes: number) => Promise<void> | undefined {
  if (bytesPerSecond === 0) return () => undefined;
  let bucket = fullBucket(bytesPerSecond, performance.now());
  return (bytes) => {
    const taken = takeBytes(bucket, bytes, performance.now());
    bucket = taken.bucket;
    return taken.waitMs === 0 ? undefined : sleep(taken.waitMs);
  };
}
