/** The command line of `npm run bench -- load`. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { type LoadOptions, runLoad } from './load.ts';

const MAX_RATE = 100_000;
const MAX_SECONDS = 86_400;
const MAX_TOKENS = 1_000_000;

/** A parser for a number in a range, both ends allowed. */
export function numberBetween(least: number, most: number, whole: boolean) {
  return (text: string): number => {
    const value = Number(text);
    const fits = text.trim() !== '' && value >= least && value <= most && (!whole || Number.isInteger(value));
    if (!fits) throw new InvalidArgumentError(`Give a ${whole ? 'whole ' : ''}number from ${least} to ${most}.`);
    return value;
  };
}

const tokens = numberBetween(1, MAX_TOKENS, true);

export function addLoadCommand(program: Command): void {
  program
    .command('load')
    .description('an open loop of requests on a server or a fleet of its own: latencies, goodput, errors by code')
    .option('--json', 'one JSON object as the last line')
    .option('--html <file>', 'a report with plots, one file that opens offline')
    .option('--url <url>', 'an OpenAI-compatible server; absent: a fleet is started for the run')
    .option('--key-file <file>', 'holds the API key of that server')
    .option('--model <name>', 'absent: the first that the server offers')
    .addOption(new Option('--door <door>', 'way in').choices(['http', 'many']).default('http'))
    .option('--grpc <address>', 'HOST:PORT of the gRPC door of a scheduler, for --door many with --url')
    .addOption(new Option('--endpoint <name>', 'kind of request').choices(['chat', 'completions']).default('chat'))
    .addOption(new Option('--engine <kind>', 'of the own fleet').choices(['sim', 'llama']).default('sim'))
    .option('--engines <n>', 'of the own fleet', numberBetween(1, 64, true), 2)
    .option('--sim-flags <flags>', 'flags of its simulated engines, such as "--sim-timing 8b-fp8-h100"')
    .option('--rate <n>', 'requests a second', numberBetween(0.01, MAX_RATE, false), 10)
    .option('--seconds <n>', 'length of the run', numberBetween(0.1, MAX_SECONDS, false), 30)
    .option('--input-tokens <n>', 'of each prompt, about', tokens, 200)
    .option('--output-tokens <n>', 'of each answer', tokens, 100)
    .option(
      '--trace <file>',
      'replays a trace: mooncake, azure, llmd, or a file in the form of one of the first two, .gz too',
    )
    .option('--speed <n>', 'how many times as fast as the trace', numberBetween(0.001, 1000, false), 1)
    .option('--seed <n>', 'for the arrivals', numberBetween(0, 2 ** 32 - 1, true), 1)
    .option('--max-in-flight <n>', 'requests open at a time; the next wait', numberBetween(1, 60_000, true), 5000)
    .option('--timeout <s>', 'a request that has not ended by then has failed', numberBetween(0.1, 3600, false), 120)
    .option('--slo-ttft-ms <n>', 'a good request begins by then', numberBetween(0.1, 3_600_000, false), 2000)
    .option('--slo-tpot-ms <n>', 'and its tokens take so long on average', numberBetween(0.1, 3_600_000, false), 100)
    .option('--warm-up <s>', 'seconds of requests before, which are not counted', numberBetween(0, 600, false), 2)
    .option('--keep-alive', 'use connections again, as client libraries do')
    .option('--plain', "send OpenAI's own fields only (else ignore_eos too, so that answers have their full length)")
    .action((options: LoadOptions) => runLoad(options));
}
