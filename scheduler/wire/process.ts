/** How a scheduler speaks to whoever started it, and how its streams come to their end before it ends. */
import { CodedError } from '../../lib/errors.ts';
import type { Logger } from '../../lib/io/logger.ts';
import { createNotifySender, createServiceManager, type ServiceManager } from '../../lib/io/service_manager.ts';
import { systemClock } from '../../lib/io/system.ts';
import { Vitals } from '../../lib/vitals.ts';
import { nativeNotify } from '../../native/notify.ts';
import type { HttpDoor } from '../adapters/http/options.ts';
import { processEnvironment, serviceManager } from '../config.ts';
import type { RunLoop } from '../run_loop.ts';

/** What this process says when its listeners are up: one line on standard output, or a message to the parent. */
export interface ReadyMessage {
  readonly type: 'ready';
  readonly httpPort: number;
  readonly grpcPort: number;
  readonly fleetPort: number;
}

/** The scheduler's one loop is its thread: a thread that is stuck feeds no watchdog. */
export function serviceManagerOf(logger: Logger, loop: RunLoop): ServiceManager {
  const facts = serviceManager();
  const native =
    facts.socketPath === undefined
      ? undefined
      : nativeNotify((err) => logger.warn({ err }, 'the native addon cannot speak to systemd'));
  return createServiceManager({
    facts,
    clock: systemClock,
    vitals: new Vitals(),
    send: createNotifySender(facts, native, processEnvironment()['PATH']),
    log: logger,
    status: () => `Running requests: ${loop.inspector.runningRequests}; ${loop.fleetView.ready().reason}.`,
  });
}

export function tellReady(message: ReadyMessage): void {
  if (process.send !== undefined) process.send(message);
  else process.stdout.write(`${JSON.stringify(message)}\n`);
}

/** Waits until nothing runs, at most `timeoutMs`; then ends what is left. */
export async function drainStreams(loop: RunLoop, http: HttpDoor, timeoutMs: number, logger: Logger): Promise<void> {
  let stopTimer: (() => void) | undefined;
  const late = new Promise<'late'>((resolve) => {
    stopTimer = systemClock.after(timeoutMs, () => resolve('late'));
  });
  const outcome = await Promise.race([Promise.all([loop.idle(), http.idle()]), late]);
  stopTimer?.();
  if (outcome !== 'late') return;
  logger.warn({ running: loop.inspector.runningRequests, timeoutMs }, 'requests outlived the drain and are ended');
  loop.abortAll(new CodedError('draining', 'The scheduler stopped before the answer was whole.'));
}
