/** A fleet door over real mutual TLS with a run loop behind it, and fake agents that dial it. */
import { systemClock } from '../../lib/io/system.ts';
import { createMetrics, type Metrics } from '../../lib/io/metrics.ts';
import { seededRandom } from '../../lib/rng.ts';
import { createFigures } from '../../scheduler/adapters/figures/figures.ts';
import { createFleetDoor, type FleetDoorOptions } from '../../scheduler/adapters/grpc/fleet_door.ts';
import type { NodeId } from '../../lib/ids.ts';
import type { DesiredState } from '../../proto/gen/fleet/v1/DesiredState.ts';
import { createRunLoop, type RunLoop } from '../../scheduler/run_loop.ts';
import { type Authority, createFakeAgent, type FakeAgent, testAuthority } from '../support/fake_agent.ts';
import { LOOP_OPTIONS, silentLog } from './fakes.ts';

interface Owner {
  teardown(task: () => unknown): void;
}

export interface FleetFixture {
  readonly loop: RunLoop;
  readonly metrics: Metrics;
  readonly port: number;
  readonly authority: Authority;
  /** An agent with a certificate for `certificateName`, `nodeName` unless given. */
  agent(
    nodeName: string,
    options?: { readonly sessionId?: string; readonly certificateName?: string; readonly authority?: Authority },
  ): Promise<FakeAgent>;
  close(): Promise<void>;
}

export async function openFleetDoor(
  owner: Owner,
  change: {
    readonly options?: Partial<FleetDoorOptions>;
    readonly desiredFor?: (node: NodeId) => DesiredState | undefined;
  } = {},
): Promise<FleetFixture> {
  const authority = await testAuthority();
  const { certPem, keyPem } = await authority.issue('scheduler', ['localhost', '127.0.0.1']);
  const metrics = createMetrics({ processMetrics: false });
  const loop = createRunLoop({
    clock: systemClock,
    random: seededRandom(1),
    logger: silentLog,
    figures: createFigures({ metrics, recordingDoors: new Set(['http']) }),
    desiredFor: change.desiredFor ?? (() => undefined),
    configuredModels: [],
    // These tests look at the door: what fails there is to be seen at once.
    options: { ...LOOP_OPTIONS, failover: { ...LOOP_OPTIONS.failover, reattachWaitMs: 0, maxWaitMs: 0 } },
  });
  const door = createFleetDoor({
    sink: loop.fleetSink,
    clock: systemClock,
    logger: silentLog,
    metrics,
    options: {
      host: '127.0.0.1',
      port: 0,
      certPem,
      keyPem,
      caPem: authority.ca.certPem,
      maxMessageBytes: 1024 * 1024,
      keepaliveTimeMs: 10_000,
      keepaliveTimeoutMs: 5_000,
      helloTimeoutMs: 5_000,
      maxLanesPerNode: 4,
      facts: { schedulerId: 'test', version: '0', term: 12, telemetryPeriodMs: 500 },
      ...change.options,
    },
  });
  const { port } = await door.listen();
  const agents: FakeAgent[] = [];
  const close = async (): Promise<void> => {
    for (const agent of agents) agent.close();
    await door.close();
  };
  owner.teardown(close);
  return {
    loop,
    metrics,
    port,
    authority,
    close,
    async agent(nodeName, options = {}) {
      const signer = options.authority ?? authority;
      const pair = await signer.issue(options.certificateName ?? nodeName);
      const agent = createFakeAgent({
        port,
        authority: { ...signer, ca: authority.ca },
        pair,
        nodeName,
        sessionId: options.sessionId ?? 's1',
      });
      agents.push(agent);
      return agent;
    },
  };
}
