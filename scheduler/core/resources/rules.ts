/**
 * What the shape of a resource alone cannot say: members that contradict each other, and references to what is not there.
 * The first are refused; the second are allowed, because a file may be applied before the one that it refers to, and are
 * told as notes.
 */
import type { Requirement, Toleration } from '../placement/contract.ts';
import type {
  AliasSpec,
  DeploymentSpec,
  EngineSpec,
  NodeSpec,
  PoolSpec,
  QuarantineSpec,
  Resource,
  ResourceKind,
  RolloutStrategy,
} from './contract.ts';
import { unsoundGang } from '../reconcile/gang.ts';
import { nameProblem } from './names.ts';
import { pinnedSpec } from './pinned.ts';

export interface Problem {
  /** Such as spec.rollout.steps[1]. */
  readonly path: string;
  readonly message: string;
}

/** Flags that the agent sets itself; a second value would move the engine out of its sight. */
const OWN_FLAGS: Readonly<Record<string, string>> = {
  '--port': 'the agent chooses the port of each engine; a second one would never be asked',
  '--host': 'the agent chooses the address of each engine',
  '--uds': 'the agent chooses the socket of each engine',
  '--model': 'use spec.model',
  '--served-model-name': 'use spec.servedModelName',
  '--api-key': 'only the agent speaks to its engines',
  '--root-path': 'only the agent speaks to its engines',
  '--shutdown-timeout': 'the agent sets it',
};

/** Flags that say again what a member of the spec says, which placement would not see. */
const SPEC_FLAGS: readonly (readonly [flag: string, member: keyof DeploymentSpec])[] = [
  ['--gpu-memory-utilization', 'gpuMemoryBytes'],
  ['--kv-cache-memory-bytes', 'gpuMemoryBytes'],
];

/** How the members of a replica over several hosts find each other. */
const MEMBER_FLAGS: ReadonlySet<string> = new Set([
  '--nnodes',
  '--node-rank',
  '--master-addr',
  '--master-port',
  '--headless',
]);

const PARALLEL_FLAGS: ReadonlySet<string> = new Set([
  '--tensor-parallel-size',
  '-tp',
  '--pipeline-parallel-size',
  '-pp',
]);

const no = (path: string, message: string): Problem => ({ path, message });

interface FlagAt {
  readonly name: string;
  readonly value: string | undefined;
  readonly index: number;
}

/** Flags with their values, in both spellings: `--a=1` and `--a 1`; underscores count as dashes, as in argparse. */
function readFlags(tokens: readonly string[]): FlagAt[] {
  const flags: FlagAt[] = [];
  for (const [index, token] of tokens.entries()) {
    if (!/^-{1,2}[A-Za-z]/.test(token)) continue;
    const at = token.indexOf('=');
    const name = (at < 0 ? token : token.slice(0, at)).replaceAll('_', '-');
    const next = tokens[index + 1];
    const value = at >= 0 ? token.slice(at + 1) : next !== undefined && !next.startsWith('-') ? next : undefined;
    flags.push({ name, value, index });
  }
  return flags;
}

function flagProblems(spec: DeploymentSpec): Problem[] {
  const path = (index: number): string => `spec.extraFlags[${index}]`;
  const problems: Problem[] = [];
  const seen = new Set<string>();
  let parallel = 1;
  for (const { name, value, index } of readFlags(spec.extraFlags)) {
    const own = Object.hasOwn(OWN_FLAGS, name) ? OWN_FLAGS[name] : undefined;
    if (own !== undefined) problems.push(no(path(index), `${name} may not be set: ${own}`));
    if ((spec.hosts ?? 1) > 1 && MEMBER_FLAGS.has(name))
      problems.push(
        no(path(index), `${name} may not be set: the scheduler tells each of the ${spec.hosts} hosts its own`),
      );
    if (seen.has(name)) problems.push(no(path(index), `${name} stands twice`));
    seen.add(name);
    const member = SPEC_FLAGS.find(([flag]) => flag === name)?.[1];
    if (member !== undefined && spec[member] !== undefined)
      problems.push(no(path(index), `${name} and spec.${member} both say how much GPU memory is taken; keep one`));
    if (PARALLEL_FLAGS.has(name)) parallel *= Number(value);
  }
  const { hosts = 1 } = spec;
  // Without GPUs each host counts as one.
  if (spec.engine === 'vllm' && hosts === 1 && parallel > Math.max(1, spec.gpusPerHost))
    problems.push(
      no('spec.extraFlags', `the flags ask for ${parallel} GPUs, gpusPerHost and hosts for ${spec.gpusPerHost}`),
    );
  const [first] = spec.extraFlags;
  if (first !== undefined && !first.startsWith('-'))
    problems.push(no(path(0), 'a value stands without a flag before it'));
  return problems;
}

const GPU_MEMBERS = ['gpuMemoryBytes', 'graceSpillBytes', 'gpuModels', 'nvlink', 'minDriverVersion'] as const;

function gpuProblems(spec: DeploymentSpec): Problem[] {
  const problems: Problem[] = [];
  if (spec.gpusPerHost === 0)
    for (const member of GPU_MEMBERS)
      if (spec[member] !== undefined) problems.push(no(`spec.${member}`, 'makes no sense with gpusPerHost 0'));
  if ((spec.graceSpillBytes ?? 0) > (spec.gpuMemoryBytes ?? Infinity))
    problems.push(no('spec.graceSpillBytes', 'is a part of gpuMemoryBytes, and larger than that'));
  if (spec.gangTopologyKey !== undefined && (spec.hosts ?? 1) === 1)
    problems.push(no('spec.gangTopologyKey', 'makes no sense with hosts 1'));
  const why = unsoundGang(spec);
  if (why !== undefined) problems.push(no('spec.hosts', why));
  return problems;
}

function rolloutProblems(rollout: RolloutStrategy | undefined): Problem[] {
  if (rollout === undefined) return [];
  const { kind, maxSurge = 1, maxUnavailable = 0, steps, stepMs, deadlineMs } = rollout;
  const problems: Problem[] = [];
  if (kind === 'rolling' && maxSurge === 0 && maxUnavailable === 0)
    problems.push(
      no('spec.rollout.maxSurge', 'maxSurge and maxUnavailable are both 0: no replica could ever be changed'),
    );
  if (steps !== undefined && kind !== 'canary') problems.push(no('spec.rollout.steps', 'only a canary has steps'));
  for (const [index, step] of (steps ?? []).entries())
    if (index > 0 && step <= (steps?.[index - 1] as number))
      problems.push(no(`spec.rollout.steps[${index}]`, 'the shares must rise'));
  if (stepMs !== undefined && deadlineMs !== undefined && stepMs * Math.max(1, steps?.length ?? 1) > deadlineMs)
    problems.push(no('spec.rollout.deadlineMs', 'is over before the steps are'));
  return problems;
}

const VALUES: Readonly<Record<Requirement['operator'], (values: readonly string[]) => string | undefined>> = {
  In: (values) => (values.length > 0 ? undefined : 'In needs values'),
  NotIn: (values) => (values.length > 0 ? undefined : 'NotIn needs values'),
  Exists: (values) => (values.length === 0 ? undefined : 'Exists takes no values'),
  DoesNotExist: (values) => (values.length === 0 ? undefined : 'DoesNotExist takes no values'),
  Gt: (values) => (isOneNumber(values) ? undefined : 'Gt needs one number'),
  Lt: (values) => (isOneNumber(values) ? undefined : 'Lt needs one number'),
};

const isOneNumber = (values: readonly string[]): boolean =>
  values.length === 1 && values[0]?.trim() !== '' && Number.isFinite(Number(values[0]));

function requirementProblems(requirements: readonly Requirement[] | undefined, path: string): Problem[] {
  return (requirements ?? []).flatMap(({ operator, values }, index) => {
    const message = VALUES[operator](values ?? []);
    return message === undefined ? [] : [no(`${path}[${index}].values`, message)];
  });
}

function tolerationProblems(tolerations: readonly Toleration[] | undefined): Problem[] {
  return (tolerations ?? []).flatMap(({ key, operator, value }, index) => {
    const path = `spec.tolerations[${index}]`;
    if (operator === 'Exists') return value === undefined ? [] : [no(`${path}.value`, 'Exists takes no value')];
    return key === undefined ? [no(`${path}.key`, 'only the operator Exists may do without a key')] : [];
  });
}

function deploymentProblems(spec: DeploymentSpec): Problem[] {
  const preferences = (spec.preferences ?? []).map(({ requirement }) => requirement);
  return [
    ...flagProblems(spec),
    ...gpuProblems(spec),
    ...rolloutProblems(spec.rollout),
    ...requirementProblems(spec.constraints, 'spec.constraints'),
    ...requirementProblems(preferences, 'spec.preferences').map(({ path, message }) =>
      no(path.replace('].values', '].requirement.values'), message),
    ),
    ...tolerationProblems(spec.tolerations),
  ];
}

/** The indexes of items whose key was there before. */
function repeated<Item>(items: readonly Item[], keyOf: (item: Item) => string): number[] {
  const seen = new Set<string>();
  return items.flatMap((item, index) => {
    const key = keyOf(item);
    if (seen.has(key)) return [index];
    seen.add(key);
    return [];
  });
}

function aliasProblems({ targets }: AliasSpec): Problem[] {
  const twice = repeated(targets, ({ deployment }) => deployment);
  const problems = twice.map((index) => no(`spec.targets[${index}].deployment`, 'stands twice; add the weights up'));
  if (targets.every(({ weight }) => weight === 0))
    problems.push(no('spec.targets', 'at least one weight must be above 0'));
  return problems;
}

function nodeProblems({ taints = [] }: NodeSpec): Problem[] {
  const twice = repeated(taints, ({ key, effect }) => `${key} ${effect}`);
  return twice.map((index) => no(`spec.taints[${index}]`, 'a taint of this key and effect stands twice'));
}

function hostProblems(node: string): Problem[] {
  const problem = nameProblem('Node', node);
  return problem === undefined ? [] : [no('spec.node', problem)];
}

/** All that is wrong in a resource of which the shape is right; empty: it can be applied. */
export function specProblems({ kind, spec }: Resource<unknown>): Problem[] {
  switch (kind) {
    case 'Deployment':
      return deploymentProblems(spec as DeploymentSpec);
    case 'Alias':
      return aliasProblems(spec as AliasSpec);
    case 'Node':
      return nodeProblems(spec as NodeSpec);
    case 'Engine':
      return [
        ...hostProblems((spec as EngineSpec).node),
        ...deploymentProblems(pinnedSpec(spec as EngineSpec) as DeploymentSpec),
      ];
    case 'Quarantine':
      return hostProblems((spec as QuarantineSpec).node);
    case 'Pool':
      return requirementProblems((spec as PoolSpec).nodes, 'spec.nodes');
  }
}

/**
 * What is allowed and will not do what its author may hope.
 * @param has whether a resource is there, or comes with the same request
 * @param storeMs the store's clock at its last event; 0: nothing is said of what is over
 */
export function resourceNotes(
  resource: Resource<unknown>,
  has: (kind: ResourceKind, name: string) => boolean,
  storeMs = 0,
): string[] {
  if (resource.kind === 'Quarantine') {
    const { until } = resource.spec as QuarantineSpec;
    const isPast = typeof until === 'string' && Date.parse(until) <= storeMs;
    return isPast ? ['its time is over already: the leader lifts it at once'] : [];
  }
  if (resource.kind === 'Deployment') {
    const { pool, replicas } = resource.spec as DeploymentSpec;
    const missing = pool !== undefined && !has('Pool', pool);
    return [
      ...(missing ? [`there is no pool ${pool}: its replicas stay pending until there is`] : []),
      ...(replicas === 0 ? ['replicas is 0: nothing of it runs'] : []),
    ];
  }
  if (resource.kind !== 'Alias') return [];
  return (resource.spec as AliasSpec).targets
    .filter(({ deployment }) => !has('Deployment', deployment))
    .map(({ deployment }) => `there is no deployment ${deployment}: its share goes to the others`);
}
