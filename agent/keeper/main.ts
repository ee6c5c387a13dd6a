/**
 * The keeper on Node, for hosts where native/keeper could not be compiled: the same protocol, about fifty times the
 * memory, and two things that it cannot do. It is no subreaper, so orphans are found by the mark in their environment;
 * and an engine does not die with it, so that the agent has to sweep. Started as: node main.js FOLDER.
 */
import { closeSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { bootId, processStartTicks } from '../../lib/io/processes.ts';
import {
  decodeLaunch,
  KEEPER_PROTOCOL_VERSION,
  type KeeperLaunch,
  type KeeperReport,
  type KeeperRequest,
  LIFE_FILES,
} from '../core/keeper_protocol.ts';
import { type KeeperSocket, openSocket } from './keeper_socket.ts';
import { KeptEngine } from './kept_engine.ts';
import { StateFile } from './kept_files.ts';

const EXIT_BAD_PLAN = 2;
/** As /proc/PID/fdinfo shows it on Linux; Node has no name for it. */
const O_CLOEXEC = 0o2000000;
const IGNORED = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGUSR2', 'SIGALRM'] as const;

interface Host {
  readonly bootId: string;
  readonly ticks: string;
}

/** Descriptors that came along from whoever started this; Node's own are all closed on exec, which tells them apart. */
function closeInherited(): void {
  for (const name of readdirSync('/proc/self/fd')) {
    const file = Number(name);
    if (file > 2 && !isClosedOnExec(file)) closeSync(file);
  }
}

function isClosedOnExec(file: number): boolean {
  try {
    const flags = /^flags:\s*([0-7]+)/m.exec(readFileSync(`/proc/self/fdinfo/${file}`, 'latin1'))?.[1];
    return flags === undefined || (Number.parseInt(flags, 8) & O_CLOEXEC) !== 0;
  } catch {
    // The listing's own descriptor, which is gone by now.
    return true;
  }
}

function readLaunch(): KeeperLaunch | undefined {
  const launch = decodeLaunch(readFileSync(LIFE_FILES.launch, 'utf8'));
  rmSync(LIFE_FILES.launch, { force: true });
  return launch;
}

function reportOf(what: string, launch: KeeperLaunch, engine: KeptEngine, host: Host): string {
  const report: KeeperReport = {
    t: what,
    version: KEEPER_PROTOCOL_VERSION,
    kind: 'node',
    phase: engine.phase,
    keeperPid: process.pid,
    keeperTicks: host.ticks,
    enginePid: engine.pid,
    engineTicks: engine.ticks,
    bootId: host.bootId,
    engine: launch.engine,
    incarnation: launch.incarnation,
    specHash: launch.specHash,
    startedAtMs: engine.startedAtMs,
    outputBytes: engine.output.totalBytes,
    droppedBytes: engine.output.droppedBytes,
    ...(engine.failure === undefined ? {} : { failure: engine.failure }),
    ...(engine.exit === undefined ? {} : { exit: engine.exit }),
  };
  return JSON.stringify(report);
}

/** Keeps one engine until its end has been taken. */
async function keep(launch: KeeperLaunch, host: Host): Promise<void> {
  const engine = new KeptEngine(launch);
  const report = (what: string): string => reportOf(what, launch, engine, host);
  let socket: KeeperSocket | undefined = undefined;
  let going = false;
  const isOver = (): boolean => engine.phase === 'ended' || engine.phase === 'failed';
  const go = async (): Promise<void> => {
    if (going) return;
    going = true;
    await engine.output.flush();
    await state.flush();
    socket?.close();
    process.exit(0);
  };
  // An end that was ordered is no news; the order's giver is gone, and the state file tells it to others.
  const goWhenUnwanted = (): void => {
    if (engine.killed && isOver() && state.saved && socket?.hasSubscriber === false) void go();
  };
  const state = new StateFile(goWhenUnwanted);
  const onChange = (what: 'died' | 'ended'): void => {
    socket?.publish(report(what));
    state.save(report('status'));
    if (what === 'ended') setTimeout(() => void go(), launch.lingerMs);
  };
  const answers: Readonly<Record<KeeperRequest, () => string | Promise<string>>> = {
    status: () => report('status'),
    subscribe: () => report(engine.phase === 'sweeping' ? 'died' : isOver() ? 'ended' : 'status'),
    term: () => {
      engine.terminate();
      return JSON.stringify({ t: 'ok', did: 'term' });
    },
    kill: async () => {
      await engine.kill();
      return JSON.stringify({ t: 'ok', did: 'kill' });
    },
    pids: async () => JSON.stringify({ t: 'pids', pids: await engine.pids() }),
    ack: () => {
      if (!isOver()) return JSON.stringify({ t: 'error', message: 'the engine has not ended' });
      setImmediate(() => void go());
      return JSON.stringify({ t: 'ok', did: 'ack' });
    },
  };
  let begin: () => void = () => undefined;
  const begun = new Promise<void>((resolve) => {
    begin = resolve;
  });
  // Before the engine: one that nobody could reach must not start.
  socket = await openSocket({
    greet: () => begun.then(() => report('hello')),
    answer: (request) => answers[request](),
    onGone: goWhenUnwanted,
  });
  await engine.start(onChange);
  begin();
  if (engine.exit === undefined || engine.phase === 'ended') state.save(report('status'));
  if (engine.phase === 'failed') setTimeout(() => void go(), launch.lingerMs);
}

// A stop of the agent's unit, a hang-up, an interrupt on a terminal: none of these is for a keeper.
for (const signal of IGNORED) process.on(signal, () => undefined);
closeInherited();
process.umask(0o077);
process.chdir(process.argv[2] ?? '.');
const launch = readLaunch();
if (launch === undefined) {
  process.stderr.write('the plan is not whole\n');
  process.exitCode = EXIT_BAD_PLAN;
} else {
  await keep(launch, { bootId: await bootId(), ticks: (await processStartTicks(process.pid)) ?? '0' });
}
