/**
 * What no plan may do, looked for without any code of the planner: a second opinion for the property tests and the bench.
 */
import type {
  AssignedPart,
  FleetSnapshot,
  NodeSnapshot,
  Placement,
  PlacementPlan,
  WantedDeployment,
} from '../../scheduler/core/placement/contract.ts';
import { meets, tolerates, valueOf } from '../../scheduler/core/placement/requirements.ts';

interface Resident {
  readonly deployment: string;
  readonly tenant: string | undefined;
  readonly sharing: string;
  readonly bytes: number;
  readonly usedBytes: number;
}

/** Every rule that the plan breaks, in words; none: it is sound. */
export function violationsOf(snapshot: FleetSnapshot, plan: PlacementPlan): string[] {
  const found: string[] = [];
  const wanted = new Map(snapshot.deployments.map((each) => [each.name, each]));
  const nodes = new Map(snapshot.nodes.map((each) => [each.name, each]));
  const gone = new Set(plan.preemptions.map(({ deployment, index }) => `${deployment}/${index}`));
  found.push(...wrongPreemptions(snapshot, plan, wanted));
  for (const { deployment: name, index, parts } of plan.assignments) {
    const deployment = wanted.get(name);
    const who = `${name}/${index}`;
    if (deployment === undefined) {
      found.push(`${who}: nobody wants it`);
      continue;
    }
    found.push(...wrongParts(deployment, parts, nodes).map((what) => `${who}: ${what}`));
    for (const part of parts) {
      const node = nodes.get(part.node);
      if (node !== undefined)
        found.push(...badNode(snapshot, node, deployment).map((what) => `${who} on ${node.name}: ${what}`));
    }
  }
  for (const node of snapshot.nodes) found.push(...overcommitted(snapshot, plan, node, gone, wanted));
  found.push(...apart(snapshot, plan, gone, nodes));
  found.push(...wrongCounts(snapshot, plan, gone));
  return found;
}

function wrongPreemptions(
  snapshot: FleetSnapshot,
  plan: PlacementPlan,
  wanted: ReadonlyMap<string, WantedDeployment>,
): string[] {
  const running = new Set(snapshot.placements.map(({ deployment, index }) => `${deployment}/${index}`));
  const placed = new Set(plan.assignments.map(({ deployment, index }) => `${deployment}/${index}`));
  return plan.preemptions.flatMap(({ deployment, index, priority, by, byPriority }) => {
    const what: string[] = [];
    if (!running.has(`${deployment}/${index}`)) what.push('does not run');
    if (!placed.has(`${by.deployment}/${by.index}`))
      what.push(`goes for ${by.deployment}/${by.index}, which has no place`);
    if (!(priority < byPriority)) what.push(`has priority ${priority}, not below ${byPriority}`);
    if ((wanted.get(by.deployment)?.priority ?? 50) !== byPriority) what.push('goes for a wrong priority');
    if (wanted.get(by.deployment)?.preemptionPolicy === 'Never') what.push('goes for one that never preempts');
    return what.map((each) => `${deployment}/${index}: ${each}`);
  });
}

function wrongParts(
  deployment: WantedDeployment,
  parts: readonly AssignedPart[],
  nodes: ReadonlyMap<string, NodeSnapshot>,
): string[] {
  const { hosts = 1, gpusPerHost, gpuMemoryBytes, hostMemoryBytes = 0, gangTopologyKey } = deployment;
  const what: string[] = [];
  if (parts.length !== hosts || new Set(parts.map((part) => part.node)).size !== hosts)
    what.push(`has ${parts.length} of ${hosts} hosts`);
  const models = new Set<string | undefined>();
  const regions = new Set<string | undefined>();
  const domains = new Set<string | undefined>();
  for (const part of parts) {
    const node = nodes.get(part.node);
    regions.add(node?.region);
    if (node !== undefined && gangTopologyKey !== undefined) domains.add(valueOf(node, gangTopologyKey));
    if (new Set(part.gpus).size !== gpusPerHost) what.push(`has ${part.gpus.length} of ${gpusPerHost} GPUs`);
    const gpus = part.gpus.map((index) => node?.gpus.find((gpu) => gpu.index === index));
    const islands = new Set(gpus.map((gpu) => gpu?.nvlinkIsland ?? `none ${gpu?.index}`));
    if (deployment.nvlink === 'required' && islands.size > 1) what.push('spans NVLink islands');
    for (const gpu of gpus) {
      models.add(gpu?.model);
      if (gpu === undefined || gpu.health === 'failed' || gpu.quarantine !== undefined) what.push('has a bad GPU');
      if (part.graceSpillBytes > 0 && gpu?.coherent !== true) what.push('spills where there is no Grace');
    }
    const bytes = part.gpuMemoryBytes + part.graceSpillBytes;
    if (gpusPerHost > 0 && bytes !== gpuMemoryBytes) what.push(`has ${bytes} of ${gpuMemoryBytes} bytes`);
    if (part.hostMemoryBytes !== hostMemoryBytes + part.gpus.length * part.graceSpillBytes)
      what.push('has wrong host memory');
  }
  if (models.size > 1) what.push('mixes GPU models');
  if (regions.size > 1) what.push('mixes regions');
  if (hosts > 1 && domains.size > 1) what.push('mixes domains');
  const { gpuModels } = deployment;
  if (gpuModels !== undefined && [...models].some((model) => !gpuModels.includes(model ?? '')))
    what.push('has a wrong model');
  return what;
}

function badNode({ nowMs, staleAfterMs }: FleetSnapshot, node: NodeSnapshot, deployment: WantedDeployment): string[] {
  const { regions, architectures, constraints = [], tolerations = [] } = deployment;
  const rules: readonly (readonly [boolean, string])[] = [
    [node.cordoned === true, 'cordoned'],
    [node.draining === true, 'draining'],
    [node.health === 'lost' || node.health === 'not_ready', node.health],
    [nowMs - node.lastSeenMs > staleAfterMs, 'stale'],
    [
      node.taints?.some((taint) => taint.effect !== 'PreferNoSchedule' && !tolerates(tolerations, taint)) === true,
      'tainted',
    ],
    [regions !== undefined && !regions.includes(node.region), 'another region'],
    [architectures !== undefined && !architectures.includes(node.architecture), 'another architecture'],
    [constraints.some((each) => !meets(node, each)), 'against a constraint'],
  ];
  return rules.flatMap(([isBroken, what]) => (isBroken ? [what] : []));
}

function overcommitted(
  snapshot: FleetSnapshot,
  plan: PlacementPlan,
  node: NodeSnapshot,
  gone: ReadonlySet<string>,
  wanted: ReadonlyMap<string, WantedDeployment>,
): string[] {
  const found: string[] = [];
  const news = plan.assignments.flatMap((each) =>
    each.parts.filter((part) => part.node === node.name).map((part) => ({ each, part })),
  );
  if (news.length === 0) return found;
  const olds = snapshot.placements.flatMap((each) =>
    each.parts.filter((part) => part.node === node.name).map((part) => ({ each, part })),
  );
  const isGone = ({ deployment, index }: Placement): boolean => gone.has(`${deployment}/${index}`);
  for (const gpu of node.gpus) {
    const mine = news.filter(({ part }) => part.gpus.includes(gpu.index));
    if (mine.length === 0) continue;
    const there = olds.filter(({ part }) => part.gpus.includes(gpu.index));
    const residents: Resident[] = [
      ...there
        .filter(({ each }) => !isGone(each))
        .map(({ each, part }) => ({
          deployment: each.deployment,
          tenant: each.tenant,
          sharing: each.sharing,
          bytes: part.gpuMemoryBytes,
          usedBytes: part.usedBytes ?? 0,
        })),
      ...mine.map(({ each, part }) => ({
        deployment: each.deployment,
        tenant: wanted.get(each.deployment)?.tenant,
        sharing: wanted.get(each.deployment)?.sharing ?? 'exclusive',
        bytes: part.gpuMemoryBytes,
        usedBytes: 0,
      })),
    ];
    const promised = residents.reduce((sum, each) => sum + each.bytes, gpu.promisedBytes ?? 0);
    if (promised > gpu.totalBytes) found.push(`${node.name} GPU ${gpu.index}: ${promised} bytes promised`);
    const given = there.filter(({ each }) => isGone(each)).reduce((sum, { part }) => sum + (part.usedBytes ?? 0), 0);
    const asked = residents.reduce((sum, each) => sum + Math.max(0, each.bytes - each.usedBytes), 0);
    if (asked > (gpu.freeBytes ?? Infinity) + given)
      found.push(`${node.name} GPU ${gpu.index}: ${asked} bytes are not free`);
    if (residents.length > (gpu.maxEngines ?? 16)) found.push(`${node.name} GPU ${gpu.index}: too many engines`);
    found.push(
      ...wrongNeighbours(residents, gpu.promisedBytes ?? 0).map((what) => `${node.name} GPU ${gpu.index}: ${what}`),
    );
  }
  return [
    ...found,
    ...hostTrouble(
      node,
      news,
      olds.filter(({ each }) => !isGone(each)),
      wanted,
    ),
  ];
}

function wrongNeighbours(residents: readonly Resident[], promisedBytes: number): string[] {
  if (residents.some(({ sharing }) => sharing === 'exclusive') && (residents.length > 1 || promisedBytes > 0))
    return ['an exclusive replica is not alone'];
  const tenants = new Set(residents.map(({ tenant }) => tenant));
  return residents.some(({ sharing }) => sharing === 'tenant') && tenants.size > 1 ? ['tenants are mixed'] : [];
}

function hostTrouble(
  node: NodeSnapshot,
  news: readonly { readonly each: { readonly deployment: string }; readonly part: AssignedPart }[],
  olds: readonly { readonly each: Placement; readonly part: { readonly hostMemoryBytes?: number } }[],
  wanted: ReadonlyMap<string, WantedDeployment>,
): string[] {
  const found: string[] = [];
  const bytes =
    news.reduce((sum, { part }) => sum + part.hostMemoryBytes, 0) +
    olds.reduce((sum, { part }) => sum + (part.hostMemoryBytes ?? 0), 0);
  const host = node.hostMemory;
  const most = Math.min((host?.totalBytes ?? Infinity) - (host?.promisedBytes ?? 0), host?.freeBytes ?? Infinity);
  if (bytes > most) found.push(`${node.name}: ${bytes} bytes of host memory`);
  const ports = [
    ...(node.portsInUse ?? []),
    ...news.flatMap(({ each }) => wanted.get(each.deployment)?.ports ?? []),
    ...olds.flatMap(({ each }) => each.ports ?? []),
  ];
  const asked = news.flatMap(({ each }) => wanted.get(each.deployment)?.ports ?? []);
  if (asked.some((port) => ports.filter((other) => other === port).length > 1))
    found.push(`${node.name}: a port twice`);
  return found;
}

/** Required anti-affinity, for each replica that the plan places against all others. */
function apart(
  snapshot: FleetSnapshot,
  plan: PlacementPlan,
  gone: ReadonlySet<string>,
  nodes: ReadonlyMap<string, NodeSnapshot>,
): string[] {
  const leaves = new Set(plan.stops.map(({ deployment, index }) => `${deployment}/${index}`));
  const moved = new Set(
    plan.assignments.filter(({ cause }) => cause.kind === 'moved').map((each) => `${each.deployment}/${each.index}`),
  );
  const pending = new Set(plan.pending.map((each) => `${each.deployment}/${each.index}`));
  const stays = snapshot.placements.filter(({ deployment, index }) => {
    const key = `${deployment}/${index}`;
    return !gone.has(key) && !leaves.has(key) && !moved.has(key) && !pending.has(key);
  });
  const all = [
    ...stays.map((each) => ({ each, isNew: false })),
    ...plan.assignments.map((each) => ({ each, isNew: true })),
  ];
  const found: string[] = [];
  for (const { name, antiAffinity = [] } of snapshot.deployments) {
    for (const { required, topologyKey, deployment: other = name } of antiAffinity) {
      if (required !== true) continue;
      const domains = (parts: readonly { readonly node: string }[]): (string | undefined)[] =>
        parts.map((part) =>
          nodes.has(part.node) ? valueOf(nodes.get(part.node) as NodeSnapshot, topologyKey) : undefined,
        );
      for (const [i, left] of all.entries()) {
        for (const [j, right] of all.entries()) {
          if (
            i === j ||
            !(left.isNew || right.isNew) ||
            left.each.deployment !== name ||
            right.each.deployment !== other
          )
            continue;
          const shared = domains(left.each.parts).filter(
            (each) => each !== undefined && domains(right.each.parts).includes(each),
          );
          if (shared.length > 0)
            found.push(`${name}/${left.each.index} beside ${other}/${right.each.index} in ${shared[0]}`);
        }
      }
    }
  }
  return found;
}

/** Every replica that is wanted runs, starts or waits; none twice. */
function wrongCounts(snapshot: FleetSnapshot, plan: PlacementPlan, gone: ReadonlySet<string>): string[] {
  const counted = snapshot.deployments.reduce((sum, { replicas }) => sum + replicas, 0);
  const found = plan.kept + plan.assignments.length + plan.pending.length;
  const twice = new Set(
    [...plan.assignments, ...plan.pending].map(({ deployment, index }) => `${deployment}/${index}`),
  );
  const wrong: string[] = [];
  if (found !== counted) wrong.push(`${found} replicas in the plan, ${counted} are wanted`);
  if (twice.size !== plan.assignments.length + plan.pending.length) wrong.push('a replica is in the plan twice');
  if (gone.size !== plan.preemptions.length) wrong.push('a replica is preempted twice');
  return wrong;
}
