/**
 * Runs the rollout machine inside a scheduler: a turn every fifth of a second looks at the fleet, asks the machine, gives
 * the nodes their orders, tells routing the weights, and has new replicas asked their smoke prompt.
 */
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import type { EngineId, NodeId } from '../../lib/ids.ts';
import { newRequestId } from '../../lib/ids.ts';
import type { Logger } from '../../lib/io/logger.ts';
import { systemClock, systemRandom } from '../../lib/io/system.ts';
import type { DesiredState } from '../../proto/gen/fleet/v1/DesiredState.ts';
import { engineId, findEngine } from '../../scheduler/core/fleet/state.ts';
import type {
  ReplicaFacts,
  Revision,
  RevisionTally,
  RolloutEvent,
  RolloutOutput,
  RolloutState,
} from '../../scheduler/core/rollout/contract.ts';
import { revisionOf } from '../../scheduler/core/rollout/revision.ts';
import { SmokeAsker } from '../../scheduler/core/rollout/smoke_asker.ts';
import { stepRollout } from '../../scheduler/core/rollout/step.ts';
import { rulesOf } from '../../scheduler/core/rollout/strategy.ts';
import { statusLines } from '../../scheduler/core/rollout/text.ts';
import { labelOf, trafficRules } from '../../scheduler/core/rollout/traffic_rules.ts';
import type { SessionHandle } from '../../scheduler/ports.ts';
import type { RunLoop } from '../../scheduler/run_loop.ts';
import { readWhole, type Status, STATUS_FILE, type Wanted, WANTED_FILE, writeWhole } from './files.ts';
import { keyOf, Replicas } from './replicas.ts';

const TURN_MS = 200;
const SMOKE_TIMEOUT_MS = 20_000;

export class RolloutDriver {
  readonly #folder: string;
  readonly #logger: Logger;
  readonly #sessions = new Map<NodeId, SessionHandle>();
  readonly #revisions = new Map<string, Revision>();
  readonly #events: RolloutEvent[] = [];
  #replicas: Replicas | undefined;
  #state: RolloutState | undefined;
  #generation = systemClock.wallMs();
  #rules = '';

  constructor(folder: string, logger: Logger) {
    this.#folder = folder;
    this.#logger = logger;
  }

  desiredFor(node: NodeId): DesiredState | undefined {
    return { generation: this.#generation, engines: this.#replicas?.ordersFor(node) ?? [] };
  }

  /** Listens to the sessions of agents, and begins to take turns. */
  run(loop: RunLoop): void {
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    const sink = loop.fleetSink;
    const hello = sink.onHello.bind(sink);
    sink.onHello = (session, message) => {
      this.#sessions.set(session.nodeName, session);
      hello(session, message);
    };
    const asker = new SmokeAsker({
      clock: systemClock,
      laneFor: (node, engine) => loop.inspector.directory.laneFor(node, engine),
      newId: () => newRequestId(systemRandom),
      timeoutMs: SMOKE_TIMEOUT_MS,
    });
    const turn = async (): Promise<void> => {
      try {
        const wanted = await readWhole<Wanted>(path.join(this.#folder, WANTED_FILE));
        if (wanted !== undefined && this.#sessions.size > 0) await this.#turn(loop, asker, wanted);
      } catch (err) {
        this.#logger.error({ err }, 'a turn of the rollout failed');
      }
      setTimeout(() => void turn(), TURN_MS).unref();
    };
    void turn();
  }

  async #turn(loop: RunLoop, asker: SmokeAsker, { deployment, spec }: Wanted): Promise<void> {
    this.#replicas ??= new Replicas(deployment);
    const { directory, router } = loop.inspector;
    const nowMs = systemClock.wallMs();
    const revision = revisionOf(spec);
    this.#revisions.set(revision.id, revision);
    const replicas = this.#facts(loop, asker, nowMs);
    const tallies: Record<string, RevisionTally> = {};
    for (const id of this.#revisions.keys()) tallies[id] = router.tallies.of(labelOf(deployment, id));
    const out = stepRollout({
      deployment,
      state: this.#state,
      desired: { revision, replicas: spec.replicas, rules: rulesOf(spec.rollout) },
      replicas,
      tallies,
      orders: [],
      nowMs,
    });
    this.#state = out.state;
    for (const event of out.events) this.#logger.info({ ...event, deployment }, 'rollout');
    this.#events.push(...out.events);
    this.#divide(loop, deployment, out);
    const world = { nodes: [...this.#sessions.keys()], fleet: directory.state, nowMs };
    if (this.#replicas.settle(out.wanted, this.#revisions, world)) this.#order();
    this.#ask(loop, asker, out, spec);
    await this.#tell(deployment, revision, out, replicas, nowMs);
  }

  #facts(loop: RunLoop, asker: SmokeAsker, nowMs: number): ReplicaFacts[] {
    const fleet = loop.inspector.directory.state;
    const facts = this.#replicas?.look(fleet, nowMs) ?? [];
    asker.keepOnly(new Set(facts.map(({ key }) => key)));
    return facts.map((each) => {
      const incarnation = findEngine(fleet, each.key as EngineId)?.event.incarnation ?? 0;
      const smoke = asker.resultOf(each.key, incarnation);
      return smoke === undefined ? each : { ...each, smoke };
    });
  }

  #divide(loop: RunLoop, deployment: string, { traffic }: RolloutOutput): void {
    const text = JSON.stringify(traffic);
    if (text === this.#rules) return;
    this.#rules = text;
    const places = new Map(this.#replicas?.list.map((each) => [keyOf(each), each.revision.id]));
    // A replica that is placed in this very turn is looked up when its engine is first seen.
    const find = (engine: EngineId): string | undefined =>
      places.get(engine) ?? this.#replicas?.list.find((each) => keyOf(each) === engine)?.revision.id;
    loop.inspector.router.divide(
      trafficRules([{ deployment, traffic, replicaOf: (engine) => wrap(engine, find(engine)) }]),
    );
  }

  #order(): void {
    this.#generation += 1;
    for (const [node, session] of this.#sessions) {
      const desired = this.desiredFor(node);
      if (desired !== undefined) session.sendDesiredState(desired);
    }
  }

  #ask(loop: RunLoop, asker: SmokeAsker, { ask }: RolloutOutput, spec: Wanted['spec']): void {
    const { state } = loop.inspector.directory;
    for (const replica of this.#replicas?.list ?? []) {
      const incarnation = findEngine(state, engineId(replica.node, replica.name))?.event.incarnation;
      if (incarnation === undefined || !ask.includes(keyOf(replica))) continue;
      const target = { key: keyOf(replica), node: replica.node, engine: replica.name, incarnation };
      asker.ask({ ...target, model: spec.servedModelName, endpoints: [] }, rulesOf(spec.rollout).smoke);
    }
  }

  async #tell(
    deployment: string,
    { id }: Revision,
    out: RolloutOutput,
    replicas: readonly ReplicaFacts[],
    nowMs: number,
  ): Promise<void> {
    const { state, waiting } = out;
    const status: Status = {
      revision: id,
      current: state.current?.id ?? null,
      // The old set of a rollback is whole before it is over; the new set of a rollout is, too.
      isOver: state.running === null && state.seen === id,
      last: state.history[0] ?? null,
      lines: statusLines(deployment, state, { replicas, waiting, nowMs }),
      events: this.#events.slice(-50),
    };
    await writeWhole(path.join(this.#folder, STATUS_FILE), status);
  }
}

const wrap = (key: EngineId, revision: string | undefined) => (revision === undefined ? undefined : { key, revision });
