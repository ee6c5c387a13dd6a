/** The command line of `npm run bench -- compare`. */
import { type Command, InvalidArgumentError } from 'commander';
import { numberBetween } from '../load/command.ts';
import { type CompareOptions, runCompare } from './compare.ts';
import { DEFAULT_ROUTERS, ROUTERS } from './routers.ts';
import { type Part, PARTS } from './scale.ts';

type Pair = readonly [name: string, value: string];

/** Collects `NAME=VALUE` options that may be given several times. */
function pair(kind: string, fits: (value: string) => boolean) {
  return (text: string, before: readonly Pair[]): Pair[] => {
    const [, name, value] = /^([^=]+)=(.+)$/.exec(text) ?? [];
    if (name === undefined || value === undefined || !fits(value)) throw new InvalidArgumentError(`Give NAME=${kind}.`);
    return [...before, [name, value]];
  };
}

function isHttpUrl(text: string): boolean {
  return URL.canParse(text) && new URL(text).protocol === 'http:';
}

/** A list out of a set of words, divided by commas; `none` is the empty list. */
function words<Word extends string>(known: readonly Word[]) {
  return (text: string): Word[] => {
    if (text === 'none') return [];
    const list = text.split(',');
    const unknown = list.find((word) => !known.includes(word as Word));
    if (unknown !== undefined) throw new InvalidArgumentError(`"${unknown}" is none of ${known.join(', ')}.`);
    return list as Word[];
  };
}

const engines = numberBetween(1, 32, true);

export function addCompareCommand(program: Command): void {
  program
    .command('compare')
    .description('this fleet beside other routers on the same engines: CPU per token, first token, faults')
    .option('--json', 'one JSON object as the last line')
    .option('--html <file>', 'a report with plots, one file that opens offline')
    .option('--quick', 'a short look at everything; its figures are rough')
    .option('--routers <names>', 'fetched and started here; none: no router', words(Object.keys(ROUTERS)), [
      ...DEFAULT_ROUTERS,
    ])
    .option(
      '--url <name=url>',
      'a router that runs already, in front of --engine-port',
      pair('URL (http)', isHttpUrl),
      [],
    )
    .option(
      '--pid <name=pid>',
      'its first process, to measure its CPU',
      pair('PID', (text) => /^\d+$/.test(text)),
      [],
    )
    .option(
      '--key-file <name=file>',
      'holds its API key',
      pair('FILE', () => true),
      [],
    )
    .option('--engine-port <port>', 'first port of the engines', numberBetween(1024, 65_000, true))
    .option('--parts <names>', 'what is measured', words<Part>(PARTS), [...PARTS])
    .option('--rounds <n>', 'turns of each load', numberBetween(1, 50, true))
    .option('--seconds <n>', 'measured time of a cell', numberBetween(0.5, 60, false))
    .option('--fault-engines <list>', 'engines under faults, such as 2,8', (text) => text.split(',').map(engines), [2])
    .action((options: CompareOptions) => runCompare(options));
}
