/**
 * `npm run bench -- agent-restart`: the agent is killed while streams run, and started again at once, as an init system
 * would. No engine may notice more than its clients' going, and the fleet must serve again within moments.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { quantile, round } from '../process_stats.ts';
import { alignRows } from '../relay/print.ts';
import { simPlans, startSupervisedFleet, type SupervisedFleet } from '../supervised/fleet.ts';
import { startLoad } from '../supervised/load.ts';

export interface AgentRestartOptions {
  readonly streams: number;
  readonly rounds: number;
  readonly json?: boolean;
}

export interface AgentRestartReport {
  readonly streams: number;
  /** Engines whose process or life differs after all rounds. */
  readonly engineRestarts: number;
  /** Of the streams that ran meanwhile: those that ended with an error. */
  readonly failedStreams: number;
  /** From the kill to the end of the first completion that was asked for after it; the slowest round. */
  readonly serveAgainMs: number;
  readonly serveAgainP50Ms: number;
  /** Each round, in order. */
  readonly roundsMs: readonly number[];
  readonly rounds: number;
}

const ENGINES = 4;
const TOKENS = 2000;
const RAMP_MS = 1500;
const SERVE_LIMIT_MS = 30_000;
/** A caller whose request was refused tries again after so long. */
const RETRY_MS = 10;

async function serveAgain(fleet: SupervisedFleet, engine: string): Promise<number> {
  const killedMs = performance.now();
  const restarted = fleet.killAgent();
  // Whoever asks in between is refused at once, and asks again.
  while (performance.now() - killedMs < SERVE_LIMIT_MS) {
    const outcome = await fleet.stream({ engine, tokens: 1, limitMs: SERVE_LIMIT_MS });
    if (outcome.ok) {
      const ms = performance.now() - killedMs;
      await restarted;
      return ms;
    }
    await sleep(RETRY_MS);
  }
  await restarted;
  throw new Error(`no completion of ${engine} within ${SERVE_LIMIT_MS / 1000} s of the agent's restart`);
}

export async function runAgentRestart(options: AgentRestartOptions): Promise<void> {
  const { streams, rounds } = options;
  const fleet = await startSupervisedFleet({ engines: simPlans(ENGINES, 'sim', ['--sim-itl-ms', '20']) });
  const times: number[] = [];
  let engineRestarts: number;
  let failedStreams: number;
  try {
    const before = new Map((await fleet.engines()).map((facts) => [facts.name, facts]));
    const load = startLoad(fleet, Math.ceil(streams / ENGINES), TOKENS);
    for (let turn = 0; turn < rounds; turn++) {
      await sleep(RAMP_MS);
      times.push(await serveAgain(fleet, `sim-${turn % ENGINES}`));
    }
    await sleep(RAMP_MS);
    failedStreams = load.figures().failed;
    await load.stop();
    for (const { name } of fleet.plans) await fleet.waitFor(name, 'ready', (facts) => facts.routable, SERVE_LIMIT_MS);
    engineRestarts = (await fleet.engines()).filter(({ name, pid, incarnation }) => {
      const was = before.get(name);
      return was?.pid !== pid || was.incarnation !== incarnation;
    }).length;
  } finally {
    await fleet.stop();
  }
  const report: AgentRestartReport = {
    streams,
    engineRestarts,
    failedStreams,
    serveAgainMs: round(Math.max(...times), 0),
    serveAgainP50Ms: round(quantile(times, 0.5), 0),
    roundsMs: times.map((ms) => round(ms, 0)),
    rounds,
  };
  console.log(
    alignRows([
      ['agent killed', `under ${streams} streams, rounds`, rounds],
      ['engines', 'restarted', engineRestarts],
      ['streams', 'failed', failedStreams],
      ['serves again', 'ms, slowest', report.serveAgainMs],
      ['', 'ms, median', report.serveAgainP50Ms],
    ]),
  );
  if (options.json === true) console.log(JSON.stringify(report));
  if (engineRestarts + failedStreams > 0) process.exitCode = 1;
}
