/**
 * What is wanted, with its defaults filled in, names turned into numbers, and required anti-affinity made mutual: a replica
 * that refuses others beside it is refused by them too, as in Kubernetes.
 */
import type { AffinityTerm, GpuSharing, WantedDeployment } from './contract.ts';
import { type Fleet, invalid } from './fleet.ts';
import { valueOf } from './requirements.ts';

export interface Domains {
  readonly topologyKey: string;
  /** By node; -1: the node lacks the label. */
  readonly of: Int32Array;
  readonly names: readonly string[];
}

/** A preferred term: each replica of the other deployment in its domain adds `gain` (below 0 for anti-affinity). */
export interface SoftTerm {
  readonly other: number;
  readonly domains: Domains;
  readonly gain: number;
}

export interface Conflict {
  readonly other: number;
  readonly domains: Domains;
}

export interface Demand {
  /** Its place among the demands, which are in the order of their names. */
  readonly id: number;
  readonly wanted: WantedDeployment;
  readonly priority: number;
  readonly hosts: number;
  readonly gpus: number;
  readonly gpuBytes: number;
  readonly spillBytes: number;
  readonly hostBytes: number;
  readonly sharing: GpuSharing;
  readonly tenant: string | undefined;
  readonly isPacked: boolean;
  readonly nvlink: 'required' | 'preferred' | 'ignored';
  /** By model of GPU; undefined: any. */
  readonly allowsModel: Uint8Array | undefined;
  readonly ports: readonly number[];
  readonly mayPreempt: boolean;
  readonly soft: SoftTerm[];
  readonly conflicts: Conflict[];
  /** Where the hosts of a gang must agree; undefined: one host, or the region alone. */
  readonly gangDomains: Domains | undefined;
  readonly nodeKey: string;
}

const DEFAULT_PRIORITY = 50;
const MOST_REPLICAS = 100_000;

/** @throws CodedError invalid_value: a name twice, a number out of its range */
export function compileDemands(fleet: Fleet, unsorted: readonly WantedDeployment[]): Demand[] {
  const wanted = unsorted.toSorted((left, right) => (left.name < right.name ? -1 : left.name > right.name ? 1 : 0));
  const domains = createDomains(fleet);
  const modelIds = new Map(fleet.models.map((model, id) => [model, id]));
  const demands = wanted.map((each, id) => demandOf(each, id, fleet, modelIds, domains));
  const idOf = new Map(demands.map((demand) => [demand.wanted.name, demand.id]));
  if (idOf.size < demands.length) {
    const twice = wanted.find((each, i) => wanted[i - 1]?.name === each.name);
    throw invalid(`Two deployments have the name ${twice?.name}.`, 'deployments');
  }
  const domainsOf = createDomainsOf(domains);
  for (const demand of demands) {
    for (const term of demand.wanted.antiAffinity ?? []) addTerm(demands, demand, term, -1, idOf, domainsOf);
    for (const term of demand.wanted.affinity ?? []) addTerm(demands, demand, term, 1, idOf, domainsOf);
  }
  return demands;
}

type DomainsOf = (topologyKey: string) => Domains;

function createDomains(fleet: Fleet): DomainsOf {
  return (topologyKey) => {
    const ids = new Map<string, number>();
    const of = new Int32Array(fleet.nodes.length);
    for (const [n, node] of fleet.nodes.entries()) {
      const value = valueOf(node, topologyKey);
      if (value === undefined) of[n] = -1;
      else {
        const id = ids.get(value) ?? ids.size;
        ids.set(value, id);
        of[n] = id;
      }
    }
    return { topologyKey, of, names: [...ids.keys()] };
  };
}

function createDomainsOf(make: DomainsOf): DomainsOf {
  const made = new Map<string, Domains>();
  return (topologyKey) => {
    const found = made.get(topologyKey) ?? make(topologyKey);
    made.set(topologyKey, found);
    return found;
  };
}

function addTerm(
  demands: readonly Demand[],
  demand: Demand,
  term: AffinityTerm,
  sign: 1 | -1,
  idOf: ReadonlyMap<string, number>,
  domainsOf: DomainsOf,
): void {
  const other = demands[idOf.get(term.deployment ?? demand.wanted.name) ?? -1];
  if (other === undefined) return;
  const weight = term.weight ?? 100;
  if (!(weight >= 1 && weight <= 100)) throw invalid(`A weight of ${demand.wanted.name} is not 1 to 100.`, 'weight');
  const domains = domainsOf(term.topologyKey);
  if (term.required === true) {
    if (sign > 0) throw invalid(`Affinity of ${demand.wanted.name} can be preferred only.`, 'affinity.required');
    demand.conflicts.push({ other: other.id, domains });
    if (other !== demand) other.conflicts.push({ other: demand.id, domains });
    return;
  }
  const most = Math.max(1, other.wanted.replicas - (other === demand ? 1 : 0));
  demand.soft.push({ other: other.id, domains, gain: (sign * weight) / 100 / most });
}

function demandOf(
  wanted: WantedDeployment,
  id: number,
  fleet: Fleet,
  modelIds: ReadonlyMap<string, number>,
  domainsOf: DomainsOf,
): Demand {
  check(wanted);
  const { hosts = 1, gpuModels, gangTopologyKey } = wanted;
  let allowsModel: Uint8Array | undefined;
  if (gpuModels !== undefined) {
    allowsModel = new Uint8Array(fleet.models.length);
    for (const model of gpuModels) {
      const at = modelIds.get(model);
      if (at !== undefined) allowsModel[at] = 1;
    }
  }
  return {
    id,
    wanted,
    priority: wanted.priority ?? DEFAULT_PRIORITY,
    hosts,
    gpus: wanted.gpusPerHost,
    gpuBytes: wanted.gpuMemoryBytes,
    spillBytes: Math.min(wanted.graceSpillBytes ?? 0, wanted.gpuMemoryBytes),
    hostBytes: wanted.hostMemoryBytes ?? 0,
    sharing: wanted.sharing ?? 'exclusive',
    tenant: wanted.tenant,
    isPacked: wanted.strategy !== 'spread',
    nvlink: wanted.nvlink ?? 'preferred',
    allowsModel,
    ports: wanted.ports ?? [],
    mayPreempt: wanted.preemptionPolicy !== 'Never',
    soft: [],
    conflicts: [],
    nodeKey: nodeKeyOf(wanted),
    gangDomains: hosts > 1 && gangTopologyKey !== undefined ? domainsOf(gangTopologyKey) : undefined,
  };
}

/** Field, least and most. */
const RANGES: readonly (readonly [keyof WantedDeployment, number, number])[] = [
  ['replicas', 0, MOST_REPLICAS],
  ['hosts', 1, 1024],
  ['gpusPerHost', 0, 64],
  ['gpuMemoryBytes', 0, Number.MAX_SAFE_INTEGER],
  ['graceSpillBytes', 0, Number.MAX_SAFE_INTEGER],
  ['hostMemoryBytes', 0, Number.MAX_SAFE_INTEGER],
  ['priority', 0, 100],
];

function check(wanted: WantedDeployment): void {
  for (const [field, least, most] of RANGES) {
    const value = wanted[field];
    if (value === undefined) continue;
    if (!Number.isSafeInteger(value) || (value as number) < least || (value as number) > most)
      throw invalid(`${field} of ${wanted.name} is no whole number from ${least} to ${most}.`, field);
  }
  for (const { weight } of wanted.preferences ?? [])
    if (!(Math.abs(weight) <= 100)) throw invalid(`A weight of ${wanted.name} is not -100 to 100.`, 'weight');
}

/** What makes two deployments equal to every filter of nodes, and to every score of nodes but those of the model. */
function nodeKeyOf(wanted: WantedDeployment): string {
  return JSON.stringify([
    wanted.regions,
    wanted.architectures,
    wanted.minDriverVersion,
    wanted.gpuModels,
    wanted.constraints,
    wanted.preferences,
    wanted.tolerations,
    (wanted.hosts ?? 1) > 1 ? wanted.gangTopologyKey : undefined,
  ]);
}
