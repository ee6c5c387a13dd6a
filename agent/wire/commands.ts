/** Puts together what an operator may order of this agent, and the two ways by which orders come. */
import path from 'node:path';
import { packageVersion } from '../../lib/io/package_root.ts';
import type { Hello } from '../../proto/gen/fleet/v1/Hello.ts';
import { type AdminSocket, createAdminSocket, MAX_PATH_BYTES } from '../adapters/admin_socket/admin_socket.ts';
import { createLogCommands } from '../adapters/command_logs/command_logs.ts';
import { routeCommands } from '../adapters/command_router.ts';
import type { DirectDesk } from '../adapters/direct_desk.ts';
import type { SessionCommands } from '../adapters/session_commands.ts';
import type { TelemetryLoop } from '../adapters/telemetry.ts';
import type { CommandRunner, Relay, SessionEvents } from '../ports.ts';
import { createCommandRunner } from '../run_loop/commands.ts';
import type { GpuWatch, ReleaseOutcome } from '../run_loop/gpu_watch.ts';
import type { RunLoop } from '../run_loop/run_loop.ts';
import type { AgentModels } from './models.ts';
import type { Parts } from './parts.ts';

const RELEASED: Readonly<Record<ReleaseOutcome, { readonly code: string; readonly message: string }>> = {
  released: { code: '', message: 'The GPU is released.' },
  not_quarantined: { code: '', message: 'The GPU was not quarantined.' },
  unknown_gpu: { code: 'not_found', message: 'This node knows no such GPU.' },
};

/** Everything that an operator may order of this agent, wherever the order comes from. */
export function createCommandsOf(parts: Parts, loop: RunLoop, gpus: GpuWatch): CommandRunner {
  return routeCommands({
    logs: createLogCommands({ enginesFolder: path.join(parts.dataFolder, 'engines') }),
    releaseGpu: (gpu, { actor, reason }) => {
      const outcome = gpus.release(gpu, actor, reason);
      const param = outcome === 'unknown_gpu' ? { param: 'gpu' } : {};
      return Promise.resolve({ ...RELEASED[outcome], ...param });
    },
    rest: createCommandRunner({ loop }),
  });
}

/** The local socket, or undefined where it is turned off or the data folder lies too deep for one. */
export function createAdminSocketOf(parts: Parts, runner: CommandRunner, hello: () => Hello): AdminSocket | undefined {
  const { config, dataFolder, logger } = parts;
  if (config.adminSocket === 'none') return undefined;
  const place = config.adminSocket ?? path.join(dataFolder, 'admin.sock');
  if (config.adminSocket === undefined && Buffer.byteLength(place) > MAX_PATH_BYTES) {
    logger.warn({ place }, 'the path is too long for a socket: set adminSocket to have a local one');
    return undefined;
  }
  const picture = () => {
    const { engines = [], gpuEvents = [], nodeEvent } = hello();
    const drains = nodeEvent == null ? {} : { nodeEvent };
    return { nodeName: config.nodeName, agentVersion: packageVersion(), engines, gpuEvents, ...drains };
  };
  return createAdminSocket({ path: place, runner, picture, log: logger });
}

export interface SessionListeners {
  readonly loop: RunLoop;
  readonly telemetry: TelemetryLoop;
  readonly relay: Relay;
  readonly commands: SessionCommands;
  readonly direct?: DirectDesk | undefined;
  readonly models: Pick<AgentModels, 'connected' | 'onTicketIssuer' | 'onModelPeers'>;
  readonly kv: { connected(scheduler: string): void; disconnected(scheduler: string): void };
}

/** What sessions bring to the loop, the telemetry, the relay and the commands. */
export function sessionEventsOf({ logger }: Parts, listeners: SessionListeners): SessionEvents {
  const { loop, telemetry, relay, commands, direct, models, kv } = listeners;
  const seen = new Set<string>();
  return {
    onConnected: (scheduler, term, periodMs) => {
      logger.info({ scheduler, term }, 'session open');
      loop.observeTerm(term);
      telemetry.connected(scheduler, periodMs);
      direct?.connected(scheduler);
      models.connected(scheduler);
      kv.connected(scheduler);
      // From its first welcome on a scheduler has lanes; they come back by themselves, also before the session does.
      seen.add(scheduler);
      relay.setSchedulers([...seen]);
    },
    onDisconnected: (scheduler, reason) => {
      telemetry.disconnected(scheduler);
      kv.disconnected(scheduler);
      logger.warn({ scheduler, reason }, 'session lost');
      commands.onDisconnected(scheduler);
    },
    onDesiredState: (scheduler, term, state) => loop.onDesiredState(scheduler, term, state),
    onTicketIssuer(scheduler, issuer) {
      direct?.onTicketIssuer(scheduler, issuer);
      models.onTicketIssuer(scheduler, issuer);
    },
    onModelPeers: models.onModelPeers,
    onCommand: (scheduler, term, command) => commands.onCommand(scheduler, term, command),
  };
}
