/**
 * Turns the specifications of a desired state into accepted ones or coded rejections. Nothing that came over the wire
 * reaches a launch plan without passing here: names become folder names, flags become arguments, paths become files.
 */
import type { ErrorCode } from '../../lib/errors.ts';
import type { EngineSpec__Output } from '../../proto/gen/fleet/v1/EngineSpec.ts';
import { complainOfFlags } from './engine_flags.ts';
import { mayShare } from './gpu_shares.ts';
import { type ModelSource, parseSource } from './model_files/source.ts';
import { hashText, isConfined, utf8Length } from './spec_text.ts';

export { hashText, isConfined, utf8Length } from './spec_text.ts';

export type EngineKindName = 'vllm' | 'llama' | 'sim';

export interface EngineTimeLimits {
  readonly startTimeoutMs: number;
  readonly drainTimeoutMs: number;
  readonly stopTimeoutMs: number;
  readonly maxRestarts: number;
}

/** A specification that may be launched. */
export interface AcceptedSpec {
  readonly name: string;
  readonly kind: EngineKindName;
  readonly model: string;
  readonly servedModelName: string;
  readonly gpuIds: readonly number[];
  readonly extraFlags: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** Absent with `tcpPort` absent too: the agent chooses a socket of its own. */
  readonly unixSocket?: string;
  readonly tcpPort?: number;
  readonly limits: EngineTimeLimits;
  readonly maxConcurrentRequests?: number;
  /** Where the files of the model come from; absent: the engine loads `model` as it is written. */
  readonly modelSource?: ModelSource;
  /** Of its GPUs' memory, where it bears others beside it; absent: they are its own. */
  readonly gpuMemoryShare?: number;
  /** Names everything that the running process depends on: another hash means another process. */
  readonly hash: string;
}

export interface Rejection {
  readonly engine: string;
  readonly code: ErrorCode;
  readonly message: string;
  readonly param: string;
}

/** What the host allows. */
export interface HostRules {
  /** Indexes of the GPUs that exist. */
  readonly gpuIndexes: readonly number[];
  /** Folders under which a model path must lie; empty: anywhere. */
  readonly modelRoots: readonly string[];
  /** Folders under which a chosen Unix socket must lie. */
  readonly socketRoots: readonly string[];
  /** Flags that a specification may carry besides the usual ones of its engine. */
  readonly allowedExtraFlags: readonly string[];
  readonly maxEngines: number;
  readonly defaultLimits: EngineTimeLimits;
}

/** What an engine may be called: its name becomes the name of a folder. */
export const ENGINE_NAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const ENVIRONMENT_NAME = /^[A-Za-z_][A-Za-z0-9_]{0,127}$/;
const CONTROL_CHARACTER = /[\0\n\r]/;
const MAX_VALUE_CHARS = 8192;
const MAX_SOCKET_PATH_BYTES = 107;

/**
 * Variables that make the dynamic loader, a shell or an interpreter run other code than the engine's, or that the agent
 * sets itself.
 */
const FORBIDDEN_VARIABLE =
  /^(?:LD_|DYLD_|GCONV_|NODE_|PERL5|RUBY|BASH_|NVIDIA_VISIBLE_|SOPHIA_)|^(?:PATH|ENV|IFS|SHELLOPTS|GLIBC_TUNABLES|PYTHONSTARTUP|PYTHONINSPECT|PYTHONPATH|PYTHONHOME|PYTHONUSERBASE|PYTHONBREAKPOINT|PYTHONEXECUTABLE|PYTHONWARNINGS|CUDA_VISIBLE_DEVICES|CUDA_DEVICE_ORDER|VLLM_API_KEY|VLLM_PLUGINS|VLLM_ALLOW_INSECURE_SERIALIZATION|VLLM_HOST_IP|VLLM_PORT)$/;
const MAX_VARIABLES = 256;

const KINDS: Readonly<Record<string, EngineKindName>> = {
  ENGINE_KIND_VLLM: 'vllm',
  ENGINE_KIND_LLAMA: 'llama',
  ENGINE_KIND_SIM: 'sim',
};

type Complaint = { readonly param: string; readonly message: string };

const no = (param: string, message: string): Complaint => ({ param, message });

function checkText(param: string, value: string): Complaint | undefined {
  if (CONTROL_CHARACTER.test(value)) return no(param, `${param} holds a NUL or a line break.`);
  if (value.length > MAX_VALUE_CHARS) return no(param, `${param} is longer than ${MAX_VALUE_CHARS} characters.`);
  return undefined;
}

function checkModel(spec: EngineSpec__Output, rules: HostRules): Complaint | undefined {
  if (spec.model === '') return no('model', 'model is empty.');
  if (spec.model.startsWith('-')) return no('model', 'model begins with a dash, so it would be read as a flag.');
  if (spec.servedModelName.startsWith('-')) return no('served_model_name', 'served_model_name begins with a dash.');
  const text = checkText('model', spec.model) ?? checkText('served_model_name', spec.servedModelName);
  if (text !== undefined) return text;
  if (spec.modelSource != null) {
    const parsed = parseSource(spec.modelSource, rules.modelRoots);
    return parsed.kind === 'bad' ? no(parsed.param, parsed.message) : undefined;
  }
  const isPath = spec.model.startsWith('/') || spec.model.split('/').some((step) => step === '..' || step === '.');
  if (isPath && !isConfined(spec.model, rules.modelRoots)) {
    return no('model', 'model is a path outside the folders that this agent allows (modelRoots).');
  }
  return undefined;
}

function checkFlags(spec: EngineSpec__Output, kind: EngineKindName, rules: HostRules): Complaint | undefined {
  for (const [index, flag] of spec.extraFlags.entries()) {
    const text = checkText(`extra_flags[${index}]`, flag);
    if (text !== undefined) return text;
  }
  const complaint = complainOfFlags(spec.extraFlags, {
    kind,
    alsoAllowed: rules.allowedExtraFlags,
    isAllowedPath: (path) => isConfined(path, rules.modelRoots),
  });
  if (complaint === undefined) return undefined;
  const { index, message } = complaint;
  return no(index === undefined ? 'extra_flags' : `extra_flags[${index}]`, message);
}

function checkEnvironment(environment: Readonly<Record<string, string>>): Complaint | undefined {
  const entries = Object.entries(environment);
  if (entries.length > MAX_VARIABLES) return no('environment', `There are more than ${MAX_VARIABLES} variables.`);
  for (const [name, value] of entries) {
    if (!ENVIRONMENT_NAME.test(name)) return no('environment', 'A name in environment is not a variable name.');
    if (FORBIDDEN_VARIABLE.test(name)) return no(`environment.${name}`, `${name} may not be set by a specification.`);
    const text = checkText(`environment.${name}`, value);
    if (text !== undefined) return text;
  }
  return undefined;
}

/** Longest time limit and most restarts that make sense; a larger number is a mistake or another version's meaning. */
const MOST_LIMITS = {
  startTimeoutMs: { param: 'limits.start_timeout_ms', least: 1, most: 7 * 86_400_000 },
  drainTimeoutMs: { param: 'limits.drain_timeout_ms', least: 0, most: 7 * 86_400_000 },
  stopTimeoutMs: { param: 'limits.stop_timeout_ms', least: 1, most: 86_400_000 },
  maxRestarts: { param: 'limits.max_restarts', least: 0, most: 1000 },
  maxConcurrentRequests: { param: 'limits.max_concurrent_requests', least: 1, most: 1_000_000 },
} as const;

function checkLimits(limits: EngineSpec__Output['limits']): Complaint | undefined {
  for (const [key, { param, least, most }] of Object.entries(MOST_LIMITS)) {
    const value = limits?.[key as keyof typeof MOST_LIMITS];
    if (value !== undefined && (value < least || value > most))
      return no(param, `${param} is ${value}, which is not between ${least} and ${most}.`);
  }
  return undefined;
}

function checkAddress(spec: EngineSpec__Output, rules: HostRules): Complaint | undefined {
  if (spec.unixSocket !== undefined && spec.tcpPort !== undefined) {
    return no('tcp_port', 'An engine listens on a Unix socket or on a port, not on both.');
  }
  if (spec.tcpPort !== undefined && (spec.tcpPort < 1 || spec.tcpPort > 65535)) {
    return no('tcp_port', 'tcp_port is not between 1 and 65535.');
  }
  if (spec.unixSocket === undefined) return undefined;
  const text = checkText('unix_socket', spec.unixSocket);
  if (text !== undefined) return text;
  if (!isConfined(spec.unixSocket, rules.socketRoots)) {
    return no('unix_socket', 'unix_socket lies outside the folder of this agent.');
  }
  if (utf8Length(spec.unixSocket) > MAX_SOCKET_PATH_BYTES) {
    return no('unix_socket', `unix_socket is longer than ${MAX_SOCKET_PATH_BYTES} bytes, the limit of the system.`);
  }
  return undefined;
}

interface Taken {
  readonly engine: string;
  readonly share: number | undefined;
}

function checkGpus(
  spec: EngineSpec__Output,
  rules: HostRules,
  takenGpus: ReadonlyMap<number, readonly Taken[]>,
): Complaint | undefined {
  const { gpuMemoryShare: share } = spec;
  if (share !== undefined && !(share > 0 && share <= 1))
    return no('gpu_memory_share', `gpu_memory_share is ${share}, which is not above 0 and up to 1.`);
  if (new Set(spec.gpuIds).size !== spec.gpuIds.length) return no('gpu_ids', 'gpu_ids names a GPU twice.');
  for (const id of spec.gpuIds) {
    if (!rules.gpuIndexes.includes(id)) return no('gpu_ids', `GPU ${id} does not exist on this host.`);
    const beside = takenGpus.get(id) ?? [];
    const owner = beside[0]?.engine;
    if (owner !== undefined && mayShare([spec.gpuMemoryShare, ...beside.map((each) => each.share)])) continue;
    if (owner !== undefined) return no('gpu_ids', `GPU ${id} is already given to engine ${owner}.`);
  }
  return undefined;
}

/** In one form, because the hash is over the text. */
function sourceOf({ url, revision, sha256 }: ModelSource): ModelSource {
  return { url, revision, sha256: Object.fromEntries(Object.entries(sha256).toSorted(([a], [b]) => (a < b ? -1 : 1))) };
}

function accept(spec: EngineSpec__Output, kind: EngineKindName, rules: HostRules): AcceptedSpec {
  const limits: EngineTimeLimits = {
    startTimeoutMs: spec.limits?.startTimeoutMs ?? rules.defaultLimits.startTimeoutMs,
    drainTimeoutMs: spec.limits?.drainTimeoutMs ?? rules.defaultLimits.drainTimeoutMs,
    stopTimeoutMs: spec.limits?.stopTimeoutMs ?? rules.defaultLimits.stopTimeoutMs,
    maxRestarts: spec.limits?.maxRestarts ?? rules.defaultLimits.maxRestarts,
  };
  const environment = Object.fromEntries(Object.entries(spec.environment).toSorted(([a], [b]) => (a < b ? -1 : 1)));
  const process = {
    kind,
    model: spec.model,
    servedModelName: spec.servedModelName === '' ? spec.model : spec.servedModelName,
    gpuIds: spec.gpuIds,
    extraFlags: spec.extraFlags,
    environment,
    ...(spec.unixSocket === undefined ? {} : { unixSocket: spec.unixSocket }),
    ...(spec.tcpPort === undefined ? {} : { tcpPort: spec.tcpPort }),
    ...(spec.modelSource == null ? {} : { modelSource: sourceOf(spec.modelSource) }),
  };
  const most = spec.limits?.maxConcurrentRequests;
  return {
    name: spec.name,
    ...process,
    limits,
    ...(most === undefined ? {} : { maxConcurrentRequests: most }),
    ...(spec.gpuMemoryShare === undefined ? {} : { gpuMemoryShare: spec.gpuMemoryShare }),
    // Limits are not part of the hash: the agent applies them without another process.
    hash: hashText(JSON.stringify(process)),
  };
}

/**
 * Checks all specifications of a desired state together, in order: of two that want the same name, GPU or address the
 * first gets it. A rejected one does not keep the others from running.
 */
export function acceptSpecs(
  specs: readonly EngineSpec__Output[],
  rules: HostRules,
): { readonly accepted: readonly AcceptedSpec[]; readonly rejections: readonly Rejection[] } {
  const accepted: AcceptedSpec[] = [];
  const rejections: Rejection[] = [];
  const names = new Set<string>();
  const gpus = new Map<number, readonly Taken[]>();
  const addresses = new Map<string, string>();
  for (const spec of specs) {
    const kind = KINDS[spec.kind];
    const address = spec.unixSocket ?? (spec.tcpPort === undefined ? undefined : `tcp:${spec.tcpPort}`);
    const owner = address === undefined ? undefined : addresses.get(address);
    const complaint =
      (accepted.length >= rules.maxEngines
        ? no('engines', `This host runs ${rules.maxEngines} engines at most.`)
        : undefined) ??
      (ENGINE_NAME.test(spec.name)
        ? undefined
        : no('name', 'name must be 1 to 63 lower-case letters, digits and dashes, with no dash at either end.')) ??
      (names.has(spec.name) ? no('name', `The name ${spec.name} is used twice.`) : undefined) ??
      (kind === undefined
        ? no('kind', 'kind is not one that this agent can start; it may be of a newer release.')
        : undefined) ??
      checkModel(spec, rules) ??
      (kind === undefined ? undefined : checkFlags(spec, kind, rules)) ??
      checkLimits(spec.limits) ??
      checkEnvironment(spec.environment) ??
      checkAddress(spec, rules) ??
      (owner === undefined
        ? undefined
        : no(spec.unixSocket === undefined ? 'tcp_port' : 'unix_socket', `Engine ${owner} has the same address.`)) ??
      checkGpus(spec, rules, gpus);
    if (complaint !== undefined || kind === undefined) {
      const { param, message } = complaint as Complaint;
      rejections.push({ engine: spec.name.slice(0, 64), code: 'invalid_spec', message, param });
      continue;
    }
    names.add(spec.name);
    for (const id of spec.gpuIds)
      gpus.set(id, [...(gpus.get(id) ?? []), { engine: spec.name, share: spec.gpuMemoryShare }]);
    if (address !== undefined) addresses.set(address, spec.name);
    accepted.push(accept(spec, kind, rules));
  }
  return { accepted, rejections };
}
