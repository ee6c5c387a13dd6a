#!/usr/bin/env node
/** Starts an agent. The parts are loaded only when the configuration is sound, so that what is wrong in it is said at once. */
import { runProcess } from '../lib/io/run_process.ts';
import { processEnvironment, settings } from './config.ts';

await runProcess({
  definition: settings,
  env: processEnvironment(),
  log: (config) => ({ level: config.logLevel, format: config.logFormat }),
  wire: async (config, logger) => {
    const { wireAgent } = await import('./wire.ts');
    return wireAgent(config, logger.child({ node: config.nodeName }));
  },
});
