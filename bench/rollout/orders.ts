/**
 * How the bench gives its orders and learns what became of them: the only file that knows. It applies deployments and looks
 * at their rollouts over HTTP, as an operator's own programs would.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Child } from '../../lib/io/child.ts';
import { LOOPBACK, startLocalFleet } from '../../lib/io/local_fleet.ts';
import type { DeploymentSpec, RolloutReport } from '../../scheduler/core/resources/contract.ts';
import { benchEnvironment } from '../config.ts';
import type { Target } from '../streams/client.ts';

const DEPLOYMENT = 'bench';
const NODES = ['node-0', 'node-1'];
const STOP_TIMEOUT_MS = 20_000;
const POLL_MS = 200;

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
      env: benchEnvironment(),
      nowMs: Date.now(),
      onChild: (child) => children.push(child),
      scheduler: { logLevel: 'info' },
      agent: { logLevel: 'info', gpuReader: 'none' },
    });
    const key = (await readFile(local.keyFile, 'utf8')).trim();
    const target = { url: `http://${LOOPBACK}:${local.httpPort}`, key };
    return {
      target,
      logFolder: path.join(root, 'logs'),
      apply: (spec, limitMs) => apply(target, spec, limitMs),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** @throws Error with what the door said when it refuses */
async function ask({ url, key }: Target, what: string, body?: object): Promise<unknown> {
  const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' };
  const sent = body === undefined ? { headers } : { headers, method: 'POST', body: JSON.stringify(body) };
  const answer = await fetch(`${url}/admin/v1/${what}`, sent);
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${what}: ${answer.status} ${text}`);
  return JSON.parse(text);
}

const look = async (target: Target): Promise<RolloutReport> =>
  (await ask(target, `rollouts/${DEPLOYMENT}`)) as RolloutReport;

const OUTCOMES: readonly string[] = ['done', 'rolled_back', 'superseded'] satisfies RolloutEnd['outcome'][];

async function apply(target: Target, spec: DeploymentSpec, limitMs: number): Promise<RolloutEnd> {
  const declared = (await ask(target, 'resources?kind=deployment')) as { readonly resources: readonly object[] };
  const before = declared.resources.length === 0 ? undefined : (await look(target)).history[0];
  const resource = { apiVersion: 'sophia/v1', kind: 'Deployment', metadata: { name: DEPLOYMENT }, spec };
  await ask(target, 'apply', { resources: [resource] });
  const endMs = performance.now() + limitMs;
  let report: RolloutReport | undefined;
  while (performance.now() < endMs) {
    report = await look(target);
    const { phase, history, lines } = report;
    // Each line of the history has its time in it, so a new first one is a rollout that is over.
    if (OUTCOMES.includes(phase) && history[0] !== before)
      return {
        outcome: phase as RolloutEnd['outcome'],
        reason: /(?:rolled back|superseded), (.*)$/.exec(history[0] ?? '')?.[1] ?? '',
        lines,
      };
    await sleep(POLL_MS);
  }
  return { outcome: 'unfinished', reason: `not over after ${limitMs / 1000} s`, lines: report?.lines ?? [] };
}
