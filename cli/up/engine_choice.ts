/**
 * Which engine `sophia up` runs: a pure choice from what was asked for and what was found, with the reason as data, so
 * that the banner can say why a simulation answers instead of a model.
 */
import { CodedError } from '../../lib/errors.ts';

export type EngineKind = 'vllm' | 'llama' | 'sim';

export interface Found {
  /** Path of the vllm program, when it is on PATH. */
  readonly vllm: string | undefined;
  /** What `--model` is: nothing given, a folder, a file, or something that is no path here (a hub id perhaps). */
  readonly model: 'none' | 'folder' | 'file' | 'other';
}

export interface Choice {
  readonly kind: EngineKind;
  readonly reason: 'asked' | 'vllm_and_model' | 'embedded_default';
}

/**
 * @param asked the `engine` setting
 * @throws CodedError missing_model, cannot_start when what was asked for cannot be
 */
export function chooseEngine(asked: 'auto' | EngineKind, found: Found, model: string): Choice {
  if (asked === 'vllm') {
    if (found.vllm === undefined) {
      throw new CodedError('cannot_start', '`vllm` is not on PATH; install vLLM, or choose --engine llama.', {
        param: 'engine',
      });
    }
    if (found.model === 'none') {
      throw new CodedError('missing_model', 'vLLM needs a model: give --model a folder or a hub id.', {
        param: 'model',
      });
    }
    return { kind: 'vllm', reason: 'asked' };
  }
  if (asked === 'llama' || asked === 'sim') return { kind: asked, reason: 'asked' };
  if (found.model === 'folder') {
    if (found.vllm === undefined) {
      throw new CodedError(
        'cannot_start',
        `${model} is a model folder, which vLLM serves, but \`vllm\` is not on PATH.`,
        { param: 'model' },
      );
    }
    return { kind: 'vllm', reason: 'vllm_and_model' };
  }
  return { kind: 'llama', reason: 'embedded_default' };
}

/** A name for clients: the last part of a path or hub id in lower case, without its file ending. */
export function servedName(model: string, fallback: string): string {
  const last = model.replace(/\/+$/, '').split('/').at(-1) ?? '';
  const name = last
    .replace(/\.gguf$/i, '')
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, '-');
  return name === '' ? fallback : name;
}
