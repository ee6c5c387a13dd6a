/**
 * A leader that does not know that it is none: a door that agents dial as they dial every scheduler, from which orders go
 * out under whatever term it is told. A real leader looks at its clock before it speaks; this one does what that look
 * prevents, so that the agents' own refusal is seen.
 */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { createLogger } from '../../lib/io/logger.ts';
import { createMetrics } from '../../lib/io/metrics.ts';
import { systemClock } from '../../lib/io/system.ts';
import { createFleetDoor } from '../../scheduler/adapters/grpc/fleet_door.ts';
import type { FleetSink, SessionHandle } from '../../scheduler/ports.ts';
import type { Owner } from '../store_faults/postgres.ts';

export interface Ghost {
  /** Opens the door; certificates lie in `root` once the fleet has been started. */
  open(root: string): Promise<void>;
  sessions(): readonly string[];
  /** Orders every node that has a session to run nothing at all. @returns how many were told */
  order(term: number): number;
}

const ignore = (): void => undefined;
const LATE_GENERATION = 2 ** 40;

function sinkInto(sessions: Map<string, SessionHandle>): FleetSink {
  return {
    onHello: (session) => void sessions.set(session.nodeName, session),
    onSessionLost(session) {
      if (sessions.get(session.nodeName) === session) sessions.delete(session.nodeName);
    },
    onTelemetry: ignore,
    onEngineEvent: ignore,
    onDesiredStateAck: ignore,
    onGpuEvent: ignore,
    onNodeEvent: ignore,
    onCommandOutput: ignore,
    onCommandResult: ignore,
    onGoodbye: ignore,
    onLaneOpen: ignore,
    onLaneLost: ignore,
  };
}

export function makeGhost(owner: Owner, port: number): Ghost {
  const sessions = new Map<string, SessionHandle>();
  let term = 0;
  return {
    async open(root) {
      const read = (name: string): Promise<string> => readFile(path.join(root, 'tls', name), 'utf8');
      const door = createFleetDoor({
        sink: sinkInto(sessions),
        clock: systemClock,
        logger: createLogger({ name: 'ghost', level: 'fatal', destination: process.stderr }),
        metrics: createMetrics({ processMetrics: false }),
        options: {
          host: '127.0.0.1',
          port,
          certPem: await read('scheduler.crt'),
          keyPem: await read('scheduler.key'),
          caPem: await read('ca.crt'),
          maxMessageBytes: 32 * 1024 * 1024,
          keepaliveTimeMs: 10_000,
          keepaliveTimeoutMs: 5000,
          helloTimeoutMs: 10_000,
          maxLanesPerNode: 8,
          facts: {
            schedulerId: 'ghost',
            version: '0',
            get term() {
              return term;
            },
            mayOrder: () => term > 0,
            telemetryPeriodMs: 60_000,
          },
        },
      });
      await door.listen();
      owner.teardown(() => door.close());
    },
    sessions: () => [...sessions.keys()],
    order(given) {
      term = given;
      for (const session of sessions.values()) session.sendDesiredState({ generation: LATE_GENERATION, engines: [] });
      term = 0;
      return sessions.size;
    },
  };
}
