/** The fleet that the clients of other people are tried on: one quick simulated model and one that never begins. */
import { engineLoad } from '../support/engine_client.ts';
import { eventually } from '../support/child.ts';
import { type FleetEngine, simEngine, startFleet, type TestFleet } from '../support/fleet.ts';
import type { Engine__Output } from '../../proto/gen/admin/v1/Engine.ts';

/** A name with a slash, as hub ids have one. */
export const MODEL = 'acme/sim-chat';
/** Its first token takes longer than any client here waits. */
export const SILENT_MODEL = 'acme/sim-silent';
export const MAX_BODY_BYTES = 64 * 1024;
export const MAX_RUNNING = 4;

export interface ClientFleet {
  readonly fleet: TestFleet;
  /** What a client takes as its base URL. */
  readonly baseUrl: string;
  readonly engine: FleetEngine;
  /** Resolves when neither an engine nor the scheduler works on anything. */
  idle(): Promise<void>;
}

interface Owner {
  teardown(task: () => unknown): void;
}

export async function startClientFleet(owner: Owner): Promise<ClientFleet> {
  const fleet = await startFleet(owner, {
    engines: [
      simEngine({ name: 'chat', model: MODEL }),
      simEngine({
        name: 'silent',
        model: SILENT_MODEL,
        flags: ['--sim-ttft-ms', '600000', '--sim-ttft-after', '1', '--sim-itl-ms', '2'],
      }),
    ],
    // One attempt a request: a failure is to be seen, not to be mended.
    scheduler: { maxBodyBytes: MAX_BODY_BYTES, maxRunningRequests: MAX_RUNNING, failoverMaxAttempts: 1 },
  });
  const engine = fleet.engines.find((candidate) => candidate.model === MODEL) as FleetEngine;
  const idle = (): Promise<void> =>
    eventually('nothing runs any more', async () => {
      const loads = await Promise.all(fleet.engines.map(({ address }) => engineLoad(address)));
      const { engines } = await fleet.admin<{ engines: Engine__Output[] }>('ListEngines');
      return (
        loads.every(({ running, waiting }) => running + waiting === 0) &&
        engines.every((one) => one.runningRequests === 0)
      );
    });
  return { fleet, baseUrl: `${fleet.url}/v1`, engine, idle };
}
