/** Launchers for tests: engines are small shell programs under real keepers, and nothing of them outlives a test. */
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { createLauncher, type LauncherOptions } from '../../../agent/adapters/launcher/launcher.ts';
import { LIFE_VARIABLE } from '../../../agent/core/launch_plan.ts';
import type { EngineLauncher, LaunchedEngine, LaunchPlan } from '../../../agent/ports.ts';
import { createLogger, type Logger } from '../../../lib/io/logger.ts';
import { livingProcesses, signalProcess } from '../../../lib/io/processes.ts';

/** Both kinds of keeper pass the same tests; what only one can do is said here. */
export const KEEPERS = [
  { keeper: 'native', isSubreaper: true, launches: 50, mostRssKb: 3_000 },
  { keeper: 'node', isSubreaper: false, launches: 8, mostRssKb: 250_000 },
] as const;

export type KeeperUnderTest = (typeof KEEPERS)[number];

/** How a file's tests are named and bounded: each kind gets them all, with time for a busy host. */
export const under = (kind: KeeperUnderTest, what: string): [string, { timeout: number }] => [
  `${what} (${kind.keeper} keeper)`,
  { timeout: 120_000 },
];

export const silent: Logger = createLogger({ name: 'test', level: 'silent', format: 'json' });

/** Long enough for a host that is busy with other tests. */
export const PATIENCE_MS = 30_000;

interface Owner {
  teardown(task: () => unknown): void;
}

export interface Bench {
  readonly root: string;
  readonly launcher: EngineLauncher;
  /** A launcher as the next agent would make it. */
  another(): EngineLauncher;
  /** A plan for `sh -c SCRIPT`, with a number that no life had. */
  plan(script: string, more?: Partial<LaunchPlan>): Promise<LaunchPlan>;
  launch(script: string, more?: Partial<LaunchPlan>): Promise<LaunchedEngine>;
}

const markOf = (root: string, engine: string, incarnation: number): string => `${root}/${engine}/${incarnation}`;

/** A plan whose life can be told from every other's. */
export function planOf(root: string, incarnation: number, script: string, more: Partial<LaunchPlan> = {}): LaunchPlan {
  const engine = more.engine ?? 'one';
  const folder = path.join(root, engine);
  return {
    engine,
    incarnation,
    command: 'sh',
    args: ['-c', script],
    workingDirectory: folder,
    outputFile: path.join(folder, 'output.log'),
    address: { kind: 'unix', path: path.join(folder, 'api.sock') },
    specHash: 'hash-of-spec',
    ...more,
    environment: {
      PATH: process.env['PATH'] ?? '/usr/bin:/bin',
      ...more.environment,
      [LIFE_VARIABLE]: markOf(root, engine, incarnation),
    },
  };
}

/** Ends every keeper below the folder and all that their engines left. */
async function cleanUp(top: string): Promise<void> {
  const isOurs = (pid: number): boolean =>
    commandOf(pid).some((word) => word.startsWith(`${top}/`)) ||
    wordsOf(pid, 'environ').some((word) => word.startsWith(`${LIFE_VARIABLE}=${top}/`));
  for (let left = true; left; ) {
    const ours = (await livingProcesses()).filter(({ pid }) => pid !== process.pid && isOurs(pid));
    for (const { pid } of ours) signalProcess(pid, 'SIGKILL');
    left = ours.length > 0;
  }
  await rm(top, { recursive: true, force: true });
}

function wordsOf(pid: number, file: 'cmdline' | 'environ'): string[] {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8').split('\0');
  } catch {
    // Gone, which is an answer.
    return [];
  }
}

export const commandOf = (pid: number): string[] => wordsOf(pid, 'cmdline');

export function bench(
  owner: Owner,
  { keeper }: KeeperUnderTest,
  more: Partial<LauncherOptions> & { readonly under?: string; readonly depth?: number } = {},
): Bench {
  const top = mkdtempSync(path.join(more.under ?? tmpdir(), 'launch-'));
  const root = path.join(top, ...Array.from({ length: more.depth ?? 0 }, () => 'deeper-down'));
  mkdirSync(root, { recursive: true });
  owner.teardown(() => cleanUp(top));
  const make = (): EngineLauncher => createLauncher({ enginesFolder: root, logger: silent, keeper, ...more });
  const launcher = make();
  const plan = async (script: string, parts: Partial<LaunchPlan> = {}): Promise<LaunchPlan> => {
    const incarnation = parts.incarnation ?? (await launcher.nextIncarnation(parts.engine ?? 'one'));
    return planOf(root, incarnation, script, parts);
  };
  return {
    root,
    launcher,
    another: make,
    plan,
    launch: async (script, parts) => launcher.launch(await plan(script, parts)),
  };
}

export interface AgentChild {
  readonly pid: number;
  /** The engine that it launched. */
  readonly enginePid: number;
  readonly keeperPid: number;
  /** SIGKILL, then waits until it is gone. */
  kill(): Promise<void>;
}

const AGENT = fileURLToPath(new URL('./launching_agent.js', import.meta.url));

/** A process of its own that launches an engine and then does nothing, so that it can be killed as an agent is. */
export async function launchInChild(owner: Owner, root: string, keeper: string, plan: LaunchPlan): Promise<AgentChild> {
  const child = spawn(process.execPath, [AGENT, root, keeper, JSON.stringify(plan)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL');
    await gone;
  };
  owner.teardown(kill);
  const line = await new Promise<string>((resolve, reject) => {
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (piece: string) => {
      text += piece;
      if (text.includes('\n')) resolve(text);
    });
    child.once('exit', () => reject(new Error('the launching process ended before it had launched')));
  });
  const { pid: enginePid, keeperPid } = JSON.parse(line) as { pid: number; keeperPid: number };
  return { pid: child.pid as number, enginePid, keeperPid, kill };
}

/** Living processes whose command line has this word in it. */
export async function processesWith(word: string): Promise<number[]> {
  return (await livingProcesses()).map(({ pid }) => pid).filter((pid) => commandOf(pid).includes(word));
}
