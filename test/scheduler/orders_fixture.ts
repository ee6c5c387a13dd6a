/** A scheduler with both its doors open: fake agents on one side, operators on the other. */
import type { Test } from 'tap';
import { credentials, type ClientReadableStream } from '@grpc/grpc-js';
import { systemClock, systemRandom } from '../../lib/io/system.ts';
import type { RunCommandRequest } from '../../proto/gen/admin/v1/RunCommandRequest.ts';
import type { RunCommandResponse__Output } from '../../proto/gen/admin/v1/RunCommandResponse.ts';
import type { Command__Output } from '../../proto/gen/fleet/v1/Command.ts';
import type { CommandOutput } from '../../proto/gen/fleet/v1/CommandOutput.ts';
import type { CommandResult } from '../../proto/gen/fleet/v1/CommandResult.ts';
import type { Hello } from '../../proto/gen/fleet/v1/Hello.ts';
import { sha256 } from '../../scheduler/adapters/auth/sha256.ts';
import { createAdminHandlers } from '../../scheduler/adapters/grpc/admin.ts';
import type { KeyStore } from '../../scheduler/ports.ts';
import { eventually } from '../support/child.ts';
import { type FakeAgent, type FakeSession, readyEngine } from '../support/fake_agent.ts';
import { silentLog } from './fakes.ts';
import { openFleetDoor } from './fleet_fixture.ts';
import { AdminConstructor, bearer, openDoor } from './grpc/door_fixture.ts';

/** What a fake agent answers an order with. */
export interface Answering {
  readonly command: Command__Output;
  output(output: Omit<CommandOutput, 'id'>): void;
  result(result?: Omit<CommandResult, 'id'>): void;
}

export interface OrderAgent {
  readonly agent: FakeAgent;
  readonly session: FakeSession;
  readonly commands: Command__Output[];
}

const NO_KEYS = { find: () => undefined, list: () => [] } as unknown as KeyStore;

export async function openOrders(t: Test) {
  const fleetDoor = await openFleetDoor(t);
  const { inspector, commander } = fleetDoor.loop;
  const fleet = { inspector, schedulerId: 'sched', version: '1', term: 12, startedAtMs: 1 };
  const deps = {
    fleet,
    keys: NO_KEYS,
    clock: systemClock,
    random: systemRandom,
    sha256,
    logger: silentLog,
    commander,
  };
  const door = await openDoor(t, {}, (identityOf) => createAdminHandlers(deps, identityOf));
  const client = new AdminConstructor(door.address(), credentials.createInsecure());
  t.teardown(() => client.close());

  /** A node with its agent, whose orders `answer` answers. */
  const addAgent = async (
    nodeName: string,
    answer: (order: Answering) => void,
    hello: Partial<Hello> = { engines: [readyEngine('e0', 'm')] },
  ): Promise<OrderAgent> => {
    const agent = await fleetDoor.agent(nodeName, { sessionId: `s-${nodeName}` });
    const session = agent.openSession(hello);
    const commands: Command__Output[] = [];
    session.onMessage = ({ command }) => {
      if (command == null) return;
      commands.push(command);
      const { id } = command;
      answer({
        command,
        output: (output) => session.send({ commandOutput: { ...output, id } }),
        result: (result = {}) => session.send({ commandResult: { ...result, id } }),
      });
    };
    await eventually('the welcome', () => session.received.length > 0);
    return { agent, session, commands };
  };
  const run = (request: RunCommandRequest, key = 'key-operator'): ClientReadableStream<RunCommandResponse__Output> => {
    const open = client['RunCommand'] as unknown as (
      request: object,
      metadata: object,
    ) => ClientReadableStream<RunCommandResponse__Output>;
    return open.call(client, request, bearer(key));
  };
  return { ...fleetDoor, door, addAgent, run, endpoint: door.address() };
}
