/**
 * The engine under a keeper on Node. Node cannot be a subreaper and cannot tie a child's life to its own, so that
 * orphans belong to init: they are found by the mark that the tree inherits, and a keeper that is killed leaves its
 * engine to the agent, which finds it in the same way.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { findTree, sweepTree, type TreeProof } from '../../lib/io/process_tree.ts';
import { isTidier, processStartTicks, signalProcess } from '../../lib/io/processes.ts';
import type { KeeperExit, KeeperLaunch, KeeperPhase } from '../core/keeper_protocol.ts';
import { LIFE_VARIABLE } from '../core/launch_plan.ts';
import { OutputFile, Tail } from './kept_files.ts';

const SWEEP_LIMIT_MS = 15_000;
/** Time for the last bytes of a dead engine to arrive; it is one turn of the loop in nearly all cases. */
const LAST_BYTES_MS = 20;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

export class KeptEngine {
  readonly #launch: KeeperLaunch;
  readonly #tail: Tail;
  readonly #proof: TreeProof;
  readonly #startedAtMs = Date.now();
  readonly #startedMs = performance.now();
  #child: ChildProcess | undefined;
  readonly output: OutputFile;
  phase: KeeperPhase = 'failed';
  pid = 0;
  ticks = '0';
  failure: string | undefined;
  exit: KeeperExit | undefined;
  killed = false;

  constructor(launch: KeeperLaunch) {
    this.#launch = launch;
    this.#tail = new Tail(launch.tailBytes);
    this.output = new OutputFile(launch.output, launch.outputMaxBytes);
    this.#proof = {
      variable: LIFE_VARIABLE,
      mark: launch.environment[LIFE_VARIABLE] ?? '',
      roots: [process.pid],
      known: [],
    };
  }

  get startedAtMs(): number {
    return this.#startedAtMs;
  }

  /** Starts the program; `failure` says why it could not. `onChange` is called at its end and when its tree is gone. */
  async start(onChange: (what: 'died' | 'ended') => void): Promise<void> {
    const { args, folder, environment } = this.#launch;
    const [command, ...rest] = args as [string, ...string[]];
    const child = spawn(command, rest, {
      cwd: folder,
      env: environment,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (piece: Buffer) => {
        this.#tail.add(piece);
        this.output.take(piece);
      });
    child.once('exit', (code, signal) => void this.#onExit(code, signal, onChange));
    this.failure = await new Promise<string | undefined>((resolve) => {
      child.once('spawn', () => resolve(undefined));
      child.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'EIO'));
    });
    if (this.failure !== undefined) return;
    this.pid = child.pid as number;
    this.ticks = (await processStartTicks(this.pid)) ?? '0';
    if (this.exit === undefined) this.phase = 'running';
  }

  #treeProof(): TreeProof {
    const { pid } = this;
    return pid === 0 ? this.#proof : { ...this.#proof, session: { id: pid, folder: this.#launch.folder } };
  }

  async #onExit(
    code: number | null,
    signal: NodeJS.Signals | null,
    onChange: (what: 'died' | 'ended') => void,
  ): Promise<void> {
    const wallMs = Math.round(performance.now() - this.#startedMs);
    const atMs = Date.now();
    this.pid = this.#child?.pid ?? 0;
    const { stdout, stderr } = this.#child as ChildProcess;
    const closed = [stdout, stderr].map(
      (stream) =>
        new Promise<void>((resolve) => (stream?.closed === true ? resolve() : stream?.once('close', resolve))),
    );
    // Orphans may hold the pipe open for ever, so its end is waited for only shortly.
    await Promise.race([Promise.all(closed), pause(LAST_BYTES_MS)]);
    this.exit = {
      atMs,
      wallMs,
      orphansKilled: 0,
      ...(signal === null ? { exitCode: code ?? 0 } : { signal }),
      unkillable: [],
      lastLines: this.#tail.text(),
    };
    this.phase = 'sweeping';
    onChange('died');
    const { killed, left } = await sweepTree(this.#treeProof(), SWEEP_LIMIT_MS);
    // What was killed on request together with the first process did not outlive it.
    this.exit = { ...this.exit, orphansKilled: this.killed ? 0 : killed, unkillable: left };
    this.phase = 'ended';
    onChange('ended');
  }

  async pids(): Promise<number[]> {
    return (await findTree(this.#treeProof())).map(({ pid }) => pid);
  }

  terminate(): void {
    if (this.phase === 'running') this.#child?.kill('SIGTERM');
  }

  async kill(): Promise<void> {
    this.killed = true;
    // The first process at once; the rest needs a look at all processes.
    if (this.phase === 'running') this.#child?.kill('SIGKILL');
    // What tidies up is left to the sweep, which gives it a moment.
    for (const { pid } of await findTree(this.#treeProof())) if (!(await isTidier(pid))) signalProcess(pid, 'SIGKILL');
  }
}
