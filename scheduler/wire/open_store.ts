/** Opens the store of a configuration, with the keys and anchors that lie beside it in the data folder. */
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { rename } from 'node:fs/promises';
import type { Logger } from '../../lib/io/logger.ts';
import { systemClock, systemRandom } from '../../lib/io/system.ts';
import type { OpenedStore } from '../adapters/control/control_plane.ts';
import { type AnchorsFile, openAnchorsFile } from '../adapters/store/anchors_file.ts';
import { stateAt } from '../adapters/store/checkpoints.ts';
import { openEventStore } from '../adapters/store/event_store.ts';
import { readOrMakeAnchorKeys, readOrMakeMac } from '../adapters/store/keys.ts';
import { openDriver } from '../adapters/store/open_store.ts';
import type { StoreFiles } from '../adapters/store/store_files.ts';
import { createUsageTable } from '../adapters/store/usage_table.ts';
import { processEnvironment, type SchedulerConfig } from '../config.ts';

/** @throws CodedError store_…, invalid_config */
export async function openStore(config: SchedulerConfig, files: StoreFiles, logger: Logger): Promise<OpenedStore> {
  const mac = await readOrMakeMac(files.logKey);
  const keys = await readOrMakeAnchorKeys(files.anchorKey);
  let anchors: AnchorsFile = await openAnchorsFile(files.anchors, keys);
  const driver = openDriver({
    ...(config.storeUrl === undefined ? {} : { url: config.storeUrl }),
    folder: files.database,
    clock: systemClock,
    random: systemRandom,
    environment: { ...processEnvironment() },
  });
  try {
    const store = await openEventStore({
      driver,
      mac,
      clock: systemClock,
      random: systemRandom,
      newLogId: randomUUID(),
      onHealth: ({ state, reason }) => logger.info({ state, reason }, 'state of the store'),
    });
    return {
      store,
      usage: createUsageTable(driver),
      newestAnchor: () => anchors.newest(),
      anchor: () => anchors.anchor(store),
      stateAt: (until) => stateAt(store, until),
      async accept() {
        // The old anchors speak of events that are gone; they are kept for whoever asks later.
        const aside = `${files.anchors}.before-${new Date(systemClock.wallMs()).toISOString().replaceAll(':', '-')}`;
        if (existsSync(files.anchors)) await rename(files.anchors, aside);
        anchors = await openAnchorsFile(files.anchors, keys);
        logger.warn({ aside }, 'the log was taken as it is; its anchors begin anew');
      },
    };
  } catch (thrown) {
    await driver.close();
    throw thrown;
  }
}
