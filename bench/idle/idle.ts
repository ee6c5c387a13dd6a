/**
 * `agent-idle`: what a fleet costs in which nothing happens, where every percent is one that a host's owner pays for
 * nothing: an agent with idle engines, and a scheduler that hears of very many agents once a second.
 */
import { round } from '../process_stats.ts';
import { alignRows } from '../relay/print.ts';
import { type FleetCoreCost, measureFleetCore } from '../sim/fleet_core.ts';
import { type AgentCost, measureAgent } from './agent_cost.ts';
import { measureScheduler, type SchedulerCost } from './scheduler_cost.ts';

export interface IdleOptions {
  readonly json?: boolean;
  readonly gpus: number;
  readonly engines: number;
  readonly agents: number;
  readonly simulated: number;
  readonly changing: number;
  readonly settle: number;
  readonly seconds: number;
}

const SIMULATED_ROUNDS = 5;
const PERIOD_MS = 1000;
/** Each agent with sessions has two connections with TLS; beyond this many a machine measures its own sockets. */
const MAX_WITH_SESSIONS = 2000;
const USUAL_SESSIONS = 1000;

interface Report {
  readonly agent: AgentCost;
  readonly scheduler: SchedulerCost;
  readonly core: FleetCoreCost;
}

function printIdle(options: IdleOptions, { agent: cost, scheduler, core }: Report): string {
  const { agent, sensor } = cost;
  const row = (what: string, percent: number, mb: number | undefined, goal: string): (string | number)[] => [
    what,
    goal,
    round(percent),
    mb === undefined ? '-' : Math.round(mb),
  ];
  return alignRows([
    ['process', 'goal', '% of a core', 'RSS MB'],
    row(
      `agent, ${options.gpus} GPUs, ${options.engines} idle engines`,
      agent.corePercent,
      agent.rssMb,
      '< 1 %, < 150 MB',
    ),
    ...(sensor === undefined ? [] : [row('its GPU sensor, with nvidia-smi', sensor.corePercent, sensor.rssMb, '')]),
    row(
      `scheduler, ${options.agents} agents at 1 Hz, real sessions and lanes`,
      scheduler.corePercent,
      scheduler.rssMb,
      '< 50 %',
    ),
    row(`scheduler's core alone, ${core.agents} agents at 1 Hz, in process`, core.corePercent, undefined, ''),
  ]);
}

/** The action of the command. */
export async function runIdle(options: IdleOptions): Promise<void> {
  const { gpus, engines, changing, settle, seconds } = options;
  const tooMany = options.agents > MAX_WITH_SESSIONS;
  const agents = tooMany ? USUAL_SESSIONS : options.agents;
  const simulated = tooMany ? options.agents : options.simulated;
  const shape = { gpus, engines, changing };
  const agent = await measureAgent({ gpus, engines, settleSeconds: settle, seconds });
  const load = { agents, periodMs: PERIOD_MS, shape, settleSeconds: settle, seconds };
  const scheduler = await measureScheduler(load);
  const core = measureFleetCore(simulated, SIMULATED_ROUNDS, shape);
  process.stdout.write(`${printIdle({ ...options, agents }, { agent, scheduler, core })}\n`);
  if (options.json !== true) return;
  const sensorCore = agent.sensor?.corePercent ?? 0;
  const sensorMb = agent.sensor?.rssMb ?? 0;
  const result = {
    corePercent: round(agent.agent.corePercent),
    rssMb: round(agent.agent.rssMb, 1),
    sensorCorePercent: round(sensorCore),
    sensorRssMb: round(sensorMb, 1),
    withSensorCorePercent: round(agent.agent.corePercent + sensorCore),
    withSensorRssMb: round(agent.agent.rssMb + sensorMb, 1),
    // Scaled when the run had another number of agents; the next two fields say what was measured.
    schedulerCorePercentAt1000: round((scheduler.corePercent * 1000) / agents),
    schedulerCorePercent: round(scheduler.corePercent),
    schedulerAgents: agents,
    schedulerRssMb: round(scheduler.rssMb, 1),
    simulatedAgents: core.agents,
    simulatedBy: 'scheduler core in process, without sockets',
    simulatedCorePercent: round(core.corePercent),
    simulatedUsPerMessage: round(core.usPerMessage),
    simulatedHeapMb: round(core.heapMb, 1),
    gpus,
    engines,
    seconds,
  };
  process.stdout.write(`${JSON.stringify(result)}\n`);
}
