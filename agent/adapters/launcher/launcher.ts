/**
 * Launches engines under keepers and finds the ones that an earlier agent launched. Whatever runs is proven before it
 * is touched: a keeper by what it says on the socket in its folder, the tree of a dead keeper by the mark it inherits.
 */
import { CodedError } from '../../../lib/errors.ts';
import type { Logger } from '../../../lib/io/logger.ts';
import { findTree } from '../../../lib/io/process_tree.ts';
import { bootId, isProcess, processesFor, signalProcess } from '../../../lib/io/processes.ts';
import { decodeState, encodeLaunch, startFailure } from '../../core/keeper_protocol.ts';
import type { AdoptableEngine, EngineLauncher, LaunchedEngine, LaunchPlan } from '../../ports.ts';
import { EngineFiles, type Life } from './engine_files.ts';
import { connectKeeper, type GreetedKeeper } from './keeper_client.ts';
import { type KeeperChoice, KeeperStarter, type StartingKeeper } from './keeper_start.ts';
import {
  DISMISS_TIMEOUT_MS,
  endedEngine,
  isProven,
  KeptEngine,
  type KeptLife,
  sweepLost,
  treeProof,
} from './kept_engine.ts';
import { OutputReader } from './output_reader.ts';

export interface LauncherOptions {
  /** One folder per engine is made below it, 0700, because vLLM's socket is open to all. */
  readonly enginesFolder: string;
  readonly logger: Logger;
  readonly keeper?: KeeperChoice;
  readonly keeperUnits?: 'auto' | 'never';
  /** Size of an output file at which a new one is begun. */
  readonly outputMaxBytes?: number;
  /** How long a keeper waits for an agent after the end of its engine. */
  readonly keeperLingerMs?: number;
}

const OUTPUT_MAX_BYTES = 64 * 1024 * 1024;
const TAIL_BYTES = 16 * 1024;
const LINGER_MS = 60 * 60 * 1000;
/** Generous: a host that loads a model may be busy for long. */
const KEEPER_START_LIMIT_MS = 15_000;
/** A keeper that is silent for so long on a busy host keeps nothing any more. */
const ADOPTION_TIMEOUT_MS = 10_000;
const FIRST_PAUSE_MS = 1;
const LONGEST_PAUSE_MS = 20;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits for the greeting of a keeper that was just started. */
async function awaitGreeting(life: Life, keeper: StartingKeeper): Promise<GreetedKeeper | undefined> {
  const endMs = performance.now() + KEEPER_START_LIMIT_MS;
  for (let pauseMs = FIRST_PAUSE_MS; performance.now() < endMs; pauseMs = Math.min(LONGEST_PAUSE_MS, pauseMs * 2)) {
    const ended = keeper.ended();
    const greeted = await connectKeeper(life.folder, endMs - performance.now());
    if (greeted !== undefined || ended) return greeted;
    await pause(pauseMs);
  }
  return undefined;
}

class KeeperLauncher implements EngineLauncher {
  readonly #options: LauncherOptions;
  readonly #files: EngineFiles;
  readonly #starter: KeeperStarter;
  readonly #output = new OutputReader();

  constructor(options: LauncherOptions) {
    this.#options = options;
    this.#files = new EngineFiles(options.enginesFolder);
    const { keeper = 'auto', keeperUnits = 'never', logger } = options;
    this.#starter = new KeeperStarter({ keeper, keeperUnits, logger });
  }

  nextIncarnation(engine: string): Promise<number> {
    return this.#files.nextIncarnation(engine, Date.now());
  }

  readOutput(file: string, fromByte: number, maxBytes: number): ReturnType<EngineLauncher['readOutput']> {
    return this.#output.read(file, fromByte, maxBytes);
  }

  async launch(plan: LaunchPlan): Promise<LaunchedEngine> {
    const { outputMaxBytes = OUTPUT_MAX_BYTES, keeperLingerMs = LINGER_MS } = this.#options;
    const launchText = encodeLaunch({
      engine: plan.engine,
      incarnation: plan.incarnation,
      specHash: plan.specHash,
      folder: plan.workingDirectory,
      output: plan.outputFile,
      outputMaxBytes,
      tailBytes: TAIL_BYTES,
      lingerMs: keeperLingerMs,
      args: [plan.command, ...plan.args],
      environment: plan.environment,
    });
    const kept = this.#keptOf(this.#files.life(plan.engine, plan.incarnation), plan);
    try {
      await this.#files.makeLife(kept.life, plan, launchText);
      return await this.#start(kept);
    } catch (error) {
      await this.#files.removeLife(kept.life, plan).catch((left: unknown) => {
        this.#options.logger.warn({ engine: plan.engine, err: left }, 'the folder of a failed start cannot be removed');
      });
      throw error;
    }
  }

  #keptOf(life: Life, plan: LaunchPlan): KeptLife {
    return { life, plan, files: this.#files, logger: this.#options.logger };
  }

  async #start(kept: KeptLife): Promise<LaunchedEngine> {
    const { life, plan } = kept;
    const keeper = await this.#starter.start(life);
    const greeted = await awaitGreeting(life, keeper);
    if (greeted === undefined) {
      keeper.kill();
      await sweepLost(kept, undefined);
      const words = await this.#files.readKeeperLog(life);
      throw new CodedError('engine_unreachable', `The keeper of the engine did not begin: ${words || 'no reason'}.`);
    }
    const { client, greeting } = greeted;
    if (greeting.failure !== undefined) {
      await client.dismiss(DISMISS_TIMEOUT_MS);
      const why = startFailure(greeting.failure);
      throw new CodedError('engine_unreachable', `The engine program cannot be started: ${why}.`);
    }
    if (!(await isProven(greeting, life, plan))) {
      client.close();
      throw new CodedError('engine_unreachable', 'The keeper of the engine is not the one that was started.');
    }
    return new KeptEngine(kept, greeted);
  }

  async adoptable(): Promise<readonly AdoptableEngine[]> {
    const newest = new Map<string, AdoptableEngine>();
    const lives = await this.#files.lives();
    // Lives come oldest first: the newest of an engine is the one that counts, an older one can only be a leftover.
    for (const found of await Promise.all(lives.map((life) => this.#find(life)))) {
      if (found === undefined) continue;
      newest.get(found.engine)?.launched.signal('SIGKILL');
      newest.set(found.engine, found);
    }
    return [...newest.values()];
  }

  async #find(life: Life): Promise<AdoptableEngine | undefined> {
    const { logger } = this.#options;
    try {
      const plan = await this.#files.readPlan(life);
      if (plan === undefined) {
        logger.warn({ engine: life.engine, folder: life.folder }, 'not a folder of an engine of ours; left as it is');
        return undefined;
      }
      const kept = this.#keptOf(life, plan);
      const launched = await this.#adopt(kept);
      const { engine, incarnation } = life;
      return launched === undefined ? undefined : { engine, incarnation, specHash: plan.specHash, plan, launched };
    } catch (error) {
      logger.warn({ engine: life.engine, folder: life.folder, err: error }, 'the folder cannot be read; left as it is');
      return undefined;
    }
  }

  async #adopt(kept: KeptLife): Promise<LaunchedEngine | undefined> {
    const { life, plan } = kept;
    const withdrawn = await this.#files.withdrawLaunch(life);
    const greeted = await connectKeeper(life.folder, ADOPTION_TIMEOUT_MS);
    if (greeted === undefined) return this.#withoutKeeper(kept, withdrawn);
    if (await isProven(greeted.greeting, life, plan)) {
      if (greeted.greeting.phase !== 'failed') return new KeptEngine(kept, greeted);
      await greeted.client.dismiss(DISMISS_TIMEOUT_MS);
      await this.#files.removeLife(life, plan);
      return undefined;
    }
    greeted.client.close();
    this.#options.logger.warn({ engine: life.engine }, 'a keeper that cannot be proven to be ours; left as it is');
    return undefined;
  }

  /** The keeper is gone: its last words tell the end, or nobody saw it. */
  async #withoutKeeper(kept: KeptLife, neverBegan: boolean): Promise<LaunchedEngine | undefined> {
    const { life, plan, files, logger } = kept;
    const report = decodeState((await files.readState(life)) ?? '');
    // Numbers of processes mean nothing after the host went down.
    const sameBoot = report?.bootId === (await bootId());
    const trusted = sameBoot ? report : undefined;
    if (neverBegan && report === undefined && (await findTree(await treeProof(kept, undefined))).length === 0) {
      await files.removeLife(life, plan);
      return undefined;
    }
    // Its last words may be lost as well; its only argument is the folder that it keeps.
    const isTold = trusted !== undefined && (await isProcess(trusted.keeperPid, trusted.keeperTicks));
    for (const keeperPid of isTold ? [trusted.keeperPid] : await processesFor(life.folder)) {
      logger.error({ engine: life.engine, keeperPid }, 'the keeper does not answer and is killed');
      signalProcess(keeperPid, 'SIGKILL');
    }
    const exit = await sweepLost(kept, trusted);
    await files.removeLife(life, plan);
    if (report?.phase === 'failed') return undefined;
    logger.warn({ engine: life.engine, exit: { ...exit, lastLines: undefined } }, 'an engine ended without an agent');
    return endedEngine(report, exit);
  }
}

export function createLauncher(options: LauncherOptions): EngineLauncher {
  return new KeeperLauncher(options);
}
