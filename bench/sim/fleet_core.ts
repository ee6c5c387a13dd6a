/**
 * A fleet that is too large for the sockets of one machine, fed to the scheduler's core in this process: every message is
 * made and decoded as on the wire and merged into the picture. What is left out is what the sockets, TLS and gRPC cost;
 * `agent-idle` measures that with real sessions of fewer agents.
 */
import type { NodeId } from '../../lib/ids.ts';
import type { AgentMessage } from '../../proto/gen/fleet/v1/AgentMessage.ts';
import { fleetService } from '../../proto/load.ts';
import { FleetDirectory } from '../../scheduler/core/fleet/directory.ts';
import { createEngineTable } from '../../scheduler/core/routing/engine_table.ts';
import { createReservations } from '../../scheduler/core/routing/reservations.ts';
import { deltaMessage, type FleetShape, helloMessage, snapshotMessage } from '../idle/messages.ts';

export interface FleetCoreCost {
  /** Of one core, for a message per agent and second. */
  readonly corePercent: number;
  readonly usPerMessage: number;
  readonly heapMb: number;
  readonly agents: number;
}

const { requestSerialize, requestDeserialize } = fleetService.Session;
const overTheWire = (message: AgentMessage): Buffer => requestSerialize({ seq: 1, ...message });

export function measureFleetCore(agents: number, rounds: number, shape: FleetShape): FleetCoreCost {
  const reservations = createReservations();
  const directory = new FleetDirectory({
    reservations,
    engines: createEngineTable({ reservations }),
    configuredModels: [],
    staleAfterMs: 10_000,
  });
  const take = (node: NodeId, bytes: Buffer, nowMs: number): void => {
    const { hello, telemetry } = requestDeserialize(bytes);
    const moment = { nowMs, wallMs: nowMs };
    const connection = 1;
    if (hello != null) directory.apply({ kind: 'hello', node, connection, hello, desired: undefined }, moment);
    if (telemetry != null) directory.apply({ kind: 'telemetry', node, connection, telemetry }, moment);
  };
  const nodes = Array.from({ length: agents }, (_, index) => `light-${index}` as NodeId);
  for (const node of nodes) {
    take(node, overTheWire({ hello: helloMessage(shape, node, 's') }), 0);
    take(node, overTheWire({ telemetry: snapshotMessage(shape) }), 0);
  }
  let usedUs = 0;
  for (let round = 1; round <= rounds; round++) {
    const messages = nodes.map((_, index) => overTheWire({ telemetry: deltaMessage(shape, round + index) }));
    const before = process.cpuUsage();
    for (const [index, node] of nodes.entries()) take(node, messages[index] as Buffer, round * 1000);
    const used = process.cpuUsage(before);
    usedUs += used.user + used.system;
  }
  const known = directory.state.nodes.size;
  if (known !== agents) throw new Error(`the scheduler knows ${known} of ${agents} nodes`);
  const usPerMessage = usedUs / (rounds * agents);
  return {
    corePercent: (usPerMessage * agents) / 10_000,
    usPerMessage,
    heapMb: process.memoryUsage().heapUsed / 1024 ** 2,
    agents,
  };
}
