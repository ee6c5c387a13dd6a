/**
 * Whoever takes part in the comparison, in one shape: our fleet, a router that is started here, or one that somebody else
 * runs and names by its URL.
 */
import { execFile } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { LOOPBACK } from '../../lib/io/local_fleet.ts';
import { packageRoot } from '../../lib/io/package_root.ts';
import { BENCH_MODEL, type BenchFleet } from '../bench_fleet.ts';
import { benchEnvironment } from '../config.ts';
import type { Meter } from '../relay/cells.ts';
import { freePorts } from '../supervised/free_ports.ts';
import { treeMeter } from './process_tree.ts';
import { type Program, startProgram } from './program.ts';
import { ROUTERS, type RouterKind } from './routers.ts';

export interface Contestant {
  readonly name: string;
  readonly door: 'http' | 'many';
  /** Of the chat completions endpoint. */
  readonly url: URL;
  readonly grpcAddress?: string;
  readonly key?: string;
  /** What its processes use, by part; empty for a router whose processes are not known. */
  readonly meters: Readonly<Record<string, Meter>>;
  stop(): Promise<void>;
}

/** A router that takes part, before it is started. */
export interface Entry {
  readonly name: string;
  readonly version: string;
  readonly policy: string;
  readonly mostStreams: number;
  readonly start: (place: StartPlace) => Promise<Contestant>;
}

export interface StartPlace {
  readonly enginePorts: readonly number[];
  readonly folder: string;
}

/** Why a router does not take part. */
export interface Skipped {
  readonly name: string;
  readonly reason: string;
}

export interface ForeignUrl {
  readonly name: string;
  readonly url: URL;
  readonly key?: string;
  /** The process whose tree the router is, when it runs on this machine. */
  readonly pid?: number;
}

const READY_TIMEOUT_MS = 90_000;
const SETUP_TIMEOUT_MS = 900_000;
const POLL_MS = 200;
const PATH = '/v1/chat/completions';
const run = promisify(execFile);

const message = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** Fetches a router, unless it lies in the cache. @returns why not when it cannot be had */
export async function prepareRouter(name: string): Promise<Entry | Skipped> {
  const kind = ROUTERS[name] as RouterKind;
  const script = path.join(packageRoot(), 'bench/compare/setup.sh');
  try {
    const { stdout } = await run(script, [kind.setup], { timeout: SETUP_TIMEOUT_MS, env: benchEnvironment() });
    const command = /^COMMAND=(.+)$/m.exec(stdout)?.[1];
    const version = /^VERSION=(.+)$/m.exec(stdout)?.[1];
    if (command === undefined || version === undefined) return { name, reason: `${script} named no command` };
    const start = (place: StartPlace): Promise<Contestant> => startRouter(name, kind, command, place);
    return { name, version, policy: kind.policy, mostStreams: kind.mostStreams ?? Number.POSITIVE_INFINITY, start };
  } catch (error) {
    const said = (error as { stderr?: string }).stderr ?? '';
    const reason = /could not run, because (.*)/.exec(said)?.[1] ?? message(error);
    return { name, reason };
  }
}

async function startRouter(name: string, kind: RouterKind, command: string, place: StartPlace): Promise<Contestant> {
  const folder = path.join(place.folder, name);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const [port, metricsPort] = (await freePorts(2)) as [number, number];
  const launch = kind.launch({ port, metricsPort, folder, enginePorts: place.enginePorts, model: BENCH_MODEL });
  for (const [file, content] of Object.entries(launch.files ?? {})) await writeFile(path.join(folder, file), content);
  const env = { ...benchEnvironment(), ...launch.env };
  const program = startProgram(command, launch.args, path.join(folder, 'output.log'), env);
  const url = new URL(`http://${LOOPBACK}:${port}${PATH}`);
  try {
    await waitForAnswer(url, undefined, program);
  } catch (error) {
    await program.stop();
    throw error;
  }
  const stop = (): Promise<void> => program.stop();
  return { name, door: 'http', url, meters: { router: treeMeter(program.pid) }, stop };
}

/** Resolves once a real request is answered. @throws with the router's last words after a while, or when it ends */
async function waitForAnswer(url: URL, key: string | undefined, program?: Program): Promise<void> {
  const endMs = performance.now() + READY_TIMEOUT_MS;
  const body = JSON.stringify({ model: BENCH_MODEL, messages: [{ role: 'user', content: 'Hello.' }], max_tokens: 1 });
  const headers = {
    'content-type': 'application/json',
    ...(key === undefined ? {} : { authorization: `Bearer ${key}` }),
  };
  let last = 'no answer';
  while (performance.now() < endMs && program?.hasExited() !== true) {
    try {
      const answer = await fetch(url, { method: 'POST', headers, body, signal: AbortSignal.timeout(5000) });
      await answer.text();
      if (answer.ok) return;
      last = `HTTP ${answer.status}`;
    } catch (error) {
      last = message(error);
    }
    await sleep(POLL_MS);
  }
  if (program?.hasExited() === true) throw new Error(`it ended before it served: ${program.lastWords()}`);
  throw new Error(`it served no request in ${READY_TIMEOUT_MS / 1000} s (${last})`);
}

/** A router that somebody else runs in front of the engines of this run. */
export function foreignEntry({ name, url, key, pid }: ForeignUrl): Entry {
  const keyed = key === undefined ? {} : { key };
  return {
    name,
    version: '',
    policy: url.origin,
    mostStreams: Number.POSITIVE_INFINITY,
    async start() {
      await waitForAnswer(url, key);
      const meters: Record<string, Meter> = pid === undefined ? {} : { router: treeMeter(pid) };
      return { name, door: 'http', url, ...keyed, meters, stop: async () => undefined };
    },
  };
}

/** Our fleet at one of its doors. The agent without the keepers of its engines, and without these. */
export function fleetContestant(name: string, fleet: BenchFleet, door: Contestant['door']): Contestant {
  return {
    name,
    door,
    url: new URL(`http://${LOOPBACK}:${fleet.httpPort}${PATH}`),
    grpcAddress: fleet.grpcAddress,
    key: fleet.key,
    meters: {
      scheduler: treeMeter(fleet.scheduler.pid),
      agent: treeMeter(fleet.agent.pid, (command) => !command.includes('keeper')),
    },
    stop: async () => undefined,
  };
}
