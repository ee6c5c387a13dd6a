/**
 * A fleet of a few GPUs as plain objects, for the exact solver: who is where, whether one more fits, and what all of it is worth.
 * It shares the definitions of single scores and filters with the planner, and nothing of how the planner accounts or searches.
 */
import type {
  FleetSnapshot,
  GpuSnapshot,
  NodeSnapshot,
  WantedDeployment,
} from '../../scheduler/core/placement/contract.ts';
import { NODE_FILTERS } from '../../scheduler/core/placement/filters.ts';
import { valueOf } from '../../scheduler/core/placement/requirements.ts';
import { NODE_SCORES, PART_SCORES } from '../../scheduler/core/placement/scores.ts';

export interface Spot {
  readonly node: number;
  readonly gpus: readonly number[];
  readonly bytes: number;
  readonly used: number;
  readonly spill: number;
  readonly host: number;
}

export interface Mover {
  readonly deployment: WantedDeployment | undefined;
  readonly name: string;
  readonly index: number;
  readonly priority: number;
  readonly tenant: string | undefined;
  readonly sharing: string;
  readonly ports: readonly number[];
  readonly home: readonly Spot[];
  /** Whether it counts as running when it is at home. */
  readonly isLeaving: boolean;
}

export interface Standing {
  readonly who: Mover;
  readonly spots: readonly Spot[];
  readonly isNew: boolean;
}

export class SmallFleet {
  readonly nodes: readonly NodeSnapshot[];
  readonly standing: Standing[] = [];
  readonly #snapshot: FleetSnapshot;
  /** Bytes that the measure shows as taken by replicas that run, by node and GPU. */
  readonly #used = new Map<string, number>();

  constructor(snapshot: FleetSnapshot) {
    this.#snapshot = snapshot;
    this.nodes = snapshot.nodes.toSorted((a, b) => (a.name < b.name ? -1 : 1));
    for (const { parts } of snapshot.placements) {
      for (const { node, gpus, usedBytes = 0 } of parts)
        for (const gpu of gpus) this.#used.set(`${node}/${gpu}`, (this.#used.get(`${node}/${gpu}`) ?? 0) + usedBytes);
    }
  }

  gpu(node: number, index: number): GpuSnapshot {
    return this.nodes[node]?.gpus.find((gpu) => gpu.index === index) as GpuSnapshot;
  }

  on(node: number, index: number): { readonly who: Mover; readonly spot: Spot }[] {
    return this.standing.flatMap(({ who, spots }) =>
      spots.filter((spot) => spot.node === node && spot.gpus.includes(index)).map((spot) => ({ who, spot })),
    );
  }

  free(node: number, index: number): number {
    const gpu = this.gpu(node, index);
    const there = this.on(node, index);
    const promised = there.reduce((sum, { spot }) => sum + spot.bytes, gpu.promisedBytes ?? 0);
    const used = this.#used.get(`${this.nodes[node]?.name}/${index}`) ?? 0;
    const asked = there.reduce((sum, { spot }) => sum + Math.max(spot.bytes, spot.used), 0);
    return Math.min(gpu.totalBytes - promised, (gpu.freeBytes ?? Infinity) + used - asked);
  }

  hostFree(node: number): number {
    const host = this.nodes[node]?.hostMemory;
    if (host === undefined) return Infinity;
    const taken = this.standing.reduce(
      (sum, { spots }) => sum + spots.filter((spot) => spot.node === node).reduce((all, spot) => all + spot.host, 0),
      0,
    );
    return Math.min(host.totalBytes - (host.promisedBytes ?? 0), host.freeBytes ?? Infinity) - taken;
  }

  /** Whether the node may be used by a new replica at all. */
  isOpen(node: number, deployment: WantedDeployment): boolean {
    const at = this.nodes[node] as NodeSnapshot;
    return NODE_FILTERS.every((filter) => filter.refuses(at, deployment, this.#snapshot) === undefined);
  }

  fits(who: Mover, spots: readonly Spot[]): boolean {
    return spots.every((spot) => {
      if (this.hostFree(spot.node) < spot.host || this.#hasPortOf(who, spot.node)) return false;
      if (spot.gpus.some((index) => this.free(spot.node, index) < spot.bytes)) return false;
      return spot.gpus.every((index) => this.#admits(who, spot.node, index)) && !this.#isBesideFoe(who, spot.node);
    });
  }

  #admits(who: Mover, node: number, index: number): boolean {
    const gpu = this.gpu(node, index);
    const there = this.on(node, index);
    if (who.sharing === 'exclusive') return there.length === 0 && (gpu.promisedBytes ?? 0) === 0;
    if (there.length >= (gpu.maxEngines ?? 16)) return false;
    return there.every(({ who: other }) => {
      if (other.sharing === 'exclusive') return false;
      return (who.sharing === 'shared' && other.sharing === 'shared') || who.tenant === other.tenant;
    });
  }

  #hasPortOf(who: Mover, node: number): boolean {
    const others = this.standing.filter(({ spots }) => spots.some((spot) => spot.node === node));
    const taken = [...(this.nodes[node]?.portsInUse ?? []), ...others.flatMap(({ who: other }) => other.ports)];
    return who.ports.some((port) => taken.includes(port));
  }

  #isBesideFoe(who: Mover, node: number): boolean {
    return this.standing.some(({ who: other, spots }) => {
      if (other.isLeaving) return false;
      const keys = [...foes(who, other), ...foes(other, who)];
      return keys.some((key) => spots.some((spot) => this.#sameDomain(key, node, spot.node)));
    });
  }

  #sameDomain(key: string, a: number, b: number): boolean {
    const value = valueOf(this.nodes[a] as NodeSnapshot, key);
    return value !== undefined && value === valueOf(this.nodes[b] as NodeSnapshot, key);
  }

  /** Sum of all scores, as docs/PLACEMENT.md defines the quality of a plan. */
  quality(): number {
    let sum = 0;
    for (const each of this.standing) {
      const { who, spots, isNew } = each;
      if (who.deployment === undefined || who.isLeaving) continue;
      if (isNew)
        sum +=
          spots.reduce((all, spot) => all + this.#spotQuality(who.deployment as WantedDeployment, spot), 0) /
          spots.length;
      sum += this.#company(each);
    }
    return sum;
  }

  #spotQuality(deployment: WantedDeployment, spot: Spot): number {
    const node = this.nodes[spot.node] as NodeSnapshot;
    const gpus = spot.gpus.map((index) => this.gpu(spot.node, index));
    const fills = gpus.map((gpu) => 1 - this.free(spot.node, gpu.index) / gpu.totalBytes);
    const total = node.gpus.reduce((sum, gpu) => sum + gpu.totalBytes, 0);
    const free = node.gpus.reduce((sum, gpu) => sum + Math.max(0, this.free(spot.node, gpu.index)), 0);
    const hostTotal = node.hostMemory?.totalBytes ?? 0;
    const hostFill = hostTotal === 0 ? 0 : Math.min(1, Math.max(0, 1 - this.hostFree(spot.node) / hostTotal));
    const count = gpus.length;
    const one = (ids: readonly (number | undefined)[]): boolean =>
      count > 0 && ids[0] !== undefined && ids.every((id) => id === ids[0]);
    const view = {
      isPacked: deployment.strategy !== 'spread',
      gpus: count,
      gpuFill: count === 0 ? hostFill : fills.reduce((sum, fill) => sum + fill, 0) / count,
      nodeFill: count === 0 ? hostFill : 1 - free / total,
      oneIsland: one(gpus.map((gpu) => gpu.nvlinkIsland)),
      oneNuma: one(gpus.map((gpu) => gpu.numaNode)),
      spilledShare: spot.spill / Math.max(1, deployment.gpuMemoryBytes),
      degradedShare: count === 0 ? 0 : gpus.filter((gpu) => gpu.health === 'degraded').length / count,
    };
    return (
      NODE_SCORES.reduce((sum, score) => sum + score.weight * score.of(node, deployment), 0) +
      PART_SCORES.reduce((sum, score) => sum + score.weight * score.of(view), 0)
    );
  }

  /** Preferred affinity and anti-affinity of one replica to all others around it. */
  #company({ who, spots }: Standing): number {
    const { antiAffinity = [], affinity = [] } = who.deployment as WantedDeployment;
    const terms = [...antiAffinity.map((term) => ({ term, sign: -1 })), ...affinity.map((term) => ({ term, sign: 1 }))];
    let sum = 0;
    for (const { term, sign } of terms) {
      if (term.required === true) continue;
      const name = term.deployment ?? who.name;
      const wanted = this.#snapshot.deployments.find((each) => each.name === name)?.replicas ?? 0;
      const most = Math.max(1, wanted - (name === who.name ? 1 : 0));
      for (const spot of spots) {
        for (const other of this.standing) {
          if (other.who.isLeaving || other.who.name !== name) continue;
          const near = other.spots.filter((each) => this.#sameDomain(term.topologyKey, spot.node, each.node)).length;
          const self =
            other.who === who && valueOf(this.nodes[spot.node] as NodeSnapshot, term.topologyKey) !== undefined ? 1 : 0;
          sum += ((sign * (term.weight ?? 100)) / 100 / most) * (near - self);
        }
      }
    }
    return sum;
  }
}

/** Topologies in which the first insists on being away from the second. */
function foes(who: Mover, other: Mover): string[] {
  return (who.deployment?.antiAffinity ?? [])
    .filter((term) => term.required === true && (term.deployment ?? who.name) === other.name)
    .map((term) => term.topologyKey);
}
