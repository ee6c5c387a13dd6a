/**
 * Turns the choice of an engine into something that can be started: the weights for the embedded model, fetched once,
 * or, when they cannot be had, a simulation that says that it is one.
 */
import { CodedError } from '../../lib/errors.ts';
import { bytesText, type Printer } from '../output.ts';
import { ensureWeights } from '../weights/weights.ts';
import { type Choice, servedName } from './engine_choice.ts';

const DEFAULT_SERVED_NAME = 'smollm2-135m-instruct';
const SIM_SERVED_NAME = 'simulated-model';

export interface EngineSource {
  readonly kind: Choice['kind'];
  readonly model: string;
  readonly servedModelName: string;
  /** One plain line for the person, when not what they may expect. */
  readonly notice?: string;
}

export interface SourceInput {
  readonly choice: Choice;
  readonly model: string | undefined;
  readonly servedModelName: string | undefined;
  readonly cacheDir: string;
}

/** @throws CodedError missing_model when a model was asked for by name and cannot be had */
export async function engineSource(input: SourceInput, print: Printer): Promise<EngineSource> {
  const { choice, model } = input;
  if (choice.kind === 'vllm') {
    const path = model as string;
    return { kind: 'vllm', model: path, servedModelName: input.servedModelName ?? servedName(path, 'model') };
  }
  if (choice.kind === 'sim') return simulated(input, undefined);
  const weights = await ensureWeights({
    cacheDir: input.cacheDir,
    ...(model === undefined ? {} : { spec: model }),
    onProgress: progressLine(print),
  });
  if (weights.ok) {
    const fallback = model === undefined ? DEFAULT_SERVED_NAME : servedName(model, DEFAULT_SERVED_NAME);
    return { kind: 'llama', model: weights.path, servedModelName: input.servedModelName ?? fallback };
  }
  if (model !== undefined || choice.reason === 'asked') {
    throw new CodedError('missing_model', `${weights.message} ${weights.whatToDo}`, { param: 'model' });
  }
  return simulated(
    input,
    `No real model: ${weights.message} The engines are simulated and their text is made up. ${weights.whatToDo}`,
  );
}

function simulated(input: SourceInput, notice: string | undefined): EngineSource {
  const name = input.servedModelName ?? servedName(input.model ?? '', SIM_SERVED_NAME);
  return { kind: 'sim', model: name, servedModelName: name, ...(notice === undefined ? {} : { notice }) };
}

/** A progress bar on a terminal; nothing elsewhere. */
function progressLine(print: Printer): (progress: { receivedBytes: number; totalBytes?: number }) => void {
  const terminal = process.stderr.isTTY && !print.json;
  return ({ receivedBytes, totalBytes }) => {
    if (!terminal) return;
    const width = 30;
    const part = totalBytes === undefined ? 0 : Math.min(1, receivedBytes / totalBytes);
    const bar = '#'.repeat(Math.round(part * width)).padEnd(width, '.');
    const end = totalBytes !== undefined && receivedBytes >= totalBytes ? '\n' : '';
    process.stderr.write(`\rweights [${bar}] ${bytesText(receivedBytes)} of ${bytesText(totalBytes) ?? '?'} ${end}`);
  };
}
