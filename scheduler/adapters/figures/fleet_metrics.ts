/**
 * The fleet as gauges, looked up when somebody scrapes: sums over all nodes, and the readings of the first nodes in the
 * order of their names, so that a large fleet does not make a scrape that holds up the streams. What is left out here is
 * at each agent's own /metrics.
 */
import type { Metrics } from '../../../lib/io/metrics.ts';
import { ENGINE_STATES, type ShownHost, showHosts } from '../../../lib/io/telemetry_metrics.ts';
import type { FleetDirectory } from '../../core/fleet/directory.ts';
import { type NodeState, stateWord } from '../../core/fleet/state.ts';
import type { EngineSlot } from '../../core/routing/engine_slot.ts';

export interface FleetMetricsOptions {
  readonly metrics: Metrics;
  readonly directory: FleetDirectory;
  readonly detailNodes: number;
  /** Monotonic milliseconds. */
  readonly nowMs: () => number;
}

const HEALTHS = ['ok', 'degraded', 'unhealthy', 'quarantined', 'unknown'] as const;

function shownHost(node: NodeState): ShownHost {
  const { telemetry } = node;
  return {
    node: node.name,
    host: telemetry?.host,
    agent: telemetry?.agent,
    gpus: telemetry?.gpus ?? [],
    engines: telemetry?.engines ?? [],
    gpuSource: telemetry?.gpuSource,
    gpuSampleAgeMs: telemetry?.gpuSampleAgeMs,
    states: [...node.engines.values()].map(({ name, event }) => [name, stateWord(event.state)] as const),
  };
}

function countInto(counts: Map<string, number>, word: string): void {
  const now = counts.get(word);
  if (now !== undefined) counts.set(word, now + 1);
}

function showSums(metrics: Metrics, nodes: Iterable<NodeState>): void {
  const states = new Map<string, number>(ENGINE_STATES.map((state) => [state, 0]));
  const healths = new Map<string, number>(HEALTHS.map((health) => [health, 0]));
  for (const { engines, telemetry } of nodes) {
    for (const { event } of engines.values()) countInto(states, stateWord(event.state));
    for (const { health } of telemetry?.gpus ?? []) countInto(healths, health ?? 'unknown');
  }
  metrics.gauge('sophia_fleet_engines').replace([...states].map(([state, count]) => [{ state }, count]));
  metrics.gauge('sophia_fleet_gpus').replace([...healths].map(([health, count]) => [{ health }, count]));
}

const BREAKER_STATES = ['closed', 'open', 'half_open'] as const;

/** What routing holds of the engines of some nodes. */
function showRouting(metrics: Metrics, directory: FleetDirectory, nodes: readonly NodeState[]): void {
  const slots = nodes.flatMap(({ engines }) =>
    [...engines.values()].flatMap(({ id }) => directory.engines.find(id) ?? []),
  );
  const on = ({ node, name: engine }: EngineSlot) => ({ node, engine });
  metrics
    .gauge('sophia_engine_breaker')
    .replace(
      slots.flatMap((slot) =>
        BREAKER_STATES.map((state) => [{ ...on(slot), state }, Number(slot.breaker.state === state)] as const),
      ),
    );
  metrics
    .gauge('sophia_engine_breaker_openings')
    .replace(slots.map((slot) => [on(slot), slot.breaker.opened] as const));
  metrics
    .gauge('sophia_engine_pending_prefill_tokens')
    .replace(slots.map((slot) => [on(slot), slot.pendingPrefillTokens] as const));
}

/** Shows the fleet at each scrape from now on. */
export function showFleet({ metrics, directory, detailNodes, nowMs }: FleetMetricsOptions): void {
  metrics.onRender(() => {
    const all = [...directory.state.nodes.values()];
    const detailed = all.toSorted((left, right) => (left.name < right.name ? -1 : 1)).slice(0, detailNodes);
    const now = nowMs();
    showSums(metrics, all);
    showHosts(metrics, detailed.map(shownHost));
    showRouting(metrics, directory, detailed);
    metrics.gauge('sophia_fleet_nodes_without_detail').set({}, all.length - detailed.length);
    metrics
      .gauge('sophia_node_connected')
      .replace(detailed.map(({ name, connected }) => [{ node: name }, Number(connected)]));
    metrics
      .gauge('sophia_node_telemetry_age_seconds')
      .replace(
        detailed.flatMap(({ name, telemetryAtMs }) =>
          telemetryAtMs === undefined ? [] : [[{ node: name }, (now - telemetryAtMs) / 1000] as const],
        ),
      );
    metrics
      .gauge('sophia_engine_routable')
      .replace(
        detailed.flatMap((node) =>
          [...node.engines.values()].map(
            (engine) =>
              [
                { node: node.name, engine: engine.name },
                Number(directory.whyNotRoutable(node, engine, now) === undefined),
              ] as const,
          ),
        ),
      );
  });
}
