/**
 * What the files of a model say of its size, for the scheduler's estimate of memory: the weights by the headers of its
 * safetensors files, the shape by its config.json, or both by the header of a GGUF file. The files are foreign: what cannot be
 * read is told with its reason, and harms nothing else.
 */
import type { GgufResult } from '../../../lib/gguf.ts';
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

const GGUF = /\.gguf$/i;
/** A file beside the language model: what reads pictures. */
const PROJECTORS = /^mmproj/i;
/** One piece of a model in several files. */
const PIECE = /-(\d{5})-of-(\d{5})(?=\.[^.]+$)/;

/** How many pieces of a model in several files are not there, by their names; `N of M pieces are missing`, or nothing. */
export function missingPieces(files: readonly string[]): string | undefined {
  const pieces = files.flatMap((file) => PIECE.exec(file) ?? []);
  const [, , of] = pieces;
  if (of === undefined) return undefined;
  const most = Number(of);
  const missing = most - new Set(files.filter((file) => PIECE.exec(file)?.[2] === of)).size;
  return missing > 0 ? `${missing} of ${most} pieces are missing` : undefined;
}

/**
 * The GGUF file of a model with its other pieces, of the names of its files.
 * @param named the one that is to be loaded; absent: the only one that there is
 * @returns a text says why it is not known
 */
export function ggufFiles(files: readonly string[], named?: string): readonly string[] | string {
  const all = files.filter((file) => GGUF.test(file) && !PROJECTORS.test(file)).toSorted();
  const stem = (file: string): string => file.replace(PIECE, '');
  const stems = new Set(all.map(stem));
  if (named === undefined && stems.size > 1) return `there are ${stems.size} GGUF models, and none is named`;
  const found = all.filter((file) => stem(file) === stem(named ?? all[0] ?? ''));
  return missingPieces(found) ?? (found.length === 0 ? 'there is no safetensors file' : found);
}

/** One GGUF file: its header, and its size. */
export interface GgufPiece {
  readonly file: string;
  readonly bytes: number;
  readonly header: GgufResult;
}

/** Facts of a GGUF model: the shape is in its first piece. A text says why it could not be read. */
export function ggufFacts(pieces: readonly GgufPiece[] | string): ModelFacts {
  if (typeof pieces === 'string') return told(pieces, pieces);
  let sum = 0;
  for (const { file, bytes, header } of pieces) {
    if (header.kind === 'malformed') return told(`${file}: ${header.why} (${header.code})`, '');
    if (header.kind === 'short' || header.fileBytes > bytes) return told(`${file} is shorter than its header says`, '');
    sum += header.tensorBytes;
  }
  const [first] = pieces;
  const shape = first?.header.kind === 'header' ? first.header.shape : undefined;
  if (shape?.kind !== 'shape') return told(`${first?.file} lacks ${shape?.missing.join(', ')}`, sum);
  const { kind: _kind, maxPositions, ...rest } = shape;
  return told(maxPositions === undefined ? rest : { ...rest, maxPositions }, sum > 0 ? sum : 'it holds no weights');
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
export const modelFacts = ({ config, weights }: FactsRead): ModelFacts => told(shapeIn(config), weightsIn(weights));

/** A text stands for why something is not known. */
function told(shape: ModelShape | string, weightBytes: number | string): ModelFacts {
  const texts = [shape, weightBytes].filter((each): each is string => typeof each === 'string' && each !== '');
  const problem = [...new Set(texts)].join('; ');
  return {
    ...(typeof weightBytes === 'string' ? {} : { weightBytes }),
    shape: typeof shape === 'string' ? null : shape,
    problem: problem.slice(0, MAX_PROBLEM),
  };
}

/** The path from which an engine loads its model without anybody bringing it; undefined: it has a source, or a hub's name. */
export const pathModel = (spec: { readonly model: string; readonly modelSource?: unknown }): string | undefined =>
  spec.modelSource === undefined && spec.model.startsWith('/') ? spec.model : undefined;
