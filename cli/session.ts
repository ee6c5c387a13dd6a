/**
 * What every client command needs: the global flags, a printer, and a connection to the chosen scheduler that is closed
 * when the command ends. What a command does not use is not loaded: half of the time of a short one is the start.
 */
import type { Command } from 'commander';
import type { FleetAccess } from './access/fleet_access.ts';
import type { Target, TargetFlags } from './contexts.ts';
import { createPrinter, type Printer } from './output.ts';
import type { AdminConnection } from './rpc.ts';

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

export async function targetOf(command: Command): Promise<Target> {
  const { resolveTarget } = await import('./contexts.ts');
  return resolveTarget(command.optsWithGlobals<GlobalFlags>());
}

/** Runs `task` with a connection to the scheduler that the flags name. */
export async function withAdmin<Result>(
  command: Command,
  task: (admin: AdminConnection, print: Printer) => Promise<Result>,
): Promise<Result> {
  const { connectAdmin } = await import('./rpc.ts');
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
  const fleet = await openFleet(command);
  try {
    return await task(fleet, printerOf(command));
  } finally {
    fleet.close();
  }
}

async function openFleet(command: Command): Promise<FleetAccess> {
  const { agentSocket } = command.optsWithGlobals<GlobalFlags>();
  if (agentSocket !== undefined) return (await import('./access/agent_socket.ts')).openAgentSocket(agentSocket);
  const { connectAdmin } = await import('./rpc.ts');
  const { schedulerAccess } = await import('./access/scheduler_access.ts');
  return schedulerAccess(connectAdmin(await targetOf(command)));
}
