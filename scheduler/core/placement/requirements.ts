/**
 * Labels, attributes, taints and versions: whether a node is what a deployment asks for. The operators are those of
 * Kubernetes' node affinity; what a node tells of itself can be asked for under the well-known label names.
 */
import type { NodeSnapshot, Requirement, Taint, Toleration } from './contract.ts';

export const HOSTNAME_KEY = 'kubernetes.io/hostname';
/** The name of the node itself, as Kubernetes' field of this name: no label can say otherwise. */
export const NODE_NAME_KEY = 'metadata.name';
export const REGION_KEY = 'topology.kubernetes.io/region';

/** Names under which a node's own attributes can be asked for; a label of the same name wins. */
const ATTRIBUTES: Readonly<Record<string, (node: NodeSnapshot) => string | undefined>> = {
  [HOSTNAME_KEY]: (node) => node.name,
  [REGION_KEY]: (node) => node.region,
  'kubernetes.io/arch': (node) => node.architecture,
  'nvidia.com/gpu.count': (node) => String(node.gpus.length),
  'nvidia.com/gpu.product': (node) => node.gpus[0]?.model,
  'nvidia.com/cuda.driver-version.full': (node) => node.driverVersion,
};

/** The value of a label or an attribute; undefined where the node has none. */
export function valueOf(node: NodeSnapshot, key: string): string | undefined {
  if (key === NODE_NAME_KEY) return node.name;
  const { labels } = node;
  if (labels !== undefined && Object.hasOwn(labels, key)) return labels[key];
  return Object.hasOwn(ATTRIBUTES, key) ? ATTRIBUTES[key]?.(node) : undefined;
}

type Holds = (found: string | undefined, values: readonly string[]) => boolean;

/** A number that compares false with everything where the text is none, as in Kubernetes. */
const numberOf = (text: string | undefined): number => (text === undefined || text.trim() === '' ? NaN : Number(text));

const OPERATORS: Readonly<Record<Requirement['operator'], Holds>> = {
  In: (found, values) => found !== undefined && values.includes(found),
  NotIn: (found, values) => found === undefined || !values.includes(found),
  Exists: (found) => found !== undefined,
  DoesNotExist: (found) => found === undefined,
  Gt: (found, values) => numberOf(found) > numberOf(values[0]),
  Lt: (found, values) => numberOf(found) < numberOf(values[0]),
};

export function meets(node: NodeSnapshot, { key, operator, values }: Requirement): boolean {
  return OPERATORS[operator](valueOf(node, key), values ?? []);
}

export function tolerates(tolerations: readonly Toleration[], taint: Taint): boolean {
  return tolerations.some(({ key, operator, value, effect }) => {
    if (effect !== undefined && effect !== taint.effect) return false;
    if (operator === 'Exists') return key === undefined || key === taint.key;
    return key === taint.key && (value ?? '') === (taint.value ?? '');
  });
}

/** Compares versions such as 570.124.06 part by part as numbers; a part that is missing or no number counts as 0. */
export function compareVersions(left: string, right: string): number {
  const a = left.split('.');
  const b = right.split('.');
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    const order = (Number.parseInt(a[i] ?? '0', 10) || 0) - (Number.parseInt(b[i] ?? '0', 10) || 0);
    if (order !== 0) return Math.sign(order);
  }
  return 0;
}
