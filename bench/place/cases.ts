/**
 * Fleets drawn by chance from one seed: small ones with every kind of difficulty, for the comparison with the exact solver and
 * for the property tests, and a large one for the clock.
 */
import type { RandomSource } from '../../lib/rng.ts';
import type {
  AffinityTerm,
  FleetSnapshot,
  GpuSnapshot,
  NodeSnapshot,
  Placement,
  WantedDeployment,
} from '../../scheduler/core/placement/contract.ts';
import { HOSTNAME_KEY, REGION_KEY } from '../../scheduler/core/placement/requirements.ts';

export const GIB = 2 ** 30;

export interface Draw {
  chance(share: number): boolean;
  /** A whole number from least to most. */
  int(least: number, most: number): number;
  pick<Item>(items: readonly Item[]): Item;
}

export function drawFrom(random: RandomSource): Draw {
  return {
    chance: (share) => random.next() < share,
    int: (least, most) => least + Math.floor(random.next() * (most - least + 1)),
    pick: (items) => items[Math.floor(random.next() * items.length)] as (typeof items)[number],
  };
}

const REGIONS = ['eu-1', 'us-1'];
const MODELS = ['llama-8b', 'qwen-32b', 'mixtral'];

/** At most 4 nodes with at most 3 GPUs each, and at most `units` replicas that may move. */
export function smallCase(random: RandomSource, units = 5): FleetSnapshot {
  const draw = drawFrom(random);
  const nodes = Array.from({ length: draw.int(1, 4) }, (_, i) => smallNode(draw, i));
  const deployments: WantedDeployment[] = [];
  for (let left = draw.int(1, units); left > 0; ) {
    const replicas = Math.min(left, draw.int(1, 3));
    deployments.push(smallDeployment(draw, deployments.length, replicas));
    left -= replicas;
  }
  return {
    version: 1,
    nowMs: 100_000,
    staleAfterMs: 30_000,
    nodes,
    deployments,
    placements: runningOnes(draw, nodes, deployments),
  };
}

function smallNode(draw: Draw, i: number): NodeSnapshot {
  const isGrace = draw.chance(0.2);
  const gpus = Array.from({ length: isGrace ? 1 : draw.int(1, 3) }, (_, index) => smallGpu(draw, index, isGrace));
  return {
    name: `node-${i}`,
    region: draw.pick(REGIONS),
    labels: { rack: draw.pick(['a', 'b']) },
    architecture: isGrace ? 'arm64' : 'amd64',
    driverVersion: draw.pick(['550.90.07', '570.124.06']),
    health: draw.pick(['ready', 'ready', 'ready', 'ready', 'ready', 'degraded', 'not_ready', 'lost']),
    lastSeenMs: draw.chance(0.05) ? 0 : 99_000,
    gpus,
    hostMemory: { totalBytes: 64 * GIB, freeBytes: draw.pick([64, 48, 16]) * GIB },
    ...(draw.chance(0.1) ? { cordoned: true } : {}),
    ...(draw.chance(0.07) ? { draining: true } : {}),
    ...(draw.chance(0.15)
      ? { taints: [{ key: 'spot', effect: draw.pick(['NoSchedule', 'PreferNoSchedule', 'NoExecute'] as const) }] }
      : {}),
    ...(draw.chance(0.4) ? { modelsOnDisk: [draw.pick(MODELS)] } : {}),
    ...(draw.chance(0.2) ? { warmCaches: [draw.pick(MODELS)] } : {}),
    ...(draw.chance(0.1) ? { portsInUse: [9000] } : {}),
  };
}

function smallGpu(draw: Draw, index: number, isGrace: boolean): GpuSnapshot {
  const totalBytes = (isGrace ? 96 : 80) * GIB;
  return {
    index,
    model: isGrace ? 'GH200' : draw.chance(0.85) ? 'H100' : 'A100',
    totalBytes,
    health: draw.pick(['ok', 'ok', 'ok', 'ok', 'ok', 'ok', 'degraded', 'failed']),
    numaNode: index % 2,
    ...(draw.chance(0.9) ? { freeBytes: totalBytes - draw.pick([0, 0, 1, 20]) * GIB } : {}),
    ...(draw.chance(0.1) ? { promisedBytes: 10 * GIB } : {}),
    ...(draw.chance(0.05) ? { quarantine: 'xid_79' } : {}),
    ...(isGrace ? { coherent: true } : {}),
    ...(draw.chance(0.6) ? { nvlinkIsland: draw.chance(0.8) ? 0 : 1 } : {}),
    ...(draw.chance(0.1) ? { maxEngines: 1 } : {}),
  };
}

function smallDeployment(draw: Draw, i: number, replicas: number): WantedDeployment {
  const hosts = draw.chance(0.12) ? 2 : 1;
  const gpusPerHost = draw.pick([1, 1, 1, 1, 2, 2, 0]);
  return {
    name: `d${i}`,
    model: draw.pick(MODELS),
    replicas,
    hosts,
    gpusPerHost,
    gpuMemoryBytes: draw.pick([20, 30, 40, 60, 79]) * GIB,
    sharing: draw.pick(['shared', 'shared', 'shared', 'tenant', 'exclusive']),
    priority: draw.pick([30, 50, 50, 70]),
    strategy: draw.pick(['pack', 'pack', 'spread']),
    tenant: draw.pick(['red', 'blue']),
    ...(hosts > 1 && draw.chance(0.3) ? { gangTopologyKey: 'rack' } : {}),
    ...(draw.chance(0.2) ? { graceSpillBytes: 20 * GIB } : {}),
    ...(draw.chance(0.2) || gpusPerHost === 0 ? { hostMemoryBytes: draw.pick([10, 40]) * GIB } : {}),
    ...(draw.chance(0.3) ? { nvlink: draw.pick(['required', 'ignored'] as const) } : {}),
    ...(draw.chance(0.1) ? { regions: [draw.pick(REGIONS)] } : {}),
    ...(draw.chance(0.1) ? { gpuModels: [draw.pick(['H100', 'A100'])] } : {}),
    ...(draw.chance(0.1) ? { minDriverVersion: '560' } : {}),
    ...(draw.chance(0.3) ? { tolerations: [{ key: 'spot', operator: 'Exists' as const }] } : {}),
    ...(draw.chance(0.1)
      ? { constraints: [{ key: 'rack', operator: draw.pick(['In', 'NotIn'] as const), values: ['a'] }] }
      : {}),
    ...(draw.chance(0.2)
      ? {
          preferences: [
            { requirement: { key: 'rack', operator: 'In' as const, values: ['b'] }, weight: draw.pick([50, -50, 100]) },
          ],
        }
      : {}),
    ...(draw.chance(0.3) ? { antiAffinity: [smallTerm(draw, i, true)] } : {}),
    ...(draw.chance(0.1) ? { affinity: [smallTerm(draw, i, false)] } : {}),
    ...(draw.chance(0.1) ? { ports: [9000 + draw.int(0, 1)] } : {}),
    ...(draw.chance(0.1) ? { preemptionPolicy: 'Never' as const } : {}),
  };
}

function smallTerm(draw: Draw, i: number, mayRequire: boolean): AffinityTerm {
  return {
    topologyKey: draw.pick([HOSTNAME_KEY, HOSTNAME_KEY, REGION_KEY, 'rack']),
    ...(i > 0 && draw.chance(0.3) ? { deployment: `d${i - 1}` } : {}),
    ...(mayRequire && draw.chance(0.5) ? { required: true } : { weight: draw.pick([50, 100]) }),
  };
}

/** Some replicas run already, of wanted deployments and of one that nobody wants any more. */
function runningOnes(
  draw: Draw,
  nodes: readonly NodeSnapshot[],
  deployments: readonly WantedDeployment[],
): Placement[] {
  const placements: Placement[] = [];
  const takenBytes = new Map<string, number>();
  const hostBytes = new Map<string, number>();
  for (const deployment of [...deployments, ...(draw.chance(0.1) ? [smallDeployment(draw, 99, 1)] : [])]) {
    if (!draw.chance(0.5) || deployment.gpusPerHost !== 1 || (deployment.hosts ?? 1) > 1) continue;
    const node = draw.pick(nodes);
    const gpu = draw.pick(node.gpus);
    const key = `${node.name}/${gpu.index}`;
    const bytes = deployment.gpuMemoryBytes;
    const host = deployment.hostMemoryBytes ?? 0;
    const free = Math.min(gpu.totalBytes - (gpu.promisedBytes ?? 0), gpu.freeBytes ?? Infinity);
    // Who runs alone is the simplest that all sharing modes allow.
    if (takenBytes.has(key) || bytes > free || (hostBytes.get(node.name) ?? 0) + host > 16 * GIB) continue;
    if (deployment.ports !== undefined || deployment.antiAffinity !== undefined) continue;
    takenBytes.set(key, bytes);
    hostBytes.set(node.name, (hostBytes.get(node.name) ?? 0) + host);
    placements.push({
      deployment: deployment.name,
      index: 0,
      model: deployment.model,
      priority: deployment.priority ?? 50,
      sharing: deployment.sharing ?? 'exclusive',
      ...(deployment.tenant === undefined ? {} : { tenant: deployment.tenant }),
      parts: [{ node: node.name, gpus: [gpu.index], gpuMemoryBytes: bytes, hostMemoryBytes: host }],
    });
  }
  return placements;
}
