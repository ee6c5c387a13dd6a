/**
 * `npm run bench -- agent-chaos`: a storm of faults over one agent and its engines, all of them real processes. The
 * story is drawn from a seed before it begins; after each fault the fleet must come back by itself, and at the end
 * nothing may be left over, lost or wrong.
 */
import { rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { quantile, round } from '../process_stats.ts';
import { alignRows } from '../relay/print.ts';
import { type EnginePlan, startSupervisedFleet, type SupervisedFleet } from '../supervised/fleet.ts';
import { freePorts } from '../supervised/free_ports.ts';
import { type Load, startLoad } from '../supervised/load.ts';
import { checkFleet, type Holdings, measureHoldings } from './checks.ts';
import { type FaultResult, OUTPUT_MAX_BYTES, strike } from './faults.ts';
import { AgentInspector, findWeights, type GpuStage, makeGpuStage, mountSmallDisk, unmountSmallDisk } from './stage.ts';
import { drawStory, type Fault, storyHash } from './story.ts';

export interface ChaosOptions {
  readonly faults: number;
  readonly seed: number;
  readonly engines: number;
  readonly llama: number;
  /** Folder of a model for one real vLLM beside the others, and the vllm command; absent: none. */
  readonly vllmModel?: string;
  readonly vllmCommand?: string;
  /** Mean pause before a fault, in milliseconds. */
  readonly every: number;
  /** Engines that may be down at a time. */
  readonly overlap: number;
  readonly json?: boolean;
}

export interface ChaosReport {
  readonly faults: number;
  /** Processes that belong to no living engine, seen at any look. */
  readonly orphans: number;
  readonly leakedFds: number;
  readonly rssGrowthMb: number;
  /** Engines that were not as the desired state asks, at the looks in between and at the end. */
  readonly wrongEngines: number;
  readonly seed: number;
  readonly story: string;
  /** Faults that a journal had to tell of and did, and those of which it did not. */
  readonly events: number;
  readonly missingEvents: number;
  readonly troubles: readonly string[];
  readonly heapGrowthMb: number;
  readonly keeperLeakedFds: number;
  /** How often each kind struck, and how long the fleet took to be whole again. */
  readonly byKind: Readonly<Record<string, { readonly faults: number; readonly medianSeconds: number }>>;
  /** Whether the agent's data lay on a small disk; without the right to mount, no disk is filled. */
  readonly diskFilled: boolean;
  readonly seconds: number;
  readonly streams: { readonly done: number; readonly failed: number };
}

/** Leaks beyond these fail the run; memory has the noise of a heap that grew while it was busy. */
const MOST_LEAKED_FDS = 2;
const MOST_RSS_GROWTH_MB = 48;
/** The whole fleet is looked at after so many faults. */
const FAULTS_PER_LOOK = 25;
/** What is held is first measured here: by then the agent is not killed any more, and is warm. */
const WARM_SHARE = 0.6;
const TOKENS = 200;
const SIM_FLAGS = ['--sim-itl-ms', '20'];

/** Real vLLM takes a minute or more to load on a CPU, and up to 11 s to stop. */
function planVllm(model: string): EnginePlan {
  return {
    name: 'vllm-0',
    kind: 'vllm',
    model,
    flags: ['--max-model-len', '2048', '--dtype', 'float32', '--enforce-eager'],
    environment: { VLLM_CPU_KVCACHE_SPACE: '1', VLLM_CPU_OMP_THREADS_BIND: '0' },
    limits: { startTimeoutMs: 300_000, stopTimeoutMs: 30_000 },
    recoveryLimitMs: 400_000,
  };
}

async function planEngines({ engines, llama, vllmModel }: ChaosOptions): Promise<EnginePlan[]> {
  const weights = llama === 0 ? '' : await findWeights();
  if (weights === undefined)
    throw new Error('The embedded model is not in the cache: start `npm start` once, or leave --llama away.');
  // Every third engine listens on a port, which another program can take from it for good.
  const ports = await freePorts(Math.ceil(engines / 3));
  const sims = Array.from({ length: engines }, (_, index): EnginePlan => {
    const tcpPort = index % 3 === 2 ? ports.pop() : undefined;
    return {
      name: `sim-${index}`,
      kind: 'sim',
      model: 'sim',
      flags: SIM_FLAGS,
      ...(tcpPort === undefined ? {} : { tcpPort }),
    };
  });
  const real = Array.from(
    { length: llama },
    (_, index): EnginePlan => ({ name: `llama-${index}`, kind: 'llama', model: weights, flags: [] }),
  );
  return [...sims, ...real, ...(vllmModel === undefined ? [] : [planVllm(vllmModel)])];
}

interface Telling {
  readonly results: { readonly fault: Fault; readonly result: FaultResult; readonly seconds: number }[];
  readonly wrong: string[];
  readonly orphans: Set<string>;
  warm: Holdings | undefined;
}

/** Waits for a slot that a fault may take: its engine must be whole, and the agent is struck by one at a time. */
class Slots {
  readonly struck = new Set<string>();
  readonly #running = new Set<Promise<void>>();
  readonly #overlap: number;
  #agentBusy = false;

  constructor(overlap: number) {
    this.#overlap = overlap;
  }

  async begin(fault: Fault, work: () => Promise<void>): Promise<void> {
    const { engine } = fault;
    const isFree = (): boolean =>
      engine === undefined ? !this.#agentBusy : !this.struck.has(engine) && this.struck.size < this.#overlap;
    while (!isFree()) await Promise.race(this.#running);
    if (engine === undefined) this.#agentBusy = true;
    else this.struck.add(engine);
    const running = work().finally(() => {
      if (engine === undefined) this.#agentBusy = false;
      else this.struck.delete(engine);
      this.#running.delete(running);
    });
    this.#running.add(running);
  }

  async allDone(): Promise<void> {
    await Promise.all(this.#running);
  }
}

async function look(fleet: SupervisedFleet, programs: string, telling: Telling): Promise<void> {
  const { wrong, orphans } = await checkFleet(fleet, programs);
  telling.wrong.push(...wrong);
  for (const orphan of orphans) telling.orphans.add(orphan);
}

async function tell(
  story: readonly Fault[],
  scene: { readonly fleet: SupervisedFleet; readonly load: Load; readonly gpu: GpuStage },
  options: ChaosOptions,
): Promise<Telling & { end: Holdings }> {
  const { fleet, load, gpu } = scene;
  const slots = new Slots(options.overlap);
  const inspector = new AgentInspector(fleet);
  await inspector.open();
  const telling: Telling = { results: [], wrong: [], orphans: new Set(), warm: undefined };
  const warmAt = Math.ceil(story.length * WARM_SHARE);
  const measure = async (): Promise<Holdings> => {
    await load.pause();
    const holdings = await measureHoldings(fleet, inspector);
    load.resume();
    return holdings;
  };
  for (const [index, fault] of story.entries()) {
    if (index === warmAt || (index > 0 && index % FAULTS_PER_LOOK === 0)) {
      await slots.allDone();
      await look(fleet, gpu.programs, telling);
      if (index === warmAt) telling.warm = await measure();
      process.stderr.write(`${index} of ${story.length} faults, ${telling.orphans.size} orphans\n`);
    }
    await sleep(fault.pauseMs);
    await slots.begin(fault, async () => {
      const startedMs = performance.now();
      const result = await strike(fault, { fleet, inspector, gpu, struck: slots.struck });
      for (const trouble of result.troubles) process.stderr.write(`${trouble}\n`);
      telling.results.push({ fault, result, seconds: (performance.now() - startedMs) / 1000 });
    });
  }
  await slots.allDone();
  await look(fleet, gpu.programs, telling);
  const end = await measure();
  return { ...telling, end };
}

function summarise(
  options: ChaosOptions,
  story: readonly Fault[],
  told: Telling & { readonly end: Holdings },
  more: Pick<ChaosReport, 'diskFilled' | 'seconds' | 'streams'>,
): ChaosReport {
  const { results, wrong, orphans, warm = told.end, end } = told;
  const byKind: Record<string, { faults: number; medianSeconds: number }> = {};
  for (const kind of new Set(results.map(({ fault }) => fault.kind))) {
    const seconds = results.filter(({ fault }) => fault.kind === kind).map((one) => one.seconds);
    byKind[kind] = { faults: seconds.length, medianSeconds: round(quantile(seconds, 0.5), 1) };
  }
  return {
    faults: results.length,
    orphans: orphans.size,
    leakedFds: Math.max(0, end.agentFiles - warm.agentFiles),
    rssGrowthMb: round(end.agentRssMb - warm.agentRssMb, 1),
    wrongEngines: wrong.length,
    seed: options.seed,
    story: storyHash(story),
    events: results.filter(({ result }) => result.journal === 'told').length,
    missingEvents: results.filter(({ result }) => result.journal === 'missing').length,
    troubles: [
      ...wrong,
      ...[...orphans].map((one) => `orphan ${one}`),
      ...results.flatMap(({ result }) => result.troubles),
    ],
    heapGrowthMb: round(end.agentHeapMb - warm.agentHeapMb, 1),
    keeperLeakedFds: Math.max(0, end.keeperFiles - warm.keeperFiles),
    byKind,
    ...more,
  };
}

function print(report: ChaosReport): string {
  const kinds = Object.entries(report.byKind).toSorted(([a], [b]) => a.localeCompare(b));
  const rows: (readonly (string | number)[])[] = [
    ['faults', `seed ${report.seed}, story ${report.story}`, report.faults],
    ...kinds.map(([kind, { faults, medianSeconds }]) => ['', `${kind}, over in ${medianSeconds} s`, faults]),
    ['orphans', '', report.orphans],
    ['wrong engines', '', report.wrongEngines],
    ['events', 'in the journal', report.events],
    ['', 'missing', report.missingEvents],
    ['open files', 'agent, growth', report.leakedFds],
    ['', 'keeper, growth', report.keeperLeakedFds],
    ['memory MB', 'agent RSS, growth', report.rssGrowthMb],
    ['', 'agent heap, growth', report.heapGrowthMb],
    ['streams', 'done', report.streams.done],
    ['', 'refused or broken by faults', report.streams.failed],
  ];
  const notes = report.diskFilled ? [] : ['No disk was filled: this user may not mount a small one.'];
  const lines = report.troubles.map((trouble) => `TROUBLE ${trouble}`);
  return [alignRows(rows), ...notes, ...lines, `${report.seconds} s`].join('\n');
}

const isBad = (report: ChaosReport): boolean =>
  report.troubles.length > 0 ||
  report.leakedFds > MOST_LEAKED_FDS ||
  report.keeperLeakedFds > MOST_LEAKED_FDS ||
  report.rssGrowthMb > MOST_RSS_GROWTH_MB;

export async function runChaos(options: ChaosOptions): Promise<void> {
  const startedMs = performance.now();
  const engines = await planEngines(options);
  let diskFilled = false;
  const gpu = await makeGpuStage();
  const fleet = await startSupervisedFleet({
    engines,
    programs: gpu.programs,
    dataFolder: async (folder) => {
      diskFilled = await mountSmallDisk(folder);
    },
    afterStop: async (folder) => {
      if (diskFilled) await unmountSmallDisk(folder);
      await rm(gpu.programs, { recursive: true, force: true });
    },
    agent: {
      ...gpu.settings,
      engineOutputMaxBytes: OUTPUT_MAX_BYTES,
      ...(options.vllmCommand === undefined ? {} : { vllmCommand: options.vllmCommand }),
    },
  });
  let report: ChaosReport;
  try {
    const { faults, seed, every } = options;
    const story = drawStory({ seed, faults, engines, smallDisk: diskFilled, everyMs: every });
    const load = startLoad(fleet, 1, TOKENS);
    const told = await tell(story, { fleet, load, gpu }, options);
    await load.stop();
    const { done, failed } = load.figures();
    const seconds = round((performance.now() - startedMs) / 1000, 1);
    report = summarise(options, story, told, { diskFilled, seconds, streams: { done, failed } });
  } finally {
    await fleet.stop();
  }
  console.log(print(report));
  if (options.json === true) console.log(JSON.stringify(report));
  if (isBad(report)) process.exitCode = 1;
}
