/** The settings of an agent. */
import { availableParallelism, hostname } from 'node:os';
import { defineSettings } from '../lib/io/settings.ts';
import { PEER_MODEL_SETTINGS } from '../lib/io/peer_model_settings.ts';
import { LOG_FORMATS, LOG_LEVELS } from '../lib/io/logger.ts';
import { type ServiceManagerFacts, serviceManagerFacts } from '../lib/io/service_manager.ts';
import {
  byteSize,
  durationMs,
  flag,
  hostPort,
  integer,
  list,
  oneOf,
  port,
  text,
  url,
} from '../lib/io/setting_types.ts';

const NODE_NAME = /^[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?$/;

const defaultNodeName = (): string => {
  const name = hostname()
    .replace(/[^A-Za-z0-9.-]/g, '-')
    .replace(/^[.-]+|[.-]+$/g, '')
    .slice(0, 63);
  return NODE_NAME.test(name) ? name : 'node';
};

/** One thread relays about 50,000 tokens a second, so small hosts need one. */
const defaultRelayWorkers = (): number => (availableParallelism() <= 4 ? 1 : 2);

/** What engines inherit is taken from here, so that no other file reads the environment. */
export const processEnvironment = (): Readonly<Record<string, string | undefined>> => process.env;

/** Whether systemd started this process, and how often it wants a sign of life. */
export const serviceManager = (): ServiceManagerFacts => serviceManagerFacts(process.env, process.pid);

export const settings = defineSettings('agent', {
  nodeName: {
    schema: text({ pattern: NODE_NAME, allowed: 'a host name of 1 to 63 letters, digits, dots and dashes' }),
    default: defaultNodeName(),
    doc: 'Name of this node in the fleet; the certificate must carry it.',
  },
  schedulers: { schema: list(hostPort(), { min: 1, max: 16 }), doc: 'Schedulers to dial, all of them at once.' },
  caFile: { schema: text({ maxLength: 4096 }), doc: 'Certificate of the authority that signs schedulers (PEM).' },
  certFile: { schema: text({ maxLength: 4096 }), doc: 'Certificate of this agent (PEM).' },
  keyFile: { schema: text({ maxLength: 4096 }), doc: 'Private key of this agent (PEM).' },
  tlsReloadMs: {
    schema: durationMs({ min: 100, max: 86_400_000 }),
    default: 10_000,
    doc: 'How often the certificate files are looked at; changed ones are used for new connections, without a restart.',
  },
  dataDir: {
    schema: text({ maxLength: 4096 }),
    default: './sophia-agent',
    doc: 'Folder for engine output, sockets and records.',
  },
  adminSocket: {
    schema: text({ maxLength: 4096 }),
    default: undefined,
    doc: 'Unix socket for `sophia --agent-socket`, for this user only; unset: admin.sock in dataDir; none opens none.',
  },
  relayWorkers: {
    schema: integer({ min: 1, max: 64 }),
    default: defaultRelayWorkers(),
    doc: 'Threads that relay tokens; each opens one lane to each scheduler.',
  },
  relayHeapMb: {
    schema: integer({ min: 64, max: 65_536 }),
    default: 1024,
    doc: 'Heap limit of a relay thread in MiB; one that exceeds it is ended and started again.',
  },
  laneHoldMs: {
    schema: durationMs({ max: 1000 }),
    default: 40,
    doc: 'Longest time for which a token after the first waits so that others leave with it, on a busy thread, and for which the head of an answer waits for its first token; up to 4 ms of it also for the rest of an engine step. 0 turns all off.',
  },
  laneGraceMs: {
    schema: durationMs({ max: 600_000 }),
    default: 10_000,
    doc: 'Time for which a request runs on when its lane is lost, so that a scheduler may come back for it; 0: none.',
  },
  maxRetainedBytes: {
    schema: byteSize({ min: 0 }),
    default: 64 * 1024 * 1024,
    doc: 'Most memory of a relay thread for what a scheduler may come back for.',
  },
  maxJournalTokens: {
    schema: integer({ max: 100_000_000 }),
    default: 131_072,
    doc: 'Most token ids kept of one request; with more, no scheduler can come back for it.',
  },
  batchEmbeddings: {
    schema: flag(),
    default: true,
    doc: 'Put small embedding calls that arrive at once into one call of the engine.',
  },
  maxRequests: {
    schema: integer({ min: 1, max: 1_000_000 }),
    default: 8192,
    doc: 'Most requests that one relay thread holds open.',
  },
  maxEventBytes: {
    schema: byteSize({ min: 4096 }),
    default: 8 * 1024 * 1024,
    doc: 'Longest event of an engine stream; a longer one fails its request.',
  },
  maxMessageBytes: {
    schema: byteSize({ min: 65_536 }),
    default: 64 * 1024 * 1024,
    doc: 'Largest message that a scheduler may send on a lane.',
  },
  engineConnectTimeoutMs: {
    schema: durationMs({ min: 10, max: 600_000 }),
    default: 5000,
    doc: 'Time for a connection to an engine.',
  },
  engineIdleSocketMs: {
    schema: durationMs({ min: 0, max: 600_000 }),
    default: 3000,
    doc: 'Age at which an idle connection to an engine is not used again; vLLM closes them after 5 s.',
  },
  vllmCommand: {
    schema: text({ maxLength: 4096 }),
    default: 'vllm',
    doc: 'The vLLM program, looked up on PATH when it has no slash.',
  },
  kvEvents: {
    schema: flag(),
    default: true,
    doc: 'vLLM engines tell what their prefix caches hold, over private sockets, so that schedulers know and need not guess.',
  },
  keeperUnits: {
    schema: oneOf(['auto', 'never']),
    default: 'auto',
    doc: 'Whether each engine gets a systemd unit of its own in sophia-engines.slice; auto: where systemd runs the host and lets the agent.',
  },
  engineOutputMaxBytes: {
    schema: byteSize({ min: 65_536 }),
    default: 64 * 1024 * 1024,
    doc: 'Size at which an output file of an engine is rotated; one older file is kept.',
  },
  startTimeoutMs: {
    schema: durationMs({ min: 100 }),
    default: 900_000,
    doc: 'Time from the launch of an engine to its first answer, unless its specification says otherwise.',
  },
  drainTimeoutMs: {
    schema: durationMs(),
    default: 60_000,
    doc: 'Time for running requests of an engine that is to stop, unless its specification says otherwise.',
  },
  stopTimeoutMs: {
    schema: durationMs({ min: 100 }),
    default: 30_000,
    doc: 'Time from SIGTERM to SIGKILL of an engine, unless its specification says otherwise.',
  },
  maxRestarts: {
    schema: integer({ max: 1000 }),
    default: 5,
    doc: 'Restarts of a crashing engine before it is given up, unless its specification says otherwise.',
  },
  restartBaseMs: {
    schema: durationMs({ min: 1 }),
    default: 1000,
    doc: 'Ceiling of the pause before the first restart; it doubles with each.',
  },
  restartCapMs: { schema: durationMs({ min: 1 }), default: 60_000, doc: 'Longest pause before a restart.' },
  stableAfterMs: {
    schema: durationMs({ min: 1 }),
    default: 600_000,
    doc: 'Time as ready after which earlier crashes of an engine are forgotten.',
  },
  restartWindowMs: {
    schema: durationMs({ min: 1000 }),
    default: 3_600_000,
    doc: 'Failures of an engine older than this do not count towards its most restarts.',
  },
  hostRestartBurst: {
    schema: integer({ min: 1, max: 10_000 }),
    default: 16,
    doc: 'Restarts after failures, of all engines together, that may come at once.',
  },
  hostRestartPeriodMs: {
    schema: durationMs({ min: 100 }),
    default: 10_000,
    doc: 'Time after which one more such restart may come.',
  },
  warmTimeoutMs: {
    schema: durationMs({ min: 100 }),
    default: 120_000,
    doc: 'Time for the first token of a fresh engine, which must come before it takes requests.',
  },
  gpuReleaseTimeoutMs: {
    schema: durationMs({ min: 0 }),
    default: 30_000,
    doc: 'Longest wait for the GPU memory of an engine that has ended before it is started again.',
  },
  stopEnginesOnExit: {
    schema: flag(),
    default: false,
    doc: 'Stop the engines when the agent stops, instead of leaving them to the next agent; `sophia up` sets it.',
  },
  probePeriodMs: {
    schema: durationMs({ min: 50 }),
    default: 2000,
    doc: 'How often a running engine is asked for its health.',
  },
  probeTimeoutMs: {
    schema: durationMs({ min: 50 }),
    default: 5000,
    doc: 'Time for an answer of an engine; a late one is not held against it.',
  },
  unhealthyAfter: {
    schema: integer({ min: 1, max: 100 }),
    default: 3,
    doc: 'Bad answers in a row after which an engine is restarted.',
  },
  maxEngines: { schema: integer({ min: 1, max: 1024 }), default: 64, doc: 'Most engines on this host.' },
  modelRoots: {
    schema: list(text({ maxLength: 4096 })),
    default: [],
    doc: 'Folders under which a model path must lie; empty: anywhere. Schedulers are told of the models in them.',
  },
  modelsDir: {
    schema: text({ maxLength: 4096 }),
    default: undefined,
    doc: 'Folder for models that the agent brings to this host, used by one agent at a time; unset: models in dataDir.',
  },
  modelsBudgetBytes: {
    schema: byteSize({ min: 1 }),
    default: undefined,
    doc: 'Most bytes of models in modelsDir; what no wanted engine uses goes for what is to come. Unset: as many as the disk holds.',
  },
  modelsBandwidth: {
    schema: byteSize({ min: 0 }),
    default: 0,
    doc: 'Most bytes a second that models are fetched with, all together; 0: no limit.',
  },
  modelsConnections: {
    schema: integer({ min: 1, max: 64 }),
    default: 4,
    doc: 'Parts of models that are fetched at a time, all together.',
  },
  ...PEER_MODEL_SETTINGS,
  modelCredentialsFile: {
    schema: text({ maxLength: 4096 }),
    default: undefined,
    doc: 'File with the tokens and keys of sources of models, by host and by bucket (docs/MODELS.md); it is read anew for each fetch.',
  },
  hubUrl: {
    schema: url(),
    default: 'https://huggingface.co',
    doc: 'The hub behind hf:// sources, or a mirror with its API.',
  },
  allowedExtraFlags: {
    schema: list(text()),
    default: [],
    doc: 'Engine flags that a specification may carry besides the usual ones of its kind.',
  },
  gpuReader: {
    schema: oneOf(['auto', 'nvml', 'nvidia-smi', 'none']),
    default: 'auto',
    doc: 'How GPUs are read; auto takes NVML, else nvidia-smi, else nothing, and names which.',
  },
  nvmlLibrary: {
    schema: text({ maxLength: 4000 }),
    default: 'libnvidia-ml.so.1',
    doc: "The driver's NVML library: a path, or a name for the loader.",
  },
  nvmlTimeoutMs: {
    schema: durationMs({ min: 100 }),
    default: 5000,
    doc: 'Time for one round of NVML calls before the sensor is killed and started again.',
  },
  nvidiaSmiTimeoutMs: {
    schema: durationMs({ min: 100 }),
    default: 20_000,
    doc: 'Time for one run of nvidia-smi before its reader is killed and started again.',
  },
  gpuPeriodMs: {
    schema: durationMs({ min: 100 }),
    default: 2000,
    doc: 'How often the load of the GPUs is read by NVML; slower readings have periods of their own.',
  },
  nvidiaSmiPeriodMs: {
    schema: durationMs({ min: 100 }),
    default: 5000,
    doc: 'How often GPUs are read where nvidia-smi is the source.',
  },
  expectGpus: {
    schema: flag(),
    default: false,
    doc: 'This host has GPUs: not to see any is an alarm from the first start on, and not only once one was seen.',
  },
  gpuBlindAfterMs: {
    schema: durationMs({ min: 1000 }),
    default: 60_000,
    doc: 'Age of the newest GPU reading at which a host that has GPUs is called blind.',
  },
  gpuQuarantineShare: {
    schema: integer({ max: 100 }),
    default: 50,
    doc: "Most of the node's GPUs that are quarantined at once, in percent; one always may be.",
  },
  telemetryPeriodMs: {
    schema: durationMs({ min: 100 }),
    default: 1000,
    doc: 'How often telemetry is sent where a scheduler does not ask for another period.',
  },
  keepaliveMs: {
    schema: durationMs({ min: 1000 }),
    default: 10_000,
    doc: 'Period and time limit of pings to schedulers.',
  },
  welcomeTimeoutMs: { schema: durationMs({ min: 100 }), default: 10_000, doc: 'Time for the welcome of a scheduler.' },
  reconnectBaseMs: {
    schema: durationMs({ min: 1 }),
    default: 200,
    doc: 'Ceiling of the pause before the first reconnect; it doubles with each.',
  },
  reconnectCapMs: { schema: durationMs({ min: 1 }), default: 10_000, doc: 'Longest pause before a reconnect.' },
  metricsPort: {
    schema: integer({ max: 65_535 }),
    default: 0,
    doc: 'Loopback port of /metrics and /health/live; 0 opens none.',
  },
  gangAddress: {
    schema: text({ maxLength: 253 }),
    default: undefined,
    doc: 'Where other hosts reach engines of this one that span several hosts; unset: its first address that is not loopback.',
  },
  directPort: {
    schema: port(),
    default: undefined,
    doc: 'Port for clients that a scheduler sends here with a ticket; 0 takes a free one; unset: there is no such listener.',
  },
  directHost: {
    schema: text({ maxLength: 253 }),
    default: '127.0.0.1',
    doc: 'Address of that listener; without directCertFile only a loopback one.',
  },
  directUrl: {
    schema: url(),
    default: undefined,
    doc: 'How clients reach it, without a path, such as https://gpu-7.example:8444; unset: made of directHost and directPort.',
  },
  directCertFile: {
    schema: text({ maxLength: 4096 }),
    default: undefined,
    doc: 'Certificate of that listener (PEM); unset: plain text, for loopback or behind something that ends TLS on this host.',
  },
  directKeyFile: {
    schema: text({ maxLength: 4096 }),
    default: undefined,
    doc: 'Private key of that listener (PEM).',
  },
  directClockSkewMs: {
    schema: durationMs({ max: 60_000 }),
    default: 5000,
    doc: 'Difference of clocks to schedulers that is borne when a ticket is judged.',
  },
  directMaxConnections: {
    schema: integer({ min: 1, max: 1_000_000 }),
    default: 4096,
    doc: 'Most connections of that listener at a time.',
  },
  stopGraceMs: {
    schema: durationMs({ min: 1000 }),
    default: 120_000,
    doc: 'Most time for an orderly stop of the agent and its engines.',
  },
  stopWithParent: {
    schema: flag(),
    default: false,
    doc: 'Stop when the parent process goes away; `sophia up` sets it.',
  },
  logLevel: { schema: oneOf(LOG_LEVELS), default: 'info', doc: 'Least severe level that is logged.' },
  logFormat: { schema: oneOf(LOG_FORMATS), default: 'json', doc: 'Form of log lines.' },
});
