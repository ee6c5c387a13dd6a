/** The command lines of the fleet simulator. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { runGate } from './gate.ts';
import { ENGINE_SPEC_NAMES } from './model/spec.ts';
import { SIM_POLICIES } from './policies.ts';
import { runSim, type SimOptions } from './sim.ts';
import { TRACE_NAMES } from './traces/read.ts';

/** More engines than anyone simulates, so that a slip of the finger does not take all memory. */
const MAX_ENGINES = 4096;
const MAX_SEEDS = 1000;
const MAX_LOAD = 100;

function numberUpTo(most: number, whole: boolean): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!(value > 0 && value <= most) || (whole && !Number.isInteger(value)))
      throw new InvalidArgumentError(`Give a ${whole ? 'whole ' : ''}number above 0, up to ${most}.`);
    return value;
  };
}

const loads = (text: string): number[] => text.split(',').map(numberUpTo(MAX_LOAD, false));

/** What is wrong with the command line or the trace is one line, not a stack. */
async function reported(work: Promise<void>): Promise<void> {
  try {
    await work;
  } catch (error) {
    process.stderr.write(`error: ${(error as Error).message}\n`);
    process.exitCode = 1;
  }
}

export function addSimCommands(program: Command): void {
  program
    .command('sim')
    .description('routing policies over a trace in virtual time: the scheduler’s own code over models of engines')
    .option('--json', 'one JSON object as the last line')
    .option('--trace <name>', `${TRACE_NAMES.join(', ')}, or a file in the form of the first two`, 'mooncake')
    .option('--policy <names>', `all, or some of ${SIM_POLICIES.map(({ name }) => name).join(', ')}`, 'all')
    .option('--load <list>', 'fractions of the measured capacity', loads, [0.7, 0.85, 0.95])
    .option('--seeds <n>', 'runs of each cell, for intervals', numberUpTo(MAX_SEEDS, true), 1)
    .option('--sensitivity', 'also with prefill, decode and KV of the engines 30 % up and down')
    .option('--engines, --instances <n>', 'engines of the fleet', numberUpTo(MAX_ENGINES, true))
    .addOption(new Option('--row <name>', 'engine and hardware').choices(ENGINE_SPEC_NAMES))
    .option('--requests <n>', 'only the first so many of the trace', numberUpTo(1e9, true))
    .option('--no-queue', 'requests are sent on at once, however much waits on the engines')
    .option('--faults <script>', 'such as kill:0@60,restart:0@90,hang:1@30+20', '')
    .option('--slo-ttft <seconds>', 'goodput: at most this to the first token', numberUpTo(1e6, false))
    .option('--slo-tpot <ms>', 'goodput: at most this for each further token', numberUpTo(1e6, false))
    .action((options: SimOptions & { instances?: number }) =>
      reported(runSim({ ...options, ...(options.instances === undefined ? {} : { engines: options.instances }) })),
    );

  program
    .command('sim-gate')
    .description('small runs of the default policy against the stored figures; worse by more than 2 % fails')
    .option('--json', 'one JSON object as the last line')
    .option('--write', 'store what is found now')
    .action((options: { json?: boolean; write?: boolean }) => reported(runGate(options)));
}
