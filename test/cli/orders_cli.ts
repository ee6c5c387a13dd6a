/** The command line against a real scheduler's doors, for tests of orders: its agents are fakes that the test scripts. */
import type { Test } from 'tap';
import type { EngineEvent } from '../../proto/gen/fleet/v1/EngineEvent.ts';
import { openOrders } from '../scheduler/orders_fixture.ts';
import { readyEngine } from '../support/fake_agent.ts';
import { makeHome, type Outcome, sophia, startSophia } from './sophia.ts';

export async function openCli(t: Test) {
  const orders = await openOrders(t);
  const home = makeHome(t);
  const args = (rest: readonly string[]): string[] => ['--endpoint', orders.endpoint, ...rest];
  const env = { SOPHIA_KEY: 'key-operator' };
  return {
    ...orders,
    run: (...rest: string[]): Promise<Outcome> => sophia(t, home, args(rest), env),
    runAs: (key: string, ...rest: string[]): Promise<Outcome> => sophia(t, home, args(rest), { SOPHIA_KEY: key }),
    start: (...rest: string[]) => startSophia(t, home, args(rest), env),
  };
}

/** An engine that drains on a person's order. */
export const draining = (runningRequests: number, more: Partial<EngineEvent> = {}): EngineEvent =>
  readyEngine('e0', 'm', {
    state: 'ENGINE_STATE_DRAINING',
    reason: 'draining',
    drain: { runningRequests, etaMs: 12_000, sinceMs: Date.now(), actor: 'anna', reason: 'a new kernel' },
    ...more,
  });

/** What a command with --json says last. */
export const lastObject = (stdout: string): unknown => JSON.parse(stdout.trim().split('\n').at(-1) ?? '');
