/**
 * Opens the store that a configuration names: PostgreSQL by its address, or the embedded database in a folder. The two
 * differ below the seam of sql_driver.ts and nowhere else.
 */
import type { Clock } from '../../../lib/clock.ts';
import type { RandomSource } from '../../../lib/rng.ts';
import { createEmbeddedDriver } from './embedded/embedded_driver.ts';
import { createPgDriver } from './pg_driver.ts';
import type { SqlDriver } from './sql_driver.ts';

export interface StorePlace {
  /** Address of PostgreSQL; absent: the embedded database. */
  readonly url?: string;
  /** Folder of the embedded database. */
  readonly folder: string;
  readonly clock: Clock;
  readonly random: RandomSource;
  /** What the process of the embedded database inherits. */
  readonly environment: NodeJS.ProcessEnv;
}

export function openDriver({ url, folder, clock, random, environment }: StorePlace): SqlDriver {
  return url === undefined
    ? createEmbeddedDriver({ folder, clock, random, environment })
    : createPgDriver({ url, clock, random });
}
