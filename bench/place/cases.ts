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

/** At most 4 nodes with at most 3 GPUs each, and at most `units` replicas. */
export function smallCase(random: RandomSource, units = 5): FleetSnapshot {
  const draw = drawFrom(random);
  const nodes = Array.from({ length: draw.int(1, 4) }, (_, i) => smallNode(draw, i));
  const deployments: WantedDeployment[] = [];
  for (let left = draw.int(2, units); left > 0; ) {
    const replicas = Math.min(left, draw.int(1, 3));
    deployments.push(smallDeployment(draw, deployments.length, replicas));
    left -= replicas;
  }
  const placements = runningOnes(draw, nodes, deployments);
  return {
    version: 1,
    nowMs: 100_000,
    staleAfterMs: 30_000,
    nodes: nodes.map((node) => measured(draw, node, placements)),
    deployments,
    placements,
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
    driverVersion: draw.chance(0.2) ? '550.90.07' : '570.124.06',
    health: draw.chance(0.92) ? 'ready' : draw.pick(['degraded', 'degraded', 'not_ready', 'lost'] as const),
    lastSeenMs: draw.chance(0.02) ? 0 : 99_000,
    gpus,
    hostMemory: { totalBytes: 64 * GIB, freeBytes: draw.pick([64, 64, 48, 30]) * GIB },
    ...(draw.chance(0.04) ? { cordoned: true } : {}),
    ...(draw.chance(0.05) ? { draining: true } : {}),
    ...(draw.chance(0.12)
      ? { taints: [{ key: 'spot', effect: draw.pick(['NoSchedule', 'PreferNoSchedule', 'NoExecute'] as const) }] }
      : {}),
    ...(draw.chance(0.4) ? { modelsOnDisk: [draw.pick(MODELS)] } : {}),
    ...(draw.chance(0.2) ? { warmCaches: [draw.pick(MODELS)] } : {}),
    ...(draw.chance(0.1) ? { portsInUse: [9000] } : {}),
  };
}

function smallGpu(draw: Draw, index: number, isGrace: boolean): GpuSnapshot {
  return {
    index,
    model: isGrace ? 'GH200' : draw.chance(0.92) ? 'H100' : 'A100',
    totalBytes: (isGrace ? 96 : 80) * GIB,
    health: draw.chance(0.92) ? 'ok' : draw.pick(['degraded', 'failed'] as const),
    numaNode: index % 2,
    ...(draw.chance(0.06) ? { promisedBytes: 10 * GIB } : {}),
    ...(draw.chance(0.03) ? { quarantine: 'xid_79' } : {}),
    ...(isGrace ? { coherent: true } : {}),
    ...(draw.chance(0.7) ? { nvlinkIsland: draw.chance(0.8) ? 0 : 1 } : {}),
    ...(draw.chance(0.1) ? { maxEngines: draw.int(1, 2) } : {}),
  };
}

function smallDeployment(draw: Draw, i: number, replicas: number): WantedDeployment {
  const hosts = draw.chance(0.12) ? 2 : 1;
  const gpusPerHost = draw.chance(0.05) ? 0 : draw.pick([1, 1, 1, 1, 2]);
  return {
    name: `d${i}`,
    model: draw.pick(MODELS),
    replicas,
    hosts,
    gpusPerHost,
    gpuMemoryBytes: draw.pick([20, 30, 40, 60, 78]) * GIB,
    sharing: draw.pick(['shared', 'shared', 'shared', 'shared', 'tenant', 'exclusive'] as const),
    priority: draw.pick([20, 50, 50, 80]),
    strategy: draw.pick(['pack', 'pack', 'spread'] as const),
    tenant: draw.pick(['red', 'blue']),
    ...(hosts > 1 && draw.chance(0.3) ? { gangTopologyKey: 'rack' } : {}),
    ...(draw.chance(0.25) ? { graceSpillBytes: 20 * GIB } : {}),
    ...(draw.chance(0.1) || gpusPerHost === 0 ? { hostMemoryBytes: draw.pick([10, 25]) * GIB } : {}),
    ...(draw.chance(0.2) ? { nvlink: draw.pick(['required', 'ignored'] as const) } : {}),
    ...(draw.chance(0.06) ? { regions: [draw.pick(REGIONS)] } : {}),
    ...(draw.chance(0.06) ? { gpuModels: [draw.pick(['H100', 'H100', 'A100'])] } : {}),
    ...(draw.chance(0.08) ? { minDriverVersion: '560' } : {}),
    ...(draw.chance(0.4) ? { tolerations: [{ key: 'spot', operator: 'Exists' as const }] } : {}),
    ...(draw.chance(0.08)
      ? { constraints: [{ key: 'rack', operator: draw.pick(['In', 'NotIn'] as const), values: ['a'] }] }
      : {}),
    ...(draw.chance(0.2)
      ? {
          preferences: [
            { requirement: { key: 'rack', operator: 'In' as const, values: ['b'] }, weight: draw.pick([50, -50, 100]) },
          ],
        }
      : {}),
    ...(draw.chance(0.25) ? { antiAffinity: [smallTerm(draw, i, true)] } : {}),
    ...(draw.chance(0.1) ? { affinity: [smallTerm(draw, i, false)] } : {}),
    ...(draw.chance(0.08) ? { ports: [9000 + draw.int(0, 1)] } : {}),
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

/** Some replicas run already, of wanted deployments, too many of one now and then, and of one that nobody wants any more. */
function runningOnes(
  draw: Draw,
  nodes: readonly NodeSnapshot[],
  deployments: readonly WantedDeployment[],
): Placement[] {
  const placements: Placement[] = [];
  for (const deployment of [...deployments, ...(draw.chance(0.1) ? [smallDeployment(draw, 99, 1)] : [])]) {
    const { gpusPerHost, hosts = 1, ports, antiAffinity = [], priority = 50 } = deployment;
    // What would need a search to be set up rightly does not run yet; the important came last, so that somebody is in their way.
    if (
      !draw.chance(1 - priority / 100) ||
      hosts > 1 ||
      ports !== undefined ||
      antiAffinity.some(({ required }) => required)
    )
      continue;
    const most = deployment.replicas + (draw.chance(0.1) ? 1 : 0);
    for (let index = 0; index < most && draw.chance(0.85); index++) {
      const node = draw.pick(nodes);
      const from = draw.int(0, Math.max(0, node.gpus.length - gpusPerHost));
      const gpus = node.gpus.slice(from, from + gpusPerHost);
      if (gpus.length < gpusPerHost || !gpus.every((gpu) => mayRun(node, gpu, deployment, placements))) continue;
      placements.push(placementOf(draw, deployment, index, node, gpus));
    }
  }
  return placements;
}

function residents(node: NodeSnapshot, gpu: GpuSnapshot, placements: readonly Placement[]): Placement[] {
  return placements.filter(({ parts }) =>
    parts.some((part) => part.node === node.name && part.gpus.includes(gpu.index)),
  );
}

function mayRun(
  node: NodeSnapshot,
  gpu: GpuSnapshot,
  deployment: WantedDeployment,
  placements: readonly Placement[],
): boolean {
  const there = residents(node, gpu, placements);
  const taken = there.reduce((sum, { parts }) => sum + (parts[0]?.gpuMemoryBytes ?? 0), gpu.promisedBytes ?? 0);
  if (taken + deployment.gpuMemoryBytes > gpu.totalBytes - 2 * GIB || there.length >= (gpu.maxEngines ?? 16))
    return false;
  const isShared = deployment.sharing === 'shared' && there.every(({ sharing }) => sharing === 'shared');
  return isShared || (there.length === 0 && gpu.promisedBytes === undefined);
}

function placementOf(
  draw: Draw,
  {
    name,
    model,
    priority = 50,
    sharing = 'exclusive',
    tenant,
    gpuMemoryBytes,
    hostMemoryBytes = 0,
    gpusPerHost,
  }: WantedDeployment,
  index: number,
  node: NodeSnapshot,
  gpus: readonly GpuSnapshot[],
): Placement {
  const part = {
    node: node.name,
    gpus: gpus.map((gpu) => gpu.index),
    gpuMemoryBytes: gpusPerHost === 0 ? 0 : gpuMemoryBytes,
    // It loads still, it has its weights, or all that it was promised.
    usedBytes: gpusPerHost === 0 ? 0 : draw.pick([0, gpuMemoryBytes / 2, gpuMemoryBytes]),
    hostMemoryBytes: draw.chance(0.8) ? 0 : hostMemoryBytes,
  };
  return {
    deployment: name,
    index,
    model,
    priority,
    sharing,
    ...(tenant === undefined ? {} : { tenant }),
    parts: [part],
  };
}

/** What is measured as free: the total without what replicas have taken, and without what nobody knows of. */
function measured(draw: Draw, node: NodeSnapshot, placements: readonly Placement[]): NodeSnapshot {
  const gpus = node.gpus.map((gpu): GpuSnapshot => {
    if (draw.chance(0.1)) return gpu;
    const used = residents(node, gpu, placements).reduce((sum, { parts }) => sum + (parts[0]?.usedBytes ?? 0), 0);
    return { ...gpu, freeBytes: Math.max(0, gpu.totalBytes - used - draw.pick([0, 0, 1, 20]) * GIB) };
  });
  return { ...node, gpus };
}
