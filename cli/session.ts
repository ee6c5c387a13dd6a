/**
 * What every client command needs: the global flags, a printer, and a connection to the chosen scheduler that is closed
 * when the command ends.
 */
import type { Command } from 'commander';
import { resolveTarget, type Target, type TargetFlags } from './contexts.ts';
import { openAgentSocket } from './access/agent_socket.ts';
import type { FleetAccess } from './access/fleet_access.ts';
import { schedulerAccess } from './access/scheduler_access.ts';
import { createPrinter, type Printer } from './output.ts';
import { type AdminConnection, connectAdmin } from './rpc.ts';

export interface GlobalFlags extends TargetFlags {
  readonly json?: boolean;
  readonly agentSocket?: string;
}

export function printerOf(command: Command): Printer {
  return createPrinter(command.optsWithGlobals<GlobalFlags>().json === true, writeOut);
}

/** Resolves when standard output has room for more, or when nobody reads it any more. */
function writeOut(text: string): Promise<void> {
  const { stdout } = process;
  if (stdout.write(text) || stdout.destroyed) return Promise.resolve();
  return new Promise((resolve) => {
    const done = (): void => {
      stdout.off('drain', done).off('close', done).off('error', done);
      resolve();
    };
    stdout.on('drain', done).on('close', done).on('error', done);
  });
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

/** Runs `task` with whoever can give orders: the scheduler, or the agent on this host where --agent-socket names it. */
export async function withFleet<Result>(
  command: Command,
  task: (fleet: FleetAccess, print: Printer) => Promise<Result>,
): Promise<Result> {
  const { agentSocket } = command.optsWithGlobals<GlobalFlags>();
  const fleet =
    agentSocket === undefined
      ? schedulerAccess(connectAdmin(await targetOf(command)))
      : await openAgentSocket(agentSocket);
  try {
    return await task(fleet, printerOf(command));
  } finally {
    fleet.close();
  }
}
