/**
 * Verdicts as an operator reads them: one line a node, the figures in GiB, what would have to change at the end. `sophia explain
 * deployment` prints these lines; whoever wants the data takes the verdicts themselves.
 */
import type { Change } from './changes.ts';
import type { ScorePart } from './contract.ts';
import type { DeploymentExplanation, Verdict } from './explain.ts';
import type { Reason } from './reasons.ts';

const GIB = 2 ** 30;

export const gib = (bytes: number): string => `${(bytes / GIB).toFixed(1)} GiB`;
const seconds = (ms: number): string => `${Math.round(ms / 1000)} s`;
const list = (words: readonly (string | number)[]): string => (words.length === 0 ? 'none' : words.join(', '));
const count = (n: number, word: string): string => `${n} ${word}${n === 1 ? '' : 's'}`;

type TextOf<Kind extends string, Union> = {
  readonly [Name in Kind]: (value: Extract<Union, Readonly<Record<'by', Name>>>) => string;
};

const REASONS: TextOf<Reason['by'], Reason> = {
  node_unknown: () => 'the node is not known any more',
  health: ({ health }) => `the node is ${health.replace('_', ' ')}`,
  stale: ({ silentMs, staleAfterMs }) =>
    `its agent has said nothing for ${seconds(silentMs)}, more than ${seconds(staleAfterMs)}`,
  cordoned: () => 'the node is cordoned',
  draining: () => 'the node is being drained',
  quarantine: ({ why }) => `the node is in quarantine (${why})`,
  taint: ({ taint: { key, value, effect } }) =>
    `the taint ${key}${value === undefined ? '' : `=${value}`}:${effect} is not tolerated`,
  region: ({ wanted, found }) => `it is in ${found}, not in ${list(wanted)}`,
  architecture: ({ wanted, found }) => `it is ${found}, not ${list(wanted)}`,
  driver: ({ wanted, found }) => `its driver is ${found ?? 'not there'}, ${wanted} or newer is needed`,
  constraint: ({ key, operator, values, found }) =>
    `${key} is ${found === undefined ? 'not set' : `"${found}"`}, the constraint is ${operator}${values.length === 0 ? '' : ` ${list(values)}`}`,
  gang_topology: ({ key }) => `it has no label ${key}, by which the hosts of a replica are kept together`,
  gpu_model: ({ wanted, found }) => `its GPUs are ${list(found)}, not ${list(wanted)}`,
  gpu_count: ({ needGpus, foundGpus }) => `needs ${count(needGpus, 'GPU')} of one model, the node has ${foundGpus}`,
  gpu_health: ({ needGpus, soundGpus, bad }) =>
    `needs ${count(needGpus, 'GPU')}, ${soundGpus} are sound (${list(bad.map(({ gpu, why }) => `GPU ${gpu}: ${why}`))})`,
  gpu_sharing: ({ sharing, needGpus, openGpus }) =>
    `needs ${count(needGpus, 'GPU')} ${
      sharing === 'exclusive'
        ? 'for itself'
        : sharing === 'tenant'
          ? 'shared within its tenant only'
          : 'open to one more engine'
    }, ${openGpus} are`,
  gpu_memory: ({ needBytes, freeBytes, needGpus, fittingGpus, limit }) =>
    needGpus === 1
      ? `needs ${gib(needBytes)} on one GPU, the freest has ${gib(freeBytes)} (${limit})`
      : `needs ${gib(needBytes)} on each of ${needGpus} GPUs, ${fittingGpus} have it, the next has ${gib(freeBytes)} (${limit})`,
  nvlink: ({ needGpus, largestIsland }) =>
    `needs ${needGpus} GPUs with room on one NVLink island, the largest has ${largestIsland}`,
  host_memory: ({ needBytes, freeBytes }) => `needs ${gib(needBytes)} of host memory, ${gib(freeBytes)} are free`,
  ports: ({ taken }) => `port ${list(taken)} is taken`,
  anti_affinity: ({ deployment, topologyKey, domain }) =>
    `a replica of ${deployment} is in the same ${topologyKey} (${domain}), which required anti-affinity forbids`,
  gang: ({ needHosts, foundHosts, domain }) =>
    `it would take its part, but one replica needs ${needHosts} such hosts together ${
      domain === undefined
        ? `and there are ${foundHosts}`
        : `of one ${domain.key}, and ${domain.value} has ${foundHosts}`
    }`,
};

type ChangeText = {
  readonly [Name in Change['change']]: (value: Extract<Change, Readonly<Record<'change', Name>>>) => string;
};

const liftTexts = (names: readonly string[]): string[] =>
  names.length === 0 ? [] : [`quarantine/${names.join(', quarantine/')} were deleted`];

const CHANGES: ChangeText = {
  wait_for_node: () => 'the node came back',
  uncordon: () => 'the node were uncordoned',
  end_drain: () => 'the drain were ended',
  tolerate: ({ key, effect }) => `the deployment tolerated ${key}:${effect}`,
  allow: ({ field, value }) => `${field} allowed ${value}`,
  upgrade_driver: ({ to }) => `the driver were ${to} or newer`,
  change_constraint: ({ key }) => `the constraint on ${key} were met or dropped`,
  label_node: ({ key }) => `the node had the label ${key}`,
  fewer_gpus: ({ to }) => `it needed ${to} GPUs on a host`,
  release_gpus: ({ gpus, quarantines }) =>
    [...(gpus.length === 0 ? [] : [`GPU ${list(gpus)} were repaired or released`]), ...liftTexts(quarantines)].join(
      ' and ',
    ),
  lift_quarantine: ({ quarantines }) => liftTexts(quarantines).join(' and '),
  share_gpus: () => 'others left the GPUs, or sharing were allowed',
  free_gpu_memory: ({ bytes }) => `${gib(bytes)} more were free there`,
  need_less_gpu_memory: ({ toBytes }) => `it needed at most ${gib(toBytes)} a GPU, which an empty one has`,
  drop_nvlink: () => 'nvlink were preferred instead of required',
  free_host_memory: ({ bytes }) => `${gib(bytes)} more of host memory were free`,
  free_ports: ({ ports }) => `port ${list(ports)} were free`,
  move_away: ({ deployment, domain }) => `${deployment} left ${domain}`,
  more_hosts: ({ hosts, domain }) =>
    `${count(hosts, 'more such host')}${domain === undefined ? '' : ` of ${domain.key} ${domain.value}`} had room`,
  allow_preemption: ({ victims }) =>
    `it were allowed to preempt ${list(victims.map(({ deployment, index }) => `${deployment}/${index}`))}`,
  raise_priority: ({ above }) => `its priority were above ${above}`,
};

export function reasonText(reason: Reason): string {
  return (REASONS[reason.by] as (value: Reason) => string)(reason);
}

export function changeText(change: Change): string {
  return (CHANGES[change.change] as (value: Change) => string)(change);
}

/** One line for a node. */
export function verdictLine(verdict: Verdict): string {
  switch (verdict.kind) {
    case 'chosen':
      return `${verdict.node}: chosen for replica ${list(verdict.replicas)}${scoreText(verdict.score)}`;
    case 'feasible':
      return `${verdict.node}: would take one more, worth ${verdict.total.toFixed(2)}${scoreText(verdict.score)}`;
    case 'rejected': {
      const { node, by, reasons, changes } = verdict;
      const others = reasons.slice(1).map((reason) => `; also ${reason.by}: ${reasonText(reason)}`);
      // The last two are alternatives to what the reasons ask for, not one more condition.
      const isInstead = ({ change }: Change): boolean => change === 'allow_preemption' || change === 'raise_priority';
      const needed = [...new Set(changes.filter((change) => !isInstead(change)).map(changeText))];
      const instead = changes.filter(isInstead).map((change) => `, or if ${changeText(change)}`);
      const first = reasons[0] === undefined ? '' : reasonText(reasons[0]);
      return `${node}: refused by ${by}: ${first}${others.join('')}; it would fit if ${needed.join(' and ')}${instead.join('')}`;
    }
  }
}

function scoreText(score: readonly ScorePart[]): string {
  if (score.length === 0) return '';
  return ` (${score.map(({ name, value, weight }) => `${name} ${(value * weight).toFixed(2)}`).join(', ')})`;
}

/**
 * Why no hosts come together for a replica, in one line: how many nodes each reason refuses, and its words for the node
 * that is nearest to what is missing, which is the one with the most hosts beside it.
 */
export function refusalsText(verdicts: readonly Verdict[]): string {
  const groups = new Map<Reason['by'], { nodes: number; told: Reason }>();
  for (const verdict of verdicts) {
    const [first] = verdict.kind === 'rejected' ? verdict.reasons : [];
    if (first === undefined) continue;
    const group = groups.get(first.by) ?? { nodes: 0, told: first };
    const isNearer = first.by === 'gang' && group.told.by === 'gang' && first.foundHosts > group.told.foundHosts;
    groups.set(first.by, { nodes: group.nodes + 1, told: isNearer ? first : group.told });
  }
  return [...groups.values()]
    .toSorted((left, right) => right.nodes - left.nodes)
    .map(({ nodes, told }) => `${nodes} refused by ${told.by} (${reasonText(told)})`)
    .join(', ');
}

/** What is shown of the nodes that are not chosen; the rest is counted by reason. */
const MOST_LINES = 40;

/** All lines for an operator: the sum, then the nodes; of a large fleet some, and the rest counted by what refused them. */
export function explanationLines(explanation: DeploymentExplanation, mostLines = MOST_LINES): string[] {
  const { deployment, replicas, running, placed, pending, verdicts, preemptedBy, preempts } = explanation;
  const lines = [
    `${deployment}: ${replicas} wanted, ${running} running, ${placed} to be started, ${pending} pending`,
    ...preempts.map((victim) => `preempts ${victim.deployment}/${victim.index}, which has a lower priority`),
    ...preemptedBy.map(
      ({ replica, by }) =>
        `replica ${replica.index} is preempted by ${by.deployment}/${by.index}, which has a higher priority`,
    ),
    ...verdicts.slice(0, mostLines).map(verdictLine),
  ];
  const rest = verdicts.slice(mostLines);
  if (rest.length === 0) return lines;
  const counts = new Map<string, number>();
  for (const verdict of rest) {
    const word = verdict.kind === 'rejected' ? `refused by ${verdict.by}` : verdict.kind;
    counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  const summed = [...counts].toSorted(([, a], [, b]) => b - a).map(([word, n]) => `${n} ${word}`);
  return [...lines, `and ${count(rest.length, 'more node')}: ${summed.join(', ')}`];
}
