/** A fleet in memory with the doors of a scheduler before it: what is asked over HTTP is done by reconcile. */
import type { Test } from 'tap';
import { RolloutRunner } from '../../../scheduler/adapters/reconcile/rollout_runner.ts';
import { createResourceOperations } from '../../../scheduler/adapters/resources/operations.ts';
import { eventsOf, freezeOf } from '../../../scheduler/core/events/projection.ts';
import type { EventStore } from '../../../scheduler/core/events/store_port.ts';
import type { ControlPlane } from '../../../scheduler/core/resources/control_port.ts';
import type { RevisionTally } from '../../../scheduler/core/rollout/contract.ts';
import { call, KEYS, startDoor } from '../../support/http_door.ts';
import { silentLog } from '../fakes.ts';
import { Harness } from './harness.ts';

export type Json = Readonly<Record<string, unknown>>;

/** What operators see of the log of a fleet in memory. */
function controlOf(fleet: Harness): ControlPlane {
  const { memory } = fleet;
  return {
    projection: () => memory.projection,
    isRead: () => true,
    onRead: (listener) => listener(),
    store: memory.store as EventStore,
    catchUp: async () => memory.projection,
    stateAt: async () => memory.projection,
    recentEvents: () => [...eventsOf(memory.rows)],
    onEvents: () => () => undefined,
    health: () => ({ state: 'up', reason: '' }),
    stopping: new AbortController().signal,
    freeze() {
      const entry = freezeOf(memory.projection);
      return { frozen: entry !== undefined, by: entry?.actor ?? '', sinceMs: 0, reason: 'test' };
    },
    acceptLog: async () => undefined,
  };
}

/** Revisions are changed by their strategy, and every new one does well. */
function rolloutsOf(fleet: Harness): RolloutRunner {
  const tallyOf = (): RevisionTally => {
    const started = Math.floor(fleet.nowMs / 10);
    return { started, spoken: started, ended: started, failures: 0, rejections: 0, ttftCount: 0, ttftMs: [] };
  };
  const ok = { ok: true, answered: true, attempts: 1, detail: 'well' } as const;
  const smoke = { ask: () => undefined, keepOnly: () => undefined, resultOf: () => ok };
  return new RolloutRunner({ logger: silentLog, tallyOf, divide: () => undefined, smoke });
}

/** @param settings of the scheduler `a`, which leads */
export async function startByHand(t: Test, settings: Json = {}) {
  const fleet = new Harness();
  const { view } = fleet.start('a', settings, { rollouts: rolloutsOf(fleet) });
  let ids = 0;
  const operations = createResourceOperations({
    control: controlOf(fleet),
    reconcile: () => view,
    newId: () => `by-hand-${++ids}`,
    breathe: async () => undefined,
  });
  const { port, close } = await startDoor({}, undefined, { resources: operations });
  t.teardown(close);
  const ask = async (path: string, body?: Json, key = KEYS.operator): Promise<Json> => {
    const sent = body === undefined ? {} : { body: JSON.stringify(body) };
    const { status, text } = await call(port, { path: `/admin/v1/${path}`, key, ...sent });
    return { http: status, ...(JSON.parse(text) as Json) };
  };
  const apply = (kind: string, name: string, spec: Json, metadata: Json = {}): Promise<Json> =>
    ask('apply', {
      resources: [{ apiVersion: 'sophia/v1', kind, metadata: { name, ...metadata }, spec }],
      reason: 'test',
    });
  const remove = (kind: string, name: string, more: Json = {}): Promise<Json> => {
    const { version, ...rest } = more;
    return ask('delete', { resources: [{ kind, name, ...(version === undefined ? {} : { version }) }], ...rest });
  };
  const list = async (kind: string): Promise<Json[]> => (await ask(`resources?kind=${kind}`))['resources'] as Json[];
  return { fleet, view, operations, ask, apply, remove, list };
}

/** The names of what is listed. */
export const namesOf = (resources: readonly Json[]): string[] =>
  resources.map(({ metadata }) => (metadata as { readonly name: string }).name);
