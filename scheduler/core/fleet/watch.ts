/**
 * Listens to the agents: takes what they say into the directory and carries out what follows from it. A new session
 * closes the one before it; a new life of an agent takes the requests of the old one with it.
 */
import type { Clock } from '../../../lib/clock.ts';
import { CodedError } from '../../../lib/errors.ts';
import type { EngineId, NodeId } from '../../../lib/ids.ts';
import type { DetachedRequest } from '../../../proto/codec.ts';
import type { CommandOutput__Output } from '../../../proto/gen/fleet/v1/CommandOutput.ts';
import type { CommandResult__Output } from '../../../proto/gen/fleet/v1/CommandResult.ts';
import type { DesiredState } from '../../../proto/gen/fleet/v1/DesiredState.ts';
import type { DirectLease__Output } from '../../../proto/gen/fleet/v1/DirectLease.ts';
import type { DirectListener__Output } from '../../../proto/gen/fleet/v1/DirectListener.ts';
import type { EngineEvent__Output } from '../../../proto/gen/fleet/v1/EngineEvent.ts';
import type { GpuEvent__Output } from '../../../proto/gen/fleet/v1/GpuEvent.ts';
import type { Hello__Output } from '../../../proto/gen/fleet/v1/Hello.ts';
import type { NodeEvent__Output } from '../../../proto/gen/fleet/v1/NodeEvent.ts';
import type { SpecRejection__Output } from '../../../proto/gen/fleet/v1/SpecRejection.ts';
import type { Telemetry__Output } from '../../../proto/gen/fleet/v1/Telemetry.ts';
import type { Figures, FleetSink, LaneHandle, SessionHandle } from '../../ports.ts';
import type { PendingCommands } from '../command/pending.ts';
import type { DirectLeases } from '../direct/leases.ts';
import type { FleetDirectory } from './directory.ts';
import type { FleetEffect, FleetEvent } from './step.ts';

/** The part of a logger that is used. */
export interface FleetLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export interface FleetWatchDeps {
  readonly directory: FleetDirectory;
  /** Orders that wait for what agents answer. */
  readonly commands: PendingCommands;
  readonly clock: Clock;
  readonly log: FleetLog;
  readonly figures: Pick<Figures, 'dropped' | 'nodes'>;
  /** What a node is to run; undefined: this scheduler orders nothing there. */
  readonly desiredFor: (node: NodeId) => DesiredState | undefined;
  /** A life of an engine is over; called once its last frames had time to arrive. */
  readonly onEngineEnded: (engine: EngineId, incarnation: number) => void;
  /** An engine, a node or a lane came, went or changed: what waits for one may go on. */
  readonly onChanged?: () => void;
  /** A lane of the present agent of a node is ready for requests. */
  readonly onLaneOpened?: (lane: LaneHandle) => void;
  /** Requests that run on a worker without a scheduler. */
  readonly onDetached?: (lane: LaneHandle, list: readonly DetachedRequest[]) => void;
  /** How long the last frames of a dead engine may be on their way. */
  readonly deathGraceMs: number;
  /** The tickets that are out; absent: none are given out. */
  readonly direct?: DirectLeases | undefined;
}

export class FleetWatch implements FleetSink {
  readonly #deps: FleetWatchDeps;
  readonly #connections = new WeakMap<SessionHandle, number>();
  readonly #sessions = new Map<number, SessionHandle>();
  #lastConnection = 0;

  constructor(deps: FleetWatchDeps) {
    this.#deps = deps;
  }

  onHello(session: SessionHandle, hello: Hello__Output): void {
    const node = session.nodeName;
    this.#lastConnection += 1;
    const connection = this.#lastConnection;
    this.#connections.set(session, connection);
    this.#sessions.set(connection, session);
    const desired = this.#deps.desiredFor(node);
    this.#deps.log.info({ node, version: hello.agentVersion, engines: hello.engines.length }, 'agent connected');
    this.#take({ kind: 'hello', node, connection, hello, desired });
    if (desired !== undefined) session.sendDesiredState(desired);
  }

  onOrdersChanged(node: NodeId): void {
    const session = this.sessionOf(node);
    if (session === undefined) return;
    const desired = this.#deps.desiredFor(node);
    this.#take({ kind: 'ordered', ...this.#named(session), desired });
    if (desired !== undefined) session.sendDesiredState(desired);
  }

  onTelemetry(session: SessionHandle, telemetry: Telemetry__Output): void {
    this.#take({ kind: 'telemetry', ...this.#named(session), telemetry });
  }

  onEngineEvent(session: SessionHandle, event: EngineEvent__Output): void {
    const { engine, incarnation, state, reason, message } = event;
    const before = this.#deps.directory.state.nodes.get(session.nodeName)?.engines.get(engine)?.event;
    // An engine that starts tells its progress ten times a second: that is for whoever looks, not for the log.
    if (before?.state !== state || before.reason !== reason || before.message !== message)
      this.#deps.log.info({ node: session.nodeName, engine, incarnation, state, reason }, message);
    this.#take({ kind: 'engine_event', ...this.#named(session), event });
  }

  onDesiredStateAck(session: SessionHandle, generation: number, rejections: readonly SpecRejection__Output[]): void {
    for (const rejection of rejections) {
      const { engine, code, message, param } = rejection;
      this.#deps.log.warn(
        { node: session.nodeName, engine, code, param, detail: message },
        'agent refuses a specification',
      );
    }
    this.#take({ kind: 'desired_ack', ...this.#named(session), generation, rejections });
  }

  onGpuEvent(session: SessionHandle, event: GpuEvent__Output): void {
    const { index: gpu, kind, xid, action, quarantined, message } = event;
    const fields = { node: session.nodeName, gpu, kind, xid, action, quarantined };
    if (quarantined) this.#deps.log.warn(fields, message);
    else this.#deps.log.info(fields, message);
    this.#take({ kind: 'gpu_event', ...this.#named(session), event });
  }

  onNodeEvent(session: SessionHandle, event: NodeEvent__Output): void {
    const { draining, drain } = event;
    const fields = {
      node: session.nodeName,
      actor: drain?.actor,
      reason: drain?.reason,
      running: drain?.runningRequests,
    };
    this.#deps.log.info(fields, draining ? 'node drains' : 'node serves again');
    this.#take({ kind: 'node_event', ...this.#named(session), event });
  }

  onCommandOutput(session: SessionHandle, output: CommandOutput__Output): void {
    this.#deps.commands.output(session, output);
  }

  onCommandResult(session: SessionHandle, result: CommandResult__Output): void {
    this.#deps.commands.result(session, result);
  }

  onDirectListener(session: SessionHandle, listener: DirectListener__Output): void {
    const { direct, log } = this.#deps;
    // An older session must not speak for the listener of a newer one.
    if (this.sessionOf(session.nodeName) !== session) return;
    log.info({ node: session.nodeName, url: listener.url, keys: listener.keyIds.length }, 'direct listener');
    direct?.onListener(session, listener);
  }

  onDirectUse(session: SessionHandle, leases: readonly DirectLease__Output[]): void {
    this.#deps.direct?.onUse(session.nodeName, leases);
  }

  onGoodbye(session: SessionHandle, reason: string): void {
    this.#take({ kind: 'goodbye', ...this.#named(session), reason });
  }

  onSessionLost(session: SessionHandle): void {
    const { node, connection } = this.#named(session);
    this.#deps.commands.sessionLost(session);
    // A session that was replaced is closed by us and lost to nobody.
    if (!this.#sessions.delete(connection)) return;
    this.#deps.log.warn({ node }, 'agent lost');
    this.#take({ kind: 'session_lost', node, connection });
  }

  /** @throws CodedError not_found when the session is not the present one of the node */
  onLaneOpen(sessionId: string, lane: LaneHandle): void {
    if (!this.#deps.directory.addLane(sessionId, lane)) {
      throw new CodedError('not_found', `The lane names a session that is not the present one of ${lane.nodeName}.`);
    }
    this.#deps.onLaneOpened?.(lane);
    this.#deps.onChanged?.();
  }

  /** The present session of a node, or undefined while there is none. */
  sessionOf(node: NodeId): SessionHandle | undefined {
    const known = this.#deps.directory.state.nodes.get(node);
    return known?.connected === true ? this.#sessions.get(known.connection) : undefined;
  }

  onDetached(lane: LaneHandle, list: readonly DetachedRequest[]): void {
    this.#deps.onDetached?.(lane, list);
  }

  onLaneLost(_sessionId: string, lane: LaneHandle): void {
    this.#deps.directory.removeLane(lane);
  }

  #named(session: SessionHandle): { node: NodeId; connection: number } {
    return { node: session.nodeName, connection: this.#connections.get(session) ?? 0 };
  }

  #take(event: FleetEvent): void {
    const { clock, directory } = this.#deps;
    const effects = directory.apply(event, { nowMs: clock.monotonicMs(), wallMs: clock.wallMs() });
    for (const effect of effects) this.#carryOut(effect);
    if (event.kind === 'hello' || event.kind === 'session_lost') this.#countNodes();
    // Readings come every second from every node; who waits looks by itself as often.
    if (event.kind !== 'telemetry') this.#deps.onChanged?.();
  }

  #carryOut(effect: FleetEffect): void {
    const { clock, figures, deathGraceMs, onEngineEnded, direct } = this.#deps;
    switch (effect.kind) {
      case 'session_replaced':
        this.#replace(effect.node, effect.connection, effect.restarted);
        return;
      case 'engine_ended':
        clock.after(deathGraceMs, () => {
          onEngineEnded(effect.engine, effect.incarnation);
          direct?.engineEnded(effect.engine, effect.incarnation);
        });
        return;
      case 'passed_over':
        figures.dropped(`fleet_${effect.what}`, effect.count);
    }
  }

  #replace(node: NodeId, connection: number, restarted: boolean): void {
    const session = this.#sessions.get(connection);
    this.#sessions.delete(connection);
    if (session !== undefined) this.#deps.commands.sessionLost(session);
    session?.close(new CodedError('already_exists', `A newer session of ${node} has taken over.`));
    if (!restarted) return;
    this.#deps.direct?.nodeRestarted(node);
    const error = new CodedError('engine_died', 'The agent of the engine was started anew.');
    for (const lane of this.#deps.directory.takeOldLanes(node)) lane.close(error);
  }

  #countNodes(): void {
    const { nodes } = this.#deps.directory.state;
    let connected = 0;
    for (const node of nodes.values()) if (node.connected) connected += 1;
    this.#deps.figures.nodes(connected, nodes.size - connected);
  }
}
