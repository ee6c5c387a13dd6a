/**
 * Rollouts at work in one scheduler: as leader it takes turns and asks new replicas their smoke prompt; leading or not, it
 * tells routing how the requests of each deployment are divided.
 */
import type { EngineId } from '../../../lib/ids.ts';
import type { Logger } from '../../../lib/io/logger.ts';
import type { AppendItem } from '../../core/events/store_port.ts';
import { endpointsOf } from '../../core/fleet/candidates.ts';
import { engineId, type FleetState } from '../../core/fleet/state.ts';
import type { NodeId } from '../../../lib/ids.ts';
import type { Declared, Place } from '../../core/reconcile/contract.ts';
import type { PassInput } from '../../core/reconcile/decide.ts';
import { replicaFacts } from '../../core/reconcile/rollout_targets.ts';
import { rolloutInput, turnRollouts, type TurnInput } from '../../core/reconcile/rollout_turn.ts';
import type { RevisionTally, RolloutOutput, RolloutState, Rules, Traffic } from '../../core/rollout/contract.ts';
import type { SmokeAsker } from '../../core/rollout/smoke_asker.ts';
import { stepRollout } from '../../core/rollout/step.ts';
import { trafficNow } from '../../core/rollout/traffic_now.ts';
import { trafficRules } from '../../core/rollout/traffic_rules.ts';
import type { TrafficRules } from '../../core/routing/traffic_rules.ts';

export interface RolloutRunnerDeps {
  readonly logger: Logger;
  /** What requests of a revision came to, as far as this scheduler routed them. */
  readonly tallyOf: (label: string) => RevisionTally;
  readonly divide: (rules: TrafficRules) => void;
  readonly smoke: Pick<SmokeAsker, 'ask' | 'keepOnly' | 'resultOf'>;
}

interface Share {
  readonly state: RolloutState;
  readonly text: string;
  readonly rules: TrafficRules;
}

export class RolloutRunner {
  readonly #deps: RolloutRunnerDeps;
  #engines: ReadonlyMap<EngineId, Place> = new Map();
  #shares = new Map<string, Share>();
  #isRunning = false;

  constructor(deps: RolloutRunnerDeps) {
    this.#deps = deps;
  }

  /** Whether revisions of any deployment are being changed. */
  get isRunning(): boolean {
    return this.#isRunning;
  }

  /** The log says something else: called before any agent is told of it, so that no engine is met unknown. */
  takeUp(declared: Declared, fleet: FleetState): void {
    const engines = new Map<EngineId, Place>();
    for (const place of declared.places)
      for (const { node } of place.parts) engines.set(engineId(node as NodeId, place.engine), place);
    this.#engines = engines;
    this.follow(declared, fleet);
  }

  /** Tells routing the shares of all deployments, where they are other ones than before. */
  follow(declared: Declared, fleet: FleetState): void {
    const shares = new Map<string, Share>();
    let changed = false;
    this.#isRunning = false;
    for (const { name, rollout, spec } of declared.deployments.values()) {
      if (rollout === undefined) continue;
      this.#isRunning ||= rollout.running !== null;
      const before = this.#shares.get(name);
      if (rollout.running === null && before?.state === rollout) {
        shares.set(name, before);
        continue;
      }
      const facts = rollout.running === null ? [] : replicaFacts(declared, name, fleet, () => undefined);
      const traffic = trafficNow(rollout, facts, spec.replicas);
      const text = JSON.stringify(traffic);
      const isSame = before?.text === text;
      shares.set(name, { state: rollout, text, rules: isSame ? before.rules : this.#rulesOf(name, traffic) });
      changed ||= !isSame;
    }
    changed ||= shares.size !== this.#shares.size;
    this.#shares = shares;
    if (changed) this.#deps.divide({ markOf: (engine) => this.#markOf(engine) });
  }

  /** One turn of the leader. @returns what is to be written before anything else is done */
  turn(input: PassInput): readonly AppendItem[] {
    const { smoke, logger } = this.#deps;
    const { items, events, asks } = turnRollouts(this.#turnInput(input));
    for (const event of events)
      logger.info(event, `rollout of ${event.deployment}: ${event.kind} ${event.detail}`.trim());
    smoke.keepOnly(new Set(this.#isRunning ? input.declared.places.map(({ name }) => name) : []));
    for (const { place, smoke: prompt } of asks) this.#ask(input.fleet, place, prompt);
    return items;
  }

  /** It begins to lead: what it was answered before may be of a replica that had the same name. */
  forget(): void {
    this.#deps.smoke.keepOnly(new Set());
  }

  /** What the machine says of a deployment now, for whoever looks: nothing of it is done. */
  look(
    input: PassInput,
    name: string,
  ): { readonly out: RolloutOutput; readonly asked: ReturnType<typeof rolloutInput> } | undefined {
    const deployment = input.declared.deployments.get(name);
    if (deployment?.rollout === undefined) return undefined;
    const asked = rolloutInput(this.#turnInput(input), deployment);
    return { out: stepRollout({ ...asked, orders: [] }), asked };
  }

  #turnInput({ declared, fleet, wallMs, writer }: PassInput): TurnInput {
    const { tallyOf, smoke } = this.#deps;
    return { declared, fleet, wallMs, writer, tallyOf, smokeOf: (place, life) => smoke.resultOf(place, life) };
  }

  #ask(fleet: FleetState, place: Place, prompt: Rules['smoke']): void {
    const { name, engine, parts, spec } = place;
    const node = parts[0]?.node as NodeId;
    const record = fleet.nodes.get(node)?.engines.get(engine);
    if (record === undefined) return;
    const { incarnation } = record.event;
    const model = spec.servedModelName;
    const served = record.models.find(({ id }) => id === model);
    const endpoints = served === undefined ? [] : endpointsOf(served);
    this.#deps.smoke.ask({ key: name, node, engine, incarnation, model, endpoints }, prompt);
  }

  #rulesOf(deployment: string, traffic: Traffic): TrafficRules {
    const replicaOf = (engine: EngineId) => {
      const place = this.#engines.get(engine);
      return place === undefined ? undefined : { key: place.name, revision: place.revision };
    };
    return trafficRules([{ deployment, traffic, replicaOf }]);
  }

  #markOf(engine: EngineId): ReturnType<TrafficRules['markOf']> {
    const place = this.#engines.get(engine);
    return place === undefined ? undefined : this.#shares.get(place.deployment)?.rules.markOf(engine);
  }
}
