/**
 * How the bench gives its orders and learns what became of them: the only file that knows. Now it writes them into a file
 * for a scheduler that has the rollout machine in it.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Child } from '../../lib/io/child.ts';
import { LOOPBACK, startLocalFleet } from '../../lib/io/local_fleet.ts';
import { reasonText } from '../../scheduler/core/rollout/text.ts';
import { revisionOf } from '../../scheduler/core/rollout/revision.ts';
import type { DeploymentSpec } from '../../scheduler/core/resources/contract.ts';
import { benchEnvironment } from '../config.ts';
import type { Target } from '../streams/client.ts';
import { readWhole, type Status, STATUS_FILE, type Wanted, WANTED_FILE, writeWhole } from './files.ts';

const DEPLOYMENT = 'bench';
const NODES = ['node-0', 'node-1'];
const STOP_TIMEOUT_MS = 20_000;
const POLL_MS = 100;

/** How a rollout came out. */
export interface RolloutEnd {
  readonly outcome: 'done' | 'rolled_back' | 'superseded' | 'unfinished';
  readonly reason: string;
  /** What it said of itself last. */
  readonly lines: readonly string[];
}

export interface RolloutFleet {
  readonly target: Target;
  readonly logFolder: string;
  /** Applies a spec and waits until its rollout is over, at most `limitMs`. */
  apply(spec: DeploymentSpec, limitMs: number): Promise<RolloutEnd>;
  stop(): Promise<void>;
}

export async function startRolloutFleet(): Promise<RolloutFleet> {
  const root = await mkdtemp(path.join(tmpdir(), 'sophia-rollout-'));
  const children: Child[] = [];
  const stop = async (): Promise<void> => {
    for (const child of children.toReversed()) await child.stop(STOP_TIMEOUT_MS);
    await rm(root, { recursive: true, force: true });
  };
  try {
    const local = await startLocalFleet({
      root,
      nodeName: NODES[0] as string,
      engines: [],
      otherNodes: NODES.slice(1).map((nodeName) => ({ nodeName, engines: [] })),
      schedulerMain: fileURLToPath(new URL('scheduler_main.js', import.meta.url)),
      env: benchEnvironment(),
      nowMs: Date.now(),
      onChild: (child) => children.push(child),
      scheduler: { logLevel: 'info' },
      agent: { logLevel: 'info', gpuReader: 'none' },
    });
    const key = (await readFile(local.keyFile, 'utf8')).trim();
    const folder = path.join(root, 'scheduler', 'rollout');
    return {
      target: { url: `http://${LOOPBACK}:${local.httpPort}`, key },
      logFolder: path.join(root, 'logs'),
      apply: (spec, limitMs) => apply(folder, spec, limitMs),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function apply(folder: string, spec: DeploymentSpec, limitMs: number): Promise<RolloutEnd> {
  const wanted: Wanted = { deployment: DEPLOYMENT, spec };
  const { id } = revisionOf(spec);
  await writeWhole(path.join(folder, WANTED_FILE), wanted);
  const endMs = performance.now() + limitMs;
  let status: Status | undefined;
  while (performance.now() < endMs) {
    status = await readWhole<Status>(path.join(folder, STATUS_FILE));
    const { last = null } = status ?? {};
    if (status?.isOver === true && status.revision === id && last?.revision.id === id)
      return {
        outcome: last.outcome,
        reason: last.reason === null ? '' : reasonText(last.reason),
        lines: status.lines,
      };
    await sleep(POLL_MS);
  }
  return { outcome: 'unfinished', reason: `not over after ${limitMs / 1000} s`, lines: status?.lines ?? [] };
}
