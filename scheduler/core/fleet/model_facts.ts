/**
 * What agents have read out of the files of models: how many bytes the weights are, and the shape that decides about the KV
 * cache. An agent's figures are foreign like all others, so a shape that cannot be is none.
 */
import type { ModelShape } from '../../../lib/model_shape.ts';
import type { ModelFacts__Output } from '../../../proto/gen/fleet/v1/ModelFacts.ts';
import type { ModelReading__Output } from '../../../proto/gen/fleet/v1/ModelReading.ts';
import type { ModelShape__Output } from '../../../proto/gen/fleet/v1/ModelShape.ts';

export interface ModelFacts {
  /** Bytes of all tensors as they lie in the files. */
  readonly weightBytes: number | undefined;
  readonly shape: ModelShape | undefined;
  /** Why something is not known; empty: all is. */
  readonly problem: string;
}

/** Beyond any model: 64 TiB of weights, and a number of anything of a layer. */
const MOST_WEIGHT_BYTES = 2 ** 46;
const MOST = 2 ** 28;
const MAX_PROBLEM = 256;

/** Each must be at least this. */
const LEAST = {
  hidden: 1,
  vocabulary: 1,
  intermediate: 0,
  expertIntermediate: 0,
  expertsPerToken: 0,
  fullLayers: 0,
  windowLayers: 0,
  windowTokens: 0,
  kvHeads: 1,
  headDim: 1,
  latentDim: 0,
  dtypeBytes: 1,
} as const satisfies Partial<Record<keyof ModelShape, number>>;

function shapeOf(told: ModelShape__Output): ModelShape | undefined {
  const isSound = Object.entries(LEAST).every(([field, least]) => {
    const value = told[field as keyof typeof LEAST];
    return Number.isSafeInteger(value) && value >= least && value <= MOST;
  });
  const { maxPositions } = told;
  if (!isSound || told.fullLayers + told.windowLayers === 0 || told.dtypeBytes > 8) return undefined;
  const fields = Object.fromEntries(Object.keys(LEAST).map((field) => [field, told[field as keyof typeof LEAST]]));
  const most = maxPositions !== undefined && maxPositions > 0 ? maxPositions : undefined;
  return { kind: 'shape', ...(fields as Record<keyof typeof LEAST, number>), maxPositions: most };
}

function factsOf({ weightBytes, shape, problem }: ModelFacts__Output): ModelFacts {
  const isSound = weightBytes !== undefined && weightBytes > 0 && weightBytes <= MOST_WEIGHT_BYTES;
  const read = shape === null ? undefined : shapeOf(shape);
  const isOdd = (shape !== null && read === undefined) || (weightBytes !== undefined && !isSound);
  return {
    weightBytes: isSound ? weightBytes : undefined,
    shape: read,
    problem: isOdd ? 'its agent tells figures that cannot be' : problem.slice(0, MAX_PROBLEM),
  };
}

/** Undefined: nobody has looked at the files. */
export const modelFactsOf = ({ facts }: Pick<ModelReading__Output, 'facts'>): ModelFacts | undefined =>
  facts === null || facts === undefined ? undefined : factsOf(facts);
