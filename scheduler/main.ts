#!/usr/bin/env node
/** Starts a scheduler: configuration, logger, parts. */
import { readFileSync } from 'node:fs';
import { reportFatal } from '../lib/io/lifecycle.ts';
import { createLogger, type Logger } from '../lib/io/logger.ts';
import { loadSettings } from '../lib/io/settings.ts';
import { processEnvironment, settings } from './config.ts';
import { wireScheduler } from './wire.ts';

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
    logger = createLogger({ name: 'scheduler', level: loaded.config.logLevel, format: loaded.config.logFormat });
    const lifecycle = await wireScheduler(loaded.config, logger);
    await lifecycle.run();
  } catch (error) {
    process.exitCode = reportFatal(error, logger);
  }
}

await main();
