/**
 * What an agent and a keeper say to each other, in the one place that both sides and both kinds of keeper follow
 * (native/keeper is the same in C). The agent writes a plan into the folder of an engine's life and starts a keeper on
 * it; from then on they speak over a Unix socket: a request is one word on a line, an answer one JSON object on a line.
 */
import { CodedError } from '../../lib/errors.ts';
import type { EngineExit } from '../ports.ts';

export const KEEPER_PROTOCOL_VERSION = 1;

/** Files in the folder of a life. The socket is always reached through a short path, whatever the folder's. */
export const LIFE_FILES = {
  /** For the keeper, which removes it once it has read it: it holds the environment. */
  launch: 'launch',
  /** For a later agent. */
  plan: 'plan.json',
  socket: 'keeper.sock',
  /** The keeper's newest report. */
  state: 'state.json',
  log: 'keeper.log',
} as const;

/** A report of this name says that the engine's core or a worker has ended while its first process still lives. */
export const PART_DIED = 'part_died';

export const KEEPER_REQUESTS = ['status', 'subscribe', 'term', 'kill', 'pids', 'ack'] as const;
export type KeeperRequest = (typeof KEEPER_REQUESTS)[number];

/** What a keeper is to run. */
export interface KeeperLaunch {
  readonly engine: string;
  readonly incarnation: number;
  readonly specHash: string;
  readonly folder: string;
  readonly output: string;
  /** Size at which a new output file is begun; one older file is kept. */
  readonly outputMaxBytes: number;
  /** How much of the output's end is kept in memory for the report. */
  readonly tailBytes: number;
  /** How long a keeper waits after the end for an agent that takes the result. */
  readonly lingerMs: number;
  /** The program first. */
  readonly args: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
}

export const KEEPER_PHASES = ['failed', 'running', 'sweeping', 'ended'] as const;
export type KeeperPhase = (typeof KEEPER_PHASES)[number];

export interface KeeperExit {
  readonly atMs: number;
  readonly wallMs: number;
  readonly orphansKilled: number;
  readonly exitCode?: number;
  readonly signal?: string;
  /** Processes that hang inside the kernel and did not end. */
  readonly unkillable: readonly number[];
  readonly lastLines: string;
}

/** Everything that a keeper knows; the content of its greeting, its pushes and its state file. */
export interface KeeperReport {
  readonly t: string;
  readonly version: number;
  readonly kind: 'native' | 'node';
  readonly phase: KeeperPhase;
  readonly keeperPid: number;
  /** Start times are clock ticks since boot: with a pid they name one process for as long as the host is up. */
  readonly keeperTicks: string;
  readonly enginePid: number;
  readonly engineTicks: string;
  readonly bootId: string;
  readonly engine: string;
  readonly incarnation: number;
  readonly specHash: string;
  readonly startedAtMs: number;
  readonly outputBytes: number;
  readonly droppedBytes: number;
  /** Name of the error that kept the program from starting. */
  readonly failure?: string;
  readonly exit?: KeeperExit;
}

export type KeeperAnswer =
  | { readonly kind: 'report'; readonly report: KeeperReport }
  | { readonly kind: 'pids'; readonly pids: readonly number[] }
  | { readonly kind: 'ok'; readonly did: string }
  | { readonly kind: 'error'; readonly message: string };

/** The keys of a launch file that hold one value. */
const SINGLE = {
  engine: 'engine',
  incarnation: 'incarnation',
  specHash: 'hash',
  folder: 'folder',
  output: 'output',
  outputMaxBytes: 'outputMaxBytes',
  tailBytes: 'tailBytes',
  lingerMs: 'lingerMs',
} as const satisfies Partial<Record<keyof KeeperLaunch, string>>;

const FIRST_RECORD = 'sophia-launch 1';
const LAST_RECORD = 'end';

/**
 * The text of a launch file: records that each end with a NUL, because neither an argument nor a variable can hold one.
 * @throws CodedError invalid_spec where one does
 */
export function encodeLaunch(launch: KeeperLaunch): string {
  const records = [FIRST_RECORD];
  for (const [field, key] of Object.entries(SINGLE)) records.push(`${key}=${launch[field as keyof typeof SINGLE]}`);
  for (const argument of launch.args) records.push(`arg=${argument}`);
  for (const [name, value] of Object.entries(launch.environment)) {
    if (name === '' || name.includes('='))
      throw new CodedError('invalid_spec', 'A variable of the engine has a name that no environment can hold.', {
        param: 'environment',
      });
    records.push(`env=${name}=${value}`);
  }
  records.push(LAST_RECORD);
  if (records.some((record) => record.includes('\0')))
    throw new CodedError('invalid_spec', 'An argument or a variable of the engine holds a NUL character.');
  return `${records.join('\0')}\0`;
}

function recordsOf(text: string): string[] | undefined {
  const records = text.split('\0');
  const whole = records.pop() === '' && records[0] === FIRST_RECORD && records.at(-1) === LAST_RECORD;
  return whole ? records.slice(1, -1) : undefined;
}

/** What a launch file says; undefined when it is cut, of another version or lacks something. */
export function decodeLaunch(text: string): KeeperLaunch | undefined {
  const single: Record<string, string> = {};
  const args: string[] = [];
  const environment: Record<string, string> = {};
  for (const record of recordsOf(text) ?? []) {
    const split = record.indexOf('=');
    const key = record.slice(0, Math.max(0, split));
    const value = record.slice(split + 1);
    const named = value.indexOf('=');
    if (key === 'arg') args.push(value);
    else if (key === 'env' && named > 0) environment[value.slice(0, named)] = value.slice(named + 1);
    else if (Object.values<string>(SINGLE).includes(key)) single[key] = value;
    else return undefined;
  }
  const number = (key: string): number => (/^\d{1,16}$/.test(single[key] ?? '') ? Number(single[key]) : Number.NaN);
  const launch: KeeperLaunch = {
    engine: single[SINGLE.engine] ?? '',
    incarnation: number(SINGLE.incarnation),
    specHash: single[SINGLE.specHash] ?? '',
    folder: single[SINGLE.folder] ?? '',
    output: single[SINGLE.output] ?? '',
    outputMaxBytes: number(SINGLE.outputMaxBytes),
    tailBytes: number(SINGLE.tailBytes),
    lingerMs: number(SINGLE.lingerMs),
    args,
    environment,
  };
  const complete = Object.values(launch).every((value) => value !== '' && !Number.isNaN(value));
  return complete && (args[0] ?? '') !== '' ? launch : undefined;
}

type Fields = Readonly<Record<string, unknown>>;

const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
const isPid = (value: unknown): value is number => isCount(value) && value > 1;
const isTicks = (value: unknown): value is string => typeof value === 'string' && /^\d{1,20}$/.test(value);
const isText = (value: unknown): value is string => typeof value === 'string';
const arePids = (value: unknown): value is number[] => Array.isArray(value) && value.every(isPid);
const orAbsent =
  (check: (value: unknown) => boolean) =>
  (value: unknown): boolean =>
    value === undefined || check(value);

type Checks<Shape> = { readonly [Key in keyof Shape]-?: (value: unknown) => boolean };

const EXIT_CHECKS: Checks<KeeperExit> = {
  atMs: isCount,
  wallMs: isCount,
  orphansKilled: isCount,
  exitCode: orAbsent(isCount),
  signal: orAbsent((value) => isText(value) && /^SIG[A-Z0-9]+$/.test(value)),
  unkillable: arePids,
  lastLines: isText,
};

const REPORT_CHECKS: Checks<KeeperReport> = {
  t: isText,
  version: (value) => value === KEEPER_PROTOCOL_VERSION,
  kind: (value) => value === 'native' || value === 'node',
  phase: (value) => (KEEPER_PHASES as readonly unknown[]).includes(value),
  keeperPid: isPid,
  keeperTicks: isTicks,
  enginePid: isCount,
  engineTicks: isTicks,
  bootId: isText,
  engine: isText,
  incarnation: (value) => isCount(value) && value > 0,
  specHash: isText,
  startedAtMs: isCount,
  outputBytes: isCount,
  droppedBytes: isCount,
  failure: orAbsent(isText),
  exit: orAbsent((value) => passes(value, EXIT_CHECKS)),
};

function passes<Shape>(value: unknown, checks: Checks<Shape>): value is Shape {
  if (!isFields(value)) return false;
  return Object.entries<(field: unknown) => boolean>(checks).every(([key, check]) => check(value[key]));
}

/** A report in a keeper's words: an end has an exit, a failed start has its reason, and what runs has a process. */
function isWhole(report: KeeperReport): boolean {
  if (report.phase === 'failed') return report.failure !== undefined;
  const hasEnded = report.phase !== 'running';
  return isPid(report.enginePid) && (report.exit !== undefined) === hasEnded;
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    // What is no JSON is no answer, which the caller is told.
    return undefined;
  }
}

/** One line of a keeper; undefined when it is nothing that a keeper of this version says. */
export function decodeAnswer(line: string): KeeperAnswer | undefined {
  const value = parse(line);
  if (!isFields(value)) return undefined;
  if (value['t'] === 'ok' && isText(value['did'])) return { kind: 'ok', did: value['did'] };
  if (value['t'] === 'error' && isText(value['message'])) return { kind: 'error', message: value['message'] };
  if (value['t'] === 'pids' && arePids(value['pids'])) return { kind: 'pids', pids: value['pids'] };
  return passes(value, REPORT_CHECKS) && isWhole(value) ? { kind: 'report', report: value } : undefined;
}

/** The report in a state file; undefined when there is none that could be trusted. */
export function decodeState(text: string): KeeperReport | undefined {
  const answer = decodeAnswer(text);
  return answer?.kind === 'report' ? answer.report : undefined;
}

/** How an engine ended, in the words of the port; undefined while it runs. */
export function exitOf(report: KeeperReport): EngineExit | undefined {
  if (report.exit === undefined) return undefined;
  const { exitCode, signal, atMs, lastLines, orphansKilled } = report.exit;
  return {
    ...(exitCode === undefined ? {} : { exitCode }),
    ...(signal === undefined ? {} : { signal }),
    atMs,
    lastLines,
    orphansKilled,
  };
}

/** Why a program did not start, for a person. */
const START_FAILURES: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such program',
  EACCES: 'it may not be run by this user',
  ENOEXEC: 'it is no program of this machine',
  E2BIG: 'its arguments and environment are too large',
  ENOMEM: 'there is no memory for it',
};

/** @throws nothing; a name that is not known is its own explanation */
export const startFailure = (name: string): string => START_FAILURES[name] ?? name;
