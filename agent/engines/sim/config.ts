/**
 * The simulated engine's command line: vLLM's flags as far as they mean something here, and its own under `--sim-`.
 * An unknown flag or a bad value is refused in one sentence with exit code 2, as vLLM's argparse does.
 */
import { parseArgs } from 'node:util';
import { ENGINE_DEFAULTS, TIMING_ROWS, type TimingRowName } from '../../../lib/engine_timing.ts';
import { type GangConfig, gangOf } from './gang.ts';
import { UsageError } from './usage_error.ts';

export { UsageError } from './usage_error.ts';

export interface SimConfig {
  readonly listen: { readonly uds: string } | { readonly host: string; readonly port: number };
  readonly model: string;
  readonly servedModelName: string;
  readonly contextTokens: number;
  readonly maxSequences: number;
  readonly maxBatchedTokens: number;
  readonly kvTokens: number;
  readonly streamInterval: number;
  readonly shutdownTimeoutS: number;
  readonly seed: number;
  readonly timing: 'unpaced' | 'fixed' | TimingRowName;
  readonly speed: number;
  readonly itlMs: number;
  readonly ttftMs: number;
  readonly ttftAfter: number;
  readonly startMs: number;
  readonly meanTokens: number;
  readonly kvEvents: boolean;
  /** Unix sockets on which they are published and sent again, as vLLM's `endpoint` and `replay_endpoint`. */
  readonly kvEndpoints: { readonly events: string; readonly replay: string | undefined } | undefined;
  readonly orphanTtlS: number;
  readonly deathExitCode: number;
  readonly onSigterm: 'abort' | 'error' | 'hang';
  readonly embeddingDimensions: number;
  readonly devMode: boolean;
  readonly runtimeLora: boolean;
  /** Fault specifications, in the syntax of faults.ts. */
  readonly faults: readonly string[];
  /** Absent: it runs on one host. */
  readonly gang?: GangConfig;
}

const FLAGS = {
  uds: { type: 'string' },
  host: { type: 'string' },
  port: { type: 'string' },
  model: { type: 'string' },
  'served-model-name': { type: 'string' },
  'max-model-len': { type: 'string' },
  'max-num-seqs': { type: 'string' },
  'max-num-batched-tokens': { type: 'string' },
  'shutdown-timeout': { type: 'string' },
  'stream-interval': { type: 'string' },
  threads: { type: 'string' },
  nnodes: { type: 'string' },
  'node-rank': { type: 'string' },
  'master-addr': { type: 'string' },
  'master-port': { type: 'string' },
  headless: { type: 'boolean' },
  seed: { type: 'string' },
  'kv-events-config': { type: 'string' },
  'enable-sleep-mode': { type: 'boolean' },
  'enable-lora': { type: 'boolean' },
  'enable-prompt-tokens-details': { type: 'boolean' },
  'enable-server-load-tracking': { type: 'boolean' },
  'enable-prefix-caching': { type: 'boolean' },
  'sim-timing': { type: 'string' },
  'sim-speed': { type: 'string' },
  'sim-unpaced': { type: 'boolean' },
  'sim-itl-ms': { type: 'string' },
  'sim-ttft-ms': { type: 'string' },
  'sim-ttft-after': { type: 'string' },
  'sim-start-ms': { type: 'string' },
  'sim-mean-tokens': { type: 'string' },
  'sim-kv-tokens': { type: 'string' },
  'sim-orphan-ttl-s': { type: 'string' },
  'sim-death-exit-code': { type: 'string' },
  'sim-sigterm': { type: 'string' },
  'sim-embedding-dimensions': { type: 'string' },
  'sim-dev-mode': { type: 'boolean' },
  'sim-fault': { type: 'string', multiple: true },
} as const;

type Values = Partial<Record<keyof typeof FLAGS, string | boolean | string[]>>;

/** Parses the arguments after the script's name. `env` is only asked for VLLM_SERVER_DEV_MODE and its like. */
export function parseConfig(
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>> = process.env,
): SimConfig {
  let values: Values;
  try {
    values = parseArgs({ args: [...args], options: FLAGS, strict: true, allowPositionals: false }).values;
  } catch (cause) {
    throw new UsageError(cause instanceof Error ? (cause.message.split('. ')[0] ?? cause.message) : String(cause));
  }
  const number = (name: keyof typeof FLAGS, fallback: number, min: number, max: number, whole = true): number => {
    const raw = values[name];
    if (raw === undefined) return fallback;
    const value = Number(raw);
    if (raw === '' || !Number.isFinite(value) || value < min || value > max || (whole && !Number.isInteger(value))) {
      throw new UsageError(
        `argument --${name}: '${String(raw)}' is not ${whole ? 'a whole number' : 'a number'} from ${min} to ${max}`,
      );
    }
    return value;
  };
  const text = (name: keyof typeof FLAGS, fallback: string): string => {
    const raw = values[name];
    return typeof raw === 'string' ? raw : fallback;
  };
  const gang = gangOf(values, number);
  const contextTokens = number('max-model-len', 32_768, 16, 4_000_000);
  const kvTokens = number('sim-kv-tokens', Math.max(ENGINE_DEFAULTS.kvTokens, contextTokens), 16, 100_000_000);
  if (kvTokens < contextTokens) {
    throw new UsageError(
      `argument --sim-kv-tokens: ${kvTokens} tokens of KV cache cannot hold one request of --max-model-len ${contextTokens}`,
    );
  }
  const model = text('model', 'sophia-sim');
  const onSigterm = text('sim-sigterm', 'abort');
  if (onSigterm !== 'abort' && onSigterm !== 'error' && onSigterm !== 'hang') {
    throw new UsageError(`argument --sim-sigterm: '${onSigterm}' is not one of abort, error, hang`);
  }
  const devMode = values['sim-dev-mode'] === true || env['VLLM_SERVER_DEV_MODE'] === '1';
  const lora = env['VLLM_ALLOW_RUNTIME_LORA_UPDATING'];
  return Object.freeze({
    // A member without a door is never asked.
    listen: gang?.headless === true ? { host: '127.0.0.1', port: 0 } : listenOf(values, number),
    ...(gang === undefined ? {} : { gang }),
    model,
    servedModelName: text('served-model-name', model),
    contextTokens,
    maxSequences: number('max-num-seqs', ENGINE_DEFAULTS.maxSequences, 1, 65_536),
    maxBatchedTokens: number('max-num-batched-tokens', ENGINE_DEFAULTS.maxBatchedTokens, 1, 1_000_000),
    kvTokens,
    streamInterval: number('stream-interval', 1, 1, 1024),
    shutdownTimeoutS: number('shutdown-timeout', 0, 0, 86_400, false),
    seed: number('seed', 0, 0, 0x7fffffff),
    timing: timingOf(values),
    speed: number('sim-speed', 1, 0.001, 1_000_000, false),
    itlMs: number('sim-itl-ms', 10, 0, 3_600_000, false),
    ttftMs: number('sim-ttft-ms', 0, 0, 3_600_000, false),
    ttftAfter: number('sim-ttft-after', 0, 0, 1_000_000),
    startMs: number('sim-start-ms', 0, 0, 3_600_000),
    meanTokens: number('sim-mean-tokens', 200, 1, 1_000_000),
    ...kvEventsOf(values),
    orphanTtlS: number('sim-orphan-ttl-s', 600, 0, 86_400, false),
    deathExitCode: number('sim-death-exit-code', 0, 0, 255),
    onSigterm,
    embeddingDimensions: number('sim-embedding-dimensions', 384, 1, 16_384),
    devMode,
    runtimeLora: values['enable-lora'] === true && (lora === '1' || lora?.toLowerCase() === 'true'),
    faults: Array.isArray(values['sim-fault']) ? values['sim-fault'] : [],
  });
}

function listenOf(
  values: Values,
  number: (name: 'port', fallback: number, min: number, max: number) => number,
): SimConfig['listen'] {
  const { uds, host, port } = values;
  if (typeof uds === 'string' && uds !== '') {
    if (host !== undefined || port !== undefined)
      throw new UsageError('argument --uds: not allowed with --host or --port');
    return { uds };
  }
  if (port === undefined) throw new UsageError('one of --uds PATH or --port P (with --host H) is required');
  return { host: typeof host === 'string' ? host : '127.0.0.1', port: number('port', 8000, 0, 65_535) };
}

function timingOf(values: Values): SimConfig['timing'] {
  const row = values['sim-timing'];
  const fixed = values['sim-itl-ms'] !== undefined || values['sim-ttft-ms'] !== undefined;
  const ways = [row !== undefined, fixed, values['sim-unpaced'] === true].filter(Boolean).length;
  if (ways > 1)
    throw new UsageError('only one of --sim-timing, --sim-unpaced and --sim-itl-ms/--sim-ttft-ms may be given');
  if (values['sim-unpaced'] === true) return 'unpaced';
  if (fixed) return 'fixed';
  if (row === undefined) return '8b-fp8-h100';
  if (typeof row !== 'string' || !Object.hasOwn(TIMING_ROWS, row)) {
    throw new UsageError(
      `argument --sim-timing: '${String(row)}' is not one of ${Object.keys(TIMING_ROWS).join(', ')}`,
    );
  }
  return row as TimingRowName;
}

/** The path of `ipc://PATH`; undefined when it was not given. The simulator opens no ports for events. */
function ipcPath(value: unknown, name: string): string | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value === 'string' && value.startsWith('ipc:///')) return value.slice('ipc://'.length);
  throw new UsageError(`argument --kv-events-config: ${name} must be ipc:// and an absolute path`);
}

function kvEventsOf(values: Values): Pick<SimConfig, 'kvEvents' | 'kvEndpoints'> {
  const raw = values['kv-events-config'];
  if (typeof raw !== 'string') return { kvEvents: false, kvEndpoints: undefined };
  let parsed: Record<string, unknown>;
  try {
    parsed = JSON.parse(raw) as Record<string, unknown>;
  } catch {
    throw new UsageError('argument --kv-events-config: the value is not JSON');
  }
  const kvEvents = parsed['enable_kv_cache_events'] === true;
  const events = ipcPath(parsed['endpoint'], 'endpoint');
  const replay = ipcPath(parsed['replay_endpoint'], 'replay_endpoint');
  return { kvEvents, kvEndpoints: kvEvents && events !== undefined ? { events, replay } : undefined };
}
