#!/usr/bin/env node
/** Starts an agent: configuration, logger, parts. */
import { readFileSync } from 'node:fs';
import { createLogger, type Logger } from '../lib/io/logger.ts';
import { reportFatal } from '../lib/io/lifecycle.ts';
import { loadSettings } from '../lib/io/settings.ts';
import { processEnvironment, settings } from './config.ts';

async function main(): Promise<void> {
  let logger: Logger | undefined;
  try {
    const loaded = loadSettings(settings, {
      argv: process.argv.slice(2),
      env: processEnvironment(),
      readFile: (file) => readFileSync(file, 'utf8'),
    });
    if (loaded.help || loaded.printConfig) {
      process.stdout.write(`${loaded.text()}\n`);
      return;
    }
    logger = createLogger({ name: 'agent', level: loaded.config.logLevel, format: loaded.config.logFormat });
    // The parts are loaded only now, so that a configuration error is said at once.
    const { wireAgent } = await import('./wire.ts');
    await wireAgent(loaded.config, logger.child({ node: loaded.config.nodeName })).run();
  } catch (error) {
    process.exitCode = reportFatal(error, logger);
  }
}

await main();
