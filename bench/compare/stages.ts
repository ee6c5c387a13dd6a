/**
 * The stages in which all contestants share the same engines: those that our agent supervises, on ports that everybody
 * can reach. The contestants take turns cell by cell, so that what else the machine does meets all of them.
 */
import { type BenchFleet, startBenchFleet } from '../bench_fleet.ts';
import { type Cell, warmUp } from '../relay/cells.ts';
import { freePorts } from '../supervised/free_ports.ts';
import type { Results } from './compare.ts';
import { type Contestant, type Entry, fleetContestant } from './contestants.ts';
import { costCell, costRow, driverOf, plainCell, ttftRow, ttftTurn } from './cost.ts';
import { COST_STAGES, type CostStage, type Part, type Scale, TTFT_STREAMS } from './scale.ts';

export interface StageContext {
  readonly entries: readonly Entry[];
  readonly scale: Scale;
  readonly folder: string;
  readonly results: Results;
  readonly parts: readonly Part[];
  /** First of the engines' ports, so that a router that is started by hand can know them; any free ones when absent. */
  readonly enginePort: number | undefined;
  /** Tells what begins now. */
  readonly step: (note: string) => void;
}

export const ENGINES = 2;
const COALESCE_MS = 40;
const TTFT_ITL_MS = 5;
const WARM_UP_TOKENS = 2;

export const OWN = 'sophia';
export const OWN_COALESCING = `sophia, ${COALESCE_MS} ms coalescing`;
export const OWN_MANY = 'sophia, GenerateMany';

export async function portsOf(context: Pick<StageContext, 'enginePort'>, count: number): Promise<number[]> {
  const first = context.enginePort;
  return first === undefined ? freePorts(count) : Array.from({ length: count }, (_, index) => first + index);
}

export const simFlags = (itlMs: number): string[] => [
  '--max-num-seqs',
  '1024',
  ...(itlMs === 0 ? ['--sim-unpaced'] : ['--sim-itl-ms', String(itlMs)]),
];

/** Starts a router; one that does not come up is noted once and takes no further part. */
export async function enter(
  context: StageContext,
  entry: Entry,
  ports: readonly number[],
): Promise<Contestant | undefined> {
  const { skipped } = context.results;
  if (skipped.some(({ name }) => name === entry.name)) return undefined;
  try {
    return await entry.start({ enginePorts: ports, folder: context.folder });
  } catch (error) {
    skipped.push({ name: entry.name, reason: (error as Error).message });
    return undefined;
  }
}

interface Stage {
  readonly contestants: readonly Contestant[];
  readonly ports: readonly number[];
}

/** Runs `body` with our fleet and every router in front of its engines. */
async function withStage(
  context: StageContext,
  engines: number,
  itlMs: number,
  own: (fleet: BenchFleet) => Promise<readonly Contestant[]>,
  body: (stage: Stage) => Promise<void>,
): Promise<void> {
  const ports = await portsOf(context, engines);
  const fleet = await startBenchFleet({ engines, simFlags: simFlags(itlMs), ports });
  const contestants: Contestant[] = [];
  try {
    contestants.push(...(await own(fleet)));
    for (const entry of context.entries) {
      const contestant = await enter(context, entry, ports);
      if (contestant !== undefined) contestants.push(contestant);
    }
    const { warmUpRequests, warmUpMs } = context.scale;
    for (const contestant of contestants) await warmUp(driverOf(contestant, WARM_UP_TOKENS), warmUpRequests, warmUpMs);
    await body({ contestants, ports });
  } finally {
    for (const contestant of contestants) await contestant.stop();
    await fleet.stop();
  }
}

/** Our fleet at both doors, and another whose scheduler coalesces: that is a setting of the process. */
const ownWays =
  (itlMs: number) =>
  async (fleet: BenchFleet): Promise<readonly Contestant[]> => {
    const coalescing = await startBenchFleet({
      engines: ENGINES,
      simFlags: simFlags(itlMs),
      scheduler: { coalesceMs: COALESCE_MS },
    });
    return [
      fleetContestant(OWN, fleet, 'http'),
      { ...fleetContestant(OWN_COALESCING, coalescing, 'http'), stop: () => coalescing.stop() },
      fleetContestant(OWN_MANY, fleet, 'many'),
    ];
  };

const takesPart = (context: StageContext, contestant: Contestant, streams: number): boolean =>
  streams <= (context.entries.find(({ name }) => name === contestant.name)?.mostStreams ?? streams);

async function costStage(
  context: StageContext,
  { loads }: CostStage,
  contestants: readonly Contestant[],
): Promise<void> {
  const { rounds, seconds } = context.scale;
  for (const { name, streams, tokens } of loads) {
    const cells = new Map<string, Cell[]>();
    for (let round = 0; round < rounds; round++) {
      for (const contestant of contestants) {
        context.step(`${name}, ${contestant.name}`);
        if (!takesPart(context, contestant, streams)) continue;
        const of = cells.get(contestant.name) ?? [];
        of.push(await costCell(contestant, streams, tokens, seconds));
        cells.set(contestant.name, of);
      }
    }
    for (const [router, of] of cells) context.results.cost.push(costRow(name, router, of));
  }
}

async function plainStage(context: StageContext, contestants: readonly Contestant[]): Promise<void> {
  for (const contestant of contestants.filter(({ name }) => name !== OWN_COALESCING && name !== OWN_MANY)) {
    context.step(`plain requests, ${contestant.name}`);
    context.results.plain.push(await plainCell(contestant, context.scale.seconds));
  }
}

async function ttftStage(context: StageContext, { contestants, ports }: Stage): Promise<void> {
  const { ttftTurns, ttftRequests } = context.scale;
  const direct = { url: new URL(`http://127.0.0.1:${ports[0]}/v1/chat/completions`) };
  for (const { streams, tokens } of TTFT_STREAMS) {
    const times = new Map<string, number[]>(contestants.map(({ name }) => [name, []]));
    const directTimes: number[] = [];
    // Many streams at a time give many times a turn; each stream asks at least twice.
    const requests = streams === 1 ? ttftRequests : Math.max(2 * streams, ttftRequests);
    for (let turn = 0; turn < ttftTurns; turn++) {
      context.step(`time to first token, ${streams} streams`);
      directTimes.push(...(await ttftTurn(direct, streams, tokens, requests)));
      for (const contestant of contestants)
        times.get(contestant.name)?.push(...(await ttftTurn(contestant, streams, tokens, requests)));
    }
    for (const [router, of] of times) context.results.ttft.push(ttftRow(streams, router, of, directTimes));
  }
}

export async function runCostStages(context: StageContext): Promise<void> {
  const { parts } = context;
  for (const stage of COST_STAGES) {
    const unpaced = stage.itlMs === 0;
    if (!parts.includes('cost') && !(unpaced && parts.includes('plain'))) continue;
    await withStage(context, ENGINES, stage.itlMs, ownWays(stage.itlMs), async ({ contestants }) => {
      if (parts.includes('cost')) await costStage(context, stage, contestants);
      if (unpaced && parts.includes('plain')) await plainStage(context, contestants);
    });
  }
  if (!parts.includes('ttft')) return;
  const own = async (fleet: BenchFleet) => [fleetContestant(OWN, fleet, 'http')];
  await withStage(context, 1, TTFT_ITL_MS, own, (stage) => ttftStage(context, stage));
}
