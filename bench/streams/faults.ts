/** The faults of the chaos run, each against a real process. */
import path from 'node:path';
import { signalProcess } from '../../lib/io/processes.ts';
import { treeOf } from '../supervised/engine_processes.ts';
import { connectInspector, openInspector } from '../supervised/inspector.ts';
import type { EngineView, Stage } from './stage.ts';

export const FAULT_NAMES = ['kill', 'stop', 'agent', 'worker', 'scheduler', 'drain'] as const;
export type FaultName = (typeof FAULT_NAMES)[number];

/** Crashes a relay thread by an error that nothing catches. */
const CRASH = "setTimeout(() => { throw new Error('a relay thread crashes for the benchmark'); }, 0)";

function pick<Item>(items: readonly Item[], turn: number): Item {
  return items[turn % items.length] as Item;
}

async function strikeEngine(engines: readonly EngineView[], turn: number, signal: 'SIGKILL' | 'SIGSTOP') {
  const { pid } = pick(engines, turn);
  if (signal === 'SIGKILL') {
    // The whole group, as the kernel's out-of-memory killer or a lost machine would.
    signalProcess(-pid, 'SIGKILL');
    return;
  }
  const { core } = await treeOf(pid);
  signalProcess(core ?? pid, 'SIGSTOP');
}

/** Strikes once; `turn` counts the faults, so that each process has its turn. */
export const STRIKE: Readonly<
  Record<FaultName, (stage: Stage, engines: readonly EngineView[], turn: number) => Promise<void>>
> = {
  kill: (_stage, engines, turn) => strikeEngine(engines, turn, 'SIGKILL'),
  stop: (_stage, engines, turn) => strikeEngine(engines, turn, 'SIGSTOP'),
  agent: (stage, _engines, turn) => stage.killAgent(pick(stage.nodes, turn)),
  async worker(stage, _engines, turn) {
    const index = turn % stage.nodes.length;
    const { pid } = stage.agent(pick(stage.nodes, turn));
    const log = path.join(stage.root, 'logs', index === 0 ? 'agent.log' : `agent-${index}.log`);
    const inspector = await connectInspector(await openInspector(pid, log));
    try {
      await inspector.evaluateOnWorkers(CRASH);
    } finally {
      await inspector.close();
    }
  },
  scheduler: (stage) => stage.restartScheduler('SIGKILL'),
  drain: (stage) => stage.restartScheduler('SIGTERM'),
};
