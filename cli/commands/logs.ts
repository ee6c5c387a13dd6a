/**
 * `sophia engine logs`: the output of an engine, also of one that has failed. What an engine writes is foreign text, so
 * it is shown without whatever would move a terminal's cursor.
 */
import { type Command, Option } from 'commander';
import { DEFAULT_TAIL_LINES, MAX_TAIL_LINES } from '../../lib/command_verbs.ts';
import { nameOf } from '../access/fleet_access.ts';
import { ExitRequest } from '../exit.ts';
import { plainLine, type Printer } from '../output.ts';
import { withFleet } from '../session.ts';
import { countOption, onInterrupt } from './arguments.ts';

interface LogFlags {
  readonly follow?: boolean;
  readonly tail: number;
}

const SIGINT_EXIT = 130;

/** Cuts bytes that come in any pieces into lines; bytes that are not UTF-8 become the replacement character. */
class LineReader {
  readonly #decoder = new TextDecoder('utf-8');
  #rest = '';

  take(data: Uint8Array | string): string[] {
    const text = typeof data === 'string' ? data : this.#decoder.decode(data, { stream: true });
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    return lines.map(plainLine);
  }

  end(): string[] {
    const rest = this.#rest + this.#decoder.decode();
    this.#rest = '';
    return rest === '' ? [] : [plainLine(rest)];
  }
}

/** What becomes of lines: shown at once, or with --json kept for the one object, or an object for each when followed. */
function printerOfLines(print: Printer, engine: string, follow: boolean, kept: string[]) {
  return async (lines: readonly string[]): Promise<void> => {
    if (lines.length === 0) return;
    if (!print.json) await print.stream(`${lines.join('\n')}\n`);
    else if (follow) await print.stream(lines.map((line) => `${JSON.stringify({ engine, line })}\n`).join(''));
    else kept.push(...lines);
  };
}

export function addLogsCommand(engine: Command): void {
  engine
    .command('logs <name>')
    .description('the output of an engine, also of one that has failed; NAME or NODE/NAME')
    .addOption(new Option('-f, --follow', 'go on with what it writes from now on; with --json one object a line'))
    .addOption(countOption('--tail <lines>', 'lines from before now', DEFAULT_TAIL_LINES, MAX_TAIL_LINES))
    .action((name: string, { follow = false, tail }: LogFlags, command: Command) =>
      withFleet(command, async (fleet, print) => {
        const target = nameOf(await fleet.engine(name));
        const kept: string[] = [];
        const show = printerOfLines(print, target, follow, kept);
        const reader = new LineReader();
        const stop = new AbortController();
        const forget = onInterrupt(() => stop.abort());
        // Whoever reads us may leave first, as `head` does.
        process.stdout.on('error', () => stop.abort());
        try {
          await fleet.run(
            target,
            { verb: 'COMMAND_VERB_ENGINE_LOGS', tailLines: tail, follow },
            { signal: stop.signal, onOutput: ({ data }) => show(reader.take(data)) },
          );
        } finally {
          await show(reader.end());
          forget();
        }
        if (print.json && !follow) print.result({ engine: target, lines: kept }, () => '');
        if (stop.signal.aborted) throw new ExitRequest(SIGINT_EXIT);
      }),
    );
}
