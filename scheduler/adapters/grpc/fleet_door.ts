/**
 * The agents' listener: gRPC over mutual TLS. A caller without a certificate of the fleet's authority does not get past
 * the handshake, and whoever does speaks only for the node that its certificate names.
 */
import { type ChannelOptions, Server } from '@grpc/grpc-js';
import type { Clock } from '../../../lib/clock.ts';
import { CodedError, toCodedError } from '../../../lib/errors.ts';
import type { NodeId } from '../../../lib/ids.ts';
import type { Logger } from '../../../lib/io/logger.ts';
import type { Metrics } from '../../../lib/io/metrics.ts';
import type { TlsMaterial } from '../../../lib/io/tls_files.ts';
import type { FleetHandlers } from '../../../proto/gen/fleet/v1/Fleet.ts';
import { fleetService } from '../../../proto/load.ts';
import type { FleetSink } from '../../ports.ts';
import { failStream } from './grpc_errors.ts';
import { LaneCounters, type LaneStreamCall, serveLane } from './lane_call.ts';
import { ReloadingCredentials } from './reloading_credentials.ts';
import { type SchedulerFacts, serveSession, type SessionCall } from './session.ts';

export interface FleetDoorOptions extends TlsMaterial {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  /** The authority whose certificates agents must show. */
  readonly caPem: string;
  /** Largest message of an agent: a batch of a lane, a hello, telemetry. */
  readonly maxMessageBytes: number;
  readonly keepaliveTimeMs: number;
  readonly keepaliveTimeoutMs: number;
  readonly helloTimeoutMs: number;
  readonly maxLanesPerNode: number;
  readonly facts: SchedulerFacts;
}

export interface FleetDoorDeps {
  readonly sink: FleetSink;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly options: FleetDoorOptions;
}

export interface FleetDoor {
  /** @throws CodedError address_in_use */
  listen(): Promise<{ readonly port: number }>;
  /** Certificates for handshakes from now on; sessions and lanes that stand go on. */
  setTls(tls: TlsMaterial): void;
  /** Ends every session and lane and closes the listener. Idempotent. */
  close(): Promise<void>;
}

/** Window per stream and per connection: a lane carries the tokens of hundreds of requests. */
const FLOW_CONTROL_WINDOW_BYTES = 4 * 1024 * 1024;
/** A session and the lanes of its agent, each on a connection of its own or all on one. */
const MAX_STREAMS_PER_CONNECTION = 256;
const COUNT_PERIOD_MS = 1000;
const CLOSE_GRACE_MS = 1000;

function channelOptions(options: FleetDoorOptions): ChannelOptions {
  return {
    'grpc.max_receive_message_length': options.maxMessageBytes,
    // What is sent is bounded where it is made: by the largest body that a door admits.
    'grpc.max_send_message_length': -1,
    'grpc.keepalive_time_ms': options.keepaliveTimeMs,
    'grpc.keepalive_timeout_ms': options.keepaliveTimeoutMs,
    'grpc.max_concurrent_streams': MAX_STREAMS_PER_CONNECTION,
    'grpc-node.flow_control_window': FLOW_CONTROL_WINDOW_BYTES,
    'grpc.enable_channelz': 0,
  };
}

/** The common name of the certificate that the peer proved to hold. @throws CodedError permission_denied */
function nodeOf(call: SessionCall | LaneStreamCall): NodeId {
  const name = call.getAuthContext().sslPeerCertificate?.subject?.CN;
  if (typeof name !== 'string' || name === '')
    throw new CodedError('permission_denied', 'The certificate names no node.');
  return name as NodeId;
}

/** What can be closed when the door closes. */
interface Closable {
  close(error: CodedError): void;
}

function createHandlers(deps: FleetDoorDeps, counters: LaneCounters, open: Set<Closable>): FleetHandlers {
  const { sink, clock, logger, metrics, options } = deps;
  const { helloTimeoutMs, facts } = options;
  const lanes = new Map<NodeId, number>();
  const countLane = (node: NodeId, by: 1 | -1): void => {
    const count = (lanes.get(node) ?? 0) + by;
    if (count === 0) lanes.delete(node);
    else lanes.set(node, count);
  };
  const openLane = (call: LaneStreamCall): void => {
    const node = nodeOf(call);
    if ((lanes.get(node) ?? 0) >= options.maxLanesPerNode)
      throw new CodedError('overloaded', 'The node has too many lanes.');
    countLane(node, 1);
    serveLane(call, node, {
      sink,
      clock,
      logger,
      metrics,
      counters,
      helloTimeoutMs,
      onOpen: (lane) => open.add(lane),
      onEnd(lane) {
        countLane(node, -1);
        if (lane !== undefined) open.delete(lane);
      },
    });
  };
  const openSession = (call: SessionCall): void => {
    const session = serveSession(call, nodeOf(call), { sink, clock, logger, facts, helloTimeoutMs });
    open.add(session);
    call.on('close', () => open.delete(session));
  };
  const guarded =
    <Call extends SessionCall | LaneStreamCall>(serve: (call: Call) => void) =>
    (call: Call): void => {
      try {
        serve(call);
      } catch (thrown) {
        failStream(logger, call, toCodedError(thrown));
      }
    };
  // The generated type has LaneBatch objects; the hand-made codec of proto/load.ts gives their bytes.
  return { Session: guarded(openSession), Lane: guarded(openLane) } as unknown as FleetHandlers;
}

/** Binds the listener; the certificate of a peer is checked in the handshake. @throws CodedError address_in_use */
function bind(server: Server, options: FleetDoorOptions, credentials: ReloadingCredentials): Promise<number> {
  const address = `${options.host.includes(':') ? `[${options.host}]` : options.host}:${options.port}`;
  return new Promise((resolve, reject) => {
    server.bindAsync(address, credentials, (error, port) => {
      if (error === null) resolve(port);
      else reject(new CodedError('address_in_use', `The agents' door cannot listen on ${address}.`, { cause: error }));
    });
  });
}

export function createFleetDoor(deps: FleetDoorDeps): FleetDoor {
  const { options, clock, metrics } = deps;
  const counters = new LaneCounters();
  const open = new Set<Closable>();
  const server = new Server(channelOptions(options));
  const credentials = new ReloadingCredentials(options);
  server.addService(fleetService, createHandlers(deps, counters, open));
  let stopCounting: (() => void) | undefined;
  const count = (): void => {
    counters.report(metrics);
    stopCounting = clock.after(COUNT_PERIOD_MS, count);
  };
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> =>
    new Promise((resolve) => {
      stopCounting?.();
      counters.report(metrics);
      for (const each of [...open]) each.close(new CodedError('draining', 'The scheduler is stopping.'));
      const stopTimer = clock.after(CLOSE_GRACE_MS, () => {
        server.forceShutdown();
        resolve();
      });
      server.tryShutdown(() => {
        stopTimer();
        resolve();
      });
    });
  return {
    async listen() {
      const port = await bind(server, options, credentials);
      count();
      return { port };
    },
    setTls: (tls) => credentials.use(tls),
    close() {
      closing ??= close();
      return closing;
    },
  };
}
