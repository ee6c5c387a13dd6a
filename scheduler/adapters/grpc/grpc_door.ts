/**
 * The gRPC listener for gateways and the command line: Inference, Admin, health and reflection behind one gate. It
 * listens, drains (GOAWAY; what runs is finished) and closes; everything else is in the handlers.
 */
import {
  type ChannelOptions,
  type Metadata,
  Server,
  ServerCredentials,
  type ServiceDefinition,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { ReflectionService } from '@grpc/reflection';
import type { Clock } from '../../../lib/clock.ts';
import { CodedError } from '../../../lib/errors.ts';
import type { TlsMaterial } from '../../../lib/io/tls_files.ts';
import { adminService, inferenceService, packageDefinition } from '../../../proto/load.ts';
import type { AdminHandlers } from '../../../proto/gen/admin/v1/Admin.ts';
import type { Authenticator, Identity } from '../../ports.ts';
import { checkDoors, createGrpcGate } from './grpc_door_gate.ts';
import { createHealth, INFERENCE_SERVICE } from './health.ts';
import { createInference } from './inference.ts';
import type { InferenceDeps, InferenceOptions } from './inference_deps.ts';
import { ReloadingCredentials } from './reloading_credentials.ts';

export interface GrpcDoorOptions extends InferenceOptions {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  /** Absent: plain text, for loopback or behind something that ends TLS. */
  readonly tls?: { readonly certPem: string; readonly keyPem: string };
  /** How often an idle connection is probed, and how long an answer may take. */
  readonly keepaliveTimeMs: number;
  readonly keepaliveTimeoutMs: number;
  /** Most calls at once on one connection. */
  readonly maxConcurrentStreams: number;
  /** How long close() waits for running requests before it cuts them. */
  readonly drainTimeoutMs: number;
}

export interface GrpcDoorDeps extends Omit<InferenceDeps, 'options'> {
  readonly authenticator: Authenticator;
  /** Gets the way to ask who makes a call: the gate before the handlers knows. */
  readonly admin?: (identityOf: (call: { readonly metadata: Metadata }) => Identity) => AdminHandlers;
  readonly options: GrpcDoorOptions;
}

export interface GrpcDoor {
  /** @throws CodedError address_in_use */
  listen(): Promise<{ readonly port: number }>;
  /** Certificates for handshakes from now on; connections that stand go on. Without effect on a door in plain text. */
  setTls(tls: TlsMaterial): void;
  /** Not ready, no new connections, GOAWAY to the old ones; running requests go on. Idempotent. */
  drain(): void;
  /** Drains, waits for running requests up to drainTimeoutMs, then cuts what is left. Idempotent. */
  close(): Promise<void>;
}

/** A connection that was cut is gone within one turn of the loop; this only keeps a bug from hanging the process. */
const CUT_TIMEOUT_MS = 1000;

const REFLECTED = [INFERENCE_SERVICE, 'admin.v1.Admin'];

function channelOptions(options: GrpcDoorOptions): ChannelOptions {
  return {
    'grpc.max_receive_message_length': options.maxMessageBytes,
    // What is sent was bounded where it was made; a limit here would cut a whole answer that the body bound allowed.
    'grpc.max_send_message_length': -1,
    'grpc.keepalive_time_ms': options.keepaliveTimeMs,
    'grpc.keepalive_timeout_ms': options.keepaliveTimeoutMs,
    'grpc.max_concurrent_streams': options.maxConcurrentStreams,
    // Stays on although nobody asks for its figures: without it this library's forceShutdown() forgets its connections
    // instead of cutting them.
    'grpc.enable_channelz': 1,
  };
}

/** host:port as the library wants it: an IPv6 address in brackets. */
function addressOf(options: GrpcDoorOptions): string {
  return options.host.includes(':') ? `[${options.host}]:${options.port}` : `${options.host}:${options.port}`;
}

function bind(server: Server, options: GrpcDoorOptions, credentials: ServerCredentials): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(addressOf(options), credentials, (error, port) => {
      if (error === null) resolve(port);
      else reject(new CodedError('address_in_use', `gRPC cannot listen on ${addressOf(options)}.`, { cause: error }));
    });
  });
}

/** Registers a service after making sure that the table of doors knows each of its methods. */
function register(server: Server, definition: ServiceDefinition, handlers: UntypedServiceImplementation): void {
  checkDoors(Object.values(definition).map((method) => method.path));
  server.addService(definition, handlers);
}

/**
 * Ends the server's own pings. After a GOAWAY Node sends none, and the library takes that for a dead connection and cuts
 * the streams that are to finish; it offers no other way to turn its pings off. The drain's time limit bounds what is dead.
 */
function stopPings(server: Server): void {
  (server as unknown as { keepaliveTimeMs: number }).keepaliveTimeMs = 0;
}

/** Waits for `work`, but no longer than `limitMs`. */
async function within(clock: Clock, limitMs: number, work: Promise<void>): Promise<void> {
  let stopTimer: (() => void) | undefined;
  const timeout = new Promise<void>((resolve) => {
    stopTimer = clock.after(limitMs, resolve);
  });
  await Promise.race([work, timeout]);
  stopTimer?.();
}

export function createGrpcDoor(deps: GrpcDoorDeps): GrpcDoor {
  const { options, clock } = deps;
  const gate = createGrpcGate(deps);
  const identityOf = (call: { readonly metadata: Metadata }): Identity => gate.identityOf(call);
  const inference = createInference(deps, identityOf);
  const health = createHealth(deps);
  // Clients prove themselves by keys, so that no authority is asked for.
  const reloading = options.tls && new ReloadingCredentials({ ...options.tls, caPem: '' });
  const server = new Server({ ...channelOptions(options), interceptors: [gate.interceptor] });
  register(server, inferenceService, inference.handlers);
  if (deps.admin !== undefined) register(server, adminService, deps.admin(identityOf));
  register(server, health.definition, health.handlers);
  new ReflectionService(packageDefinition, { services: REFLECTED }).addToServer({
    addService: (definition: ServiceDefinition, handlers: UntypedServiceImplementation) =>
      register(server, definition, handlers),
  });

  let drained: Promise<void> | undefined;
  const drain = (): Promise<void> => {
    drained ??= new Promise((resolve) => {
      health.drain();
      inference.drain();
      health.stop();
      stopPings(server);
      server.tryShutdown(() => resolve());
    });
    return drained;
  };
  return {
    async listen() {
      return { port: await bind(server, options, reloading ?? ServerCredentials.createInsecure()) };
    },
    setTls: (tls) => reloading?.use(tls),
    drain: () => void drain(),
    async close() {
      await within(clock, options.drainTimeoutMs, drain());
      server.forceShutdown();
      await within(clock, CUT_TIMEOUT_MS, drain());
    },
  };
}
