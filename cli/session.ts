/**
 * What every client command needs: the global flags, a printer, and a connection to the chosen scheduler that is closed
 * when the command ends.
 */
import type { Command } from 'commander';
import { resolveTarget, type Target, type TargetFlags } from './contexts.ts';
import { createPrinter, type Printer } from './output.ts';
import { type AdminConnection, connectAdmin } from './rpc.ts';

export interface GlobalFlags extends TargetFlags {
  readonly json?: boolean;
}

export function printerOf(command: Command): Printer {
  return createPrinter(command.optsWithGlobals<GlobalFlags>().json === true, (text) => process.stdout.write(text));
}

export function targetOf(command: Command): Promise<Target> {
  return resolveTarget(command.optsWithGlobals<GlobalFlags>());
}

/** Runs `task` with a connection to the scheduler that the flags name. */
export async function withAdmin<Result>(
  command: Command,
  task: (admin: AdminConnection, print: Printer) => Promise<Result>,
): Promise<Result> {
  const admin = connectAdmin(await targetOf(command));
  try {
    return await task(admin, printerOf(command));
  } finally {
    admin.close();
  }
}
