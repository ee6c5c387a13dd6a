/** The settings of an agent. */
import { availableParallelism, hostname } from 'node:os';
import { defineSettings } from '../lib/io/settings.ts';
import { LOG_FORMATS, LOG_LEVELS } from '../lib/io/logger.ts';
import { type ServiceManagerFacts, serviceManagerFacts } from '../lib/io/service_manager.ts';
import { byteSize, durationMs, flag, hostPort, integer, list, oneOf, text } from '../lib/io/setting_types.ts';

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
  dataDir: {
    schema: text({ maxLength: 4096 }),
    default: './sophia-agent',
    doc: 'Folder for engine output, sockets and records.',
  },
  relayWorkers: {
    schema: integer({ min: 1, max: 64 }),
    default: defaultRelayWorkers(),
    doc: 'Threads that relay tokens; each opens one lane to each scheduler.',
  },
  laneHoldMs: {
    schema: durationMs({ max: 1000 }),
    default: 2,
    doc: 'Longest time for which a token after the first waits so that others leave with it; 0 turns it off.',
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
    default: 15_000,
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
    doc: 'Folders under which a model path must lie; empty: anywhere.',
  },
  allowedExtraFlags: {
    schema: list(text()),
    default: [],
    doc: 'Engine flags that a specification may carry; empty: any that the agent does not set itself.',
  },
  gpuReader: {
    schema: oneOf(['auto', 'nvidia-smi', 'none']),
    default: 'auto',
    doc: 'How GPUs are read; auto takes nvidia-smi where there is one.',
  },
  nvidiaSmiTimeoutMs: {
    schema: durationMs({ min: 100 }),
    default: 20_000,
    doc: 'Time for one run of nvidia-smi before its reader is killed and started again.',
  },
  gpuPeriodMs: { schema: durationMs({ min: 100 }), default: 5000, doc: 'How often GPUs are read.' },
  telemetryPeriodMs: {
    schema: durationMs({ min: 100 }),
    default: 2000,
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
