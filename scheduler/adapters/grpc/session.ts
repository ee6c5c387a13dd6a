/**
 * One agent's control session: checks who speaks and in which version, then turns messages into calls of the FleetSink.
 * The certificate says which node it is; what the agent claims must say the same.
 */
import type { ServerDuplexStream } from '@grpc/grpc-js';
import { z } from 'zod';
import type { Clock } from '../../../lib/clock.ts';
import { CodedError, toCodedError } from '../../../lib/errors.ts';
import type { NodeId } from '../../../lib/ids.ts';
import type { Logger } from '../../../lib/io/logger.ts';
import { LANE_PROTOCOL_VERSION } from '../../../proto/codec.ts';
import type { AgentMessage__Output } from '../../../proto/gen/fleet/v1/AgentMessage.ts';
import type { Command } from '../../../proto/gen/fleet/v1/Command.ts';
import type { DesiredState } from '../../../proto/gen/fleet/v1/DesiredState.ts';
import type { Hello__Output } from '../../../proto/gen/fleet/v1/Hello.ts';
import type { ModelPeers } from '../../../proto/gen/fleet/v1/ModelPeers.ts';
import type { SchedulerMessage } from '../../../proto/gen/fleet/v1/SchedulerMessage.ts';
import type { TicketIssuer } from '../../../proto/gen/fleet/v1/TicketIssuer.ts';
import { MAX_ENGINES_PER_NODE, MAX_GPUS_PER_NODE } from '../../core/fleet/state.ts';
import type { FleetSink, SessionHandle } from '../../ports.ts';
import { failStream } from './grpc_errors.ts';

export type SessionCall = ServerDuplexStream<AgentMessage__Output, SchedulerMessage>;

/** Who a scheduler is, for its agents. */
export interface SchedulerFacts {
  readonly schedulerId: string;
  readonly version: string;
  /** Fencing term of the orders that this scheduler gives; read anew for each message. */
  readonly term: number;
  /** Whether it may say what nodes are to run; absent: it may. Only the one that leads the fleet does. */
  readonly mayOrder?: () => boolean;
  readonly telemetryPeriodMs: number;
}

export interface SessionDeps {
  readonly sink: FleetSink;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly facts: SchedulerFacts;
  /** Most time from the opening of a stream to its first message. */
  readonly helloTimeoutMs: number;
}

/** The version that both ends must speak: one number for the session and its lanes. */
export const FLEET_PROTOCOL_VERSION = LANE_PROTOCOL_VERSION;

const NODE_NAME = /^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$/;
const ENGINE_NAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

const helloSchema = z.object({
  nodeName: z.string().regex(NODE_NAME),
  sessionId: z.string().min(1).max(128),
  agentVersion: z.string().max(128),
  laneCount: z.number().max(1024),
  gpus: z.array(z.unknown()).max(MAX_GPUS_PER_NODE),
  gpuEvents: z.array(z.unknown()).max(MAX_GPUS_PER_NODE),
  engines: z.array(z.object({ engine: z.string().regex(ENGINE_NAME) })).max(MAX_ENGINES_PER_NODE),
});

/** @throws CodedError protocol_mismatch, permission_denied, invalid_value */
export function checkPeer(
  claimed: { readonly protocolVersion: number; readonly nodeName: string },
  certificateName: string,
): void {
  if (claimed.protocolVersion !== FLEET_PROTOCOL_VERSION) {
    const message = `The agent speaks version ${claimed.protocolVersion} of the fleet protocol, this scheduler ${FLEET_PROTOCOL_VERSION}.`;
    throw new CodedError('protocol_mismatch', message, { param: 'protocol_version' });
  }
  if (claimed.nodeName !== certificateName) {
    throw new CodedError('permission_denied', 'The node name is not the one of the certificate.', {
      param: 'node_name',
    });
  }
}

function checkHello(hello: Hello__Output, certificateName: string): void {
  checkPeer(hello, certificateName);
  const result = helloSchema.safeParse(hello);
  if (result.success) return;
  const param = result.error.issues[0]?.path.map(String).join('.') ?? 'hello';
  throw new CodedError('invalid_value', `The hello of the agent has an unacceptable ${param}.`, { param });
}

class Session implements SessionHandle {
  readonly nodeName: NodeId;
  sessionId = '';
  readonly #call: SessionCall;
  readonly #deps: SessionDeps;
  #greeted = false;
  #ended = false;
  #waiting: SchedulerMessage[] = [];
  readonly #stopTimer: () => void;

  constructor(call: SessionCall, certificateName: string, deps: SessionDeps) {
    this.#call = call;
    this.#deps = deps;
    this.nodeName = certificateName as NodeId;
    this.#stopTimer = deps.clock.after(deps.helloTimeoutMs, () => {
      this.close(new CodedError('deadline_exceeded', 'No hello came in time.'));
    });
    call.on('data', (message: AgentMessage__Output) => this.#onMessage(message));
    call.on('end', () => {
      this.#end();
      call.end();
    });
    for (const event of ['cancelled', 'error', 'close'] as const) call.on(event, () => this.#end());
  }

  sendDesiredState(state: DesiredState): void {
    // Asked at the last moment: whoever decided may have ceased to lead since.
    if (this.#deps.facts.mayOrder?.() === false) return;
    this.#send({ desiredState: state });
  }

  sendCommand(command: Command): void {
    this.#send({ command });
  }

  sendTicketIssuer(ticketIssuer: TicketIssuer): void {
    this.#send({ ticketIssuer });
  }

  sendModelPeers(modelPeers: ModelPeers): void {
    this.#send({ modelPeers });
  }

  close(error: CodedError): void {
    if (this.#ended) return;
    this.#end();
    failStream(this.#deps.logger, this.#call, error);
  }

  #onMessage(message: AgentMessage__Output): void {
    if (this.#ended) return;
    try {
      if (this.#greeted) this.#take(message);
      else this.#greet(message);
    } catch (thrown) {
      const error = toCodedError(thrown);
      this.#deps.logger.warn({ node: this.nodeName, code: error.code }, `session refused: ${error.message}`);
      this.close(error);
    }
  }

  #greet(message: AgentMessage__Output): void {
    const { hello } = message;
    if (hello === undefined || hello === null)
      throw new CodedError('protocol_mismatch', 'The first message of a session must be a hello.');
    checkHello(hello, this.nodeName);
    this.#stopTimer();
    this.sessionId = hello.sessionId;
    const { facts } = this.#deps;
    if ((hello.observedTerm ?? 0) > facts.term) {
      this.#deps.logger.error(
        { node: this.nodeName, observedTerm: hello.observedTerm, term: facts.term },
        'the agent obeys a newer scheduler',
      );
    }
    this.#greeted = true;
    this.#waiting = [
      {
        welcome: {
          schedulerId: facts.schedulerId,
          schedulerVersion: facts.version,
          protocolVersion: FLEET_PROTOCOL_VERSION,
          telemetryPeriodMs: facts.telemetryPeriodMs,
        },
      },
    ];
    // What the sink orders during the hello follows the welcome; a refused agent gets neither.
    this.#deps.sink.onHello(this, hello);
    const first = this.#waiting;
    this.#waiting = [];
    for (const each of first) this.#write(each);
  }

  #take(message: AgentMessage__Output): void {
    const { sink } = this.#deps;
    switch (message.body) {
      case 'telemetry':
        if (message.telemetry) sink.onTelemetry(this, message.telemetry);
        return;
      case 'engineEvent':
        if (!message.engineEvent || !ENGINE_NAME.test(message.engineEvent.engine)) {
          throw new CodedError('invalid_value', 'An engine event names no acceptable engine.', { param: 'engine' });
        }
        sink.onEngineEvent(this, message.engineEvent);
        this.#send({ eventAck: { seq: message.seq } });
        return;
      case 'desiredStateAck':
        if (message.desiredStateAck) {
          const { generation, rejections } = message.desiredStateAck;
          sink.onDesiredStateAck(this, generation, rejections);
        }
        return;
      case 'goodbye':
        if (message.goodbye) sink.onGoodbye(this, message.goodbye.reason);
        return;
      case 'hello':
        throw new CodedError('protocol_mismatch', 'A session begins with one hello.');
      case 'gpuEvent':
        if (message.gpuEvent) sink.onGpuEvent(this, message.gpuEvent);
        this.#send({ eventAck: { seq: message.seq } });
        return;
      case 'nodeEvent':
        if (message.nodeEvent) sink.onNodeEvent(this, message.nodeEvent);
        this.#send({ eventAck: { seq: message.seq } });
        return;
      case 'kvEvents':
        if (message.kvEvents) sink.onKvEvents?.(this, message.kvEvents);
        return;
      case 'commandOutput':
        if (message.commandOutput) sink.onCommandOutput(this, message.commandOutput);
        return;
      case 'commandResult':
        if (message.commandResult) sink.onCommandResult(this, message.commandResult);
        return;
      case 'directListener':
        if (message.directListener) sink.onDirectListener?.(this, message.directListener);
        return;
      case 'modelListener':
        if (message.modelListener) sink.onModelListener?.(this, message.modelListener);
        return;
      case 'directUse':
        if (message.directUse) sink.onDirectUse?.(this, message.directUse.leases);
        return;
      case undefined:
        // A newer agent may say what this release does not know.
        this.#deps.logger.debug({ node: this.nodeName }, 'a message of an unknown kind was passed over');
    }
  }

  #send(message: SchedulerMessage): void {
    if (this.#ended) return;
    if (this.#waiting.length > 0) this.#waiting.push(message);
    else this.#write(message);
  }

  #write(message: SchedulerMessage): void {
    this.#call.write({ ...message, term: this.#deps.facts.term });
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#stopTimer();
    if (this.#greeted) this.#deps.sink.onSessionLost(this);
  }
}

/** Serves one `Session` call of the node that its certificate names. */
export function serveSession(
  call: SessionCall,
  certificateName: string,
  deps: SessionDeps,
): { close(error: CodedError): void } {
  return new Session(call, certificateName, deps);
}
