/** What must be true of a fleet that has got over its faults, and what its agent may hold at most. */
import { setTimeout as sleep } from 'node:timers/promises';
import { rssBytes } from '../process_stats.ts';
import { openFiles, strayProcesses } from '../supervised/engine_processes.ts';
import { modelOf, type SupervisedFleet } from '../supervised/fleet.ts';
import type { AgentInspector } from './stage.ts';

const SETTLE_LIMIT_MS = 20_000;
const POLL_MS = 250;

/** Sentences about engines that are not as the desired state asks; empty: all are. */
export async function wrongEngines(fleet: SupervisedFleet): Promise<string[]> {
  const found = new Map((await fleet.engines()).map((facts) => [facts.name, facts]));
  const wrong: string[] = [];
  for (const { name } of fleet.plans) {
    const facts = found.get(name);
    found.delete(name);
    if (facts === undefined) wrong.push(`${name} is not known`);
    else if (!facts.routable) wrong.push(`${name} is ${facts.state} (${facts.reason}): ${facts.message}`);
    else if (facts.models.length !== 1 || facts.models[0] !== modelOf(name))
      wrong.push(`${name} serves ${facts.models.join(', ') || 'nothing'}`);
  }
  return [...wrong, ...[...found.keys()].map((name) => `${name} is wanted by nobody`)];
}

/** Processes of engines that no life of an engine accounts for, and programs of the agent that nobody asked for. */
async function orphansNow(fleet: SupervisedFleet, programs: string): Promise<string[]> {
  const lives = new Map((await fleet.engines()).map((facts) => [facts.name, facts]));
  const keepers = new Map<string, number>();
  const orphans: string[] = [];
  for (const { pid, engine, incarnation, isKeeper, command } of await fleet.processes()) {
    const life = lives.get(engine);
    if (life === undefined || life.incarnation !== incarnation || life.pid === 0) orphans.push(`${pid}: ${command}`);
    else if (isKeeper) keepers.set(engine, (keepers.get(engine) ?? 0) + 1);
  }
  for (const [engine, count] of keepers) if (count > 1) orphans.push(`${engine} has ${count} keepers`);
  for (const { pid, command } of await strayProcesses(programs)) orphans.push(`${pid}: ${command}`);
  return orphans;
}

async function settled(find: () => Promise<string[]>): Promise<string[]> {
  const endMs = performance.now() + SETTLE_LIMIT_MS;
  for (;;) {
    const left = await find();
    if (left.length === 0 || performance.now() > endMs) return left;
    await sleep(POLL_MS);
  }
}

export interface CheckResult {
  readonly wrong: readonly string[];
  readonly orphans: readonly string[];
}

/**
 * Looks at the whole fleet, giving it some seconds to settle.
 *
 * @param programs the folder that the agent has first on its PATH, which marks what it has started
 */
export async function checkFleet(fleet: SupervisedFleet, programs: string): Promise<CheckResult> {
  const wrong = await settled(() => wrongEngines(fleet));
  return { wrong, orphans: await settled(() => orphansNow(fleet, programs)) };
}

export interface Holdings {
  /** Open descriptors of the agent, and of the keeper that has most. */
  readonly agentFiles: number;
  readonly keeperFiles: number;
  readonly agentRssMb: number;
  readonly agentHeapMb: number;
}

/** What agent and keepers hold with no request open: the least of some looks, because sockets close a little later. */
export async function measureHoldings(fleet: SupervisedFleet, inspector: AgentInspector): Promise<Holdings> {
  const heapBytes = await inspector.use(async (one) => {
    await one.collectGarbage();
    return Number(await one.evaluate('process.memoryUsage().heapUsed'));
  });
  const keepers = (await fleet.processes()).filter(({ isKeeper }) => isKeeper).map(({ pid }) => pid);
  let agentFiles = Number.POSITIVE_INFINITY;
  let keeperFiles = Number.POSITIVE_INFINITY;
  // Longer than an idle connection to an engine is kept.
  for (let look = 0; look < 20; look++) {
    agentFiles = Math.min(agentFiles, (await openFiles(fleet.agentPid())) ?? Number.POSITIVE_INFINITY);
    const counts = await Promise.all(keepers.map(async (pid) => (await openFiles(pid)) ?? 0));
    keeperFiles = Math.min(keeperFiles, Math.max(0, ...counts));
    await sleep(POLL_MS);
  }
  const agentRssMb = rssBytes(fleet.agentPid()) / 1e6;
  return { agentFiles, keeperFiles, agentRssMb, agentHeapMb: heapBytes / 1e6 };
}
