/**
 * The scheduler's own copy of the fleet with the questions that the request path and operators ask of it: which engines
 * come into question for a model, which lane leads there, what is known of each model. One per process; the run loop
 * feeds it. Time is an argument.
 */
import type { EngineId, NodeId } from '../../../lib/ids.ts';
import type { LaneHandle, ModelView } from '../../ports.ts';
import type { Refusal } from '../routing/engine_slot.ts';
import type { EngineTable } from '../routing/engine_table.ts';
import type { Reservations } from '../routing/reservations.ts';
import { type CandidateContext, factsOf, whyNotRoutable } from './candidates.ts';
import { chooseLane } from './lanes.ts';
import { indexModels, type ModelIndex, modelView } from './models.ts';
import { type EngineRecord, emptyFleet, type FleetState, type NodeState } from './state.ts';
import { type FleetEffect, type FleetEvent, step } from './step.ts';

export interface DirectoryOptions {
  readonly reservations: Reservations;
  /** Told of every engine as it changes, so that the request path has nothing to look up. */
  readonly engines: EngineTable;
  /** Models of the configuration: known before any agent has come. */
  readonly configuredModels: readonly string[];
  /** A node that said nothing for this long may hang: it is taken only when there is no other. */
  readonly staleAfterMs: number;
}

/** Monotonic milliseconds and milliseconds since the epoch, of one moment. */
export interface Moment {
  readonly nowMs: number;
  readonly wallMs: number;
}

interface OpenLane {
  readonly sessionId: string;
  readonly lane: LaneHandle;
}

export class FleetDirectory {
  readonly state: FleetState = emptyFleet();
  readonly #options: DirectoryOptions;
  readonly #lanes = new Map<NodeId, Set<OpenLane>>();
  /** Engines of each node that the table has. */
  readonly #told = new Map<NodeId, ReadonlySet<EngineId>>();
  #models: ModelIndex | undefined;

  constructor(options: DirectoryOptions) {
    this.#options = options;
  }

  /** Every engine as routing sees it. */
  get engines(): EngineTable {
    return this.#options.engines;
  }

  /** Takes an event in; what it gives is for the caller to carry out. */
  apply(event: FleetEvent, moment: Moment): readonly FleetEffect[] {
    if (event.kind !== 'telemetry') this.#models = undefined;
    const effects = step(this.state, event, { ...moment, reserved: this.#options.reservations.count });
    this.#tell(event.node);
    if (event.kind === 'hello') this.#dropForgottenNodes();
    return effects;
  }

  /** False when the lane belongs to another life of the agent than the one that is connected: it is of no use. */
  addLane(sessionId: string, lane: LaneHandle): boolean {
    const node = this.state.nodes.get(lane.nodeName);
    if (node?.connected === true && node.sessionId !== sessionId) return false;
    const lanes = this.#lanes.get(lane.nodeName) ?? new Set<OpenLane>();
    lanes.add({ sessionId, lane });
    this.#lanes.set(lane.nodeName, lanes);
    this.#tell(lane.nodeName);
    return true;
  }

  removeLane(lane: LaneHandle): void {
    const lanes = this.#lanes.get(lane.nodeName);
    if (lanes === undefined) return;
    for (const open of lanes) if (open.lane === lane) lanes.delete(open);
    if (lanes.size === 0) this.#lanes.delete(lane.nodeName);
    this.#tell(lane.nodeName);
  }

  /** Takes out the lanes of earlier lives of the node's agent. */
  takeOldLanes(node: NodeId): LaneHandle[] {
    const sessionId = this.state.nodes.get(node)?.sessionId;
    const old = [...(this.#lanes.get(node) ?? [])]
      .filter((open) => open.sessionId !== sessionId)
      .map((open) => open.lane);
    for (const lane of old) this.removeLane(lane);
    return old;
  }

  lanesOf(node: NodeId): number {
    return this.#lanes.get(node)?.size ?? 0;
  }

  /** The lane for a request to an engine of the node, named as on the node; undefined: its present agent has none. */
  laneFor(node: NodeId, engine: string): LaneHandle | undefined {
    return chooseLane(this.#lanesNow(node), engine);
  }

  #hasLane(node: NodeId): boolean {
    return this.#lanesNow(node).next().done !== true;
  }

  /** Lanes of the node's present agent. */
  *#lanesNow(node: NodeId): Generator<LaneHandle, void> {
    const sessionId = this.state.nodes.get(node)?.sessionId;
    for (const open of this.#lanes.get(node) ?? []) if (open.sessionId === sessionId) yield open.lane;
  }

  knowsModel(model: string): boolean {
    return this.#index().has(model);
  }

  whyNotRoutable(node: NodeState, engine: EngineRecord, nowMs: number): Refusal | undefined {
    return whyNotRoutable(node, engine, this.#context(nowMs));
  }

  /** All models, those without a ready engine included. */
  models(nowMs: number): ModelView[] {
    const context = this.#context(nowMs);
    return [...this.#index()].map(([id, entry]) => {
      const loads = this.#enginesOf(id).map(({ node, engine }) => ({
        engine: engine.id,
        routable: whyNotRoutable(node, engine, context) === undefined,
        runningRequests: this.#options.reservations.count(engine.id, engine.event.incarnation),
      }));
      return modelView(id, entry, loads);
    });
  }

  /** Whether requests are served, with the reason for operators. */
  readiness(draining: boolean, nowMs: number): { readonly ok: boolean; readonly reason: string } {
    if (draining) return { ok: false, reason: 'draining' };
    const ok = this.hasRoutableEngine(nowMs);
    return { ok, reason: ok ? 'an engine is ready' : 'no engine is ready' };
  }

  hasRoutableEngine(nowMs: number): boolean {
    const context = this.#context(nowMs);
    for (const node of this.state.nodes.values()) {
      for (const engine of node.engines.values()) if (whyNotRoutable(node, engine, context) === undefined) return true;
    }
    return false;
  }

  /** Brings the table up to date with a node; engines that it has no more go. */
  #tell(name: NodeId): void {
    const { engines } = this.#options;
    const node = this.state.nodes.get(name);
    if (node === undefined) return;
    const hasLane = this.#hasLane(name);
    for (const engine of node.engines.values()) engines.put(factsOf(node, engine, hasLane));
    const told = this.#told.get(name);
    if (told !== undefined && told.size === node.engines.size) return;
    const present = new Set([...node.engines.values()].map((engine) => engine.id));
    for (const engine of told ?? []) if (!present.has(engine)) engines.remove(engine);
    this.#told.set(name, present);
  }

  /** A node that made room for another is gone with its engines. */
  #dropForgottenNodes(): void {
    if (this.#told.size <= this.state.nodes.size) return;
    for (const [name, told] of this.#told) {
      if (this.state.nodes.has(name)) continue;
      for (const engine of told) this.#options.engines.remove(engine);
      this.#told.delete(name);
    }
  }

  #context(nowMs: number): CandidateContext {
    const { staleAfterMs, reservations } = this.#options;
    return { nowMs, staleAfterMs, hasLane: (node) => this.#hasLane(node), reserved: reservations.count };
  }

  #index(): ModelIndex {
    this.#models ??= indexModels(this.state, this.#options.configuredModels);
    return this.#models;
  }

  #enginesOf(model: string): { node: NodeState; engine: EngineRecord }[] {
    const found: { node: NodeState; engine: EngineRecord }[] = [];
    for (const place of this.#index().get(model)?.engines ?? []) {
      const node = this.state.nodes.get(place.node);
      const engine = node?.engines.get(place.name);
      if (node !== undefined && engine !== undefined) found.push({ node, engine });
    }
    return found;
  }
}
