/**
 * An engine as its keeper's client sees it, the same for one that was just launched and one that an earlier agent left.
 * The keeper tells the end; when the keeper itself is gone, the tree is killed from here and the end is told as unseen.
 */
import type { Logger } from '../../../lib/io/logger.ts';
import { findTree, sweepTree, type TreeProof } from '../../../lib/io/process_tree.ts';
import { isProcess, signalProcess } from '../../../lib/io/processes.ts';
import { decodeState, exitOf, type KeeperReport, PART_DIED } from '../../core/keeper_protocol.ts';
import { LIFE_VARIABLE } from '../../core/launch_plan.ts';
import type { EngineExit, LaunchedEngine, LaunchPlan } from '../../ports.ts';
import type { EngineFiles, Life } from './engine_files.ts';
import { connectKeeper, type GreetedKeeper, type KeeperClient } from './keeper_client.ts';

export interface KeptLife {
  readonly life: Life;
  readonly plan: LaunchPlan;
  readonly files: EngineFiles;
  readonly logger: Logger;
}

export const GREETING_TIMEOUT_MS = 2_000;
const ANSWER_TIMEOUT_MS = 2_000;
/** How long a keeper may take to tell of a kill before it counts as hung and is killed itself. */
const KILL_ANSWER_MS = 5_000;
const RECONNECT_TRIES = 5;
const RECONNECT_PAUSE_MS = 100;
const SWEEP_LIMIT_MS = 15_000;
export const DISMISS_TIMEOUT_MS = 2_000;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Whether a keeper is the one of this life: what it says fits the plan, and its process is the one it names. */
export async function isProven(report: KeeperReport, life: Life, plan: LaunchPlan): Promise<boolean> {
  const { engine, incarnation, specHash, keeperPid, keeperTicks, enginePid, engineTicks, phase } = report;
  if (engine !== life.engine || incarnation !== life.incarnation || specHash !== plan.specHash) return false;
  if (!(await isProcess(keeperPid, keeperTicks))) return false;
  // A running engine that is not there ended in this moment: the keeper is about to say so.
  return phase !== 'running' || engineTicks !== '0' || !(await isProcess(enginePid, engineTicks));
}

/** What proves that a process belongs to the tree of this life, when there is no keeper to ask. */
export async function treeProof(kept: KeptLife, report: KeeperReport | undefined): Promise<TreeProof> {
  const { plan, files } = kept;
  return {
    variable: LIFE_VARIABLE,
    mark: plan.environment[LIFE_VARIABLE] ?? '',
    roots: report === undefined ? [] : [report.keeperPid],
    known: report === undefined ? [] : [{ pid: report.enginePid, startTicks: report.engineTicks }],
    ...(report === undefined ? {} : { session: { id: report.enginePid, folder: await files.realFolder(plan) } }),
  };
}

/** Kills what is left of a tree whose keeper is gone, and says how the engine ended as far as that is known. */
export async function sweepLost(kept: KeptLife, report: KeeperReport | undefined): Promise<EngineExit> {
  const proof = await treeProof(kept, report);
  const { killed, left } = await sweepTree({ ...proof, roots: [] }, SWEEP_LIMIT_MS);
  if (left.length > 0)
    kept.logger.error({ engine: kept.life.engine, pids: left }, 'processes of the engine cannot be killed');
  // The keeper may have written the end down before it went itself.
  const state = decodeState((await kept.files.readState(kept.life)) ?? '');
  const known =
    (state === undefined ? undefined : exitOf(state)) ?? (report === undefined ? undefined : exitOf(report));
  if (known === undefined) return { atMs: Date.now(), orphansKilled: killed, unseen: true };
  return { ...known, orphansKilled: (known.orphansKilled ?? 0) + killed };
}

export class KeptEngine implements LaunchedEngine {
  readonly pid: number;
  readonly keeperPid: number;
  readonly startedAtMs: number;
  readonly died: Promise<EngineExit>;
  readonly exited: Promise<EngineExit>;
  readonly partDied: Promise<void>;
  readonly #kept: KeptLife;
  #client: KeeperClient;
  #report: KeeperReport;
  #ended = false;
  #finishing = false;
  #killTimer: NodeJS.Timeout | undefined;
  #tellPartDied: () => void = () => undefined;
  #tellDied: (exit: EngineExit) => void = () => undefined;
  #tellExited: (exit: EngineExit) => void = () => undefined;

  constructor(kept: KeptLife, keeper: GreetedKeeper) {
    this.#kept = kept;
    this.#report = keeper.greeting;
    this.pid = keeper.greeting.enginePid;
    this.keeperPid = keeper.greeting.keeperPid;
    this.startedAtMs = keeper.greeting.startedAtMs;
    this.died = new Promise((resolve) => (this.#tellDied = resolve));
    this.exited = new Promise((resolve) => (this.#tellExited = resolve));
    this.partDied = new Promise((resolve) => (this.#tellPartDied = resolve));
    this.#client = keeper.client;
    this.#listen();
  }

  ended(): boolean {
    return this.#ended;
  }

  signal(name: 'SIGTERM' | 'SIGKILL'): void {
    this.#client.send(name === 'SIGTERM' ? 'term' : 'kill');
    if (name === 'SIGTERM' || this.#finishing) return;
    // A keeper that hangs would keep its engine alive for ever: it goes, and the tree is swept from here.
    this.#killTimer ??= setTimeout(() => void this.#killKeeper(), KILL_ANSWER_MS);
  }

  async processes(): Promise<readonly number[]> {
    const answer = await this.#client.ask('pids', ANSWER_TIMEOUT_MS);
    if (answer?.kind === 'pids') return answer.pids;
    return (await findTree(await treeProof(this.#kept, this.#report))).map(({ pid }) => pid);
  }

  #listen(): void {
    this.#client.onReport = (report) => this.#onReport(report);
    this.#client.onClose = () => void this.#onLost();
    this.#client.send('subscribe');
  }

  #onReport(report: KeeperReport): void {
    this.#report = report;
    const exit = exitOf(report);
    if (report.t === PART_DIED) this.#tellPartDied();
    if (exit === undefined) return;
    this.#markDied(exit);
    if (report.phase === 'ended') void this.#finish(exit);
  }

  #markDied(exit: EngineExit): void {
    this.#ended = true;
    this.#tellDied(exit);
  }

  async #killKeeper(): Promise<void> {
    const { keeperPid, keeperTicks, engine } = this.#report;
    if (this.#finishing || !(await isProcess(keeperPid, keeperTicks))) return;
    this.#kept.logger.error({ engine, keeperPid }, 'the keeper does not answer and is killed');
    signalProcess(keeperPid, 'SIGKILL');
  }

  /** The connection is gone: either the keeper is, or only the connection. */
  async #onLost(): Promise<void> {
    if (this.#finishing) return;
    const { keeperPid, keeperTicks } = this.#report;
    for (let tries = 0; tries < RECONNECT_TRIES && (await isProcess(keeperPid, keeperTicks)); tries++) {
      const again = await connectKeeper(this.#kept.life.folder, GREETING_TIMEOUT_MS);
      if (again !== undefined && again.greeting.keeperPid === keeperPid && again.greeting.keeperTicks === keeperTicks) {
        this.#client = again.client;
        this.#listen();
        return;
      }
      again?.client.close();
      await pause(RECONNECT_PAUSE_MS);
    }
    await this.#sweep();
  }

  async #sweep(): Promise<void> {
    const { keeperPid, keeperTicks, engine } = this.#report;
    this.#kept.logger.error({ engine, keeperPid }, 'the keeper is gone; what is left of its engine is killed');
    // One that lives and answers nobody keeps nothing.
    if (await isProcess(keeperPid, keeperTicks)) signalProcess(keeperPid, 'SIGKILL');
    this.#markDied(exitOf(this.#report) ?? { atMs: Date.now(), unseen: true });
    await this.#close(await sweepLost(this.#kept, this.#report));
  }

  /** The end is known and the tree is gone: the keeper may go too. */
  async #finish(exit: EngineExit): Promise<void> {
    if (this.#finishing) return;
    this.#finishing = true;
    const stuck = this.#report.exit?.unkillable ?? [];
    if (stuck.length > 0)
      this.#kept.logger.error({ engine: this.#report.engine, pids: stuck }, 'processes of the engine cannot be killed');
    await this.#client.dismiss(DISMISS_TIMEOUT_MS);
    await this.#close(exit);
  }

  async #close(exit: EngineExit): Promise<void> {
    this.#finishing = true;
    clearTimeout(this.#killTimer);
    const { files, life, plan, logger } = this.#kept;
    await files.removeLife(life, plan).catch((error: unknown) => {
      logger.warn({ engine: life.engine, err: error }, 'the folder of an ended engine cannot be removed');
    });
    this.#tellExited(exit);
  }
}

/** An engine that had ended before this agent looked. */
export function endedEngine(report: KeeperReport | undefined, exit: EngineExit): LaunchedEngine {
  const told = Promise.resolve(exit);
  return {
    pid: report?.enginePid ?? 0,
    keeperPid: report?.keeperPid ?? 0,
    startedAtMs: report?.startedAtMs ?? 0,
    ended: () => true,
    died: told,
    exited: told,
    signal: () => undefined,
    processes: () => Promise.resolve([]),
  };
}
