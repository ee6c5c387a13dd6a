/** How the store fares and what it holds, for /metrics. */
import type { Metrics } from '../../../lib/io/metrics.ts';
import { STORE_STATES } from '../../core/events/store_state.ts';
import { areaOf } from '../../core/resources/changes.ts';
import { RESOURCE_KINDS, type ResourceKind } from '../../core/resources/contract.ts';
import type { ControlPlane } from '../../core/resources/control_port.ts';

const STATES = [...STORE_STATES, 'off', 'closed'] as const;

/** Looked up at each scrape: nothing is counted twice. */
export function showControl(metrics: Metrics, control: ControlPlane): void {
  const state = metrics.gauge('sophia_store_state');
  const events = metrics.gauge('sophia_store_events');
  const resources = metrics.gauge('sophia_resources');
  const frozen = metrics.gauge('sophia_reconcile_frozen');
  metrics.onRender(() => {
    const now = control.health().state;
    for (const each of STATES) state.set({ state: each }, each === now ? 1 : 0);
    events.set({}, control.projection().seq());
    frozen.set({}, control.freeze().frozen ? 1 : 0);
    const counts = new Map<string, number>(RESOURCE_KINDS.map((kind) => [kind, 0]));
    for (const { area, kind } of control.projection().entries())
      if (counts.has(kind) && area === areaOf(kind as ResourceKind)) counts.set(kind, (counts.get(kind) as number) + 1);
    for (const [kind, count] of counts) resources.set({ kind }, count);
  });
}
