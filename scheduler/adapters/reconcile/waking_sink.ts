/** Passes on what agents say, and wakes reconcile when it may matter to it: readings alone do not. */
import type { FleetSink } from '../../ports.ts';

export function wakingSink(inner: FleetSink, wake: () => void): FleetSink {
  const woken =
    <Said extends readonly unknown[]>(take: (...said: Said) => void) =>
    (...said: Said): void => {
      take(...said);
      wake();
    };
  return {
    onHello: woken((session, hello) => inner.onHello(session, hello)),
    onOrdersChanged: (node) => inner.onOrdersChanged?.(node),
    onTelemetry: (session, telemetry) => inner.onTelemetry(session, telemetry),
    onEngineEvent: woken((session, event) => inner.onEngineEvent(session, event)),
    onDesiredStateAck: woken((session, generation, rejections) =>
      inner.onDesiredStateAck(session, generation, rejections),
    ),
    onGpuEvent: woken((session, event) => inner.onGpuEvent(session, event)),
    onNodeEvent: woken((session, event) => inner.onNodeEvent(session, event)),
    onKvEvents: (session, events) => inner.onKvEvents?.(session, events),
    onCommandOutput: (session, output) => inner.onCommandOutput(session, output),
    onCommandResult: (session, result) => inner.onCommandResult(session, result),
    onDirectListener: (session, listener) => inner.onDirectListener?.(session, listener),
    onDirectUse: (session, leases) => inner.onDirectUse?.(session, leases),
    onModelListener: (session, listener) => inner.onModelListener?.(session, listener),
    onGoodbye: (session, reason) => inner.onGoodbye(session, reason),
    onSessionLost: woken((session) => inner.onSessionLost(session)),
    onLaneOpen: (sessionId, lane) => inner.onLaneOpen(sessionId, lane),
    onLaneLost: (sessionId, lane) => inner.onLaneLost(sessionId, lane),
    onDetached: (lane, list) => inner.onDetached?.(lane, list),
  };
}
