/**
 * The order `logs`: the last lines of an engine's output and, when it is followed, what the engine writes from then on,
 * across its restarts and the rotation of the file. Lines leave whole and as the bytes that they are; no more is read
 * than the reader takes, and no faster than a bound, so that a log that floods costs this process nothing.
 */
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { DEFAULT_TAIL_LINES, MAX_TAIL_LINES } from '../../../lib/command_verbs.ts';
import { CodedError } from '../../../lib/errors.ts';
import type { Command__Output } from '../../../proto/gen/fleet/v1/Command.ts';
import type { CommandResult } from '../../../proto/gen/fleet/v1/CommandResult.ts';
import { DONE, failureOf } from '../../core/command_result.ts';
import type { CommandRunner, CommandSink } from '../../ports.ts';
import { type LogPosition, nextAfter, openLog, openTail, readNext } from './log_file.ts';

export interface LogCommandOptions {
  /** The folder that has a folder for each engine. */
  readonly enginesFolder: string;
  readonly pollMs?: number;
  readonly maxBytesPerS?: number;
}

const OUTPUT_FILE = 'output.log';
const ENGINE_NAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const POLL_MS = 200;
const MAX_BYTES_PER_S = 8 * 1024 * 1024;
/** How far back the last lines are looked for. */
const MAX_TAIL_BYTES = 8 * 1024 * 1024;
/** A line that is longer leaves in pieces. */
const MAX_LINE_BYTES = 64 * 1024;
const NEWLINE = 0x0a;
const SKIPPED = Buffer.from('-- the log was rotated faster than it was read: lines may be missing here --\n');
const NO_BYTES = Buffer.alloc(0);

/** Gives whole lines to the sink and keeps what has no end yet. */
class LineWriter {
  readonly #sink: CommandSink;
  readonly #maxBytesPerS: number;
  #rest: Buffer = NO_BYTES;

  constructor(sink: CommandSink, maxBytesPerS: number) {
    this.#sink = sink;
    this.#maxBytesPerS = maxBytesPerS;
  }

  async write(block: Buffer): Promise<void> {
    const bytes = this.#rest.length === 0 ? block : Buffer.concat([this.#rest, block]);
    const end = bytes.lastIndexOf(NEWLINE) + 1;
    const whole = end === 0 && bytes.length >= MAX_LINE_BYTES ? bytes.length : end;
    // A copy: a view would keep the whole block for the sake of a few bytes.
    this.#rest = Buffer.from(bytes.subarray(whole));
    if (whole > 0) await this.#send(bytes.subarray(0, whole));
  }

  /** What is left over leaves as it is: the engine has written no end of the line. */
  async flush(): Promise<void> {
    const rest = this.#rest;
    this.#rest = NO_BYTES;
    if (rest.length > 0) await this.#send(rest);
  }

  async #send(data: Buffer): Promise<void> {
    await this.#sink.ready?.();
    if (this.#sink.signal.aborted) return;
    this.#sink.output({ data });
    await pause((data.length * 1000) / this.#maxBytesPerS, this.#sink.signal);
  }
}

/** Waits, but not beyond the abort. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done, { once: true });
  });
}

/** One reading of one log. */
class LogReading {
  readonly #file: string;
  readonly #writer: LineWriter;
  readonly #signal: AbortSignal;
  readonly #pollMs: number;
  #position: LogPosition | undefined;

  constructor(file: string, sink: CommandSink, options: LogCommandOptions) {
    this.#file = file;
    this.#signal = sink.signal;
    this.#writer = new LineWriter(sink, options.maxBytesPerS ?? MAX_BYTES_PER_S);
    this.#pollMs = options.pollMs ?? POLL_MS;
  }

  /** The last lines; afterwards the position is at the end of the present file. */
  async tail(lines: number): Promise<void> {
    const positions = await openTail(this.#file, lines, MAX_TAIL_BYTES);
    for (const position of positions) {
      await this.#moveTo(position);
      await this.#readToEnd();
    }
  }

  async follow(): Promise<void> {
    while (!this.#signal.aborted) {
      if (!(await this.#step())) await pause(this.#pollMs, this.#signal);
    }
  }

  async finish(): Promise<void> {
    await this.#writer.flush();
  }

  async close(): Promise<void> {
    await this.#position?.handle.close();
    this.#position = undefined;
  }

  /** Reads what is there; false when there was nothing. */
  async #step(): Promise<boolean> {
    if (this.#position === undefined) {
      const found = await openLog(this.#file, 0);
      if (found === undefined) return false;
      await this.#moveTo(found);
    }
    if (await this.#readToEnd()) return true;
    const after = await nextAfter(this.#file, this.#position as LogPosition);
    if (after === undefined) return false;
    // Between the last read and the rename the engine may have written on.
    await this.#readToEnd();
    await this.#writer.flush();
    if (after.skipped) await this.#writer.write(SKIPPED);
    await this.#moveTo(after.next);
    return true;
  }

  async #readToEnd(): Promise<boolean> {
    let any = false;
    while (!this.#signal.aborted) {
      const block = await readNext(this.#position as LogPosition);
      if (block.length === 0) return any;
      any = true;
      await this.#writer.write(block);
    }
    return any;
  }

  async #moveTo(position: LogPosition): Promise<void> {
    await this.#position?.handle.close();
    this.#position = position;
  }
}

/** @throws CodedError invalid_value, not_found */
async function fileOf(enginesFolder: string, engine: string): Promise<string> {
  if (!ENGINE_NAME.test(engine))
    throw new CodedError('invalid_value', 'This cannot be the name of an engine.', { param: 'engine' });
  const folder = path.join(enginesFolder, engine);
  const known = await stat(folder).then(
    (found) => found.isDirectory(),
    () => false,
  );
  if (!known) throw new CodedError('not_found', `No engine ${engine} has run on this node.`, { param: 'engine' });
  return path.join(folder, OUTPUT_FILE);
}

async function readLog(
  options: LogCommandOptions,
  command: Command__Output,
  sink: CommandSink,
): Promise<Omit<CommandResult, 'id'>> {
  const file = await fileOf(options.enginesFolder, command.engine);
  const reading = new LogReading(file, sink, options);
  try {
    await reading.tail(Math.min(command.tailLines ?? DEFAULT_TAIL_LINES, MAX_TAIL_LINES));
    if (command.follow) await reading.follow();
    await reading.finish();
  } finally {
    await reading.close();
  }
  if (sink.signal.aborted) throw new CodedError('cancelled', 'The log is read no further.');
  return DONE;
}

/** Carries out ENGINE_LOGS, also for an engine that has failed or stopped; any other verb is not its own. */
export function createLogCommands(options: LogCommandOptions): CommandRunner {
  return {
    async run(command, sink) {
      try {
        return await readLog(options, command, sink);
      } catch (thrown) {
        return failureOf(thrown);
      }
    },
  };
}
