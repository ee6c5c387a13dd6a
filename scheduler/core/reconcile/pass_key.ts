/**
 * What a plan depends on, as a text: while it stays the same the plan would too, but for the free memory that agents measure.
 * Planning is the one part of a pass that takes long, so it is done only when this has changed.
 */
import { type FleetFacts, isLost, nodeNames } from './fleet_view.ts';
import type { ModelKnowledge } from './model_book.ts';
import type { NodeId } from '../../../lib/ids.ts';

export function changeKey(
  facts: FleetFacts & { readonly wallMs: number; readonly models?: Pick<ModelKnowledge, 'version'> },
): string {
  const { declared, fleet, wallMs, models } = facts;
  const avoided = declared.avoidances.filter((each) => each.untilMs > wallMs).length;
  const nodes = nodeNames(facts).map((name) => {
    const node = fleet.nodes.get(name as NodeId);
    if (node?.connected !== true) return `${name}:${isLost(facts, name) ? 'lost' : 'away'}`;
    const engines = [...node.engines.values()].map(({ name: engine, event }) => `${engine}=${event.state}`);
    const gpus = [...node.gpuEvents.values()].flatMap((event) => (event.quarantined ? [event.index] : []));
    const health = node.telemetry?.gpus.map((gpu) => gpu.health ?? '').join('') ?? '';
    const drain = node.nodeEvent === undefined ? '' : 'drain';
    return `${name}:${node.hello.gpus.length}:${node.hasSnapshot}:${drain}:${gpus.join()}:${health}:${engines.join()}`;
  });
  return `${declared.seq}|${avoided}|${models?.version ?? 0}|${nodes.join('|')}`;
}
