/**
 * What keeps a log trustworthy and its start short: anchors and checkpoints. Neither is made while the log is not the one
 * that was known. A checkpoint writes the whole state out at once (a quarter of a second for 10,000 resources), for which
 * everything else waits; so there are few of them while requests are served, and one at the end, when none is.
 */
import type { Clock } from '../../../lib/clock.ts';
import type { Logger } from '../../../lib/io/logger.ts';
import type { EventStore } from '../../core/events/store_port.ts';
import type { Memory } from './memory.ts';

export interface UpkeepOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly anchorPeriodMs: number;
  readonly checkpointPeriodMs: number;
  /** New events that are worth a checkpoint while requests are served. */
  readonly checkpointEvents: number;
}

/** A store with its anchors. */
interface Kept {
  readonly store: EventStore;
  anchor(): Promise<unknown>;
}

/** New events that are worth a checkpoint at the end. */
const END_EVENTS = 2000;
const END_MS = 4000;

export interface Upkeep {
  /** Does what is due. @throws CodedError store_… */
  turn(kept: Kept): Promise<void>;
  /** Nothing comes any more: does what the next start is glad of, unless the store is slow. Never rejects. */
  end(kept: Kept): Promise<void>;
}

/** Whether the log still has what was read of it. */
async function isSound({ store }: Kept, { projection, hash }: Memory): Promise<boolean> {
  const seq = projection.seq();
  const { logId } = await store.head();
  const problem = seq === 0 ? store.health().gap : await store.remember({ seq, hash }, logId);
  return problem === undefined;
}

export function createUpkeep(options: UpkeepOptions, memory: Memory): Upkeep {
  const { clock, logger } = options;
  let anchoredAtMs = clock.monotonicMs();
  let checkedAtMs = clock.monotonicMs();
  const isDue = (sinceMs: number, periodMs: number): boolean => clock.monotonicMs() - sinceMs >= periodMs;
  const newEvents = (): number => memory.projection.seq() - memory.checkpointSeq;
  const checkpoint = async ({ store }: Kept): Promise<void> => {
    memory.checkpointSeq = (await store.checkpoint())?.seq ?? memory.checkpointSeq;
  };
  const finish = async (kept: Kept): Promise<void> => {
    if (!(await isSound(kept, memory))) return;
    await kept.anchor();
    if (newEvents() >= END_EVENTS) await checkpoint(kept);
  };
  return {
    async turn(kept) {
      if (isDue(anchoredAtMs, options.anchorPeriodMs)) {
        anchoredAtMs = clock.monotonicMs();
        if (await isSound(kept, memory)) await kept.anchor();
      }
      const isWorth = newEvents() >= options.checkpointEvents && kept.store.health().gap === undefined;
      if (isWorth && isDue(checkedAtMs, options.checkpointPeriodMs)) {
        checkedAtMs = clock.monotonicMs();
        await checkpoint(kept);
      }
    },
    async end(kept) {
      if (kept.store.health().state !== 'up') return;
      let cancel = (): void => undefined;
      const late = new Promise<void>((resolve) => {
        cancel = clock.after(END_MS, resolve);
      });
      const done = finish(kept).catch((err: unknown) => logger.warn({ err }, 'the log was not anchored at the end'));
      await Promise.race([done, late]);
      cancel();
    },
  };
}
