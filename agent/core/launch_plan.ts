/**
 * Builds the argument vector and the environment of an engine from its accepted specification. Nothing of the agent's
 * own environment reaches an engine but an allow-list, and no value ever passes through a shell.
 */
import type { EngineAddress, LaunchPlan } from '../ports.ts';
import { isHeadless, isMember } from './gang.ts';
import { type AcceptedSpec, hashText, utf8Length } from './engine_spec.ts';

/** What the host gives to every plan. */
export interface LaunchHost {
  /** The vLLM program, looked up on PATH when it has no slash. */
  readonly vllmCommand: string;
  /** The Node program that runs the engines of our own. */
  readonly nodeCommand: string;
  /** Folder with llama/main.js and sim/main.js. */
  readonly engineProgramFolder: string;
  /** Folder of the agent's data; each engine gets engines/NAME below it. */
  readonly dataFolder: string;
  /** A short private folder for sockets whose path under the data folder would be too long. */
  readonly shortSocketFolder: string;
  readonly cpuCores: number;
  /** Whether vLLM engines are told to publish what their prefix caches hold. */
  readonly kvEvents?: boolean;
  /** Where engines of other hosts reach those of this one. */
  readonly gangAddress?: string;
  /** The agent's own environment, from which the allow-list takes. */
  readonly environment: Readonly<Record<string, string | undefined>>;
}

/** What of the host decides where cache events are published. */
export type KvHost = Pick<LaunchHost, 'dataFolder' | 'shortSocketFolder' | 'kvEvents'>;

/** Variables that an engine inherits: paths, locale, caches, and what an air-gapped host needs to stay offline. */
const INHERITED = [
  'PATH',
  // Where the driver's libraries were mounted into a container, nothing else leads an engine to them.
  'LD_LIBRARY_PATH',
  'HOME',
  'LANG',
  'LC_ALL',
  'TZ',
  'TMPDIR',
  'HF_HOME',
  'HF_HUB_OFFLINE',
  'TRANSFORMERS_OFFLINE',
  'HF_ENDPOINT',
  'VLLM_CACHE_ROOT',
  'TRITON_CACHE_DIR',
  'VLLM_CPU_KVCACHE_SPACE',
  'VLLM_CPU_OMP_THREADS_BIND',
  'SSL_CERT_FILE',
] as const;

/**
 * vLLM names its processes with setproctitle, which writes over the environment that /proc shows unless it is told not
 * to; the mark of a life there is how a sweep knows its processes.
 */
const VLLM_FIXED = { VLLM_NO_USAGE_STATS: '1', DO_NOT_TRACK: '1', SPT_NOENV: '1' } as const;

/** sockaddr_un holds 108 bytes with the closing NUL. */
const MAX_SOCKET_PATH_BYTES = 107;

export interface AddressChoice {
  /** How often a chosen address was found taken. */
  readonly tries: number;
  /** A fresh secret for an engine on a port. */
  readonly apiKey: string;
}

const MAX_CHOICES = 16;

/** Where an engine listens: what the specification says, or a socket in its own folder, shortened where it must be. */
export function chooseAddress(spec: AcceptedSpec, host: LaunchHost, choice: AddressChoice): EngineAddress {
  if (spec.tcpPort !== undefined) {
    const key = spec.kind === 'vllm' ? { apiKey: choice.apiKey } : {};
    return { kind: 'tcp', host: '127.0.0.1', port: spec.tcpPort, ...key };
  }
  if (spec.unixSocket !== undefined) return { kind: 'unix', path: spec.unixSocket };
  // Where the agent chose and another program was there first, the next choice differs.
  const turn = choice.tries % MAX_CHOICES === 0 ? '' : `-${choice.tries % MAX_CHOICES}`;
  const path = `${host.dataFolder}/engines/${spec.name}/api${turn}.sock`;
  if (utf8Length(path) <= MAX_SOCKET_PATH_BYTES) return { kind: 'unix', path };
  return { kind: 'unix', path: `${host.shortSocketFolder}/${hashText(spec.name)}${turn}.sock` };
}

/** Where an engine publishes what its prefix cache holds. */
export interface KvSockets {
  readonly eventsPath: string;
  readonly replayPath: string;
}

const KV_FLAG = '--kv-events-config';

/** The value of a flag, in either spelling. */
function flagValue(flags: readonly string[], name: string): string | undefined {
  const at = flags.findIndex((flag) => flag === name || flag.startsWith(`${name}=`));
  const found = flags[at];
  if (found === undefined) return undefined;
  return found === name ? flags[at + 1] : found.slice(name.length + 1);
}

const ipcPath = (value: unknown): string | undefined =>
  typeof value === 'string' && value.startsWith('ipc:///') ? value.slice('ipc://'.length) : undefined;

/** The sockets that a specification's own configuration names; undefined when it does not publish on any. */
function namedSockets(config: string): KvSockets | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(config);
  } catch {
    // The engine itself will say what is wrong with it.
    return undefined;
  }
  const {
    enable_kv_cache_events: enabled,
    endpoint,
    replay_endpoint: replay,
  } = (parsed ?? {}) as Record<string, unknown>;
  const eventsPath = ipcPath(endpoint);
  return enabled === true && eventsPath !== undefined
    ? { eventsPath, replayPath: ipcPath(replay) ?? `${eventsPath}.replay` }
    : undefined;
}

/**
 * Where a life of an engine publishes its cache events; undefined: nowhere. vLLM cannot do so on Unix sockets with several
 * data-parallel ranks, and has nothing to tell without prefix caching.
 */
export function kvSocketsOf(spec: AcceptedSpec, address: EngineAddress, host: KvHost): KvSockets | undefined {
  const named = flagValue(spec.extraFlags, KV_FLAG);
  if (named !== undefined) return namedSockets(named);
  if (spec.kind !== 'vllm' || host.kvEvents !== true || isHeadless(spec.extraFlags)) return undefined;
  const hinders = (flag: string): boolean =>
    flag.startsWith('--data-parallel') || flag === '--no-enable-prefix-caching' || flag === '-dp';
  if (spec.extraFlags.some(hinders)) return undefined;
  const folder = `${host.dataFolder}/engines/${spec.name}`;
  // No longer than the engine's own socket: where that fits, these do.
  if (utf8Length(`${folder}/kvr.sock`) <= MAX_SOCKET_PATH_BYTES) {
    return { eventsPath: `${folder}/kv.sock`, replayPath: `${folder}/kvr.sock` };
  }
  // The short folder is made for the engine's own socket; nobody makes it for these alone.
  if (address.kind !== 'unix' || !address.path.startsWith(`${host.shortSocketFolder}/`)) return undefined;
  const short = `${host.shortSocketFolder}/${hashText(spec.name)}`;
  return { eventsPath: `${short}-kv.sock`, replayPath: `${short}-kvr.sock` };
}

function kvFlags(spec: AcceptedSpec, sockets: KvSockets | undefined): string[] {
  if (sockets === undefined || flagValue(spec.extraFlags, KV_FLAG) !== undefined) return [];
  const config = {
    enable_kv_cache_events: true,
    publisher: 'zmq',
    endpoint: `ipc://${sockets.eventsPath}`,
    replay_endpoint: `ipc://${sockets.replayPath}`,
  };
  return [KV_FLAG, JSON.stringify(config)];
}

function addressFlags(spec: AcceptedSpec, address: EngineAddress): string[] {
  if (isHeadless(spec.extraFlags)) return [];
  return address.kind === 'unix' ? ['--uds', address.path] : ['--host', address.host, '--port', String(address.port)];
}

/** Every process of an engine inherits this variable: it proves whose a process is when its parent is dead. */
export const LIFE_VARIABLE = 'SOPHIA_ENGINE_LIFE';

/** Names one life of one engine of one agent. */
export const lifeMark = (enginesFolder: string, engine: string, incarnation: number): string =>
  `${hashText(enginesFolder)}/${engine}/${incarnation}`;

function environmentOf(
  spec: AcceptedSpec,
  incarnation: number,
  address: EngineAddress,
  host: LaunchHost,
): Record<string, string> {
  const environment: Record<string, string> = {};
  for (const name of INHERITED) {
    const value = host.environment[name];
    if (value !== undefined) environment[name] = value;
  }
  if (spec.kind === 'vllm') Object.assign(environment, VLLM_FIXED);
  // Without it vLLM guesses on a host with several networks (vllm/utils/network_utils.py, get_ip).
  if (spec.kind === 'vllm' && isMember(spec.extraFlags) && host.gangAddress !== undefined)
    environment['VLLM_HOST_IP'] = host.gangAddress;
  if (spec.gpuIds.length > 0) {
    environment['CUDA_VISIBLE_DEVICES'] = spec.gpuIds.join(',');
    // nvidia-smi and NVML count by bus, CUDA by speed unless it is told otherwise.
    environment['CUDA_DEVICE_ORDER'] = 'PCI_BUS_ID';
  }
  const mark = lifeMark(`${host.dataFolder}/engines`, spec.name, incarnation);
  // By the environment, because everybody on the host may read an argument vector.
  const key = address.kind === 'tcp' && address.apiKey !== undefined ? { VLLM_API_KEY: address.apiKey } : {};
  return { ...environment, ...spec.environment, ...key, [LIFE_VARIABLE]: mark };
}

/** The plan of one life of an engine. `llamaEngines` counts the llama engines of the host, this one included. */
export function buildLaunchPlan(
  spec: AcceptedSpec,
  incarnation: number,
  llamaEngines: number,
  host: LaunchHost,
  choice: AddressChoice,
): LaunchPlan {
  const address = chooseAddress(spec, host, choice);
  const drainS = Math.max(0, Math.ceil(spec.limits.stopTimeoutMs / 1000) - 1);
  const common = ['--served-model-name', spec.servedModelName, '--shutdown-timeout', String(drainS)];
  const folder = `${host.dataFolder}/engines/${spec.name}`;
  let command: string;
  let args: string[];
  if (spec.kind === 'vllm') {
    command = host.vllmCommand;
    args = [
      'serve',
      spec.model,
      ...addressFlags(spec, address),
      ...common,
      '--enable-prompt-tokens-details',
      ...kvFlags(spec, kvSocketsOf(spec, address, host)),
      ...spec.extraFlags,
    ];
  } else {
    command = host.nodeCommand;
    const threads = ['--threads', String(Math.max(1, Math.floor(host.cpuCores / Math.max(1, llamaEngines))))];
    args = [
      `${host.engineProgramFolder}/${spec.kind}/main.js`,
      '--model',
      spec.model,
      ...addressFlags(spec, address),
      ...common,
      ...(spec.kind === 'llama' && !spec.extraFlags.some((flag) => flag.startsWith('--threads')) ? threads : []),
      ...spec.extraFlags,
    ];
  }
  return {
    engine: spec.name,
    incarnation,
    command,
    args,
    environment: environmentOf(spec, incarnation, address, host),
    workingDirectory: folder,
    outputFile: `${folder}/output.log`,
    address,
    specHash: spec.hash,
  };
}
