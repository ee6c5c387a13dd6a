/**
 * Starts keepers so that they outlive the agent: in a session of their own, tied to it by nothing. Where systemd rules
 * the host and the agent may ask it, a keeper becomes a transient unit in a slice of its own, so that its limits and
 * its fate are not those of the agent's unit.
 */
import { execFile, spawn } from 'node:child_process';
import { accessSync, closeSync, constants, existsSync, openSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Logger } from '../../../lib/io/logger.ts';
import { packageRoot } from '../../../lib/io/package_root.ts';
import { hashText } from '../../core/engine_spec.ts';
import { LIFE_FILES } from '../../core/keeper_protocol.ts';
import { onDisk, type Life } from './engine_files.ts';

export type KeeperChoice = 'auto' | 'native' | 'node';

export interface KeeperStartOptions {
  /** `auto` takes the compiled keeper where there is one. */
  readonly keeper: KeeperChoice;
  readonly keeperUnits: 'auto' | 'never';
  readonly logger: Logger;
}

export interface StartingKeeper {
  /** Whether it is known to have ended, which it must not before it has greeted. */
  ended(): boolean;
  /** Ends it, when it was started directly and does not answer. */
  kill(): void;
}

const NODE_HEAP_MB = 64;
const SYSTEMD_RUN_TIMEOUT_MS = 5_000;
const BOOTED_BY_SYSTEMD = '/run/systemd/system';

/** Where `npm run build` puts what it compiles for this machine. */
export const nativeKeeper = (): string =>
  path.join(packageRoot(), 'native', 'out', `${process.platform}-${process.arch}`, 'sophia-keeper');

function isRunnable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    // Not compiled, which is a way to run.
    return false;
  }
}

/** What systemd is asked for. Nothing here comes from a spec but the engine's name, which is a plain word. */
export function unitArguments(life: Life, program: readonly string[]): string[] {
  const unit = `sophia-engine-${life.engine}-${life.incarnation}-${hashText(life.folder).slice(0, 8)}`;
  return [
    '--quiet',
    '--collect',
    '--no-ask-password',
    `--unit=${unit}`,
    '--slice=sophia-engines.slice',
    '--service-type=exec',
    `--uid=${process.getuid?.() ?? 0}`,
    `--gid=${process.getgid?.() ?? 0}`,
    // A process of an engine that is killed for memory is the engine's matter, not the unit's end.
    '--property=OOMPolicy=continue',
    '--property=TasksMax=infinity',
    '--property=LimitMEMLOCK=infinity',
    '--property=StandardOutput=null',
    `--property=StandardError=append:${path.join(life.folder, LIFE_FILES.log)}`,
    '--',
    ...program,
  ];
}

function runSystemd(args: readonly string[]): Promise<string | undefined> {
  return new Promise((resolve) => {
    execFile('systemd-run', args, { timeout: SYSTEMD_RUN_TIMEOUT_MS }, (error, _stdout, stderr) => {
      resolve(error === null ? undefined : stderr.trim().slice(0, 300) || error.message);
    });
  });
}

export class KeeperStarter {
  readonly #program: readonly string[];
  readonly #logger: Logger;
  #units: boolean;

  constructor(options: KeeperStartOptions) {
    const { keeper, keeperUnits, logger } = options;
    this.#logger = logger;
    this.#units = keeperUnits === 'auto' && existsSync(BOOTED_BY_SYSTEMD);
    const compiled = nativeKeeper();
    const native = keeper === 'native' || (keeper === 'auto' && isRunnable(compiled));
    const main = fileURLToPath(new URL('../../keeper/main.js', import.meta.url));
    this.#program = native ? [compiled] : [process.execPath, `--max-old-space-size=${NODE_HEAP_MB}`, main];
    if (!native)
      logger.warn(
        {},
        'engines run under keepers on Node: about fifty times the memory, and orphans are found by their environment only; `npm run build` with a C compiler makes the small one',
      );
  }

  /** Starts the keeper of a life whose files are written. @throws CodedError storage_failed */
  async start(life: Life): Promise<StartingKeeper> {
    const program = [...this.#program, life.folder];
    if (this.#units) {
      const refusal = await runSystemd(unitArguments(life, program));
      if (refusal === undefined) return { ended: () => false, kill: () => undefined };
      this.#units = false;
      this.#logger.info({ reason: refusal }, 'keepers are started without units of their own');
    }
    return this.#spawn(life, program as [string, ...string[]]);
  }

  async #spawn(life: Life, [command, ...args]: [string, ...string[]]): Promise<StartingKeeper> {
    const log = await onDisk(async () => openSync(path.join(life.folder, LIFE_FILES.log), 'a', 0o600));
    const child = spawn(command, args, { cwd: '/', env: {}, detached: true, stdio: ['ignore', 'ignore', log] });
    closeSync(log);
    let ended = false;
    child.once('exit', () => (ended = true));
    child.once('error', (error) => {
      this.#logger.error({ err: error, engine: life.engine }, 'the keeper cannot be started');
      ended = true;
    });
    child.unref();
    return { ended: () => ended, kill: () => void child.kill('SIGKILL') };
  }
}
