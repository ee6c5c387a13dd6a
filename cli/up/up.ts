/**
 * `sophia up`: a whole fleet on this machine with one command. It prepares the data folder, starts the scheduler and the
 * agent as processes of their own, waits until the engines answer, prints how to ask, and on Ctrl-C stops all in order.
 */
import { availableParallelism, hostname } from 'node:os';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { CodedError } from '../../lib/errors.ts';
import type { Child } from '../../lib/io/child.ts';
import { LOOPBACK, type LocalFleet, startLocalFleet } from '../../lib/io/local_fleet.ts';
import type { ConfigOf } from '../../lib/io/settings.ts';
import { processEnvironment, type settings } from '../config.ts';
import { readContexts, writeContexts } from '../contexts.ts';
import { ExitRequest } from '../exit.ts';
import type { Printer } from '../output.ts';
import { connectAdmin } from '../rpc.ts';
import { openDataFolder } from './data_folder.ts';
import { chooseEngine } from './engine_choice.ts';
import { type EngineSource, engineSource } from './engine_source.ts';
import { countGpus, findProgram, modelKind } from './machine.ts';
import { engineSpecs } from './plan.ts';
import { waitForEngines } from './wait.ts';

export type UpConfig = ConfigOf<NonNullable<(typeof settings)['table']>>;

const SCHEDULER_STOP_MS = 40_000;
const AGENT_STOP_MS = 60_000;
const SAME_SIGNAL_MS = 1000;
const MAX_AGENT_RESTARTS = 10;

/** Runs until a signal comes or a process of the fleet ends; always throws ExitRequest or a CodedError. */
export async function runUp(config: UpConfig, print: Printer): Promise<never> {
  const source = await chooseSource(config, print);
  const folder = await openDataFolder(path.resolve(config.dataDir));
  const children: Child[] = [];
  const signalled = waitForSignal(children);
  const interrupted = signalled.then(stopEarly);
  interrupted.catch(() => undefined);
  try {
    const { specs, count } = await planEngines(config, source);
    const starting = startLocalFleet({
      root: folder.root,
      nodeName: nodeName(),
      engines: specs,
      scheduler: pick(config, ['httpHost', 'httpPort', 'grpcPort', 'fleetPort', 'logLevel']),
      agent: pick(config, config.directPort === undefined ? ['logLevel'] : ['logLevel', 'directPort']),
      env: processEnvironment(),
      nowMs: Date.now(),
      onChild: (child) => children.push(child),
    });
    starting.catch(() => undefined);
    const fleet = await Promise.race([starting, interrupted]);
    const ended = Promise.race(children.map(endOf));
    ended.catch(() => undefined);
    const key = (await readFile(fleet.keyFile, 'utf8')).trim();
    await Promise.race([ready(fleet, key, count, config.readyTimeoutMs, print), interrupted, ended]);
    await rememberContext(config.httpHost, fleet);
    announce({ source, count, host: config.httpHost, fleet, key, dataDir: folder.root }, print);
    await superviseUntil(signalled, fleet, print);
    throw new ExitRequest(0);
  } catch (thrown) {
    // Where a start fails, its one sentence is all that is said.
    if (thrown instanceof ExitRequest) print.line('Stopping: streams finish first; Ctrl-C again stops at once.');
    throw thrown;
  } finally {
    await stopAll(children);
    await folder.release();
  }
}

function pick<Key extends keyof UpConfig>(config: UpConfig, keys: readonly Key[]): Record<string, unknown> {
  return Object.fromEntries(keys.map((key) => [key, config[key]]));
}

/** The host's name as a node name; certificates and metrics carry it. */
function nodeName(): string {
  return (
    hostname()
      .toLowerCase()
      .replace(/[^a-z0-9.-]+/g, '-')
      .slice(0, 63) || 'local'
  );
}

async function planEngines(config: UpConfig, source: EngineSource): Promise<{ specs: object[]; count: number }> {
  const gpus = source.kind === 'vllm' ? (await countGpus()).count : 0;
  const count = config.engines ?? (source.kind === 'vllm' ? Math.max(1, gpus) : 2);
  const { servedModelName, model, kind } = source;
  const specs = engineSpecs({
    kind,
    model,
    servedModelName,
    count,
    gpus,
    cores: availableParallelism(),
    extraFlags: config.extraFlags,
  });
  return { specs, count };
}

async function ready(fleet: LocalFleet, key: string, count: number, timeoutMs: number, print: Printer): Promise<void> {
  const admin = connectAdmin({ grpc: `${LOOPBACK}:${fleet.grpcPort}`, key });
  try {
    await waitForEngines(admin, count, timeoutMs, print);
  } finally {
    admin.close();
  }
}

async function chooseSource(config: UpConfig, print: Printer): Promise<EngineSource> {
  const found = {
    vllm: findProgram('vllm', processEnvironment()['PATH']),
    model: await modelKind(config.model),
  } as const;
  const choice = chooseEngine(config.engine, found, config.model ?? '');
  return engineSource(
    { choice, model: config.model, servedModelName: config.servedModelName, cacheDir: path.resolve(config.cacheDir) },
    print,
  );
}

/**
 * The first signal stops in order; a later one ends what is left. One Ctrl-C may arrive twice, from the terminal and
 * from npm, which passes on what it gets: what comes within a second is the same wish.
 */
function waitForSignal(children: readonly Child[]): Promise<void> {
  return new Promise((resolve) => {
    let firstMs: number | undefined;
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.on(signal, () => {
        firstMs ??= performance.now();
        resolve();
        if (performance.now() - firstMs > SAME_SIGNAL_MS) for (const child of children) child.forceStop();
      });
    }
  });
}

const stopEarly = (): never => {
  throw new ExitRequest(130);
};

/** Keeps the agent running until the signal; the scheduler's end is the end of all. */
async function superviseUntil(signalled: Promise<void>, fleet: LocalFleet, print: Printer): Promise<void> {
  const schedulerEnded = endOf(fleet.scheduler);
  schedulerEnded.catch(() => undefined);
  let { agent } = fleet;
  for (let restarts = 0; restarts <= MAX_AGENT_RESTARTS; restarts++) {
    const ended = agent.exited.then((code) => ({ code }));
    const event = await Promise.race([signalled, schedulerEnded, ended]);
    if (event === undefined) return;
    print.line(`The agent ended by itself (exit code ${event.code}) and is started again; see ${agent.logFile}.`);
    agent = await fleet.restartAgent();
  }
  await endOf(agent);
}

async function endOf(child: Child): Promise<never> {
  const code = await child.exited;
  throw new CodedError('internal', `The ${child.name} ended by itself (exit code ${code}); see ${child.logFile}.`);
}

/** The scheduler drains its streams while the agent still relays them; then the agent stops its engines. */
async function stopAll(children: readonly Child[]): Promise<void> {
  for (const child of children) await child.stop(child.name === 'scheduler' ? SCHEDULER_STOP_MS : AGENT_STOP_MS);
}

async function rememberContext(httpHost: string, fleet: LocalFleet): Promise<void> {
  const file = await readContexts();
  const local = {
    grpc: `${LOOPBACK}:${fleet.grpcPort}`,
    http: `http://${httpHost}:${fleet.httpPort}`,
    keyFile: fleet.keyFile,
  };
  await writeContexts({ current: file.current ?? 'local', contexts: { ...file.contexts, local } });
}

interface Announcement {
  readonly source: EngineSource;
  readonly count: number;
  readonly host: string;
  readonly fleet: LocalFleet;
  readonly key: string;
  readonly dataDir: string;
}

function announce({ source, count, host, fleet, key, dataDir }: Announcement, print: Printer): void {
  const url = `http://${host}:${fleet.httpPort}`;
  const model = source.servedModelName;
  const body = JSON.stringify({ model, stream: true, messages: [{ role: 'user', content: 'Why is the sky blue?' }] });
  const curl = `curl -N ${url}/v1/chat/completions -H 'authorization: Bearer ${key}' -H 'content-type: application/json' -d '${body}'`;
  const { httpPort, grpcPort, fleetPort } = fleet;
  print.result(
    { url: `${url}/v1`, key, model, engine: source.kind, engines: count, curl, dataDir, httpPort, grpcPort, fleetPort },
    () =>
      [
        ...(source.notice === undefined ? [] : [source.notice, '']),
        `SOPHIA Fleet is up: ${count} ${source.kind === 'sim' ? 'SIMULATED' : source.kind} engine${count === 1 ? '' : 's'} serve${count === 1 ? 's' : ''} ${model}.`,
        '',
        `  URL   ${url}/v1`,
        `  Key   ${key}`,
        `  Docs  ${url}/docs`,
        `  gRPC  ${LOOPBACK}:${grpcPort}`,
        `  Data  ${dataDir} (logs, keys, configuration)`,
        '',
        'Ask it:',
        '',
        `  ${curl}`,
        '',
        'Or: npx sophia chat        See also: npx sophia engine list, npx sophia doctor',
        'Ctrl-C stops everything.',
      ].join('\n'),
  );
}
