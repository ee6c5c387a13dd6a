/**
 * The command line of the embedded engine: vLLM's flags, as far as they mean something here, so that the agent starts
 * both kinds in the same way. Refusals are worded for the person who reads the engine's log.
 */
import { parseArgs } from 'node:util';
import { EMBEDDED_MAX_SEQUENCES } from '../../../lib/engine_defaults.ts';
import { CodedError } from '../../../lib/errors.ts';
import type { Listen } from '../surface/listen.ts';

export interface LlamaArguments {
  readonly listen: Listen;
  /** Path of a GGUF file. */
  readonly model: string;
  readonly servedModelName: string;
  /** Tokens of prompt and answer together; absent: chosen from the weights. */
  readonly maxModelLen: number | undefined;
  readonly maxNumSeqs: number;
  /** 0 aborts what is in flight on SIGTERM; more lets it finish for so long. */
  readonly shutdownTimeoutMs: number;
  readonly threads: number;
  /** For requests without a seed of their own; absent: they differ from run to run. */
  readonly seed: number | undefined;
}

const FLAGS = [
  'uds',
  'host',
  'port',
  'model',
  'served-model-name',
  'max-model-len',
  'max-num-seqs',
  'shutdown-timeout',
  'threads',
  'seed',
] as const;
type Flag = (typeof FLAGS)[number];

/** The library holds one key-value cache per sequence; more would be memory rather than speed on a CPU. */
const MOST_SEQS = 64;
const MOST_THREADS = 256;

function refuse(message: string, flag?: Flag): CodedError {
  return new CodedError('invalid_config', message, flag === undefined ? {} : { param: `--${flag}` });
}

function readFlags(argv: readonly string[]): Partial<Record<Flag, string>> {
  const options = Object.fromEntries(FLAGS.map((name) => [name, { type: 'string' as const }]));
  const { tokens } = parseArgs({ args: [...argv], options, strict: false, tokens: true });
  const values: Partial<Record<Flag, string>> = {};
  for (const token of tokens) {
    if (token.kind === 'option-terminator') continue;
    const raw = token.kind === 'option' ? token.rawName : token.value;
    if (token.kind === 'positional' || !FLAGS.includes(token.name as Flag))
      throw refuse(`Unrecognized argument: ${raw}.`);
    const flag = token.name as Flag;
    if (token.value === undefined) throw refuse(`Argument ${raw} needs a value.`, flag);
    if (values[flag] !== undefined) throw refuse(`Argument ${raw} is given twice.`, flag);
    values[flag] = token.value;
  }
  return values;
}

interface Range {
  readonly least: number;
  readonly most: number;
}

function integer(flag: Flag, value: string | undefined, range: Range): number | undefined {
  if (value === undefined) return undefined;
  const number = /^\d{1,15}$/.test(value) ? Number(value) : Number.NaN;
  if (number >= range.least && number <= range.most) return number;
  throw refuse(
    `Argument --${flag} is ${JSON.stringify(value)}; allowed is an integer from ${range.least} to ${range.most}.`,
    flag,
  );
}

function listenOf(values: Partial<Record<Flag, string>>): Listen {
  const port = integer('port', values.port, { least: 0, most: 65_535 });
  if (values.uds !== undefined) {
    if (port !== undefined || values.host !== undefined)
      throw refuse('Give either --uds or --host and --port, not both.', 'uds');
    return { uds: values.uds };
  }
  if (port === undefined) throw refuse('Give --uds PATH, or --host HOST and --port PORT.', 'port');
  return { host: values.host ?? '127.0.0.1', port };
}

/** Parses `argv` (without node and script). Throws CodedError `invalid_config` with the flag in `param`. */
export function parseArguments(argv: readonly string[]): LlamaArguments {
  const values = readFlags(argv);
  const { model } = values;
  if (model === undefined || model === '')
    throw refuse('Argument --model is required: the path of a GGUF file.', 'model');
  return {
    listen: listenOf(values),
    model,
    servedModelName: values['served-model-name'] ?? model,
    maxModelLen: integer('max-model-len', values['max-model-len'], { least: 64, most: 1_000_000 }),
    maxNumSeqs:
      integer('max-num-seqs', values['max-num-seqs'], { least: 1, most: MOST_SEQS }) ?? EMBEDDED_MAX_SEQUENCES,
    shutdownTimeoutMs:
      (integer('shutdown-timeout', values['shutdown-timeout'], { least: 0, most: 86_400 }) ?? 0) * 1000,
    threads: integer('threads', values.threads, { least: 1, most: MOST_THREADS }) ?? 1,
    seed: integer('seed', values.seed, { least: 0, most: 2 ** 32 - 1 }),
  };
}
