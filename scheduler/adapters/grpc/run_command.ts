/**
 * `RunCommand`: one order of an operator. Outputs go to the caller as they come, no faster than it reads; the last
 * message is the agent's result. What this scheduler refuses, or loses, is the status of the call.
 */
import type { ServerWritableStream } from '@grpc/grpc-js';
import { z } from 'zod';
import { MAX_TAIL_LINES, outputCost, VERB_RULES, type VerbName } from '../../../lib/command_verbs.ts';
import { CodedError, toCodedError } from '../../../lib/errors.ts';
import type { Logger } from '../../../lib/io/logger.ts';
import type { RunCommandRequest__Output } from '../../../proto/gen/admin/v1/RunCommandRequest.ts';
import type { RunCommandResponse } from '../../../proto/gen/admin/v1/RunCommandResponse.ts';
import type { CommandOutput__Output } from '../../../proto/gen/fleet/v1/CommandOutput.ts';
import type { CommandResult__Output } from '../../../proto/gen/fleet/v1/CommandResult.ts';
import type { Commander, CommandOrder, CommandReader, Identity, RunningCommand } from '../../ports.ts';
import { failStream } from './grpc_errors.ts';

export type RunCommandCall = ServerWritableStream<RunCommandRequest__Output, RunCommandResponse>;

export interface RunCommandDeps {
  readonly commander: Commander;
  readonly logger: Logger;
}

const verbs = Object.keys(VERB_RULES) as [VerbName, ...VerbName[]];

const orderSchema = z.object({
  target: z.string().min(1).max(512),
  command: z.object({
    verb: z.enum(verbs),
    gpu: z.int().min(0).max(255).optional(),
    reason: z.string().max(512),
    sleepLevel: z.int().min(1).max(2).optional(),
    loraName: z.string().max(256),
    loraPath: z.string().max(4096),
    tailLines: z.int().min(0).max(MAX_TAIL_LINES).optional(),
    follow: z.boolean(),
  }),
});

/** @throws CodedError invalid_value, missing_field */
function orderOf(request: RunCommandRequest__Output, identity: Identity): CommandOrder {
  const { target, command } = request;
  if (command === null) throw new CodedError('missing_field', 'The request has no command.', { param: 'command' });
  const parsed = orderSchema.safeParse({ target, command });
  if (!parsed.success) {
    const param = parsed.error.issues[0]?.path.map(String).join('.') ?? '';
    throw new CodedError('invalid_value', `${param} is not acceptable.`, { param });
  }
  const { verb, gpu, reason, sleepLevel, loraName, loraPath, tailLines, follow } = parsed.data.command;
  return {
    target,
    actor: identity.subject,
    command: {
      id: '',
      verb,
      engine: '',
      actor: '',
      reason,
      loraName,
      loraPath,
      // Only a log can be followed: nothing else may stay open without a limit.
      follow: follow && verb === 'COMMAND_VERB_ENGINE_LOGS',
      targetId: '',
      ...(gpu === undefined ? {} : { gpu }),
      ...(sleepLevel === undefined ? {} : { sleepLevel }),
      ...(tailLines === undefined ? {} : { tailLines }),
    },
  };
}

/** One running call. */
class CommandStream implements CommandReader {
  readonly #deps: RunCommandDeps;
  readonly #call: RunCommandCall;
  #running: RunningCommand | undefined;
  #ended = false;
  #blocked = false;
  #owedBytes = 0;

  constructor(deps: RunCommandDeps, call: RunCommandCall) {
    this.#deps = deps;
    this.#call = call;
  }

  /** @throws CodedError when the order was not given */
  start(identity: Identity): void {
    const call = this.#call;
    call.on('cancelled', () => this.#abandon());
    call.on('drain', () => {
      this.#blocked = false;
      this.#settle();
    });
    this.#running = this.#deps.commander.run(orderOf(call.request, identity), this);
  }

  onOutput(output: CommandOutput__Output): void {
    if (this.#ended) return;
    this.#owedBytes += outputCost(output.data.length, output.journal.length);
    if (!this.#call.write({ output })) this.#blocked = true;
    this.#settle();
  }

  onResult(result: CommandResult__Output): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#call.write({ result });
    this.#call.end();
  }

  onError(error: CodedError): void {
    if (this.#ended) return;
    this.#ended = true;
    failStream(this.#deps.logger, this.#call, error);
  }

  #settle(): void {
    if (this.#blocked) return;
    const bytes = this.#owedBytes;
    this.#owedBytes = 0;
    this.#running?.grant(bytes);
  }

  /** The library reports `cancelled` after every call, also after one that ended well. */
  #abandon(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#running?.cancel();
  }
}

/** Serves one call for a caller whose role has been checked. */
export function serveRunCommand(deps: RunCommandDeps, call: RunCommandCall, identity: Identity): void {
  try {
    new CommandStream(deps, call).start(identity);
  } catch (error) {
    failStream(deps.logger, call, toCodedError(error));
  }
}
