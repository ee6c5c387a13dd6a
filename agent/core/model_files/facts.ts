/**
 * What the files of a model say of its size, for the scheduler's estimate of memory: the weights by the headers of its
 * safetensors files, the shape by its config.json. The files are foreign: what cannot be read is told with its reason, and
 * harms nothing else.
 */
import { readModelShape } from '../../../lib/model_shape.ts';
import type { SafetensorsResult } from '../../../lib/safetensors.ts';
import type { ModelFacts } from '../../../proto/gen/fleet/v1/ModelFacts.ts';
import type { ModelShape } from '../../../proto/gen/fleet/v1/ModelShape.ts';

/** Most files of weights that are looked at; the largest models have some hundred. */
export const MOST_WEIGHT_FILES = 1024;
const MAX_PROBLEM = 200;

const SAFETENSORS = /^[^/]+\.safetensors$/i;
/** Mistral's copy of the same weights in one file or in other pieces, and adapters that are loaded beside a model. */
const COPIES = /^consolidated/i;
const ADAPTERS = /^adapter/i;

/**
 * The files that an engine loads as weights, of the names of a model's files. Copies in other pieces count only where there is
 * nothing else, as vLLM loads one of both.
 */
export function weightFiles(files: readonly string[]): readonly string[] {
  const all = files.filter((file) => SAFETENSORS.test(file) && !ADAPTERS.test(file));
  const plain = all.filter((file) => !COPIES.test(file));
  return (plain.length > 0 ? plain : all).toSorted();
}

/** One file of weights: its header, and the size by which a header that promises more is found out. */
export interface WeightHeader {
  readonly file: string;
  readonly bytes: number;
  readonly header: SafetensorsResult;
}

/** What was read; a text says why it could not be. */
export interface FactsRead {
  readonly config: { readonly value: unknown } | string;
  readonly weights: readonly WeightHeader[] | string;
}

function shapeIn(config: FactsRead['config']): ModelShape | string {
  if (typeof config === 'string') return config;
  const read = readModelShape(config.value);
  if (read.kind === 'unknown') return `config.json lacks ${read.missing.join(', ')}`;
  const { kind: _kind, maxPositions, ...shape } = read;
  return maxPositions === undefined ? shape : { ...shape, maxPositions };
}

function weightsIn(weights: FactsRead['weights']): number | string {
  if (typeof weights === 'string') return weights;
  let sum = 0;
  for (const { file, bytes, header } of weights) {
    if (header.kind === 'malformed') return `${file}: ${header.why}`;
    // A file that is cut short would be taken for a whole one by its header alone.
    if (header.kind === 'short' || header.tensorBytes > bytes) return `${file} is shorter than its header says`;
    sum += header.tensorBytes;
  }
  return sum > 0 ? sum : 'its files hold no weights';
}

/** Facts for telemetry: what is known, and why the rest is not. */
export function modelFacts({ config, weights }: FactsRead): ModelFacts {
  const shape = shapeIn(config);
  const weightBytes = weightsIn(weights);
  const problem = [shape, weightBytes].filter((each) => typeof each === 'string').join('; ');
  return {
    ...(typeof weightBytes === 'string' ? {} : { weightBytes }),
    shape: typeof shape === 'string' ? null : shape,
    problem: problem.slice(0, MAX_PROBLEM),
  };
}

/** The path from which an engine loads its model without anybody bringing it; undefined: it has a source, or a hub's name. */
export const pathModel = (spec: { readonly model: string; readonly modelSource?: unknown }): string | undefined =>
  spec.modelSource === undefined && spec.model.startsWith('/') ? spec.model : undefined;
