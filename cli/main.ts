#!/usr/bin/env node
/**
 * Entry of the `sophia` command. Exit codes: 0 done, 1 the command failed, 2 the command line or a configuration is
 * wrong; each failure is one sentence and, where there is one, what to do next.
 */
import { CommanderError } from 'commander';
import { toCodedError } from '../lib/errors.ts';
import { ExitRequest } from './exit.ts';
import { buildProgram } from './program.ts';

const USAGE_CODES = new Set(['invalid_config', 'cannot_start', 'address_in_use', 'missing_model']);

async function run(): Promise<number> {
  try {
    await buildProgram().parseAsync(process.argv);
    return 0;
  } catch (thrown) {
    if (thrown instanceof ExitRequest) return thrown.exitCode;
    // Commander has already printed its own sentence.
    if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? 0 : 2;
    const error = toCodedError(thrown);
    if (process.argv.includes('--json')) {
      process.stdout.write(
        `${JSON.stringify({ error: { code: error.code, message: error.message, next: error.spec.next } })}\n`,
      );
    }
    const detail = error.code === 'internal' && error.cause instanceof Error ? ` ${error.cause.message}` : '';
    process.stderr.write(`sophia: ${error.message}${detail}\n  ${error.spec.next}\n`);
    return USAGE_CODES.has(error.code) ? 2 : 1;
  }
}

process.exitCode = await run();
