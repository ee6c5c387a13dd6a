/** What operators have declared of nodes, out of what is in memory: whoever looks at nodes opens no store and waits for none. */
import { resourceOf } from './changes.ts';
import type { NodeSpec } from './contract.ts';
import type { ControlPlane } from './control_port.ts';
import type { DeclaredNode } from './operations.ts';

/** In the order of their names; empty while the store has not been read. */
export function declaredNodes(control: Pick<ControlPlane, 'projection' | 'recentEvents'>): readonly DeclaredNode[] {
  const reasons = new Map<string, string>();
  for (const { resource, reason } of control.recentEvents())
    if (resource.kind === 'Node') reasons.set(resource.name, reason);
  return control
    .projection()
    .list('desired', 'Node')
    .map((entry) => ({
      name: entry.name,
      spec: resourceOf(entry).spec as NodeSpec,
      updatedAtMs: entry.atMs,
      updatedBy: entry.actor,
      reason: reasons.get(entry.name) ?? '',
    }));
}
