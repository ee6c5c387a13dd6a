/** The stages in which engines are killed and stopped under each contestant in turn. */
import { type BenchFleet, startBenchFleet } from '../bench_fleet.ts';
import { connectAdmin } from '../supervised/admin.ts';
import { fleetContestant, type Contestant } from './contestants.ts';
import { MockEngines, signalTree } from './engines.ts';
import { hangRun, killRun, type FaultPlan, type Victims } from './faults.ts';
import { treeOf } from './process_tree.ts';
import { enter, OWN, portsOf, simFlags, type StageContext } from './stages.ts';

const ITL_MS = 20;
const TOKENS = 100;
/** A killed engine is started again at once and serves after about 2 s, whoever starts it. */
const START_FLAGS = ['--sim-start-ms', '1500'];
const HANG_TIMEOUT_MS = 60_000;

/** No brake of the agent may keep an engine down: what is measured is what clients feel, not how patient it is. */
const QUICK_RESTARTS = {
  restartBaseMs: 50,
  restartCapMs: 100,
  restartWindowMs: 1000,
  maxRestarts: 1000,
  hostRestartBurst: 10_000,
  hostRestartPeriodMs: 100,
};

type Fault = 'kill' | 'hang';

function planOf({ scale }: StageContext): FaultPlan {
  return {
    load: { streams: scale.faultStreams, tokens: TOKENS, timeoutMs: HANG_TIMEOUT_MS },
    seconds: scale.killSeconds,
    everyMs: scale.killEveryMs,
    freezeMs: scale.freezeMs,
  };
}

/** Stops what an engine has of processes now; whatever lives in its place later is not touched. */
function freezeTree(root: number): () => void {
  const pids = treeOf(root);
  signalTree(root, 'SIGSTOP');
  return () => {
    for (const pid of pids) if (treeOf(pid).length > 0) signalTree(pid, 'SIGCONT');
  };
}

function fleetVictims(fleet: BenchFleet, count: number): Victims & { close(): void } {
  const admin = connectAdmin(fleet.grpcAddress, fleet.key);
  const pid = async (index: number): Promise<number> => {
    const engine = (await admin.engines()).find(({ event }) => event?.engine === `sim-${index}`);
    return engine?.event?.pid ?? 0;
  };
  return {
    count,
    pid,
    kill: async (index) => signalTree(await pid(index), 'SIGKILL'),
    freeze: async (index) => freezeTree(await pid(index)),
    close: () => admin.close(),
  };
}

async function strike(context: StageContext, fault: Fault, contestant: Contestant, victims: Victims): Promise<void> {
  context.step(`${fault} with ${victims.count} engines, ${contestant.name}`);
  const run = fault === 'kill' ? killRun : hangRun;
  context.results.faults.push(await run(contestant, victims, planOf(context)));
}

async function strikeOwn(context: StageContext, fault: Fault, engines: number): Promise<void> {
  const fleet = await startBenchFleet({
    engines,
    simFlags: [...simFlags(ITL_MS), ...START_FLAGS],
    agent: QUICK_RESTARTS,
    limits: { maxRestarts: 1000 },
  });
  const victims = fleetVictims(fleet, engines);
  try {
    await strike(context, fault, fleetContestant(OWN, fleet, 'http'), victims);
  } finally {
    victims.close();
    await fleet.stop();
  }
}

async function strikeOthers(context: StageContext, fault: Fault, count: number): Promise<void> {
  const ports = await portsOf(context, count);
  const engines = new MockEngines(ports, [...simFlags(ITL_MS), ...START_FLAGS], context.folder);
  const victims: Victims = {
    count,
    pid: async (index) => engines.pid(index),
    kill: (index) => engines.kill(index),
    freeze: async (index) => freezeTree(engines.pid(index)),
  };
  try {
    for (const entry of context.entries) {
      await engines.ready();
      const contestant = await enter(context, entry, ports);
      if (contestant === undefined) continue;
      try {
        await strike(context, fault, contestant, victims);
      } finally {
        await contestant.stop();
      }
    }
  } finally {
    await engines.stop();
  }
}

export async function runFaultStages(context: StageContext): Promise<void> {
  for (const fault of ['kill', 'hang'] as const) {
    if (!context.parts.includes(fault)) continue;
    for (const engines of context.scale.faultEngines) {
      await strikeOwn(context, fault, engines);
      await strikeOthers(context, fault, engines);
    }
  }
}
