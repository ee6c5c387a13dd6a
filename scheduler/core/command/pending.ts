/**
 * The orders of operators that agents work on. An order lives on one session: when that is lost, so is its result, and
 * the reader is told at once. How many there may be, how long each may take and how much of its output may wait for a
 * slow reader is bounded; what the agent does is its own (a drain goes on, a log stops being read).
 */
import type { Clock } from '../../../lib/clock.ts';
import { COMMAND_WINDOW_BYTES, outputCost, requireOrder } from '../../../lib/command_verbs.ts';
import { CodedError } from '../../../lib/errors.ts';
import type { NodeId } from '../../../lib/ids.ts';
import type { Command } from '../../../proto/gen/fleet/v1/Command.ts';
import type { CommandOutput__Output } from '../../../proto/gen/fleet/v1/CommandOutput.ts';
import type { CommandResult__Output } from '../../../proto/gen/fleet/v1/CommandResult.ts';
import type { CommandOrder, CommandReader, RunningCommand, SessionHandle } from '../../ports.ts';
import { engineNamed, nodeNamed } from '../fleet/names.ts';
import type { FleetState } from '../fleet/state.ts';

export interface PendingCommandsDeps {
  readonly clock: Clock;
  readonly state: FleetState;
  readonly sessionOf: (node: NodeId) => SessionHandle | undefined;
  readonly log: { info(fields: object, message: string): void };
  readonly maxCommands: number;
  readonly maxCommandsPerNode: number;
}

/** An agent that sends this much more than it was granted does not keep to the protocol. */
const LARGEST_OVERRUN_BYTES = 4 * 1024 * 1024;
const RETRY_WHEN_FULL_MS = 1000;

interface Entry {
  readonly id: string;
  readonly session: SessionHandle;
  readonly reader: CommandReader;
  stopTimer: () => void;
  /** Bytes that the agent may still send. */
  creditBytes: number;
  /** Bytes that the reader took and the agent was not yet told of. */
  owedBytes: number;
}

/** All orders under way; one per scheduler. */
export class PendingCommands {
  readonly #deps: PendingCommandsDeps;
  readonly #entries = new Map<string, Entry>();
  #lastId = 0;

  constructor(deps: PendingCommandsDeps) {
    this.#deps = deps;
  }

  /** @throws CodedError missing_field, invalid_value, not_found, node_unreachable, overloaded: nothing was sent */
  run(order: CommandOrder, reader: CommandReader): RunningCommand {
    const { clock, log } = this.#deps;
    const { node, engine } = this.#targetOf(order);
    const rule = requireOrder({ ...order.command, engine: engine ?? '' });
    const session = this.#sessionOf(node);
    this.#requireRoom(session);
    this.#lastId += 1;
    const id = `c${this.#lastId}`;
    const command: Command = {
      ...order.command,
      id,
      engine: engine ?? '',
      actor: order.actor,
      creditBytes: COMMAND_WINDOW_BYTES,
    };
    const entry: Entry = {
      id,
      session,
      reader,
      stopTimer: () => undefined,
      creditBytes: COMMAND_WINDOW_BYTES,
      owedBytes: 0,
    };
    if (!order.command.follow) entry.stopTimer = clock.after(rule.timeoutMs, () => this.#expire(entry));
    this.#entries.set(id, entry);
    const { verb, reason } = order.command;
    log.info({ node, engine, verb, actor: order.actor, reason, command: id }, 'order given');
    session.sendCommand(command);
    return { grant: (bytes) => this.#grant(entry, bytes), cancel: () => this.#cancel(entry) };
  }

  output(session: SessionHandle, output: CommandOutput__Output): void {
    const entry = this.#entryOf(session, output.id);
    if (entry === undefined) return;
    entry.creditBytes -= outputCost(output.data.length, output.journal.length);
    if (entry.creditBytes < -LARGEST_OVERRUN_BYTES) {
      this.#cancel(entry);
      entry.reader.onError(new CodedError('overloaded', 'The agent sent more than its reader could take.'));
      return;
    }
    entry.reader.onOutput(output);
  }

  result(session: SessionHandle, result: CommandResult__Output): void {
    const entry = this.#entryOf(session, result.id);
    if (entry === undefined) return;
    this.#forget(entry);
    const { code, message } = result;
    this.#deps.log.info({ node: session.nodeName, command: entry.id, code, detail: message }, 'order answered');
    entry.reader.onResult(result);
  }

  /** Whatever the session worked on gets no result any more. */
  sessionLost(session: SessionHandle): void {
    for (const entry of [...this.#entries.values()]) {
      if (entry.session !== session) continue;
      this.#forget(entry);
      const text = `The session of ${session.nodeName} was lost before the order had its result.`;
      entry.reader.onError(new CodedError('node_unreachable', text));
    }
  }

  /** Ends every order with `error`: for a scheduler that stops, whose followers would wait for nothing. */
  endAll(error: CodedError): void {
    for (const entry of [...this.#entries.values()]) {
      this.#cancel(entry);
      entry.reader.onError(error);
    }
  }

  #targetOf(order: CommandOrder): { node: NodeId; engine: string | undefined } {
    const { state } = this.#deps;
    // An engine is checked for below; here any name stands for it, so that the verb itself is judged first.
    const rule = requireOrder({ ...order.command, engine: order.target });
    if (rule.target === 'node') return { node: nodeNamed(state, order.target, 'target').name, engine: undefined };
    const { node, engine } = engineNamed(state, order.target, 'target');
    return { node: node.name, engine: engine.name };
  }

  #sessionOf(node: NodeId): SessionHandle {
    const session = this.#deps.sessionOf(node);
    if (session === undefined)
      throw new CodedError('node_unreachable', `The agent of ${node} is not connected to this scheduler.`);
    return session;
  }

  #requireRoom(session: SessionHandle): void {
    const { maxCommands, maxCommandsPerNode } = this.#deps;
    let ofNode = 0;
    for (const entry of this.#entries.values()) if (entry.session === session) ofNode += 1;
    if (this.#entries.size < maxCommands && ofNode < maxCommandsPerNode) return;
    throw new CodedError('overloaded', 'Too many orders are under way.', { retryAfterMs: RETRY_WHEN_FULL_MS });
  }

  /** An answer from another session than the order went to is not an answer. */
  #entryOf(session: SessionHandle, id: string): Entry | undefined {
    const entry = this.#entries.get(id);
    return entry?.session === session ? entry : undefined;
  }

  /** Grants in halves of the window: a message to the agent per many outputs, and never a reader that starves. */
  #grant(entry: Entry, bytes: number): void {
    if (this.#entries.get(entry.id) !== entry) return;
    entry.owedBytes += bytes;
    if (entry.owedBytes * 2 < COMMAND_WINDOW_BYTES) return;
    const creditBytes = entry.owedBytes;
    entry.owedBytes = 0;
    entry.creditBytes += creditBytes;
    entry.session.sendCommand({ id: entry.id, verb: 'COMMAND_VERB_CREDIT', targetId: entry.id, creditBytes });
  }

  #cancel(entry: Entry): void {
    if (!this.#forget(entry)) return;
    entry.session.sendCommand({ id: entry.id, verb: 'COMMAND_VERB_CANCEL', targetId: entry.id });
  }

  #expire(entry: Entry): void {
    this.#cancel(entry);
    entry.reader.onError(new CodedError('deadline_exceeded', 'The agent gave no result in time.'));
  }

  #forget(entry: Entry): boolean {
    entry.stopTimer();
    return this.#entries.delete(entry.id);
  }
}
