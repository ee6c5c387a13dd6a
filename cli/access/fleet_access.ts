/**
 * What the commands for the person on call ask and order, whoever answers: a scheduler over gRPC, or the agent of this
 * host over its local socket. A figure that the answerer does not have is absent.
 */
import { CodedError, type ErrorCode, ERRORS } from '../../lib/errors.ts';
import type { Engine__Output } from '../../proto/gen/admin/v1/Engine.ts';
import type { Command } from '../../proto/gen/fleet/v1/Command.ts';
import type { CommandResult } from '../../proto/gen/fleet/v1/CommandResult.ts';
import type { EngineEvent__Output } from '../../proto/gen/fleet/v1/EngineEvent.ts';
import type { NodeEvent__Output } from '../../proto/gen/fleet/v1/NodeEvent.ts';

/** An engine; an agent does not know how many requests of a scheduler run on it, nor whether it is routable. */
export type EngineView = Omit<Engine__Output, 'runningRequests'> & { readonly runningRequests?: number };

export interface NodeView {
  readonly name: string;
  readonly nodeEvent: NodeEvent__Output | null;
  readonly engines: readonly EngineView[];
}

export interface OutputView {
  /** Whole lines of a log, as bytes or as text. */
  readonly data: Uint8Array | string;
  readonly journal: readonly EngineEvent__Output[];
}

export interface RunOptions {
  readonly onOutput?: (output: OutputView) => Promise<void> | void;
  /** Ends the order early, without an error. */
  readonly signal?: AbortSignal;
}

export interface FleetAccess {
  engines(): Promise<readonly EngineView[]>;
  /** @throws CodedError not_found, invalid_value when several engines have the name */
  engine(name: string): Promise<EngineView>;
  /** @throws CodedError not_found */
  node(name: string): Promise<NodeView>;
  /** Gives an order and waits for its result. @throws CodedError of the result, or of whoever refused it */
  run(target: string, command: Command, options?: RunOptions): Promise<void>;
  close(): void;
}

/** `node/engine`, the name that is unique in the fleet. */
export function nameOf(engine: EngineView): string {
  return `${engine.node}/${engine.event?.engine ?? ''}`;
}

/** @throws CodedError when the result is a failure; a code of a newer release counts as `internal` */
export function requireDone(result: CommandResult | null | undefined): void {
  const {
    code = '',
    message = '',
    param = '',
  } = result ?? {
    code: 'internal',
    message: 'The order ended without a result.',
  };
  if (code === '') return;
  const known: ErrorCode = Object.hasOwn(ERRORS, code) ? (code as ErrorCode) : 'internal';
  throw new CodedError(known, message, param === '' ? {} : { param });
}
