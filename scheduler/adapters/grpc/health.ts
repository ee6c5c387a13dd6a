/**
 * `grpc.health.v1.Health` for load balancers and supervisors, over the package of the same authors as the server. It
 * asks for no credential, because balancers hold none; therefore it tells only SERVING or NOT_SERVING, keeps nothing
 * that a stranger names, and serves a bounded number of watchers.
 */
import type { sendUnaryData, ServerUnaryCall, ServerWritableStream, UntypedServiceImplementation } from '@grpc/grpc-js';
import { HealthImplementation, service as healthService } from 'grpc-health-check';
import { CodedError } from '../../../lib/errors.ts';
import type { Clock } from '../../../lib/clock.ts';
import { toStatusObject } from '../../../proto/status.ts';
import type { FleetView } from '../../ports.ts';

export const INFERENCE_SERVICE = 'inference.v1.Inference';
/** The empty name stands for the whole server, by the protocol. */
const SERVICES: readonly string[] = ['', INFERENCE_SERVICE];
const WATCH_PERIOD_MS = 500;
const MAX_WATCHERS = 256;

interface HealthRequest {
  readonly service: string;
}
interface HealthResponse {
  readonly status: string;
}
type WatchCall = ServerWritableStream<HealthRequest, HealthResponse>;
type CheckCall = ServerUnaryCall<HealthRequest, HealthResponse>;

export interface HealthDeps {
  readonly fleet: FleetView;
  readonly clock: Clock;
}

export interface HealthService {
  readonly definition: typeof healthService;
  readonly handlers: UntypedServiceImplementation;
  /** From now on NOT_SERVING, whatever the fleet says. */
  drain(): void;
  /** Ends the watchers, which would keep the server open. */
  stop(): void;
}

/** The package's handlers; it gives them only to something that looks like a server. */
function packageHandlers(health: HealthImplementation): UntypedServiceImplementation {
  let handlers: UntypedServiceImplementation = {};
  health.addToServer({ addService: (_definition, given) => (handlers = given as UntypedServiceImplementation) });
  return handlers;
}

/** Readiness is asked for when somebody asks us, and twice a second while somebody watches. */
export function createHealth(deps: HealthDeps): HealthService {
  const health = new HealthImplementation();
  const given = packageHandlers(health);
  const watchers = new Set<WatchCall>();
  let draining = false;
  let last = '';
  let stopTimer: (() => void) | undefined;

  const refresh = (): void => {
    const status = !draining && deps.fleet.ready().ok ? 'SERVING' : 'NOT_SERVING';
    if (status === last) return;
    last = status;
    for (const name of SERVICES) health.setStatus(name, status);
  };
  const poll = (): void => {
    refresh();
    stopTimer = watchers.size === 0 ? undefined : deps.clock.after(WATCH_PERIOD_MS, poll);
  };
  const watch = (call: WatchCall): void => {
    if (watchers.size >= MAX_WATCHERS) {
      const error = new CodedError('overloaded', `There are ${MAX_WATCHERS} watchers already.`, { retryAfterMs: 5000 });
      call.emit('error', Object.assign(new Error(error.message), toStatusObject(error)));
      return;
    }
    watchers.add(call);
    call.on('cancelled', () => watchers.delete(call));
    refresh();
    // The package remembers every name that was ever watched; a name that we do not serve is answered here.
    if (SERVICES.includes(call.request.service)) (given['watch'] as (call: WatchCall) => void)(call);
    else call.write({ status: 'SERVICE_UNKNOWN' });
    if (stopTimer === undefined) poll();
  };
  const fresh = (name: string) => (call: CheckCall, callback: sendUnaryData<HealthResponse>) => {
    refresh();
    (given[name] as (call: CheckCall, callback: sendUnaryData<HealthResponse>) => void)(call, callback);
  };

  return {
    definition: healthService,
    handlers: { ...given, check: fresh('check'), list: fresh('list'), watch },
    drain() {
      draining = true;
      refresh();
    },
    stop() {
      stopTimer?.();
      for (const call of watchers) call.end();
      watchers.clear();
    },
  };
}
