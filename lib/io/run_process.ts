/**
 * The main of a process of the fleet: settings, then the logger, then the parts. Whatever is wrong before the parts run
 * ends the process with the exit code and the words that lifecycle.ts has for it.
 */
import { readFileSync } from 'node:fs';
import type { z } from 'zod';
import { type Lifecycle, reportFatal } from './lifecycle.ts';
import { createLogger, type Logger, type LoggerOptions } from './logger.ts';
import { type ConfigOf, loadSettings, type SettingsDefinition } from './settings.ts';

export interface ProcessOptions<Table extends Record<string, z.ZodType>> {
  readonly definition: SettingsDefinition<Table>;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Where the settings of the log stand in the configuration. */
  readonly log: (config: ConfigOf<Table>) => Pick<LoggerOptions, 'level' | 'format'>;
  /** Puts the parts together; called once, with a configuration that is whole. */
  readonly wire: (config: ConfigOf<Table>, logger: Logger) => Lifecycle | Promise<Lifecycle>;
}

/** Runs until the process is told to stop; sets the exit code, never throws. */
export async function runProcess<Table extends Record<string, z.ZodType>>(
  options: ProcessOptions<Table>,
): Promise<void> {
  const { definition, env, log, wire } = options;
  let logger: Logger | undefined;
  try {
    const loaded = loadSettings(definition, {
      argv: process.argv.slice(2),
      env,
      readFile: (file) => readFileSync(file, 'utf8'),
    });
    if (loaded.help || loaded.printConfig) {
      process.stdout.write(`${loaded.text()}\n`);
      return;
    }
    logger = createLogger({ name: definition.processName, ...log(loaded.config) });
    const lifecycle = await wire(loaded.config, logger);
    await lifecycle.run();
  } catch (error) {
    process.exitCode = reportFatal(error, logger);
  }
}
