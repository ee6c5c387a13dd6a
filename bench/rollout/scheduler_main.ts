/**
 * A scheduler that carries out rollouts of one deployment: the product's own parts, with orders that come from a file. It
 * stands for a scheduler with desired state in a store, as far as a rollout can tell.
 */
import path from 'node:path';
import { runProcess } from '../../lib/io/run_process.ts';
import { processEnvironment, settings } from '../../scheduler/config.ts';
import { wireScheduler } from '../../scheduler/wire.ts';
import { RolloutDriver } from './driver.ts';

await runProcess({
  definition: settings,
  env: processEnvironment(),
  log: (config) => ({ level: config.logLevel, format: config.logFormat }),
  wire(config, logger) {
    const driver = new RolloutDriver(path.join(config.dataDir, 'rollout'), logger);
    return wireScheduler(config, logger, {
      desiredFor: (node) => driver.desiredFor(node),
      made: (loop) => driver.run(loop),
    });
  },
});
