/**
 * The orders that come down the sessions: each is checked against the fencing term, runs beside others up to a bound, and
 * answers the scheduler that gave it, no faster than its reader takes it. When a session is lost nobody reads the answers
 * any more: their signal aborts, which ends what follows a log; a drain that has begun is the agent's own and goes on.
 */
import { outputCost, requireOrder, verbRule } from '../../lib/command_verbs.ts';
import type { Command__Output } from '../../proto/gen/fleet/v1/Command.ts';
import type { CommandResult } from '../../proto/gen/fleet/v1/CommandResult.ts';
import { failureOf } from '../core/command_result.ts';
import type { CommandRunner, CommandSink, SchedulerLinks } from '../ports.ts';

export interface SessionCommandsOptions {
  readonly runner: CommandRunner;
  readonly links: Pick<SchedulerLinks, 'sendCommandOutput' | 'sendCommandResult'>;
  /** The newest fencing term that any scheduler has shown. */
  readonly newestTerm: () => number | undefined;
  /** Commands of one scheduler that may run at a time. */
  readonly maxCommands: number;
  readonly log: { info(fields: object, message: string): void; warn(fields: object, message: string): void };
}

export interface SessionCommands {
  onCommand(scheduler: string, term: number, command: Command__Output): void;
  onDisconnected(scheduler: string): void;
}

/** One command under way. */
class SessionCommand implements CommandSink {
  readonly id: string;
  readonly #abort = new AbortController();
  readonly #send: (output: Parameters<CommandSink['output']>[0]) => void;
  /** Undefined: the sender gave no limit. */
  #creditBytes: number | undefined;
  #waiters: (() => void)[] = [];

  constructor(command: Command__Output, send: (output: Parameters<CommandSink['output']>[0]) => void) {
    this.id = command.id;
    this.#creditBytes = command.creditBytes;
    this.#send = send;
    this.signal.addEventListener('abort', () => this.#wake(), { once: true });
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  output(output: Parameters<CommandSink['output']>[0]): void {
    if (this.signal.aborted) return;
    if (this.#creditBytes !== undefined)
      this.#creditBytes -= outputCost(output.data?.length ?? 0, output.journal?.length ?? 0);
    this.#send(output);
  }

  async ready(): Promise<void> {
    while (!this.signal.aborted && this.#creditBytes !== undefined && this.#creditBytes <= 0)
      await new Promise<void>((resolve) => this.#waiters.push(resolve));
  }

  grant(bytes: number): void {
    if (this.#creditBytes !== undefined) this.#creditBytes += bytes;
    this.#wake();
  }

  cancel(): void {
    this.#abort.abort();
  }

  #wake(): void {
    for (const resolve of this.#waiters.splice(0)) resolve();
  }
}

/** Runs the commands of all sessions; one per agent. */
export function createSessionCommands(options: SessionCommandsOptions): SessionCommands {
  const { runner, links, log } = options;
  const running = new Map<string, Map<string, SessionCommand>>();

  const refuse = (scheduler: string, command: Command__Output, result: Omit<CommandResult, 'id'>): void => {
    log.warn({ scheduler, verb: command.verb, command: command.id, code: result.code }, 'order refused');
    links.sendCommandResult(scheduler, { ...result, id: command.id });
  };
  /** Why the order is not carried out, or undefined. */
  const refusalOf = (
    term: number,
    command: Command__Output,
    mine: Map<string, SessionCommand>,
  ): Omit<CommandResult, 'id'> | undefined => {
    const newest = options.newestTerm();
    if (newest !== undefined && term < newest && verbRule(command.verb)?.changes === true)
      return { code: 'stale_term', message: `An order of term ${term}; a scheduler of term ${newest} is in charge.` };
    if (mine.has(command.id)) return { code: 'already_exists', message: 'A command with this id runs.', param: 'id' };
    if (mine.size >= options.maxCommands)
      return { code: 'overloaded', message: `The agent runs ${mine.size} commands already.` };
    try {
      requireOrder(command);
      return undefined;
    } catch (thrown) {
      return failureOf(thrown);
    }
  };
  const runToEnd = async (command: Command__Output, one: SessionCommand): Promise<Omit<CommandResult, 'id'>> => {
    try {
      return await runner.run(command, one);
    } catch (thrown) {
      return failureOf(thrown);
    }
  };
  const start = async (scheduler: string, command: Command__Output, mine: Map<string, SessionCommand>) => {
    const { id, verb, engine, actor, reason } = command;
    const one = new SessionCommand(command, (output) => links.sendCommandOutput(scheduler, { ...output, id }));
    mine.set(id, one);
    log.info({ scheduler, verb, engine, actor, reason, command: id }, 'order taken');
    const result = await runToEnd(command, one);
    if (mine.get(id) === one) mine.delete(id);
    // A cancelled command has no reader; a lost session's link drops the result by itself.
    if (!one.signal.aborted) links.sendCommandResult(scheduler, { ...result, id });
  };

  return {
    onCommand(scheduler, term, command) {
      const mine = running.get(scheduler) ?? new Map<string, SessionCommand>();
      running.set(scheduler, mine);
      if (command.verb === 'COMMAND_VERB_CANCEL') mine.get(command.targetId)?.cancel();
      else if (command.verb === 'COMMAND_VERB_CREDIT') mine.get(command.targetId)?.grant(command.creditBytes ?? 0);
      else {
        const refusal = refusalOf(term, command, mine);
        if (refusal === undefined) void start(scheduler, command, mine);
        else refuse(scheduler, command, refusal);
      }
    },
    onDisconnected(scheduler) {
      for (const one of running.get(scheduler)?.values() ?? []) one.cancel();
      running.delete(scheduler);
    },
  };
}
