/** Sends each order of an operator to the part of the agent that carries it out. */
import { requireOrder } from '../../lib/command_verbs.ts';
import type { Command__Output } from '../../proto/gen/fleet/v1/Command.ts';
import type { CommandResult } from '../../proto/gen/fleet/v1/CommandResult.ts';
import { failureOf } from '../core/command_result.ts';
import type { CommandRunner } from '../ports.ts';

export interface CommandParts {
  /** ENGINE_LOGS. */
  readonly logs: CommandRunner;
  /** GPU_RELEASE: lifts the quarantine of a GPU. */
  readonly releaseGpu: (gpu: number, command: Command__Output) => Promise<Omit<CommandResult, 'id'>>;
  /** All the others. */
  readonly rest: CommandRunner;
}

/** One runner for every verb; an order that lacks something is refused before any part sees it. */
export function routeCommands(parts: CommandParts): CommandRunner {
  return {
    async run(command, sink) {
      try {
        requireOrder(command);
        if (command.verb === 'COMMAND_VERB_ENGINE_LOGS') return await parts.logs.run(command, sink);
        if (command.verb === 'COMMAND_VERB_GPU_RELEASE') return await parts.releaseGpu(command.gpu ?? 0, command);
        return await parts.rest.run(command, sink);
      } catch (thrown) {
        return failureOf(thrown);
      }
    },
  };
}
