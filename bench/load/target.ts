/**
 * What a load is put on: a server that somebody else runs, named by its URL, or a fleet that is started for the run.
 */
import { readFile } from 'node:fs/promises';
import { CodedError } from '../../lib/errors.ts';
import { LOOPBACK } from '../../lib/io/local_fleet.ts';
import { BENCH_MODEL, startBenchFleet } from '../bench_fleet.ts';
import { findWeights } from '../chaos/stage.ts';

export type Endpoint = 'chat' | 'completions';
export type Door = 'http' | 'many';

export interface TargetOptions {
  readonly url?: string;
  readonly keyFile?: string;
  readonly model?: string;
  /** `HOST:PORT` of a scheduler's gRPC door, for --door many at a server that somebody else runs. */
  readonly grpc?: string;
  readonly door: Door;
  readonly endpoint: Endpoint;
  readonly engine: 'sim' | 'llama';
  readonly engines: number;
  /** Further flags of each simulated engine, by blanks. */
  readonly simFlags?: string;
}

export interface Target {
  /** Words for a report. */
  readonly name: string;
  readonly model: string;
  readonly key: string | undefined;
  /** Of the endpoint. */
  readonly url: URL;
  readonly grpcAddress: string | undefined;
  stop(): Promise<void>;
}

const PATHS = { chat: 'chat/completions', completions: 'completions' } as const;
/** Longer than the longest prompt of the public traces. */
const SIM_CONTEXT_TOKENS = 262_144;
const MODELS_TIMEOUT_MS = 10_000;

/** The URL of an endpoint below what a user gave: a server, its `/v1`, or the endpoint itself. @throws CodedError */
export function endpointUrl(given: string, endpoint: Endpoint): URL {
  let url: URL;
  try {
    url = new URL(given);
  } catch (cause) {
    throw refusal('url', `"${given}" is no URL, such as http://127.0.0.1:8000.`, cause);
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:')
    throw refusal('url', `"${given}" is neither http: nor https:.`);
  const base = url.pathname.replace(/\/+$/, '');
  if (base.endsWith('/completions')) return url;
  url.pathname = `${base.endsWith('/v1') ? base : `${base}/v1`}/${PATHS[endpoint]}`;
  return url;
}

const refusal = (param: string, message: string, cause?: unknown): CodedError =>
  new CodedError('invalid_value', message, { param, ...(cause === undefined ? {} : { cause }) });

async function readKey(file: string): Promise<string> {
  try {
    return (await readFile(file, 'utf8')).trim();
  } catch (cause) {
    throw refusal('key-file', `The key file ${file} cannot be read: ${(cause as Error).message}.`, cause);
  }
}

/** The first model that a server offers. */
async function firstModel(url: URL, key: string | undefined): Promise<string> {
  const list = new URL(url);
  list.pathname = list.pathname.replace(/(chat\/)?completions$/, 'models');
  try {
    const answer = await fetch(list, {
      headers: key === undefined ? {} : { authorization: `Bearer ${key}` },
      signal: AbortSignal.timeout(MODELS_TIMEOUT_MS),
    });
    const { data } = (await answer.json()) as { data?: readonly { id?: unknown }[] };
    const id = data?.[0]?.id;
    if (typeof id === 'string') return id;
    throw refusal('model', `${list.href} names no model (HTTP ${answer.status}); name one with --model.`);
  } catch (error) {
    if (error instanceof CodedError) throw error;
    // fetch hides what happened in its cause.
    const { message, cause } = error as Error;
    const why = cause instanceof Error && cause.message !== '' ? cause.message : message;
    throw refusal('url', `${list.href} cannot be asked for its models: ${why}.`, error);
  }
}

async function foreignTarget(options: TargetOptions, given: string): Promise<Target> {
  const url = endpointUrl(given, options.endpoint);
  const key = options.keyFile === undefined ? undefined : await readKey(options.keyFile);
  if (options.door === 'many' && (options.grpc === undefined || key === undefined))
    throw refusal('grpc', 'GenerateMany needs --grpc HOST:PORT and --key-file beside --url.');
  const model = options.model ?? (await firstModel(url, key));
  return { name: given, model, key, url, grpcAddress: options.grpc, stop: async () => undefined };
}

/** @throws CodedError when the server or the fleet cannot be used */
export async function openTarget(options: TargetOptions): Promise<Target> {
  if (options.url !== undefined) return foreignTarget(options, options.url);
  const weights = options.engine === 'llama' ? await findWeights() : undefined;
  if (options.engine === 'llama' && weights === undefined)
    throw new CodedError('cannot_start', 'The embedded model is not in the cache: run `npm start` once.');
  const context = ['--max-model-len', String(SIM_CONTEXT_TOKENS)];
  const fleet = await startBenchFleet({
    engines: options.engines,
    simFlags: weights === undefined ? [...context, ...(options.simFlags?.split(/\s+/).filter(Boolean) ?? [])] : [],
    ...(weights === undefined ? {} : { weights }),
  });
  return {
    name: `a fleet of ${options.engines} ${options.engine} engines`,
    model: BENCH_MODEL,
    key: fleet.key,
    url: endpointUrl(`http://${LOOPBACK}:${fleet.httpPort}`, options.endpoint),
    grpcAddress: fleet.grpcAddress,
    stop: () => fleet.stop(),
  };
}
