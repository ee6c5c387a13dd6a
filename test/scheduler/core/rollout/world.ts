/**
 * A fleet of one deployment without engines: it does what the machine wants, as reconcile and agents would, with replicas
 * that take time to start and to stop, and revisions that are bad in the way that the test says.
 */
import type {
  Desired,
  ReplicaFacts,
  ReplicaState,
  RevisionTally,
  RolloutEvent,
  RolloutOrder,
  RolloutOutput,
  RolloutState,
} from '../../../../scheduler/core/rollout/contract.ts';
import { stepRollout } from '../../../../scheduler/core/rollout/step.ts';
import { rulesOf } from '../../../../scheduler/core/rollout/strategy.ts';
import type { RolloutStrategy } from '../../../../scheduler/core/resources/contract.ts';
import { type RandomSource, seededRandom } from '../../../../lib/rng.ts';

export type Fault =
  | 'none'
  | 'never_ready'
  | 'fails'
  | 'crashes'
  | 'wrong_answer'
  | 'no_answer'
  | 'errors'
  | 'rejects'
  | 'slow'
  | 'silent'
  | 'bad_gpu';

interface Replica {
  readonly key: string;
  readonly revision: string;
  state: ReplicaState;
  ageMs: number;
  restarts: number;
  attempts: number;
}

interface Tally extends Record<Exclude<keyof RevisionTally, 'ttftMs'>, number> {
  ttftMs: number[];
}

export const TICK_MS = 1000;
const START_MS = 5000;
const STOP_MS = 3000;

export class World {
  readonly faults = new Map<string, Fault>();
  readonly replicas: Replica[] = [];
  readonly tallies = new Map<string, Tally>();
  readonly events: RolloutEvent[] = [];
  state: RolloutState | undefined;
  out!: RolloutOutput;
  nowMs = 1_000_000;
  /** Requests of a tick. */
  load = 20;
  failedOnTheNew = 0;
  /** GPUs for replicas; those beyond stay pending. */
  places = Infinity;
  wantedReplicas: number;
  revision = 'aaaaaaaaaa';
  strategy: RolloutStrategy;
  readonly #random: RandomSource;
  /** Looks at a decision before it is carried out. */
  watch: ((world: World) => void) | undefined;
  #next = 0;

  constructor(strategy: RolloutStrategy, replicas: number, seed = 1) {
    this.strategy = strategy;
    this.wantedReplicas = replicas;
    this.#random = seededRandom(seed);
  }

  get desired(): Desired {
    return {
      revision: { id: this.revision, spec: { model: this.revision } },
      replicas: this.wantedReplicas,
      rules: rulesOf(this.strategy),
    };
  }

  faultOf(revision: string): Fault {
    return this.faults.get(revision) ?? 'none';
  }

  facts(): ReplicaFacts[] {
    return this.replicas.map((replica) => {
      const fault = this.faultOf(replica.revision);
      const smoke =
        replica.attempts === 0
          ? {}
          : {
              smoke: {
                ok: fault !== 'wrong_answer' && fault !== 'no_answer',
                answered: fault !== 'no_answer',
                attempts: replica.attempts,
                detail: fault === 'wrong_answer' ? 'nonsense' : 'OK',
              },
            };
      const gpu = fault === 'bad_gpu' && replica.state === 'ready' && replica.ageMs > START_MS + 3000 ? 'failed' : 'ok';
      const { key, revision, state, restarts } = replica;
      return { key, revision, state, restarts, reason: '', gpu, ...smoke };
    });
  }

  /** One step of the machine, without anything happening in the world. */
  decide(orders: readonly RolloutOrder[] = []): RolloutOutput {
    // What is kept must be all that is needed: each step begins with what a store would give back.
    const state = this.state === undefined ? undefined : (JSON.parse(JSON.stringify(this.state)) as RolloutState);
    this.out = stepRollout({
      deployment: 'd',
      state,
      desired: this.desired,
      replicas: this.facts(),
      tallies: Object.fromEntries(this.tallies),
      orders,
      nowMs: this.nowMs,
    });
    this.state = this.out.state;
    this.events.push(...this.out.events);
    return this.out;
  }

  tick(orders: readonly RolloutOrder[] = []): RolloutOutput {
    const out = this.decide(orders);
    this.watch?.(this);
    this.#carryOut(out);
    this.#serve(out);
    this.nowMs += TICK_MS;
    for (const replica of this.replicas) this.#live(replica);
    for (let at = this.replicas.length - 1; at >= 0; at--) {
      const { state, ageMs } = this.replicas[at] as Replica;
      if (state === 'stopping' && ageMs >= STOP_MS) this.replicas.splice(at, 1);
    }
    return out;
  }

  /** Ticks until it holds. @returns the ticks it took; undefined: not within `most` */
  until(holds: (world: World) => boolean, most = 2000): number | undefined {
    for (let ticks = 0; ticks < most; ticks++) {
      this.tick();
      if (holds(this)) return ticks + 1;
    }
    return undefined;
  }

  /** The first revision, up and serving. */
  begin(): this {
    this.until(({ state }) => state?.running === null && state.current !== null);
    return this;
  }

  /** Another revision is asked for; it runs until it is decided. */
  rollOut(revision: string, fault: Fault = 'none', most?: number): string {
    this.faults.set(revision, fault);
    this.revision = revision;
    const before = this.state?.history.length ?? 0;
    const isOver = ({ state }: World): boolean => state?.running === null && (state?.history.length ?? 0) > before;
    this.until(isOver, most);
    return this.state?.running === null ? (this.state.history[0]?.outcome ?? 'none') : 'unfinished';
  }

  /** As many replicas as are wanted, all of them ready. */
  get isWhole(): boolean {
    const { replicas } = this;
    return replicas.length === this.wantedReplicas && replicas.every(({ state }) => state === 'ready');
  }

  count(revision: string, state?: ReplicaState): number {
    return this.replicas.filter((each) => each.revision === revision && (state ?? each.state) === each.state).length;
  }

  #carryOut({ wanted, ask }: RolloutOutput): void {
    for (const revision of new Set([...this.replicas.map((each) => each.revision), ...Object.keys(wanted)])) {
      const there = this.replicas.filter((each) => each.revision === revision && each.state !== 'stopping');
      const count = wanted[revision] ?? 0;
      for (let extra = there.length; extra < count; extra++) this.#add(revision);
      // Those that do not serve go first.
      const order = there.toSorted((a, b) => Number(a.state === 'ready') - Number(b.state === 'ready'));
      for (const replica of order.slice(0, Math.max(0, there.length - count)))
        Object.assign(replica, { state: 'stopping', ageMs: 0 });
    }
    for (const replica of this.replicas) if (ask.includes(replica.key)) replica.attempts += 1;
  }

  #add(revision: string): void {
    this.#next += 1;
    const state = this.replicas.length < this.places ? 'starting' : 'pending';
    this.replicas.push({ key: `${revision}/${this.#next}`, revision, state, ageMs: 0, restarts: 0, attempts: 0 });
  }

  #live(replica: Replica): void {
    replica.ageMs += TICK_MS;
    const fault = this.faultOf(replica.revision);
    const hold = this.replicas.filter(({ state }) => state !== 'pending').length;
    if (replica.state === 'pending' && hold < this.places) Object.assign(replica, { state: 'starting', ageMs: 0 });
    if (replica.state !== 'starting' || replica.ageMs < START_MS) return;
    if (fault === 'fails') replica.state = 'failed';
    else if (fault === 'crashes') Object.assign(replica, { restarts: replica.restarts + 1, ageMs: 0 });
    else if (fault !== 'never_ready') replica.state = 'ready';
  }

  #tallyOf(revision: string): Tally {
    const found = this.tallies.get(revision) ?? {
      started: 0,
      spoken: 0,
      ended: 0,
      failures: 0,
      rejections: 0,
      ttftCount: 0,
      ttftMs: [],
    };
    this.tallies.set(revision, found);
    return found;
  }

  /** Where requests of a tick go, by weight, among revisions that have a replica that may take them. */
  #serve({ traffic }: RolloutOutput): void {
    const open = traffic.shares.filter(
      ({ revision, proven, weight }) => weight > 0 && this.#takes(revision, proven, traffic.admitted),
    );
    const total = open.reduce((sum, { weight }) => sum + weight, 0);
    for (let request = 0; request < this.load && total > 0; request++) {
      let left = this.#random.next() * total;
      const share = open.find(({ weight }) => (left -= weight) < 0) ?? open[0];
      if (share !== undefined) this.#request(share.revision);
    }
  }

  #takes(revision: string, proven: boolean, admitted: readonly string[]): boolean {
    return this.replicas.some(
      (each) => each.revision === revision && each.state === 'ready' && (proven || admitted.includes(each.key)),
    );
  }

  #request(revision: string): void {
    const fault = this.faultOf(revision);
    const tally = this.#tallyOf(revision);
    tally.started += 1;
    if (fault === 'silent') return;
    tally.ended += 1;
    if (fault === 'errors' && this.#random.next() < 0.5) {
      tally.failures += 1;
      this.failedOnTheNew += 1;
    }
    if (fault === 'rejects' && this.#random.next() < 0.3) tally.rejections += 1;
    tally.spoken += 1;
    tally.ttftCount += 1;
    tally.ttftMs.push((fault === 'slow' ? 200 : 100) * (0.8 + 0.4 * this.#random.next()));
    if (tally.ttftMs.length > 256) tally.ttftMs.shift();
  }
}
