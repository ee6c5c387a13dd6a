/**
 * A fleet of thousands of nodes as they are found: hosts with eight GPUs under NVLink, hosts with PCIe cards, GH200 hosts, a
 * few percent of them cordoned, tainted or with bad GPUs; and deployments from a share of a GPU up to gangs of hosts.
 */
import type { RandomSource } from '../../lib/rng.ts';
import type {
  FleetSnapshot,
  GpuSnapshot,
  NodeSnapshot,
  WantedDeployment,
} from '../../scheduler/core/placement/contract.ts';
import { HOSTNAME_KEY, REGION_KEY } from '../../scheduler/core/placement/requirements.ts';
import { type Draw, drawFrom, GIB } from './cases.ts';

interface HostKind {
  readonly share: number;
  readonly model: string;
  readonly gpus: number;
  readonly gib: number;
  readonly architecture: string;
  /** GPUs of an NVLink island; 0: none. */
  readonly island: number;
  readonly hostGib: number;
}

const KINDS: readonly HostKind[] = [
  { share: 0.4, model: 'H100-80GB', gpus: 8, gib: 80, architecture: 'amd64', island: 8, hostGib: 2048 },
  { share: 0.25, model: 'A100-80GB', gpus: 8, gib: 80, architecture: 'amd64', island: 4, hostGib: 1024 },
  { share: 0.2, model: 'GH200-96GB', gpus: 1, gib: 96, architecture: 'arm64', island: 0, hostGib: 480 },
  { share: 0.15, model: 'L40S-48GB', gpus: 4, gib: 48, architecture: 'amd64', island: 0, hostGib: 512 },
];

const REGIONS = ['eu-1', 'eu-2', 'us-1', 'us-2'];
const MODELS = 200;

export function largeFleet(nodes: number, replicas: number, random: RandomSource): FleetSnapshot {
  const draw = drawFrom(random);
  const deployments: WantedDeployment[] = [];
  for (let left = replicas; left > 0; ) {
    const count = Math.min(left, draw.int(1, 20));
    const deployment = largeDeployment(draw, deployments.length, count);
    deployments.push(deployment);
    left -= deployment.replicas;
  }
  return {
    version: 1,
    nowMs: 1_000_000,
    staleAfterMs: 30_000,
    nodes: Array.from({ length: nodes }, (_, i) => largeNode(draw, i)),
    deployments,
    placements: [],
  };
}

function kindOf(draw: Draw): HostKind {
  let at = draw.int(0, 9999) / 10_000;
  for (const kind of KINDS) {
    if (at < kind.share) return kind;
    at -= kind.share;
  }
  return KINDS[0] as HostKind;
}

function largeNode(draw: Draw, i: number): NodeSnapshot {
  const kind = kindOf(draw);
  const gpus = Array.from({ length: kind.gpus }, (_, index): GpuSnapshot => {
    const totalBytes = kind.gib * GIB;
    return {
      index,
      model: kind.model,
      totalBytes,
      // The driver and what was left behind take some hundred megabytes, on each GPU something else.
      freeBytes: totalBytes - draw.int(300, 900) * 2 ** 20,
      health: draw.chance(0.005) ? 'failed' : draw.chance(0.01) ? 'degraded' : 'ok',
      numaNode: Math.floor(index / 4),
      ...(kind.island > 0 ? { nvlinkIsland: Math.floor(index / kind.island) } : {}),
      ...(kind.architecture === 'arm64' ? { coherent: true } : {}),
    };
  });
  const name = `node-${String(i).padStart(5, '0')}`;
  return {
    name,
    region: REGIONS[i % REGIONS.length] as string,
    labels: { 'kubernetes.io/hostname': name, rack: `rack-${Math.floor(i / 16)}` },
    architecture: kind.architecture,
    driverVersion: draw.pick(['550.90.07', '570.124.06']),
    health: draw.chance(0.01) ? 'not_ready' : 'ready',
    lastSeenMs: 999_000,
    gpus,
    hostMemory: { totalBytes: kind.hostGib * GIB },
    modelsOnDisk: Array.from({ length: draw.int(0, 4) }, () => `model-${draw.int(0, MODELS - 1)}`),
    ...(draw.chance(0.02) ? { cordoned: true } : {}),
    ...(draw.chance(0.03) ? { taints: [{ key: 'spot', effect: 'NoSchedule' as const }] } : {}),
  };
}

/** Share of the deployments, GPUs a host, GiB a GPU, hosts. */
const SIZES: readonly (readonly [share: number, gpus: number, gib: number, hosts: number])[] = [
  [0.35, 1, 18, 1],
  [0.2, 1, 40, 1],
  [0.2, 1, 72, 1],
  [0.1, 2, 70, 1],
  [0.09, 4, 70, 1],
  [0.05, 8, 70, 1],
  [0.01, 8, 70, 2],
];

function largeDeployment(draw: Draw, i: number, replicas: number): WantedDeployment {
  let at = draw.int(0, 9999) / 10_000;
  const size = SIZES.find(([share]) => (at -= share) < 0) ?? SIZES[0];
  const [, gpusPerHost, gib, hosts] = size as (typeof SIZES)[number];
  return {
    name: `deployment-${String(i).padStart(5, '0')}`,
    model: `model-${draw.int(0, MODELS - 1)}`,
    replicas: hosts > 1 ? Math.min(replicas, 3) : replicas,
    hosts,
    gpusPerHost,
    gpuMemoryBytes: (gib + draw.int(0, 6)) * GIB - draw.int(0, 1023) * 2 ** 20,
    sharing: gib <= 40 ? 'shared' : 'exclusive',
    priority: draw.pick([30, 50, 50, 50, 70]),
    strategy: draw.chance(0.7) ? 'pack' : 'spread',
    ...(draw.chance(0.2) ? { regions: [draw.pick(REGIONS)] } : {}),
    ...(draw.chance(0.2) ? { tolerations: [{ key: 'spot', operator: 'Exists' as const }] } : {}),
    ...(draw.chance(0.3) ? { architectures: ['amd64'] } : {}),
    ...(draw.chance(0.2) ? { antiAffinity: [{ topologyKey: HOSTNAME_KEY, required: true }] } : {}),
    ...(draw.chance(0.3) ? { antiAffinity: [{ topologyKey: REGION_KEY, weight: 50 }] } : {}),
    ...(gpusPerHost >= 4 && draw.chance(0.5) ? { nvlink: 'required' as const } : {}),
  };
}
