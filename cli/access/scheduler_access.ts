/** The fleet as a scheduler shows it. */
import { CodedError } from '../../lib/errors.ts';
import type { CommandResult__Output } from '../../proto/gen/fleet/v1/CommandResult.ts';
import type { AdminConnection } from '../rpc.ts';
import { type FleetAccess, requireDone } from './fleet_access.ts';

/** @param admin is closed with the access */
export function schedulerAccess(admin: AdminConnection): FleetAccess {
  return {
    engines: async () => (await admin.call('ListEngines', {}))?.engines ?? [],
    async engine(name) {
      const engine = (await admin.call('GetEngine', { name }))?.engine;
      if (!engine) throw new CodedError('not_found', `There is no engine "${name}".`, { param: 'name' });
      return engine;
    },
    async node(name) {
      const answer = await admin.call('GetNode', { name });
      if (!answer?.node) throw new CodedError('not_found', `There is no node "${name}".`, { param: 'name' });
      return { name: answer.node.name, nodeEvent: answer.node.nodeEvent, engines: answer.engines };
    },
    async run(target, command, { onOutput, signal } = {}) {
      let result: CommandResult__Output | undefined;
      await admin.stream(
        'RunCommand',
        { target, command },
        async (message) => {
          if (message.output) await onOutput?.(message.output);
          if (message.result) ({ result } = message);
        },
        signal,
      );
      if (signal?.aborted !== true) requireDone(result);
    },
    close: () => admin.close(),
  };
}
